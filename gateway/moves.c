/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/moves.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/arrival_record.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/slot_list.h"
#include "gateway/failover.h"
#include "rules/moves.h"

#define LOOK_US     500     /* between two looks at the stamps */
#define READY_US    2500000 /* until the brokers must be well before anything is held, */
#define PATIENCE_US 700000  /* and until they must have closed */
#define GIVE_UP_US  1000000 /* after which what another gateway began is given up */
#define TRIES       5       /* at a record that others change too */

/* A unit that users leave. */
struct fence {
    uint32_t from; /* its index in the old table */
    struct unit *unit;
    uint64_t version; /* of the record that says so; 0: not put yet */
};

/* The change that is under way. */
struct move {
    struct moves_change change;   /* its texts are the move's */
    struct table *before, *table; /* of the old rules (NULL: none) and of the new ones; one reference each */
    struct rules_moves ways;
    struct fence *fences;
    unsigned fence_count;
    uint64_t held_us;    /* monotonic: since when; 0: nothing is held */
    uint64_t give_up_us; /* until then the brokers must be heard to serve by what was put */
    moves_done_fn done;
    void *arg;
};

struct moves {
    struct control *control;
    struct move *move; /* NULL: none is under way here */
    sd_event_source *look, *give_up;
    uint64_t awaited; /* epoch of the rules that somebody is about to replace; 0: none */
};

static const struct rollout *rollout_of(const struct moves *moves)
{
    return &moves->control->rollout;
}

/* --- the end of a change ------------------------------------------------------------------------------------------ */

static void free_move(struct move *move)
{
    rules_moves_free(&move->ways);
    free((char *)move->change.text.base);
    free((char *)move->change.by);
    free((char *)move->change.note);
    free(move->fences);
    table_unref(&move->before);
    table_unref(&move->table);
    free(move);
}

static void end(struct moves *moves, struct moves_result *result)
{
    struct move *move = moves->move;
    moves->move = NULL;
    sd_event_source_set_enabled(moves->look, SD_EVENT_OFF);
    result->fenced = move->fence_count;
    if (move->held_us != 0)
        log_info("move.ended", "requests of users who move waited %llu us",
                 (unsigned long long)(clock_monotonic_us() - move->held_us));
    result->held_us = move->held_us != 0 ? clock_monotonic_us() - move->held_us : 0;
    move->done(move->arg, result);
    free_move(move);
}

