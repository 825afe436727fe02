/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/copy_choice.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/collection_value.h"
#include "gateway/gateway.h"
#include "gateway/queue.h"

#define BELIEVED_US     20000  /* what was learned of a copy */
#define LAG_BELIEVED_US 100000 /* where the origin was: for a figure that nothing depends on */
#define ORIGIN_REST_US  100000 /* after it did not answer */
#define MOST_WISHES     64     /* at once */
#define WATCH_MS        50
#define MOST_IN_FLIGHT  20000 /* commands on one connection */
#define WIRE_KEPT       (64u << 10)

/* A command, or the look before it, on its way. Lives until its reply is there, whoever still wants that. */
struct copy_ask {
    struct copies *copies;
    struct copy *copy;
    uint64_t epoch; /* of the unit's record when it left */
    bool exact;
    copy_done_fn done; /* NULL: nobody waits */
    void *arg;
    uint64_t sent_us;      /* monotonic */
    h2o_linklist_t link;   /* of the unit's, the oldest first; not of looks */
    struct copy_ask *next; /* spare */
};

/* The copies in one unit, and what was asked there and is not answered. */
struct unit_copies {
    struct copy *first;
    h2o_linklist_t asks;
};

struct copies {
    struct worker *worker;
    struct unit_copies **by_unit; /* by unit id; NULL: never named */
    uint32_t unit_count;
    h2o_timeout_entry_t watch; /* runs while anything is under way, and one time more */
    struct copy_ask *spare;
    struct buf wire, command;
    unsigned wishes;           /* of untrusted clients, at the origin now */
    uint64_t origin_failed_us; /* monotonic; 0: it did not */
};

/* --- copies are found --------------------------------------------------------------------------------------------- */

static struct copy *make_copy(struct copies *copies, struct unit_copies *home, struct unit *unit, struct str collection)
{
    struct copy *copy = mem_calloc(1, sizeof(*copy));
    copy->unit = unit;
    copy->collection = (struct str){str_dup(collection), collection.len};
    copy->at_len = collection_key(copy->at, str_of(unit->name), collection, "");
    copy->floor = copy_floor_find(copies->worker->gateway->copy_floors, collection, unit->id);
    copy->next = home->first;
    return home->first = copy;
}

static struct unit_copies *copies_in(struct copies *copies, const struct unit *unit)
{
    if (unit->id >= copies->unit_count) {
        copies->by_unit = mem_realloc(copies->by_unit, (unit->id + 1) * sizeof(struct unit_copies *));
        while (copies->unit_count <= unit->id)
            copies->by_unit[copies->unit_count++] = NULL;
    }
    if (copies->by_unit[unit->id] == NULL) {
        struct unit_copies *home = copies->by_unit[unit->id] = mem_calloc(1, sizeof(*home));
        h2o_linklist_init_anchor(&home->asks);
    }
    return copies->by_unit[unit->id];
}

struct copy *copy_find(struct copies *copies, struct unit *unit, struct str collection)
{
    struct unit_copies *home = copies_in(copies, unit);
    for (struct copy *copy = home->first; copy != NULL; copy = copy->next)
        if (str_equal(copy->collection, collection))
            return copy;
    return make_copy(copies, home, unit, collection);
}

bool copy_is_near(const struct worker *worker, const struct view *view, uint32_t unit)
{
    struct str here = str_of(worker->gateway->config.datacenter);
    uint32_t host = view_consumer(view, unit);
    return here.len == 0 || str_equal(view->table->units[host != NO_UNIT ? host : unit].datacenter, here);
}

static bool is_believed(const struct copy *copy, uint64_t epoch, uint64_t now_us)
{
    return copy->epoch == epoch && now_us - copy->looked_us < BELIEVED_US;
}

static uint64_t patience_us(const struct copies *copies)
{
    return (uint64_t)copies->worker->gateway->config.collections.wait * 1000;
}

