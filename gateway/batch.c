/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/batch.h"

#include <stdlib.h>

#include "common/arena.h"
#include "common/clock.h"
#include "gateway/batch_answer.h"
#include "gateway/batch_item.h"
#include "gateway/envelope.h"
#include "gateway/field.h"
#include "gateway/gateway.h"
#include "gateway/identity.h"
#include "gateway/publish_options.h"
#include "gateway/queue.h"
#include "gateway/sampler.h"

/* Of one batch: some pipelines for each of a few units, and no more than brokers confirm well within their time. */
#define WINDOW 1024
/* Of one turn, so that the loop's other requests hardly notice. */
#define TURN_ITEMS 128
#define TURN_BYTES (64u << 10)

#define RENEW_MS 2 /* between two looks for newer rules */

/* What the request's Idempotency-Key makes of its items. */
enum keys {
    KEYS_NONE = 0,
    KEYS_INDEX, /* KEY: KEY/0, KEY/1, ... */
    KEYS_EVENT, /* "*": each event's source and id */
};

enum entrance {
    OUTSIDE = 0,
    INSIDE,
    LOCKED_OUT,
};

/* One item, from its turn on. */
struct entry {
    struct batch *batch;
    struct str id; /* base NULL: nothing was sent */
    const char *detail;
    enum verdict verdict;
    bool replayed;
    bool put_off; /* its user leaves the unit: to be taken up again by newer rules */
};

/* Lives as long as its exchange does or a broker owes it an answer. */
struct batch {
    struct exchange *exchange; /* NULL: the client is gone */
    struct worker *worker;
    enum batch_format format;
    enum keys keys;
    struct str key;
    struct batch_slices slices;
    struct routing routing;   /* what all items have in common */
    struct entry *entries;    /* as many as there are slices */
    size_t next, in_flight;   /* entries before `next` were taken up */
    size_t put_off;           /* of these; nothing more is taken up while there are any */
    uint64_t give_up_us;      /* monotonic: so long they wait */
    size_t accepted, unknown; /* of those with a verdict */
    bool local, few;          /* some message is on one disk alone, or on some that need be no majority */
    struct identity identity; /* of the exchange's request */
    struct batch_item item;   /* the one that is read */
    struct str common_headers;
    struct buf headers;        /* of the item */
    struct arena arena;        /* ids and details */
    unsigned char *units;      /* enum entrance, by index */
    h2o_timeout_entry_t again; /* linked between two turns */
    h2o_timeout_entry_t renew; /* armed while some are put off */
};

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void free_if_done(struct batch *batch)
{
    if (batch->exchange != NULL || batch->in_flight > 0)
        return;
    batch_item_free(&batch->item);
    buf_free(&batch->headers);
    arena_free(&batch->arena);
    free(batch->slices.items);
    free(batch->entries);
    free(batch->units);
    free(batch);
}

static void leave_units(struct batch *batch, const struct view *view)
{
    for (uint32_t i = 0; i < view->table->unit_count; i++)
        if (batch->units[i] == INSIDE)
            atomic_fetch_sub_explicit(&view->units[i].unit->in_flight, 1, memory_order_relaxed);
}

/* The request, its view and what was taken for its sake; what is at the brokers needs none of them. */
static void let_go(struct batch *batch)
{
    struct exchange *exchange = batch->exchange;
    exchange->detach = NULL;
    batch->exchange = NULL;
    h2o_timeout_unlink(&batch->again);
    timers_disarm(&batch->renew);
    batch->identity.body.json = NULL;
    identity_dispose(&batch->identity);
    leave_units(batch, exchange->view);
}

static void detach(struct exchange *exchange)
{
    struct batch *batch = exchange->carrier;
    let_go(batch);
    free_if_done(batch);
}

static void print_number(struct str before, uint64_t number, struct buf *out)
{
    buf_append_str(out, before);
    out->len += str_from_u64(number, buf_reserve(out, 20));
}

