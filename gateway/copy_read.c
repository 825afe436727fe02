/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/copy_read.h"

#include "common/clock.h"
#include "gateway/field.h"
#include "gateway/gateway.h"

#define FIRST_WAIT_MS 1       /* for a copy to catch up; then twice as long, and so on */
#define MOST_APPLIED  1000000 /* changes between a look at a copy and the reading of a value there */

static struct worker *worker_of_read(const struct copy_read *read)
{
    return read->exchange->worker;
}

static const struct table *table_of(const struct copy_read *read)
{
    return read->exchange->view->table;
}

static struct copy *copy_in(const struct copy_read *read, uint32_t unit)
{
    return copy_find(worker_of_read(read)->copies, read->exchange->view->units[unit].unit, read->rules->name);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void let_go(struct copy_read *read)
{
    if (read->ask != NULL)
        copy_forget(read->ask);
    if (read->message != NULL)
        message_forget(read->message);
    if (read->wishes)
        copies_end_wish(worker_of_read(read)->copies);
    timers_disarm(&read->timer);
    read->ask = NULL;
    read->message = NULL;
    read->wishes = false;
    read->exchange->detach = NULL;
}

static void detach(struct exchange *exchange)
{
    let_go(exchange->carrier);
}

static const char *const fault_details[] = {
    [COPY_FAULT_NONE] = "The core unit does not answer",
    [COPY_FAULT_CLOSED] = "No copy that is near may be read now",
    [COPY_FAULT_STALE] = "The copy is further behind than the rules let it be",
    [COPY_FAULT_WISH] = "The copy is further behind than the request lets it be",
    [COPY_FAULT_BEHIND] = "The copy has not applied yet what it must have",
    [COPY_FAULT_BAD] = "The copy has something else, and the core unit does not answer",
};

static void fail(struct copy_read *read, enum verdict verdict, const char *detail)
{
    let_go(read);
    exchange_fail(read->exchange, verdict, detail);
}

/* Who is refused for the copy's sake hears how it stands. */
static void fail_fault(struct copy_read *read)
{
    if (read->standing.seq > 0)
        freshness_add_headers(read->exchange->req, &read->standing);
    fail(read, read->fault == COPY_FAULT_BAD ? VERDICT_BAD_VALUE : VERDICT_STALE_COPY, fault_details[read->fault]);
}

static void answer(struct copy_read *read, enum finding finding, const struct standing *standing)
{
    struct gateway_stats *stats = &worker_of_read(read)->stats;
    let_go(read);
    stat_add(&stats->collection_reads_total, 1);
    stat_observe(&stats->collection_read_latency, clock_monotonic_us() - read->exchange->received_mono_us);
    read->form->answer(read, finding, standing);
}

/* --- the origin --------------------------------------------------------------------------------------------------- */

static void ask_copy(struct copy_read *read);

/* A stale value is better than none, unless somebody wants none. */
static void origin_failed(struct copy_read *read)
{
    bool may_resort = read->fault == COPY_FAULT_STALE && !read->resort;
    if (!may_resort) {
        fail_fault(read);
        return;
    }
    read->resort = true;
    ask_copy(read);
}

/* Of what was found: the newest that its reader knows of now. That a key is gone is known as of the whole collection,
 * but nobody waits minutes for a snapshot to agree. */
static uint64_t shown_by(const struct copy_read *read, enum finding finding, uint64_t seq)
{
    if (finding == FINDING_VALUE && read->version != 0)
        return read->version;
    return read->rules->replication == COLLECTION_BUS ? seq : 0;
}

static void note_shown(const struct copy_read *read, enum finding finding, uint64_t seq)
{
    uint64_t now_us = clock_monotonic_us(), shown = shown_by(read, finding, seq);
    struct copy_floor *origin = copy_in(read, table_of(read)->core_unit)->floor;
    copy_floor_hear(read->unit != NO_UNIT ? copy_in(read, read->unit)->floor : origin, seq, read->begun_us);
    if (read->fault == COPY_FAULT_WISH && read->rules->replication == COLLECTION_SNAPSHOT)
        return;
    if (!read->named)
        copy_floor_show(origin, shown, now_us);
    else if (read->unit != table_of(read)->core_unit)
        copy_floor_raise(copy_in(read, read->unit)->floor, shown, now_us);
}

static void on_origin(void *arg, const struct origin_answer *origin)
{
    struct copy_read *read = arg;
    read->message = NULL;
    timers_disarm(&read->timer);
    if (origin->verdict != VERDICT_OK) {
        origin_failed(read);
        return;
    }
    read->version = 0;
    enum finding finding = read->form->look_origin(read, origin);
    struct standing standing = {.seq = origin->number, .counted = true};
    read->exchange->rules = &table_of(read)->units[table_of(read)->core_unit];
    if (finding == FINDING_BAD || read->version > origin->number) {
        fail(read, VERDICT_BAD_VALUE, "The core unit has something else, too");
    } else if (origin->number < read->wanted.min_version) {
        fail(read, VERDICT_STALE_COPY, "The core unit has not got that far: there is no such version");
    } else {
        note_shown(read, finding, origin->number);
        answer(read, finding, &standing);
    }
}

static void on_origin_late(h2o_timeout_entry_t *entry)
{
    struct copy_read *read = H2O_STRUCT_FROM_MEMBER(struct copy_read, timer, entry);
    message_forget(read->message);
    read->message = NULL;
    copies_origin_failed(worker_of_read(read)->copies, clock_monotonic_us());
    origin_failed(read);
}

static void ask_origin(struct copy_read *read, enum copy_fault fault)
{
    struct worker *worker = worker_of_read(read);
    struct origin_answer refusal;
    read->fault = fault;
    read->begun_us = clock_monotonic_us();
    read->call.collection = read->rules->name;
    read->call.done = on_origin;
    read->call.arg = read;
    stat_add(&worker->stats.collection_reads_core_total, 1);
    if (!copies_origin_answers(worker->copies, read->begun_us)) {
        origin_failed(read);
        return;
    }
    read->message = read->form->ask_origin(read, &refusal);
    if (read->message == NULL) {
        origin_failed(read);
        return;
    }
    read->timer.cb = on_origin_late;
    timers_arm(&worker->timers, &read->timer, (uint64_t)worker->gateway->config.collections.core_wait);
}

/* --- the copy ----------------------------------------------------------------------------------------------------- */

static bool go_to_next(struct copy_read *read)
{
    uint32_t next = read->named ? NO_UNIT
                                : copy_choose(worker_of_read(read)->copies, read->exchange->view, read->rules->name,
                                              read->unit == NO_UNIT ? 0 : read->unit + 1, clock_monotonic_us());
    if (next == NO_UNIT)
        return false;
    read->unit = next;
    read->exact = false;
    ask_copy(read);
    return true;
}

/* Anybody may wish for the newest: reload in a browser does. The core unit has more to do than to answer all of them.
 */
static bool may_wish(struct copy_read *read)
{
    if (read->exchange->trusted_peer || read->rules->when_stale != COLLECTION_STALE_CORE)
        return true;
    read->wishes = copies_wish(worker_of_read(read)->copies);
    return read->wishes;
}

/* By the rules, what becomes of a read that no copy is good enough for. The origin next door is as good as a copy. */
static void fall_back(struct copy_read *read, enum copy_fault fault)
{
    const struct table *table = table_of(read);
    bool origin_near = !read->named && copy_is_near(worker_of_read(read), read->exchange->view, table->core_unit);
    read->fault = fault;
    if (read->resort || (read->rules->when_stale == COLLECTION_STALE_REFUSE && !origin_near))
        fail_fault(read);
    else
        ask_origin(read, fault);
}

static void find_closed(struct copy_read *read)
{
    if (!go_to_next(read))
        fall_back(read, COPY_FAULT_CLOSED);
}

static void on_waited(h2o_timeout_entry_t *entry)
{
    ask_copy(H2O_STRUCT_FROM_MEMBER(struct copy_read, timer, entry));
}

/* Snapshots come in minutes: nobody waits for one. */
static void wait_for_copy(struct copy_read *read)
{
    struct worker *worker = worker_of_read(read);
    uint64_t wait_ms = read->waited_ms == 0 ? FIRST_WAIT_MS : read->waited_ms;
    if (read->rules->replication != COLLECTION_BUS || read->resort ||
        read->waited_ms + wait_ms > (uint64_t)worker->gateway->config.collections.wait) {
        read->fault = COPY_FAULT_BEHIND;
        if (read->resort)
            fail_fault(read);
        else
            ask_origin(read, COPY_FAULT_BEHIND);
        return;
    }
    if (read->waited_ms == 0)
        stat_add(&worker->stats.collection_reads_waited_total, 1);
    read->waited_ms += wait_ms;
    read->timer.cb = on_waited;
    timers_arm(&worker->timers, &read->timer, wait_ms);
}

/* --- judging ------------------------------------------------------------------------------------------------------ */

static uint64_t newest(const struct copy_read *read, const struct copy_answer *found)
{
    return read->version > found->look.seq ? read->version : found->look.seq;
}

/* No value is newer than its copy. The version is in no check, and would be believed to be the copy's. */
static bool is_beyond(const struct copy_read *read, const struct copy_answer *found)
{
    return read->version > found->look.seq + (found->exact ? 0 : MOST_APPLIED);
}

static uint64_t lag_us(const struct copy_answer *found)
{
    uint64_t now_us = clock_wall_us();
    return now_us > found->look.beat_us ? now_us - found->look.beat_us : 0;
}

static enum copy_fault judge(const struct copy_read *read, enum finding finding, const struct copy_answer *found,
                             uint64_t lag)
{
    uint64_t least = copy_floor_least(copy_in(read, read->unit)->floor, read->named);
    if (finding == FINDING_BAD || is_beyond(read, found))
        return COPY_FAULT_BAD;
    if (newest(read, found) < least || newest(read, found) < read->wanted.min_version)
        return COPY_FAULT_BEHIND;
    if (read->wanted.max_age_ms != FRESHNESS_ANY &&
        (read->wanted.max_age_ms == 0 || lag > (uint64_t)read->wanted.max_age_ms * 1000))
        return COPY_FAULT_WISH;
    return lag > (uint64_t)read->rules->staleness_ms * 1000 ? COPY_FAULT_STALE : COPY_FAULT_NONE;
}

static void note_standing(struct copy_read *read, const struct copy_answer *found, uint64_t lag,
                          enum freshness_warning warning)
{
    struct copy *origin = copy_in(read, table_of(read)->core_unit);
    read->standing = (struct standing){.seq = newest(read, found), .lag_us = lag, .warning = warning};
    read->standing.counted = copy_lag(worker_of_read(read)->copies, origin, read->standing.seq, clock_monotonic_us(),
                                      &read->standing.changes);
}

static void serve(struct copy_read *read, enum finding finding, const struct copy_answer *found, uint64_t lag,
                  enum freshness_warning warning)
{
    uint64_t now_us = clock_monotonic_us();
    note_standing(read, found, lag, warning);
    if (!read->named)
        copy_floor_show(copy_in(read, read->unit)->floor, read->standing.seq, now_us);
    answer(read, finding, &read->standing);
}

static void find_stale(struct copy_read *read, enum finding finding, enum copy_fault fault,
                       const struct copy_answer *found, uint64_t lag)
{
    stat_add(&worker_of_read(read)->stats.collection_reads_stale_total, 1);
    if (read->resort && fault == COPY_FAULT_STALE) {
        serve(read, finding, found, lag, FRESHNESS_UNHEARD);
    } else if (read->rules->when_stale == COLLECTION_STALE_SERVE || (fault == COPY_FAULT_WISH && !may_wish(read))) {
        serve(read, finding, found, lag, FRESHNESS_STALE);
    } else {
        note_standing(read, found, lag, FRESHNESS_STALE);
        fall_back(read, fault);
    }
}

static void settle(struct copy_read *read, enum finding finding, const struct copy_answer *found)
{
    uint64_t lag = lag_us(found);
    enum copy_fault fault = judge(read, finding, found, lag);
    if ((fault != COPY_FAULT_NONE || finding == FINDING_NOTHING) && !found->exact) {
        read->exact = true;
        ask_copy(read);
    } else if (fault == COPY_FAULT_NONE) {
        serve(read, finding, found, lag, FRESHNESS_GOOD);
    } else if (fault == COPY_FAULT_BEHIND) {
        wait_for_copy(read);
    } else if (fault == COPY_FAULT_BAD) {
        stat_add(&worker_of_read(read)->stats.collection_values_bad_total, 1);
        ask_origin(read, fault);
    } else {
        find_stale(read, finding, fault, found, lag);
    }
}

static void on_copy(void *arg, const struct copy_answer *found)
{
    struct copy_read *read = arg;
    read->ask = NULL;
    read->version = 0;
    if (found->reply == NULL || found->look.state != COPY_OPEN)
        find_closed(read);
    else
        settle(read, read->form->look(read, found->reply), found);
}

static void ask_copy(struct copy_read *read)
{
    struct copies *copies = worker_of_read(read)->copies;
    struct copy *copy = copy_in(read, read->unit);
    struct buf *wire = copy_command(copies);
    bool exact = read->exact || read->resort || read->waited_ms > 0 || read->form->exact;
    read->exchange->rules = &table_of(read)->units[read->unit];
    read->form->command(read, copy, wire);
    read->ask = copy_ask(copies, copy, buf_str(wire), exact, on_copy, read, clock_monotonic_us());
    if (read->ask == NULL)
        find_closed(read);
}

/* --- the beginning ------------------------------------------------------------------------------------------------ */

static bool find_named(struct copy_read *read)
{
    struct str name = field_of(read->exchange->req, STR_LIT("ldc-unit"));
    read->named = name.base != NULL;
    if (!read->named)
        return true;
    read->unit = table_unit_index(table_of(read), name);
    return read->unit != NO_UNIT;
}

void copy_read_start(struct copy_read *read, const struct copy_read_form *form, struct exchange *exchange,
                     const struct collection_path *path)
{
    read->form = form;
    read->exchange = exchange;
    read->rules = path->rules;
    read->unit = NO_UNIT;
    exchange->carrier = read;
    exchange->detach = detach;
    if (!freshness_read(exchange->req, &read->wanted))
        fail(read, VERDICT_BAD_REQUEST, "LDC-Min-Version is a number");
    else if (!find_named(read))
        fail(read, VERDICT_NOT_FOUND, "The rules name no such unit");
    else if (read->unit == table_of(read)->core_unit)
        ask_origin(read, COPY_FAULT_NONE);
    else if (read->named)
        ask_copy(read);
    else
        find_closed(read);
}
