/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/prepared.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/httpd_admin.h"
#include "common/log.h"
#include "common/protocol.h"

#define LIST_PRESET 100
#define LIST_MOST   10000

struct question {
    struct httpd_request *request;
    const char *unit;
    char key[PROTOCOL_KEY_MAX];
    struct buf id, word; /* `word`: the state, or the verb */
};

static struct question *ask(const char *unit, struct httpd_request *request)
{
    struct question *question = mem_calloc(1, sizeof(*question));
    question->request = request;
    question->unit = unit;
    protocol_unit_key(question->key, str_of(unit), "");
    return question;
}

static void close_question(struct question *question)
{
    buf_free(&question->id);
    buf_free(&question->word);
    free(question);
}

static void refuse(struct question *question, int status, const char *name, const char *detail)
{
    httpd_respond_problem(question->request, status, name, detail);
    close_question(question);
}

static void answer(struct question *question, json_t *items)
{
    httpd_admin_respond(question->request, 200,
                        json_pack("{s:s,s:I,s:o}", "unit", question->unit, "count", (json_int_t)json_array_size(items),
                                  "items", items));
    close_question(question);
}

static void send_question(struct question *question, struct broker *broker, broker_reply_fn done, int argc,
                          const char *const *argv)
{
    if (broker == NULL || !broker_command(broker, done, question, argc, argv, NULL))
        refuse(question, 503, "broker-unavailable", broker ? broker_fault(broker) : "the rules name no broker");
}

/* --- the list ----------------------------------------------------------------------------------------------------- */

static void add_time(json_t *item, const char *name, const redisReply *ms)
{
    char text[CLOCK_UTC_SIZE];
    clock_format_utc(ms->type == REDIS_REPLY_INTEGER ? (uint64_t)ms->integer * 1000 : 0, text);
    json_object_set_new(item, name, json_string(text));
}

static json_t *describe(const redisReply *entry, bool parked)
{
    redisReply *const *fields = entry->element;
    json_t *item =
        json_pack("{s:s%,s:s,s:I,s:s%}", "id", fields[0]->str, fields[0]->len, "state", parked ? "parked" : "prepared",
                  "checks", (json_int_t)fields[3]->integer, "url", fields[4]->str, fields[4]->len);
    add_time(item, "prepared", fields[1]);
    add_time(item, parked ? "parked" : "next_check", fields[2]);
    return item;
}

static bool is_entry(const redisReply *entry)
{
    return entry->type == REDIS_REPLY_ARRAY && entry->elements == 5 && entry->element[0]->type == REDIS_REPLY_STRING &&
           entry->element[4]->type == REDIS_REPLY_STRING;
}

static void on_list(void *arg, const redisReply *reply)
{
    struct question *question = arg;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        refuse(question, 503, "broker-unavailable", "the broker did not answer");
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < reply->elements; i++)
        if (is_entry(reply->element[i]))
            json_array_append_new(items,
                                  describe(reply->element[i], str_equal(buf_str(&question->word), STR_LIT("parked"))));
    answer(question, items);
}

void prepared_list(struct broker *broker, const char *unit, struct httpd_request *request)
{
    struct question *question = ask(unit, request);
    struct buf limit = {0};
    uint64_t most = LIST_PRESET;
    char number[24];
    bool good = !httpd_request_query(request, "limit", &limit) || str_to_u64(buf_str(&limit), &most);
    buf_free(&limit);
    if (!httpd_request_query(request, "state", &question->word))
        buf_append_str(&question->word, STR_LIT("parked"));
    if (!good || most == 0 || most > LIST_MOST) {
        refuse(question, 400, "bad-request", "limit: a number from 1 to 10000 is wanted");
    } else if (!str_equal(buf_str(&question->word), STR_LIT("parked")) &&
               !str_equal(buf_str(&question->word), STR_LIT("prepared"))) {
        refuse(question, 400, "bad-request", "state: `parked` or `prepared` is wanted");
    } else {
        snprintf(number, sizeof(number), "%llu", (unsigned long long)most);
        const char *words[] = {"FCALL", "ldc1_tx_list", "1", question->key, question->word.base, number};
        send_question(question, broker, on_list, 6, words);
    }
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void on_end(void *arg, const redisReply *reply)
{
    struct question *question = arg;
    const char *wanted = str_equal(buf_str(&question->word), STR_LIT("commit")) ? "committed" : "rolled-back";
    char detail[96];
    if (reply != NULL && reply->type == REDIS_REPLY_STRING && strcmp(reply->str, wanted) == 0) {
        log_info("transaction.ended", "%s is %s, by an operator", question->id.base, wanted);
        answer(question, json_pack("[{s:s,s:s}]", "id", question->id.base, "state", wanted));
    } else if (reply != NULL && reply->type == REDIS_REPLY_STRING) {
        snprintf(detail, sizeof(detail), "The message is %.40s", reply->str);
        refuse(question, 409, "message-state", detail);
    } else if (broker_is_error(reply, "LDC_UNKNOWN")) {
        refuse(question, 404, "not-found", "No such message waits");
    } else {
        refuse(question, 503, "broker-unavailable", reply != NULL ? "the broker refuses it" : "no answer; ask again");
    }
}

void prepared_end(struct broker *broker, const char *unit, uint64_t epoch, struct httpd_request *request)
{
    struct question *question = ask(unit, request);
    struct protocol_id parts;
    httpd_request_query(request, "id", &question->id);
    httpd_request_query(request, "verb", &question->word);
    struct str verb = buf_str(&question->word);
    if (!protocol_id_parse(buf_str(&question->id), &parts) || !str_equal(parts.unit, str_of(unit))) {
        refuse(question, 400, "bad-request", "id: an id of a message of this unit is wanted");
    } else if (!str_equal(verb, STR_LIT("commit")) && !str_equal(verb, STR_LIT("rollback"))) {
        refuse(question, 400, "bad-request", "verb: `commit` or `rollback` is wanted");
    } else {
        char known[24];
        snprintf(known, sizeof(known), "%lu", (unsigned long)epoch);
        const char *words[] = {"FCALL",           "ldc1_tx_end",       "1",  question->key,
                               question->id.base, question->word.base, known};
        send_question(question, broker, on_end, 7, words);
    }
}