static void print_entry(const struct entry *entry, size_t index, struct buf *out)
{
    const struct verdict_info *info = verdict_info(entry->verdict);
    bool stored = entry->verdict == VERDICT_OK;
    print_number(index > 0 ? STR_LIT(",\n{\"index\":") : STR_LIT("\n{\"index\":"), index, out);
    print_number(STR_LIT(",\"status\":"), stored ? 202 : (uint64_t)info->status, out);
    if (entry->id.base != NULL) {
        buf_append_str(out, STR_LIT(",\"id\":\""));
        buf_append_str(out, entry->id);
        buf_append_str(out, STR_LIT("\""));
    }
    batch_answer_verdict(out, entry->verdict, entry->replayed, entry->detail);
}

static void print_answer(const struct batch *batch, struct buf *out)
{
    size_t count = batch->slices.count;
    batch_answer_begin(out, count, batch->accepted, batch->unknown);
    for (size_t i = 0; i < count; i++)
        print_entry(&batch->entries[i], i, out);
    buf_append_str(out, STR_LIT("]}\n"));
}

static enum durability least_met(const struct batch *batch)
{
    return batch->local ? DURABILITY_LOCAL : batch->few ? DURABILITY_REPLICATED : DURABILITY_QUORUM;
}

static void answer(struct batch *batch)
{
    struct exchange *exchange = batch->exchange;
    h2o_req_t *req = exchange->req;
    struct buf body = {NULL, 0, 0};
    const char *met = durability_name(least_met(batch));
    print_answer(batch, &body);
    req->res.status = 200;
    req->res.reason = "OK";
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
    if (batch->accepted > 0)
        h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("ldc-durability"), 0, NULL, met, strlen(met));
    exchange_add_headers(exchange);
    stat_add(&exchange->worker->stats.verdicts[VERDICT_OK], 1);
    let_go(batch);
    h2o_send_inline(req, body.base, body.len);
    buf_free(&body);
    free_if_done(batch);
}

/* --- one item ----------------------------------------------------------------------------------------------------- */

static void settle(struct entry *entry, enum verdict verdict, const char *detail)
{
    struct batch *batch = entry->batch;
    entry->verdict = verdict;
    entry->detail = arena_str(&batch->arena, str_of(detail != NULL && detail[0] != '\0' ? detail : NULL)).base;
    batch->accepted += verdict == VERDICT_OK;
    batch->unknown += verdict == VERDICT_OUTCOME_UNKNOWN;
    if (verdict != VERDICT_OK)
        stat_add(&batch->worker->stats.batch_items_refused_total, 1);
    if (verdict != VERDICT_OK && verdict != VERDICT_OUTCOME_UNKNOWN)
        entry->id = (struct str){NULL, 0};
}

static enum verdict read_user(struct batch *batch, struct str *user)
{
    enum verdict verdict = identity_user(&batch->identity, user);
    if (verdict != VERDICT_OK || user->base != NULL || batch->item.subject.len == 0)
        return verdict;
    *user = batch->item.subject;
    return identity_check(&batch->identity, STR_LIT("The event's subject"), *user);
}

static enum verdict decide(struct batch *batch, struct routing *routing, struct decision *decision)
{
    const struct exchange *exchange = batch->exchange;
    const struct table_route *route = exchange->route;
    batch->identity.fault[0] = '\0';
    batch->identity.body = (struct identity_body){batch->item.json, true};
    enum verdict verdict = read_user(batch, &routing->user);
    for (uint32_t i = 0; verdict == VERDICT_OK && i < route->participant_count; i++)
        verdict = identity_participant(&batch->identity, &route->participants[i], &routing->participants[i]);
    routing->participant_count = route->participant_count;
    if (verdict == VERDICT_OK)
        verdict = table_route(exchange->view->table, routing, decision);
    return verdict == VERDICT_OK ? exchange_check_epoch(exchange, decision->unit) : verdict;
}

