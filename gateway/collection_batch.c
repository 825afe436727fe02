/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_batch.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/arena.h"
#include "common/collection_value.h"
#include "gateway/batch_answer.h"
#include "gateway/batch_text.h"
#include "gateway/collection_item.h"
#include "gateway/collection_write.h"
#include "gateway/field.h"
#include "gateway/gateway.h"

/* Of one batch: some pipelines, and no more than the origin confirms well within its time. */
#define WINDOW 1024
/* Of one turn, so that the loop's other requests hardly notice. */
#define TURN_ITEMS 128
#define TURN_BYTES (64u << 10)

/* One line, from its turn on. */
struct change {
    struct change_batch *batch;
    struct origin_call call;
    enum verdict verdict;
    const char *detail;
    bool replayed;
    int status;       /* where the verdict is OK */
    uint64_t version; /* of the change, or the one that stands there; 0: none */
};

/* Lives as long as its exchange does or the origin owes it an answer. */
struct change_batch {
    struct exchange *exchange; /* NULL: the client is gone */
    struct worker *worker;
    const struct table_collection *rules; /* as long as there is the exchange */
    struct str key;                       /* Idempotency-Key of the request; base NULL: none */
    struct batch_slices slices;
    struct change *changes; /* as many as there are slices */
    size_t next, in_flight; /* those before `next` were taken up */
    size_t accepted, unknown;
    uint32_t order; /* of all its calls */
    enum durability durability;
    struct collection_item item; /* the one that is read */
    struct buf packed;           /* its value */
    struct arena details;
    h2o_timeout_entry_t again; /* linked between two turns */
};

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void free_if_done(struct change_batch *batch)
{
    if (batch->exchange != NULL || batch->in_flight > 0)
        return;
    collection_item_free(&batch->item);
    buf_free(&batch->packed);
    arena_free(&batch->details);
    free(batch->slices.items);
    free(batch->changes);
    free(batch);
}

static void let_go(struct change_batch *batch)
{
    batch->exchange->detach = NULL;
    batch->exchange = NULL;
    h2o_timeout_unlink(&batch->again);
}

static void detach(struct exchange *exchange)
{
    struct change_batch *batch = exchange->carrier;
    let_go(batch);
    free_if_done(batch);
}

static void print_change(const struct change *change, size_t index, struct buf *out)
{
    const struct verdict_info *info = verdict_info(change->verdict);
    bool done = change->verdict == VERDICT_OK;
    buf_printf(out, "%s\n{\"index\":%zu,\"status\":%d", index > 0 ? "," : "", index,
               done ? change->status : info->status);
    if (change->version > 0)
        buf_printf(out, ",\"version\":%" PRIu64, change->version);
    batch_answer_verdict(out, change->verdict, change->replayed, change->detail);
}

static void print_answer(const struct change_batch *batch, struct buf *out)
{
    size_t count = batch->slices.count;
    batch_answer_begin(out, count, batch->accepted, batch->unknown);
    for (size_t i = 0; i < count; i++)
        print_change(&batch->changes[i], i, out);
    buf_append_str(out, STR_LIT("]}\n"));
}

static void answer(struct change_batch *batch)
{
    struct exchange *exchange = batch->exchange;
    h2o_req_t *req = exchange->req;
    struct buf body = {NULL, 0, 0};
    const char *durability = durability_name(batch->durability);
    print_answer(batch, &body);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
    if (batch->accepted > 0)
        h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("ldc-durability"), 0, NULL, durability,
                              strlen(durability));
    exchange_add_headers(exchange);
    let_go(batch);
    exchange_send(exchange, 200, buf_str(&body));
    buf_free(&body);
    free_if_done(batch);
}

/* --- one change --------------------------------------------------------------------------------------------------- */

static void settle(struct change *change, enum verdict verdict, const char *detail)
{
    struct change_batch *batch = change->batch;
    change->verdict = verdict;
    change->detail = arena_str(&batch->details, str_of(detail)).base;
    batch->accepted += verdict == VERDICT_OK;
    batch->unknown += verdict == VERDICT_OUTCOME_UNKNOWN;
}

static void go_on(struct change_batch *batch);

static enum durability weaker(enum durability a, enum durability b)
{
    return a == DURABILITY_LOCAL || b == DURABILITY_QUORUM ? a : b;
}

static void conclude(struct change *change, const struct origin_answer *answer)
{
    struct change_batch *batch = change->batch;
    const char *detail;
    enum verdict verdict = collection_write_verdict(batch->worker, answer, &detail);
    if (verdict == VERDICT_OK || verdict == VERDICT_CONDITION)
        change->version = answer->number;
    change->replayed = answer->replayed;
    change->status = answer->outcome == ORIGIN_CREATED ? 201 : 204;
    if (verdict == VERDICT_OK)
        batch->durability = batch->accepted == 0 ? answer->durability : weaker(batch->durability, answer->durability);
    settle(change, verdict, detail);
}

