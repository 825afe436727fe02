/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/checkback.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/log.h"
#include "common/protocol.h"

#define LOOK_US     100000 /* between two questions to the broker, unless it had more than it could say */
#define BODY_MOST   4096
#define HEADER_SIZE (PROTOCOL_ID_MAX + 32)

/* One question under way, and then the word that it led to. */
struct check {
    struct checkback *checkback;
    struct http_transfer *transfer;
    char id[PROTOCOL_ID_MAX];
    const char *verb;
    struct check *next, **slot;
};

struct checkback {
    struct checkback_config config;
    struct http_client *client;
    struct check *checks;
    unsigned in_flight;
    bool asked;
    uint64_t next_us; /* monotonic */
};

/* --- one check ---------------------------------------------------------------------------------------------------- */

static void check_free(struct check *check)
{
    *check->slot = check->next;
    if (check->next != NULL)
        check->next->slot = check->slot;
    check->checkback->in_flight--;
    free(check);
}

static void on_ended(void *arg, const redisReply *reply)
{
    struct check *check = arg;
    struct agent_stats *stats = check->checkback->config.stats;
    bool commits = strcmp(check->verb, "commit") == 0;
    if (reply != NULL && reply->type == REDIS_REPLY_STRING &&
        strcmp(reply->str, commits ? "committed" : "rolled-back") == 0)
        stat_add(commits ? &stats->agent_checks_committed_total : &stats->agent_checks_rolled_back_total, 1);
    check_free(check);
}

const char *checkback_read_answer(struct str text)
{
    json_t *answer = json_loadb(text.base ? text.base : "", text.len, JSON_REJECT_DUPLICATES, NULL);
    const char *state = json_string_value(json_object_get(answer, "state"));
    bool commits = state != NULL && strcmp(state, "commit") == 0,
         rolls = state != NULL && strcmp(state, "rollback") == 0;
    json_decref(answer);
    return commits ? "commit" : rolls ? "rollback" : NULL;
}

static void on_answer(void *arg, const struct http_response *response)
{
    struct check *check = arg;
    struct checkback *checkback = check->checkback;
    check->transfer = NULL;
    check->verb = response->status / 100 == 2 ? checkback_read_answer(response->body) : NULL;
    if (response->status / 100 != 2)
        stat_add(&checkback->config.stats->agent_checks_failed_total, 1);
    char epoch[24];
    snprintf(epoch, sizeof(epoch), "%lu", (unsigned long)checkback->config.record(checkback->config.arg)->version);
    const char *words[] = {"FCALL", "ldc1_tx_end", "1", checkback->config.key, check->id, check->verb, epoch};
    if (check->verb == NULL || checkback->config.primary->broker == NULL ||
        !broker_command(checkback->config.primary->broker, on_ended, check, 7, words, NULL))
        check_free(check);
}

char *checkback_url(struct str url, struct str id)
{
    struct buf text = {0};
    struct str rest = url, start;
    str_next(&rest, '#', &start);
    bool query = memchr(start.base, '?', start.len) != NULL;
    buf_printf(&text, "%.*s%smessage=%.*s", STR_ARG(start), query ? "&" : "?", STR_ARG(id));
    return text.base;
}

static void ask(struct checkback *checkback, struct str id, struct str url, long long number)
{
    const struct agent_config *options = checkback->config.options;
    char named[HEADER_SIZE], counted[HEADER_SIZE], *asked = checkback_url(url, id);
    struct check *check = mem_calloc(1, sizeof(*check));
    *check = (struct check){.checkback = checkback, .next = checkback->checks, .slot = &checkback->checks};
    snprintf(check->id, sizeof(check->id), "%.*s", STR_ARG(id));
    if (check->next != NULL)
        check->next->slot = &check->next;
    checkback->checks = check;
    checkback->in_flight++;
    stat_add(&checkback->config.stats->agent_checks_total, 1);
    snprintf(named, sizeof(named), "LDC-Message-Id: %s", check->id);
    snprintf(counted, sizeof(counted), "LDC-Check: %lld", number);
    const char *headers[] = {named, counted, "Accept: application/json", NULL};
    struct http_request request = {.method = "GET",
                                   .url = asked,
                                   .headers = headers,
                                   .timeout_ms = options->transactions.check_timeout,
                                   .connect_timeout_ms = options->transactions.check_timeout,
                                   .most_response = BODY_MOST};
    check->transfer = http_client_start(checkback->client, &request, NULL, on_answer, check);
    free(asked);
}

/* --- which are due ------------------------------------------------------------------------------------------------ */

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, (size_t)reply->len} : (struct str){"", 0};
}

static void ask_each(struct checkback *checkback, const redisReply *list)
{
    for (size_t i = 0; i < list->elements; i++) {
        const redisReply *due = list->element[i];
        struct str id = due->type == REDIS_REPLY_ARRAY && due->elements == 3 ? text_of(due->element[0]) : STR_LIT("");
        if (id.len > 0 && id.len < PROTOCOL_ID_MAX)
            ask(checkback, id, text_of(due->element[1]), due->element[2]->integer);
    }
}

static void on_due(void *arg, const redisReply *reply)
{
    struct checkback *checkback = arg;
    checkback->asked = false;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return;
    uint64_t parked = (uint64_t)reply->element[0]->integer;
    if (parked > 0)
        log_warning("transactions.parked", "%lu transactions were parked, for nobody said what becomes of them",
                    (unsigned long)parked);
    stat_add(&checkback->config.stats->agent_transactions_parked_total, parked);
    ask_each(checkback, reply->element[1]);
    if (reply->element[1]->elements + parked > 0)
        checkback->next_us = 0;
}

void checkback_look(struct checkback *checkback)
{
    const struct agent_config *options = checkback->config.options;
    char checks[24], pause[24], most[24];
    uint64_t now_us = clock_monotonic_us();
    if (checkback->asked || now_us < checkback->next_us || checkback->in_flight >= options->transactions.concurrency)
        return;
    snprintf(checks, sizeof(checks), "%lld", (long long)options->transactions.checks);
    snprintf(pause, sizeof(pause), "%lld", (long long)options->transactions.longest_pause);
    snprintf(most, sizeof(most), "%lld", (long long)options->transactions.concurrency - checkback->in_flight);
    const char *words[] = {"FCALL", "ldc1_tx_due", "1", checkback->config.key, checks, pause, most};
    checkback->next_us = now_us + LOOK_US;
    checkback->asked = broker_command(checkback->config.primary->broker, on_due, checkback, 7, words, NULL);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

struct checkback *checkback_create(sd_event *loop, const struct checkback_config *config)
{
    struct checkback *checkback = mem_calloc(1, sizeof(*checkback));
    checkback->config = *config;
    checkback->client = http_client_create(loop, (long)config->options->transactions.concurrency);
    return checkback;
}

void checkback_destroy(struct checkback **slot)
{
    struct checkback *checkback = *slot;
    if (checkback == NULL)
        return;
    *slot = NULL;
    http_client_destroy(&checkback->client);
    while (checkback->checks != NULL)
        check_free(checkback->checks);
    free(checkback);
}