/* A batch counts as one request in each unit that it touches. */
static bool enter_unit(struct batch *batch, uint32_t index)
{
    const struct exchange *exchange = batch->exchange;
    struct unit *unit = exchange->view->units[index].unit;
    uint32_t limit = exchange->view->table->units[index].max_in_flight;
    if (limit == 0)
        limit = (uint32_t)exchange->worker->gateway->config.limits.in_flight_each_unit;
    if (batch->units[index] == OUTSIDE) {
        bool full = atomic_fetch_add_explicit(&unit->in_flight, 1, memory_order_relaxed) >= limit;
        if (full)
            atomic_fetch_sub_explicit(&unit->in_flight, 1, memory_order_relaxed);
        batch->units[index] = full ? LOCKED_OUT : INSIDE;
    }
    bool inside = batch->units[index] == INSIDE;
    atomic_fetch_add_explicit(inside ? &unit->requests : &unit->refused, 1, memory_order_relaxed);
    return inside;
}

/* Base NULL where the request has no key. */
static struct str item_key(const struct batch *batch, size_t index, char *text)
{
    if (batch->keys == KEYS_EVENT)
        return batch->item.event;
    if (batch->keys == KEYS_NONE)
        return (struct str){NULL, 0};
    memcpy(text, batch->key.base, batch->key.len);
    text[batch->key.len] = '/';
    return (struct str){text, batch->key.len + 1 + str_from_u64(index, text + batch->key.len + 1)};
}

static struct str item_headers(struct batch *batch, struct str key)
{
    struct buf *out = &batch->headers;
    out->len = 0;
    buf_append_str(out, batch->common_headers);
    buf_append_str(out, batch->item.headers);
    if (key.base != NULL) {
        buf_append_str(out, STR_LIT("idempotency-key: "));
        buf_append_str(out, key);
        buf_append(out, "\n", 1);
    }
    buf_append_str(out, STR_LIT("traceparent: "));
    buf_append_str(out, batch->exchange->traceparent);
    return buf_str(out);
}

/* What is written into the envelope of one item, for as long as the call is made. */
struct draft {
    struct routing routing;
    struct decision decision;
    struct str key;
    char key_text[IDEMPOTENCY_KEY_MAX + 32];
    h2o_mem_pool_t pool;
};

static struct str number(h2o_mem_pool_t *pool, uint64_t value)
{
    char *text = h2o_mem_alloc_pool(pool, 20);
    return (struct str){text, str_from_u64(value, text)};
}

static void fill_envelope(struct batch *batch, const struct entry *entry, struct draft *draft, struct str *fields)
{
    const struct exchange *exchange = batch->exchange;
    h2o_req_t *req = exchange->req;
    uint32_t slot = draft->decision.slot;
    fields[ENVELOPE_ID] = entry->id;
    fields[ENVELOPE_USER] = draft->routing.user;
    fields[ENVELOPE_SLOT] = slot == UINT32_MAX ? STR_LIT("") : number(&draft->pool, slot);
    fields[ENVELOPE_EPOCH] = number(&draft->pool, exchange->view->table->epoch);
    fields[ENVELOPE_INGRESS] = number(&draft->pool, exchange->received_us);
    fields[ENVELOPE_COLOR] = str_of(color_name(draft->decision.color));
    fields[ENVELOPE_METHOD] = (struct str){req->method.base, req->method.len};
    fields[ENVELOPE_PATH] = (struct str){req->path.base, req->path.len};
    fields[ENVELOPE_HEADERS] = item_headers(batch, draft->key);
    fields[ENVELOPE_BODY] = batch->item.body;
}

static void go_on(struct batch *batch);

static void put_off(struct entry *entry)
{
    struct batch *batch = entry->batch;
    entry->put_off = true;
    if (batch->put_off++ == 0)
        batch->give_up_us = clock_monotonic_us() + (uint64_t)batch->worker->gateway->config.failover.hold * 1000;
}

