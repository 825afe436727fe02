/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/collection_question.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/httpd_admin.h"
#include "common/percent.h"

static bool is_listed(const struct table *table, struct str name)
{
    for (uint32_t i = 0; table != NULL && i < table->collection_count; i++)
        if (str_equal(table->collections[i].name, name))
            return true;
    return false;
}

/* False where the query names no collection of the rules, nor none at all where that means all. */
static bool read_name(struct collection_question *question, bool all)
{
    struct buf name = {0};
    bool given = httpd_request_query(question->request, "name", &name);
    bool known = given && is_listed(operations_table(question->duty->operations), buf_str(&name));
    if (known) {
        snprintf(question->name, sizeof(question->name), "%s", name.base);
        collection_key(question->at, str_of(question->duty->unit), buf_str(&name), "");
    }
    buf_free(&name);
    return known || (!given && all);
}

struct collection_question *collection_ask(const struct duty *duty, struct httpd_request *request, bool all)
{
    struct collection_question *question = mem_calloc(1, sizeof(*question));
    *question = (struct collection_question){
        .request = request, .duty = duty, .broker = operations_broker(duty->operations), .items = json_array()};
    if (!read_name(question, all))
        collection_refuse(question, 404, "not-found", "The rules in force name no such collection");
    else if (question->broker == NULL || broker_state(question->broker) != BROKER_READY)
        collection_refuse(question, 503, "broker-unavailable",
                          question->broker ? broker_fault(question->broker) : "the rules name no broker");
    else
        return question;
    return NULL;
}

bool collection_ask_number(struct collection_question *question, const char *name, uint64_t least, uint64_t most,
                           uint64_t preset, uint64_t *number)
{
    struct buf text = {0};
    char detail[120];
    *number = preset;
    bool good = !httpd_request_query(question->request, name, &text) ||
                (str_to_u64(buf_str(&text), number) && *number >= least && *number <= most);
    buf_free(&text);
    if (good)
        return true;
    snprintf(detail, sizeof(detail), "%s: a number from %" PRIu64 " to %" PRIu64 " is wanted", name, least, most);
    collection_refuse(question, 400, "bad-request", detail);
    return false;
}

static void end(struct collection_question *question)
{
    json_decref(question->items);
    free(question);
}

void collection_answer(struct collection_question *question)
{
    httpd_admin_respond(question->request, 200,
                        json_pack("{s:s,s:s,s:I,s:O}", "unit", question->duty->unit, "collection", question->name,
                                  "count", (json_int_t)json_array_size(question->items), "items", question->items));
    end(question);
}

void collection_refuse(struct collection_question *question, int status, const char *problem, const char *detail)
{
    httpd_respond_problem(question->request, status, problem, detail);
    end(question);
}

void collection_fail(struct collection_question *question, const redisReply *reply)
{
    char detail[200];
    bool says = broker_is_error(reply, "");
    snprintf(detail, sizeof(detail), "The broker did not do it: %.120s",
             says ? reply->str : "no answer that makes sense; ask again");
    if (broker_is_error(reply, "LDC_STATE"))
        collection_refuse(question, 409, "collection-state", "The unit has no whole copy to repair: it is being made");
    else
        collection_refuse(question, 503, "broker-unavailable", detail);
}

uint64_t collection_fingerprint(struct str key, struct str packed)
{
    return XXH3_64bits_withSeed(packed.base, packed.len, XXH3_64bits(key.base, key.len));
}

void collection_fingerprint_format(uint64_t fingerprint, char text[COLLECTION_FINGERPRINT_SIZE])
{
    snprintf(text, COLLECTION_FINGERPRINT_SIZE, "%016" PRIx64, fingerprint);
}

json_t *collection_key_text(struct str key)
{
    struct buf text = {0};
    percent_encode(key, "%", &text);
    json_t *json = json_string(text.len > 0 ? text.base : "");
    buf_free(&text);
    return json;
}