/* A broker that somebody waits for already, for longer than anybody should. */
static bool is_silent(struct copies *copies, const struct unit *unit, uint64_t now_us)
{
    struct unit_copies *home = copies_in(copies, unit);
    if (h2o_linklist_is_empty(&home->asks))
        return false;
    const struct copy_ask *oldest = H2O_STRUCT_FROM_MEMBER(struct copy_ask, link, home->asks.next);
    return now_us > oldest->sent_us + patience_us(copies);
}

static bool may_be_open(struct copies *copies, struct unit *unit, struct str collection, uint64_t now_us)
{
    uint64_t epoch;
    if (queue_copy(copies->worker->queue, unit, &epoch) == NULL || is_silent(copies, unit, now_us))
        return false;
    const struct copy *copy = copy_find(copies, unit, collection);
    return copy->look.state != COPY_CLOSED || !is_believed(copy, epoch, now_us);
}

uint32_t copy_choose(struct copies *copies, const struct view *view, struct str collection, uint32_t from,
                     uint64_t now_us)
{
    for (uint32_t i = from; i < view->table->unit_count; i++)
        if (i != view->table->core_unit && copy_is_near(copies->worker, view, i) &&
            may_be_open(copies, view->units[i].unit, collection, now_us))
            return i;
    return NO_UNIT;
}

/* --- what a broker says of a copy --------------------------------------------------------------------------------- */

static uint64_t number_of(const redisReply *reply)
{
    uint64_t number = 0;
    if (reply->type == REDIS_REPLY_STRING && !str_to_u64((struct str){reply->str, reply->len}, &number))
        return 0;
    return number;
}

static bool says(const redisReply *reply, const char *word)
{
    return reply->type == REDIS_REPLY_STRING && str_equal((struct str){reply->str, reply->len}, str_of(word));
}

/* REPLY: to HMGET state epoch seq beat_us, of a copy in a unit whose record is EPOCH. Whatever else it is, closed. */
static struct copy_look read_look(const redisReply *reply, uint64_t epoch)
{
    struct copy_look look = {.state = COPY_CLOSED};
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 4)
        return look;
    look.seq = number_of(reply->element[2]);
    look.beat_us = number_of(reply->element[3]);
    if (says(reply->element[0], "live") && number_of(reply->element[1]) == epoch && epoch != 0)
        look.state = COPY_OPEN;
    return look;
}

/* What an older record's broker said is of no use to anybody. */
static void learn(const struct copy_ask *ask, const redisReply *reply)
{
    if (reply == NULL)
        ask->copy->epoch = 0;
    else if (ask->copy->epoch == ask->epoch)
        ask->copy->look = read_look(reply, ask->epoch);
}

static void give_back(struct copy_ask *ask)
{
    ask->next = ask->copies->spare;
    ask->copies->spare = ask;
}