static void on_done(void *arg, const struct publish_result *result)
{
    struct entry *entry = arg;
    struct batch *batch = entry->batch;
    batch->in_flight--;
    if (result->moves) {
        put_off(entry);
        go_on(batch);
        return;
    }
    entry->replayed = result->replayed;
    if (result->replayed)
        entry->id = arena_str(&batch->arena, result->message_id);
    batch->local |= result->verdict == VERDICT_OK && result->durability == DURABILITY_LOCAL;
    batch->few |= result->verdict == VERDICT_OK && result->durability == DURABILITY_REPLICATED;
    settle(entry, result->verdict, result->detail);
    go_on(batch);
}

static uint32_t slot_of(const struct table *table, const struct draft *draft)
{
    uint32_t slot = draft->decision.slot;
    return slot != UINT32_MAX ? slot : table_slot(table, draft->routing.user);
}

static void publish(struct entry *entry, struct draft *draft)
{
    struct batch *batch = entry->batch;
    const struct exchange *exchange = batch->exchange;
    const struct table *table = exchange->view->table;
    struct queue_target target = {.unit = table->units[draft->decision.unit].name,
                                  .topic = &table->topics[exchange->route->topic]};
    target.partition = table_partition(target.topic, draft->decision.slot, draft->routing.user);
    struct str id = queue_name_message(exchange->worker, &draft->pool, &target, exchange->received_us);
    entry->id = arena_str(&batch->arena, id);
    struct publish_options options = {.idempotency_key = draft->key};
    struct queue_call call = {.target = target};
    fill_envelope(batch, entry, draft, call.envelope.fields);
    queue_call_init(&call, &draft->pool, &target, &options);
    struct publication publication = {.call = &call,
                                      .durability = exchange->route->durability,
                                      .timeout_ms = exchange->route->timeout_ms,
                                      .routed = table->epoch,
                                      .slot = slot_of(table, draft),
                                      .done = on_done,
                                      .arg = entry};
    struct publish_result refusal;
    if (queue_send(exchange->worker->queue, exchange->view->units[draft->decision.unit].unit, &publication, &refusal))
        batch->in_flight++;
    else if (refusal.moves)
        put_off(entry);
    else
        settle(entry, refusal.verdict, refusal.detail);
}

static enum verdict check_size(const struct batch *batch, const char **detail)
{
    uint64_t most = batch->exchange->route->max_body;
    if (most == 0 || batch->item.body.len <= most)
        return VERDICT_OK;
    *detail = "The item's data is longer than the route's max_body";
    return VERDICT_BODY_TOO_LARGE;
}

static enum verdict take_key(struct batch *batch, struct draft *draft, size_t index, const char **detail)
{
    draft->key = item_key(batch, index, draft->key_text);
    if (batch->keys != KEYS_EVENT || draft->key.len <= IDEMPOTENCY_KEY_MAX) /* the index may be more */
        return VERDICT_OK;
    *detail = "The event's source and id are too long for an idempotency key";
    return VERDICT_BAD_REQUEST;
}

/* Up to where it is sent. DETAIL lives until the next item. */
static enum verdict prepare(struct batch *batch, struct draft *draft, size_t index, const char **detail)
{
    *detail = batch->item.fault;
    enum verdict verdict = batch_item_read(&batch->item, batch->format, batch->slices.items[index]);
    if (verdict == VERDICT_OK)
        verdict = check_size(batch, detail);
    if (verdict == VERDICT_OK)
        verdict = take_key(batch, draft, index, detail);
    if (verdict != VERDICT_OK)
        return verdict;
    *detail = batch->identity.fault;
    return decide(batch, &draft->routing, &draft->decision);
}

