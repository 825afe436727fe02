/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_write.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/collection_value.h"
#include "gateway/etag.h"
#include "gateway/field.h"
#include "gateway/gateway.h"

/* One request, in the request's pool. */
struct write {
    struct exchange *exchange;
    struct origin_call call;
    bool puts;
};

/* --- what every write begins with --------------------------------------------------------------------------------- */

bool collection_write_begin(struct exchange *exchange, const struct collection_path *path,
                            struct publish_options *options)
{
    const struct table *table = exchange->view->table;
    const char *fault = "A time of delivery, a transaction and Prefer: wait belong to messages";
    exchange->rules = &table->units[table->core_unit];
    if (path->rules->writers == COLLECTION_WRITERS_TRUSTED && !exchange->trusted_peer) {
        exchange_fail(exchange, VERDICT_UNTRUSTED_PEER, "The rules let only trusted peers write to this collection");
        return false;
    }
    bool sound =
        publish_options_read(exchange->req, &exchange->worker->gateway->config, exchange->received_us, options, &fault);
    if (sound && options->due_us == 0 && !options->prepares && !options->waits)
        return true;
    exchange_fail(exchange, VERDICT_BAD_REQUEST, fault);
    return false;
}

void collection_write_name(struct worker *worker, struct origin_call *call, struct str key, size_t index, char *text)
{
    call->keyed = key.base != NULL;
    int len = call->keyed ? snprintf(text, COLLECTION_ID_MAX, "=%.*s/%zu", STR_ARG(key), index)
                          : snprintf(text, COLLECTION_ID_MAX, "%016" PRIx64 "%08" PRIx64, worker_random(worker),
                                     worker_random(worker) >> 32);
    call->id = (struct str){text, (size_t)len};
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

static enum verdict count(struct gateway_stats *stats, const struct origin_answer *answer)
{
    if (answer->verdict != VERDICT_OK) {
        stat_add(&stats->collection_unwritten_total, 1);
        return answer->verdict;
    }
    if (answer->outcome == ORIGIN_ABSENT)
        return VERDICT_NO_KEY;
    if (answer->outcome == ORIGIN_CONFLICT) {
        stat_add(&stats->collection_conflicts_total, 1);
        return VERDICT_CONDITION;
    }
    stat_add(answer->replayed ? &stats->collection_replayed_total : &stats->collection_writes_total, 1);
    return VERDICT_OK;
}

enum verdict collection_write_verdict(struct worker *worker, const struct origin_answer *answer, const char **detail)
{
    bool empty = answer->outcome == ORIGIN_CONFLICT && answer->number == 0;
    *detail = answer->verdict != VERDICT_OK ? answer->detail : empty ? "There is no such key now" : NULL;
    return count(&worker->stats, answer);
}

static void add_header(h2o_req_t *req, struct str name, struct str value)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, name.base, name.len, 0, NULL, value.base, value.len);
}

static void send_written(const struct write *write, const struct origin_answer *answer)
{
    struct exchange *exchange = write->exchange;
    h2o_req_t *req = exchange->req;
    if (write->puts)
        etag_add(req, answer->number);
    else
        etag_add_version(req, answer->number);
    add_header(req, STR_LIT("ldc-durability"), str_of(durability_name(answer->durability)));
    if (answer->replayed)
        add_header(req, STR_LIT("idempotency-replayed"), STR_LIT("true"));
    exchange_add_headers(exchange);
    stat_observe(&exchange->worker->stats.collection_write_latency, clock_monotonic_us() - exchange->received_mono_us);
    exchange_send(exchange, answer->outcome == ORIGIN_CREATED ? 201 : 204, STR_LIT(""));
}

/* What stands there is said, so that who lost may go on from it. */
static void refuse(struct exchange *exchange, const struct origin_answer *answer, enum verdict verdict,
                   const char *detail)
{
    h2o_req_t *req = exchange->req;
    if (verdict == VERDICT_CONDITION && answer->number > 0)
        etag_add(req, answer->number);
    if (verdict == VERDICT_NO_KEY) {
        char *text = h2o_mem_alloc_pool(&req->pool, 20);
        add_header(req, STR_LIT("ldc-collection-sequence"), (struct str){text, str_from_u64(answer->number, text)});
    }
    exchange_fail(exchange, verdict, detail);
}

static void on_done(void *arg, const struct origin_answer *answer)
{
    struct write *write = arg;
    const char *detail;
    enum verdict verdict = collection_write_verdict(write->exchange->worker, answer, &detail);
    write->exchange->detach = NULL;
    if (verdict == VERDICT_OK)
        send_written(write, answer);
    else
        refuse(write->exchange, answer, verdict, detail);
}

/* --- the request -------------------------------------------------------------------------------------------------- */

static void detach(struct exchange *exchange)
{
    message_forget(exchange->carrier);
}

/* What is kept of a value are its bytes and its type: what would be lost must not come. */
static const char *check_content(const h2o_req_t *req)
{
    struct str coding = field_of(req, STR_LIT("content-encoding"));
    if (coding.base != NULL && !str_equal_nocase(coding, STR_LIT("identity")))
        return "Content-Encoding is not kept: send the value as it is to be read";
    if (field_of(req, STR_LIT("content-range")).base != NULL)
        return "Values are written whole: Content-Range makes no sense here";
    if (field_of(req, STR_LIT("content-type")).len > COLLECTION_TYPE_MAX)
        return "A Content-Type has 255 bytes at most";
    return NULL;
}

static void send_write(struct write *write, struct buf *packed, struct buf *condition)
{
    struct exchange *exchange = write->exchange;
    h2o_req_t *req = exchange->req;
    struct origin_answer refusal;
    if (write->puts)
        collection_pack(write->call.key, field_of(req, STR_LIT("content-type")),
                        (struct str){req->entity.base, req->entity.len}, packed);
    write->call.packed = buf_str(packed);
    write->call.condition = buf_str(condition);
    exchange->carrier = collection_origin_put(exchange->worker, &write->call, &refusal);
    if (exchange->carrier != NULL)
        exchange->detach = detach;
    else
        on_done(write, &refusal);
}

static void serve(struct write *write)
{
    struct buf packed = {NULL, 0, 0}, condition = {NULL, 0, 0};
    const char *fault = write->puts ? check_content(write->exchange->req) : NULL;
    if (fault == NULL && etag_condition(&write->exchange->req->headers, &condition, &fault))
        send_write(write, &packed, &condition);
    else
        exchange_fail(write->exchange, VERDICT_BAD_REQUEST, fault);
    buf_free(&packed);
    buf_free(&condition);
}

void collection_write_serve(struct exchange *exchange, const struct collection_path *path)
{
    h2o_req_t *req = exchange->req;
    struct publish_options options;
    char id[COLLECTION_ID_MAX];
    if (!collection_write_begin(exchange, path, &options))
        return;
    struct write *write = h2o_mem_alloc_pool(&req->pool, sizeof(*write));
    *write =
        (struct write){.exchange = exchange, .puts = h2o_memis(req->method.base, req->method.len, H2O_STRLIT("PUT"))};
    write->call = (struct origin_call){.collection = path->rules->name,
                                       .key = path->key,
                                       .order = collection_bucket(path->rules->name), /* one batch, one proof */
                                       .timeout_ms = exchange->route->timeout_ms,
                                       .done = on_done,
                                       .arg = write};
    collection_write_name(exchange->worker, &write->call, options.idempotency_key, 0, id);
    serve(write);
}