static void on_look(void *arg, const redisReply *reply)
{
    learn(arg, reply);
    give_back(arg);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static bool record_stands(const struct copy_ask *ask)
{
    uint64_t epoch;
    return queue_copy(ask->copies->worker->queue, ask->copy->unit, &epoch) != NULL && epoch == ask->epoch;
}

static void conclude(struct copy_ask *ask, const redisReply *reply)
{
    h2o_linklist_unlink(&ask->link);
    struct copy_answer answer = {.reply = reply, .look = ask->copy->look, .exact = ask->exact};
    copy_done_fn done = ask->done;
    void *arg = ask->arg;
    if (ask->copy->epoch != ask->epoch || !record_stands(ask))
        answer.look.state = COPY_CLOSED;
    give_back(ask);
    if (done != NULL)
        done(arg, &answer);
}

static void on_value(void *arg, const redisReply *reply)
{
    conclude(arg, reply);
}

/* Of a transaction that was not run the reply is an error, which is no answer of the copy's. */
static void on_exact(void *arg, const redisReply *reply)
{
    struct copy_ask *ask = arg;
    bool whole = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2;
    learn(ask, whole ? reply->element[0] : NULL);
    conclude(ask, whole ? reply->element[1] : NULL);
}

static void on_nothing(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply;
}

static struct copy_ask *take_ask(struct copies *copies, struct copy *copy, uint64_t epoch)
{
    struct copy_ask *ask = copies->spare;
    if (ask != NULL)
        copies->spare = ask->next;
    else
        ask = mem_alloc(sizeof(*ask));
    *ask = (struct copy_ask){.copies = copies, .copy = copy, .epoch = epoch};
    return ask;
}

static bool dispatch(const struct copies *copies, struct broker *broker, broker_reply_fn done, void *arg,
                     struct str wire)
{
    return broker_command_made(broker, copies->worker->gateway->config.broker.timeout, done, arg, wire);
}

static bool send_look(struct copies *copies, struct broker *broker, const struct copy *copy, broker_reply_fn done,
                      void *arg)
{
    struct buf *wire = &copies->wire;
    wire->len = 0;
    broker_put_count(wire, 6);
    broker_put_word(wire, STR_LIT("HMGET"));
    buf_printf(wire, "$%zu\r\n%.*smeta\r\n", copy->at_len + 4, (int)copy->at_len, copy->at);
    broker_put_word(wire, STR_LIT("state"));
    broker_put_word(wire, STR_LIT("epoch"));
    broker_put_word(wire, STR_LIT("seq"));
    broker_put_word(wire, STR_LIT("beat_us"));
    return dispatch(copies, broker, done, arg, buf_str(wire));
}

/* Whoever comes while that is under way need not ask: replies come in order. */
static void note_asked(struct copy *copy, uint64_t epoch, uint64_t now_us)
{
    if (copy->epoch != epoch)
        copy->look.state = COPY_UNKNOWN;
    copy->epoch = epoch;
    copy->looked_us = now_us;
}

static void look_again(struct copies *copies, struct broker *broker, struct copy *copy, uint64_t epoch, uint64_t now_us)
{
    struct copy_ask *look = take_ask(copies, copy, epoch);
    if (send_look(copies, broker, copy, on_look, look))
        note_asked(copy, epoch, now_us);
    else
        give_back(look);
}

static bool send_exact(struct copies *copies, struct broker *broker, const struct copy_ask *ask, struct str command)
{
    return dispatch(copies, broker, on_nothing, NULL, STR_LIT("*1\r\n$5\r\nMULTI\r\n")) &&
           send_look(copies, broker, ask->copy, on_nothing, NULL) &&
           dispatch(copies, broker, on_nothing, NULL, command) &&
           dispatch(copies, broker, on_exact, (void *)ask, STR_LIT("*1\r\n$4\r\nEXEC\r\n"));
}

struct buf *copy_command(struct copies *copies)
{
    if (copies->command.capacity > WIRE_KEPT)
        buf_free(&copies->command);
    copies->command.len = 0;
    return &copies->command;
}

/* Whoever waits for a broker that is silent goes elsewhere; what it says later is heard by nobody. */
static void give_up(struct copy_ask *ask)
{
    struct copy_answer answer = {.reply = NULL, .look = {.state = COPY_CLOSED}};
    copy_done_fn done = ask->done;
    ask->done = NULL;
    if (done != NULL)
        done(ask->arg, &answer);
}

/* Giving up may make others ask here: not of a unit that is silent. */
static bool watch_unit(struct copies *copies, struct unit_copies *home, uint64_t now_us)
{
    for (h2o_linklist_t *node = home->asks.next; node != &home->asks; node = node->next) {
        struct copy_ask *ask = H2O_STRUCT_FROM_MEMBER(struct copy_ask, link, node);
        if (now_us <= ask->sent_us + patience_us(copies))
            break;
        give_up(ask);
    }
    return !h2o_linklist_is_empty(&home->asks);
}

static void on_watch(h2o_timeout_entry_t *entry)
{
    struct copies *copies = H2O_STRUCT_FROM_MEMBER(struct copies, watch, entry);
    uint64_t now_us = clock_monotonic_us();
    bool busy = false;
    for (uint32_t id = 0; id < copies->unit_count; id++)
        if (copies->by_unit[id] != NULL)
            busy |= watch_unit(copies, copies->by_unit[id], now_us);
    if (busy)
        timers_arm(&copies->worker->timers, &copies->watch, WATCH_MS);
}

static void note_sent(struct copy_ask *ask, uint64_t now_us)
{
    struct copies *copies = ask->copies;
    ask->sent_us = now_us;
    h2o_linklist_insert(&copies_in(copies, ask->copy->unit)->asks, &ask->link);
    if (!h2o_timeout_is_linked(&copies->watch))
        timers_arm(&copies->worker->timers, &copies->watch, WATCH_MS);
}

struct copy_ask *copy_ask(struct copies *copies, struct copy *copy, struct str command, bool exact, copy_done_fn done,
                          void *arg, uint64_t now_us)
{
    uint64_t epoch;
    struct broker *broker = queue_copy(copies->worker->queue, copy->unit, &epoch);
    if (broker == NULL || broker_in_flight(broker) > MOST_IN_FLIGHT || is_silent(copies, copy->unit, now_us))
        return NULL;
    if (!exact && !is_believed(copy, epoch, now_us))
        look_again(copies, broker, copy, epoch, now_us);
    struct copy_ask *ask = take_ask(copies, copy, epoch);
    ask->exact = exact;
    ask->done = done;
    ask->arg = arg;
    if (exact)
        note_asked(copy, epoch, now_us);
    if (exact ? !send_exact(copies, broker, ask, command) : !dispatch(copies, broker, on_value, ask, command)) {
        give_back(ask);
        return NULL;
    }
    note_sent(ask, now_us);
    return ask;
}

void copy_forget(struct copy_ask *ask)
{
    ask->done = NULL;
}

bool copies_wish(struct copies *copies)
{
    if (copies->wishes >= MOST_WISHES)
        return false;
    copies->wishes++;
    return true;
}

void copies_end_wish(struct copies *copies)
{
    copies->wishes--;
}

void copies_origin_failed(struct copies *copies, uint64_t now_us)
{
    if (copies_origin_answers(copies, now_us))
        copies->origin_failed_us = now_us;
}

bool copies_origin_answers(const struct copies *copies, uint64_t now_us)
{
    return copies->origin_failed_us == 0 || now_us - copies->origin_failed_us >= ORIGIN_REST_US;
}

bool copy_lag(struct copies *copies, struct copy *origin, uint64_t seq, uint64_t now_us, uint64_t *changes)
{
    uint64_t epoch;
    struct broker *broker = queue_copy(copies->worker->queue, origin->unit, &epoch);
    if (broker != NULL && (origin->epoch != epoch || now_us - origin->looked_us >= LAG_BELIEVED_US))
        look_again(copies, broker, origin, epoch, now_us);
    if (origin->look.seq == 0)
        return false;
    *changes = origin->look.seq > seq ? origin->look.seq - seq : 0;
    return true;
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

struct copies *copies_create(struct worker *worker)
{
    struct copies *copies = mem_calloc(1, sizeof(*copies));
    copies->worker = worker;
    copies->watch.cb = on_watch;
    return copies;
}

static void free_unit(struct unit_copies *home)
{
    for (struct copy *copy; home != NULL && (copy = home->first) != NULL;) {
        home->first = copy->next;
        free((char *)copy->collection.base);
        free(copy);
    }
    free(home);
}

void copies_destroy(struct copies **slot)
{
    struct copies *copies = *slot;
    *slot = NULL;
    if (copies == NULL)
        return;
    timers_disarm(&copies->watch);
    for (uint32_t id = 0; id < copies->unit_count; id++)
        free_unit(copies->by_unit[id]);
    for (struct copy_ask *ask; (ask = copies->spare) != NULL;) {
        copies->spare = ask->next;
        free(ask);
    }
    buf_free(&copies->wire);
    buf_free(&copies->command);
    free(copies->by_unit);
    free(copies);
}