static void take_up(struct batch *batch, size_t index)
{
    struct exchange *exchange = batch->exchange;
    struct entry *entry = &batch->entries[index];
    struct draft draft = {.routing = batch->routing, .decision = {.unit = NO_UNIT, .slot = UINT32_MAX}};
    const char *detail;
    entry->batch = batch;
    enum verdict verdict = prepare(batch, &draft, index, &detail);
    if (verdict == VERDICT_OK && draft.routing.user.base != NULL)
        sampler_observe(exchange->worker->sampler, draft.routing.user, exchange->received_mono_us);
    if (verdict != VERDICT_OK) {
        settle(entry, verdict, detail);
    } else if (!enter_unit(batch, draft.decision.unit)) {
        settle(entry, VERDICT_UNIT_BUSY, NULL);
    } else {
        h2o_mem_init_pool(&draft.pool);
        publish(entry, &draft);
        h2o_mem_clear_pool(&draft.pool);
    }
}

/* --- turns -------------------------------------------------------------------------------------------------------- */

static bool over(const struct batch *batch)
{
    return batch->next == batch->slices.count && batch->in_flight == 0 && batch->put_off == 0;
}

static void turn(struct batch *batch)
{
    size_t bytes = 0, end = batch->next + TURN_ITEMS;
    while (batch->next < batch->slices.count && batch->next < end && bytes < TURN_BYTES && batch->in_flight < WINDOW &&
           batch->put_off == 0) {
        bytes += batch->slices.items[batch->next].len;
        take_up(batch, batch->next++);
    }
}

/* What is in flight may be put off as well, and comes before what is. */
static void wait_for_rules(struct batch *batch)
{
    if (batch->in_flight == 0 && !h2o_timeout_is_linked(&batch->renew))
        timers_arm(&batch->worker->timers, &batch->renew, RENEW_MS);
}

static void go_on(struct batch *batch)
{
    if (batch->exchange == NULL)
        free_if_done(batch);
    else if (over(batch))
        answer(batch);
    else if (batch->put_off > 0)
        wait_for_rules(batch);
    else if (batch->next < batch->slices.count && batch->in_flight < WINDOW && !h2o_timeout_is_linked(&batch->again))
        h2o_timeout_link(batch->worker->h2o.loop, &batch->worker->h2o.zero_timeout, &batch->again);
}

/* Nothing that is not settled can go on. */
static void close_all(struct batch *batch, enum verdict verdict)
{
    for (size_t i = 0; i < batch->slices.count; i++)
        if (i >= batch->next || batch->entries[i].put_off) {
            batch->entries[i].batch = batch;
            settle(&batch->entries[i], verdict, NULL);
        }
    batch->next = batch->slices.count;
    batch->put_off = 0;
}

static enum verdict renew(struct batch *batch)
{
    struct exchange *exchange = batch->exchange;
    leave_units(batch, exchange->view);
    enum verdict verdict = exchange_renew(exchange);
    const struct view *view = exchange->view;
    free(batch->units);
    batch->units = mem_calloc(view->table->unit_count, 1);
    batch->identity.table = view->table;
    batch->identity.jwt_key = view->jwt_key;
    batch->routing.splits = view->splits;
    if (verdict != VERDICT_OK || exchange->route->action != ACTION_QUEUE)
        return verdict != VERDICT_OK ? verdict : VERDICT_NO_ROUTE;
    batch->routing.route = (uint32_t)(exchange->route - view->table->routes);
    return VERDICT_OK;
}

static void take_up_again(struct batch *batch)
{
    enum verdict verdict = renew(batch);
    batch->put_off = 0;
    for (size_t i = 0; i < batch->next && verdict == VERDICT_OK; i++)
        if (batch->entries[i].put_off) {
            batch->entries[i] = (struct entry){.batch = batch};
            take_up(batch, i);
        }
    if (verdict != VERDICT_OK)
        close_all(batch, verdict);
}

static void on_renew(h2o_timeout_entry_t *entry)
{
    struct batch *batch = H2O_STRUCT_FROM_MEMBER(struct batch, renew, entry);
    if (batch->worker->view->table->epoch > batch->exchange->view->table->epoch)
        take_up_again(batch);
    else if (clock_monotonic_us() > batch->give_up_us)
        close_all(batch, VERDICT_SWITCHING);
    go_on(batch);
}