static void on_done(void *arg, const struct origin_answer *answer)
{
    struct change *change = arg;
    change->batch->in_flight--;
    conclude(change, answer);
    go_on(change->batch);
}

static void send_change(struct change *change, size_t index)
{
    struct change_batch *batch = change->batch;
    const struct collection_item *item = &batch->item;
    struct origin_answer refusal;
    char id[COLLECTION_ID_MAX];
    batch->packed.len = 0;
    if (!item->deletes)
        collection_pack(item->key, item->type, item->value, &batch->packed);
    change->call = (struct origin_call){.collection = batch->rules->name,
                                        .key = item->key,
                                        .order = batch->order,
                                        .timeout_ms = batch->exchange->route->timeout_ms,
                                        .done = on_done,
                                        .arg = change,
                                        .condition = buf_str(&item->condition),
                                        .packed = buf_str(&batch->packed)};
    collection_write_name(batch->worker, &change->call, batch->key, index, id);
    if (collection_origin_put(batch->worker, &change->call, &refusal) != NULL)
        batch->in_flight++;
    else
        conclude(change, &refusal);
}

static enum verdict read_item(struct change_batch *batch, size_t index, const char **detail)
{
    uint64_t most = batch->exchange->route->max_body;
    *detail = batch->item.fault;
    enum verdict verdict = collection_item_read(&batch->item, batch->slices.items[index]);
    if (verdict != VERDICT_OK || most == 0 || batch->item.value.len <= most)
        return verdict;
    *detail = "The value is longer than the route's max_body";
    return VERDICT_BODY_TOO_LARGE;
}

static void take_up(struct change_batch *batch, size_t index)
{
    struct change *change = &batch->changes[index];
    const char *detail;
    change->batch = batch;
    enum verdict verdict = read_item(batch, index, &detail);
    if (verdict == VERDICT_OK)
        send_change(change, index);
    else
        settle(change, verdict, detail);
}

/* --- turns -------------------------------------------------------------------------------------------------------- */

static void turn(struct change_batch *batch)
{
    size_t bytes = 0, end = batch->next + TURN_ITEMS;
    while (batch->next < batch->slices.count && batch->next < end && bytes < TURN_BYTES && batch->in_flight < WINDOW) {
        bytes += batch->slices.items[batch->next].len;
        take_up(batch, batch->next++);
    }
}

static void go_on(struct change_batch *batch)
{
    bool taken = batch->next == batch->slices.count;
    if (batch->exchange == NULL)
        free_if_done(batch);
    else if (taken && batch->in_flight == 0)
        answer(batch);
    else if (!taken && batch->in_flight < WINDOW && !h2o_timeout_is_linked(&batch->again))
        h2o_timeout_link(batch->worker->h2o.loop, &batch->worker->h2o.zero_timeout, &batch->again);
}

static void on_again(h2o_timeout_entry_t *entry)
{
    struct change_batch *batch = H2O_STRUCT_FROM_MEMBER(struct change_batch, again, entry);
    turn(batch);
    go_on(batch);
}

/* --- the beginning ------------------------------------------------------------------------------------------------ */

static enum verdict read_document(struct change_batch *batch, const char **fault)
{
    const h2o_req_t *req = batch->exchange->req;
    const struct gateway_config *config = &batch->worker->gateway->config;
    *fault = "A batch is a JSON object a line: application/x-ndjson, without a content coding";
    if (batch_format(field_of(req, STR_LIT("content-type"))) != BATCH_LINES ||
        field_of(req, STR_LIT("content-encoding")).base != NULL)
        return VERDICT_BAD_REQUEST;
    *fault = "The batch is longer than batch.bytes allows";
    if (req->entity.len > (uint64_t)config->batch.bytes)
        return VERDICT_BODY_TOO_LARGE;
    return batch_split(BATCH_LINES, (struct str){req->entity.base, req->entity.len}, (size_t)config->batch.items,
                       &batch->slices, fault);
}

static struct change_batch *create(struct exchange *exchange, const struct collection_path *path, struct str key)
{
    struct change_batch *batch = mem_calloc(1, sizeof(*batch));
    batch->exchange = exchange;
    batch->worker = exchange->worker;
    batch->rules = path->rules;
    batch->key = key;
    batch->order = (uint32_t)worker_random(exchange->worker);
    batch->again.cb = on_again;
    exchange->carrier = batch;
    exchange->detach = detach;
    return batch;
}

void collection_batch_serve(struct exchange *exchange, const struct collection_path *path)
{
    struct publish_options options;
    const char *fault;
    if (!collection_write_begin(exchange, path, &options))
        return;
    struct change_batch *batch = create(exchange, path, options.idempotency_key);
    enum verdict verdict = read_document(batch, &fault);
    if (verdict != VERDICT_OK) {
        let_go(batch);
        free_if_done(batch);
        exchange_fail(exchange, verdict, fault);
        return;
    }
    stat_add(&exchange->worker->stats.collection_batches_total, 1);
    batch->changes = mem_calloc(batch->slices.count, sizeof(*batch->changes));
    turn(batch);
    go_on(batch);
}