static void refuse(struct moves *moves, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void refuse(struct moves *moves, const char *format, ...)
{
    struct moves_result result = {.outcome = MOVES_REFUSED, .err = {.code = ERROR_REFUSED}};
    va_list args;
    va_start(args, format);
    vsnprintf(result.err.text, sizeof(result.err.text), format, args);
    va_end(args);
    end(moves, &result);
}

static void put(struct moves *moves)
{
    const struct moves_change *change = &moves->move->change;
    struct moves_result result = {.outcome = MOVES_PUT};
    if (store_put_rules(rollout_of(moves)->store, change->expected_epoch, change->text, change->restores, change->by,
                        change->note, &result.now, &result.err) == 0) {
        log_info("rules.put", "epoch %llu, version %llu, by %s", (unsigned long long)result.now.epoch,
                 (unsigned long long)result.now.version, result.now.by);
        control_sync(moves->control);
    } else {
        result.outcome = result.err.code == ERROR_CONFLICT ? MOVES_CONFLICT : MOVES_FAILED;
    }
    end(moves, &result);
}

/* --- giving up ---------------------------------------------------------------------------------------------------- */

/* The rules in force come into force once more: past their new epoch nothing is held, and rules that were to replace
 * them are not taken. */
static void renew_rules(struct moves *moves, const char *why)
{
    struct control *control = moves->control;
    struct store_record before = control->rollout.record, now;
    struct buf text = {NULL, 0, 0};
    struct error err;
    uint64_t origin = before.restores != 0 ? before.restores : before.version;
    int failed = rollout_text(&control->rollout, &text, &err);
    if (failed == 0)
        failed = store_put_rules(control->rollout.store, before.rules_epoch, buf_str(&text), origin,
                                 control->gateway->name, why, &now, &err);
    if (failed == 0)
        log_warning("move.given-up", "%s; the rules stay, as epoch %llu", why, (unsigned long long)now.epoch);
    else if (err.code != ERROR_CONFLICT)
        log_warning("move.held", "users wait for rules that do not come, and it cannot be given up: %s", err.text);
    buf_free(&text);
    control_sync(control);
}

struct awaiting {
    uint64_t epoch;
    bool found;
};

static void find_awaiting(struct unit *unit, void *arg)
{
    struct awaiting *awaiting = arg;
    awaiting->found |= awaiting->epoch != 0 && atomic_load(&unit->moving_rules) == awaiting->epoch;
}

static bool is_awaited(const struct moves *moves, uint64_t epoch)
{
    struct awaiting awaiting = {epoch, false};
    registry_each_unit(moves->control->gateway->registry, find_awaiting, &awaiting);
    return awaiting.found;
}

static int on_give_up(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct moves *moves = arg;
    uint64_t epoch = rollout_of(moves)->record.rules_epoch;
    if (moves->move == NULL && moves->awaited == epoch && is_awaited(moves, epoch))
        renew_rules(moves, "users were to move, and who began it did not go on");
    moves->awaited = 0;
    moves_follow(moves);
    return 0;
}

void moves_follow(struct moves *moves)
{
    uint64_t epoch = rollout_of(moves)->record.rules_epoch;
    if (moves->move != NULL || moves->awaited == epoch || !is_awaited(moves, epoch))
        return;
    moves->awaited = epoch;
    loop_wake_in(moves->give_up, GIVE_UP_US);
}

/* --- who holds, who waits ----------------------------------------------------------------------------------------- */

/* Beside the slots that left before: who has missed that, too, must hold them as well. */
static void set_moving(const struct move *move, uint32_t from, struct broker_record *record)
{
    const struct table *before = move->ways.before;
    bool *slots = mem_calloc(before->hash.slots, sizeof(*slots));
    memcpy(slots, move->ways.leaving[from], before->hash.slots * sizeof(*slots));
    slot_list_mark(record->moving.slots, slots, before->hash.slots);
    slot_list_format(slots, before->hash.slots, record->moving.slots, sizeof(record->moving.slots));
    record->moving.rules = before->epoch;
    free(slots);
}

static int read_record(struct moves *moves, const char *name, struct broker_record *record, struct error *err)
{
    struct buf text = {NULL, 0, 0};
    uint64_t version = 0;
    *record = (struct broker_record){0};
    int failed = store_document_get(rollout_of(moves)->store, name, &text, &version, err);
    if (failed == 0 && version == 0)
        failed = error_set(err, ERROR_SYSTEM, "%s is gone", name);
    if (failed == 0)
        failed = broker_record_parse(buf_str(&text), record, err);
    record->version = version;
    buf_free(&text);
    return failed;
}

static int write_record(struct moves *moves, const char *name, struct broker_record *record, struct error *err)
{
    struct buf text = {NULL, 0, 0};
    snprintf(record->by, sizeof(record->by), "%s", moves->control->gateway->name);
    snprintf(record->why, sizeof(record->why), "users leave the unit by new rules");
    record->at_us = clock_wall_us();
    broker_record_format(record, &text);
    uint64_t version;
    int failed = store_document_put(rollout_of(moves)->store, name, record->version, buf_str(&text), &version, err);
    record->version = version;
    buf_free(&text);
    return failed;
}

static int close_slots(struct moves *moves, struct fence *fence, struct error *err)
{
    struct broker_record record;
    char name[96];
    int failed = -1;
    broker_record_name(name, sizeof(name), str_of(fence->unit->name));
    for (int i = 0; i < TRIES && failed != 0; i++) {
        if (read_record(moves, name, &record, err) != 0)
            return -1;
        set_moving(moves->move, fence->from, &record);
        failed = write_record(moves, name, &record, err);
        if (failed != 0 && err->code != ERROR_CONFLICT)
            return -1;
    }
    if (failed == 0) {
        fence->version = record.version;
        failover_announce(moves->control->gateway->failover, fence->unit->name, &record);
    }
    return failed;
}

static int try_announce(struct moves *moves, const char *name, uint32_t to, struct error *err)
{
    const struct rules_moves *ways = &moves->move->ways;
    const struct rollout *rollout = rollout_of(moves);
    struct arrival_record record = {0};
    struct buf text = {NULL, 0, 0};
    uint64_t version = 0;
    int failed = store_document_get(rollout->store, name, &text, &version, err);
    if (failed == 0 && version > 0)
        failed = arrival_record_parse(buf_str(&text), &record, err);
    for (unsigned i = 0; failed == 0 && i < moves->move->fence_count; i++) {
        const struct fence *fence = &moves->move->fences[i];
        struct arrival arrival = {.epoch = ways->before->epoch, .version = rollout->record.version};
        snprintf(arrival.unit, sizeof(arrival.unit), "%s", fence->unit->name);
        if (rules_moves_way(ways, fence->from, to) && !arrival_record_add(&record, &arrival))
            failed = error_set(err, ERROR_REFUSED, "%s waits for too many units already", name);
    }
    text.len = 0;
    arrival_record_format(&record, &text);
    if (failed == 0)
        failed = store_document_put(rollout->store, name, version, buf_str(&text), &version, err);
    buf_free(&text);
    return failed;
}

static bool takes_in(const struct move *move, uint32_t to)
{
    bool takes = false;
    for (unsigned i = 0; i < move->fence_count; i++)
        takes |= rules_moves_way(&move->ways, move->fences[i].from, to);
    return takes && move->ways.after->units[to].broker_count > 0;
}

/* Each unit that takes users in is told whom it has to wait for. */
static int announce(struct moves *moves, struct error *err)
{
    const struct rules_moves *ways = &moves->move->ways;
    for (uint32_t to = 0; to < ways->after->unit_count; to++) {
        bool takes = takes_in(moves->move, to);
        char name[96];
        int failed = -1;
        arrival_record_name(name, sizeof(name), ways->after->units[to].name);
        for (int i = 0; takes && i < TRIES && failed != 0; i++)
            if ((failed = try_announce(moves, name, to, err)) != 0 && err->code != ERROR_CONFLICT)
                return -1;
        if (takes && failed != 0)
            return -1;
    }
    return 0;
}

/* --- the steps ---------------------------------------------------------------------------------------------------- */

/* The first unit whose broker is not heard to serve by the record that it is to serve by; NULL: each is. */
static const struct fence *first_open(const struct moves *moves)
{
    for (unsigned i = 0; i < moves->move->fence_count; i++) {
        const struct fence *fence = &moves->move->fences[i];
        uint64_t version = fence->version != 0 ? fence->version : atomic_load(&fence->unit->record_version);
        if (!failover_leads(moves->control->gateway->failover, fence->unit->name, version))
            return fence;
    }
    return NULL;
}

/* Nothing was done for the change yet, or all that can be. */
static void give_up(struct moves *moves, const struct fence *open)
{
    bool begun = moves->move->held_us != 0;
    if (begun)
        renew_rules(moves, "users were to move, and a unit that they leave did not close for them");
    refuse(moves,
           "the broker of %s, which users would leave, %s, so what it holds of them might be delivered after what they "
           "send next: the rules stay as they were; `--unfenced` moves them all the same",
           open->unit->name, begun ? "did not close for them in time" : "does not serve or is not heard of");
}

static void put_fenced(struct moves *moves)
{
    uint64_t fenced_us = clock_monotonic_us() - moves->move->held_us;
    log_info("move.fenced", "users leave %u units, which closed for them in %llu us", moves->move->fence_count,
             (unsigned long long)fenced_us);
    put(moves);
}

static void begin_fencing(struct moves *moves);

static int on_look(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct moves *moves = arg;
    const struct fence *open = first_open(moves);
    if (open != NULL && clock_monotonic_us() > moves->move->give_up_us)
        give_up(moves, open);
    else if (open != NULL)
        loop_wake_in(moves->look, LOOK_US);
    else if (moves->move->held_us == 0)
        begin_fencing(moves);
    else
        put_fenced(moves);
    return 0;
}

static bool has_queues(const struct table *table)
{
    bool has = false;
    for (uint32_t i = 0; i < table->route_count; i++)
        has |= table->routes[i].action == ACTION_QUEUE;
    return has;
}

/* Users who leave a unit without a broker, or one that no agent ever kept, left nothing behind. */
static void list_fences(struct moves *moves)
{
    struct move *move = moves->move;
    const struct table *before = move->ways.before;
    move->fences = mem_calloc(before->unit_count, sizeof(*move->fences));
    for (uint32_t from = 0; from < before->unit_count; from++) {
        struct unit *unit = rollout_of(moves)->view->units[from].unit;
        if (move->ways.leaving[from] != NULL && before->units[from].broker_count > 0 &&
            atomic_load(&unit->record_version) > 0)
            move->fences[move->fence_count++] = (struct fence){.from = from, .unit = unit};
    }
}

static const struct fence *first_switched(const struct moves *moves)
{
    for (unsigned i = 0; i < moves->move->fence_count; i++)
        if (atomic_load(&moves->move->fences[i].unit->hold))
            return &moves->move->fences[i];
    return NULL;
}

static void begin_fencing(struct moves *moves)
{
    struct move *move = moves->move;
    struct error err = {ERROR_NONE, ""};
    if (announce(moves, &err) != 0) {
        refuse(moves, "%s", err.text);
        return;
    }
    move->held_us = clock_monotonic_us();
    log_info("move.begun", "users leave %u units", move->fence_count);
    for (unsigned i = 0; i < move->fence_count; i++) {
        if (close_slots(moves, &move->fences[i], &err) != 0) {
            renew_rules(moves, "users were to move, and a unit that they leave could not be told");
            refuse(moves, "%s: %s; the rules stay as they were", move->fences[i].unit->name, err.text);
            return;
        }
        if (i == 0)
            move->held_us = clock_monotonic_us(); /* nobody knew before */
    }
    move->give_up_us = move->held_us + PATIENCE_US;
    loop_wake_in(moves->look, LOOK_US);
}

static bool is_current(struct moves *moves, struct moves_result *result)
{
    const struct rollout *rollout = rollout_of(moves);
    uint64_t expected = moves->move->change.expected_epoch;
    *result = (struct moves_result){.outcome = MOVES_FAILED};
    if (store_current(rollout->store, &result->now, &result->err) != 0)
        return false;
    if (result->now.rules_epoch != rollout->record.rules_epoch)
        control_sync(moves->control);
    if (store_rules_stand(&result->now, expected))
        return true;
    result->outcome = MOVES_CONFLICT;
    error_set(&result->err, ERROR_CONFLICT, "the rules are those of epoch %llu by now",
              (unsigned long long)result->now.rules_epoch);
    return false;
}

static void take_before(struct moves *moves)
{
    const struct view *view = rollout_of(moves)->view;
    if (view == NULL)
        return;
    moves->move->before = view->table;
    table_ref(moves->move->before);
}

/* A gateway that refused the rules in force, which are to be replaced, does not know who moves. */
static void begin(struct moves *moves, const struct store_record *now)
{
    struct move *move = moves->move;
    take_before(moves);
    bool knows = move->before != NULL && rollout_of(moves)->record.rules_epoch == now->rules_epoch;
    if (knows && !move->change.unfenced)
        rules_moves_find(move->before, move->table, &move->ways);
    if (move->ways.any && has_queues(move->before))
        list_fences(moves);
    const struct fence *switched = first_switched(moves);
    move->give_up_us = clock_monotonic_us() + READY_US;
    if (move->fence_count == 0)
        put(moves);
    else if (switched != NULL)
        refuse(moves, "%s, which users would leave, is being switched over; try again when that is done",
               switched->unit->name);
    else
        on_look(NULL, 0, moves);
}

void moves_put(struct moves *moves, const struct moves_change *change, struct table *table, moves_done_fn done,
               void *arg)
{
    struct moves_result result = {.outcome = MOVES_REFUSED};
    if (moves->move != NULL) {
        error_set(&result.err, ERROR_REFUSED, "another change of the rules is under way at this gateway");
        done(arg, &result);
        return;
    }
    moves->move = mem_calloc(1, sizeof(*moves->move));
    *moves->move = (struct move){.change = *change, .table = table, .done = done, .arg = arg};
    moves->move->change.text.base = str_dup(change->text);
    moves->move->change.by = str_dup(str_of(change->by));
    moves->move->change.note = str_dup(str_of(change->note));
    table_ref(table);
    if (is_current(moves, &result))
        begin(moves, &result.now);
    else
        end(moves, &result);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

struct moves *moves_create(struct control *control)
{
    struct moves *moves = mem_calloc(1, sizeof(*moves));
    moves->control = control;
    moves->look = loop_timer(control->loop, on_look, moves);
    moves->give_up = loop_timer(control->loop, on_give_up, moves);
    return moves;
}

void moves_destroy(struct moves **slot)
{
    struct moves *moves = *slot;
    *slot = NULL;
    if (moves == NULL)
        return;
    if (moves->move != NULL) {
        moves->move->done(moves->move->arg, NULL);
        free_move(moves->move);
    }
    sd_event_source_disable_unref(moves->look);
    sd_event_source_disable_unref(moves->give_up);
    free(moves);
}