static void on_again(h2o_timeout_entry_t *entry)
{
    struct batch *batch = H2O_STRUCT_FROM_MEMBER(struct batch, again, entry);
    turn(batch);
    go_on(batch);
}

/* --- the beginning ------------------------------------------------------------------------------------------------ */

bool batch_wanted(const struct exchange *exchange)
{
    const h2o_req_t *req = exchange->req;
    return exchange->route->action == ACTION_QUEUE &&
           h2o_memis(req->method.base, req->method.len, H2O_STRLIT("POST")) &&
           batch_format(field_of(req, STR_LIT("content-type"))) != BATCH_NONE;
}

static enum verdict read_options(struct batch *batch, const char **fault)
{
    const struct exchange *exchange = batch->exchange;
    const struct gateway_config *config = &exchange->worker->gateway->config;
    h2o_req_t *req = exchange->req;
    struct publish_options options;
    if (!publish_options_read(req, config, exchange->received_us, &options, fault))
        return VERDICT_BAD_REQUEST;
    batch->key = options.idempotency_key;
    batch->keys = batch->key.base == NULL ? KEYS_NONE : str_equal(batch->key, STR_LIT("*")) ? KEYS_EVENT : KEYS_INDEX;
    *fault = "The items of a batch can be neither delayed nor prepared";
    if (options.due_us != 0 || options.prepares)
        return VERDICT_BAD_REQUEST;
    *fault = "Lines have no source and id to be told apart by: give another Idempotency-Key";
    if (batch->keys == KEYS_EVENT && batch->format == BATCH_LINES)
        return VERDICT_BAD_REQUEST;
    *fault = "Batches are read as they are, without a content coding";
    return field_of(req, STR_LIT("content-encoding")).base == NULL ? VERDICT_OK : VERDICT_BAD_REQUEST;
}

static enum verdict read_document(struct batch *batch, const char **fault)
{
    const struct gateway_config *config = &batch->exchange->worker->gateway->config;
    h2o_iovec_t body = batch->exchange->req->entity;
    enum verdict verdict = read_options(batch, fault);
    if (verdict != VERDICT_OK)
        return verdict;
    *fault = "The batch is longer than batch.bytes allows";
    if (body.len > (uint64_t)config->batch.bytes)
        return VERDICT_BODY_TOO_LARGE;
    return batch_split(batch->format, (struct str){body.base, body.len}, (size_t)config->batch.items, &batch->slices,
                       fault);
}

static struct batch *create(struct exchange *exchange)
{
    const struct view *view = exchange->view;
    struct batch *batch = mem_calloc(1, sizeof(*batch));
    batch->exchange = exchange;
    batch->worker = exchange->worker;
    batch->format = batch_format(field_of(exchange->req, STR_LIT("content-type")));
    batch->again.cb = on_again;
    batch->renew.cb = on_renew;
    batch->units = mem_calloc(view->table->unit_count, 1);
    batch->identity = (struct identity){.req = exchange->req, .table = view->table, .jwt_key = view->jwt_key};
    batch->routing = (struct routing){.route = (uint32_t)(exchange->route - view->table->routes),
                                      .color = field_of(exchange->req, STR_LIT("ldc-color")),
                                      .datacenter = str_of(exchange->worker->gateway->config.datacenter),
                                      .splits = view->splits};
    exchange->carrier = batch;
    exchange->detach = detach;
    return batch;
}

void batch_publish(struct exchange *exchange)
{
    struct batch *batch = create(exchange);
    const char *fault = NULL;
    enum verdict verdict = read_document(batch, &fault);
    if (verdict != VERDICT_OK) {
        let_go(batch);
        free_if_done(batch);
        exchange_fail(exchange, verdict, fault);
        return;
    }
    stat_add(&exchange->worker->stats.batches_total, 1);
    stat_add(&exchange->worker->stats.batch_items_total, batch->slices.count);
    batch->entries = mem_calloc(batch->slices.count, sizeof(*batch->entries));
    batch->common_headers = envelope_batch_headers(exchange);
    turn(batch);
    go_on(batch);
}
