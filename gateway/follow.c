/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/follow.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/invariant.h"
#include "common/log.h"

#define TICK_US      250000
#define SILENCE_US   6000000 /* a stream that says nothing for so long is opened anew */
#define BACKOFF_US   200000
#define BACKOFF_MOST 5000000
#define EVENT_MOST   (1 << 20)
#define CONNECTIONS  8

/* One agent. Lifecycle: WAITING (until `retry_at_us`) -> streaming (`stream` is set) -> WAITING ... Freed when the
 * rules name it no longer. */
struct agent {
    struct follow *follow;
    char *unit, *url;
    struct http_transfer *stream;
    struct buf pending, data; /* bytes of a line that is not complete; data lines of the event */
    json_t *report;
    uint64_t opened_us, heard_us; /* monotonic; 0: never */
    uint64_t retry_at_us, backoff_us;
    bool heard, named;
    char fault[256];
};

struct follow {
    struct registry *registry;
    const char *token;
    struct http_client *client;
    sd_event_source *tick;
    struct agent **agents;
    size_t count;
};

/* --- reports ------------------------------------------------------------------------------------------------------ */

static bool calls_down(const struct agent *agent, const char *url)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(agent->report, "nodes"), i, node) {
        const char *named = json_string_value(json_object_get(node, "url"));
        if (named != NULL && strcmp(named, url) == 0 && json_is_false(json_object_get(node, "up")))
            return true;
    }
    return false;
}

static void mark(struct node *node, void *arg)
{
    const struct follow *follow = arg;
    bool reported = false;
    for (size_t i = 0; i < follow->count && !reported; i++)
        reported = follow->agents[i]->heard && calls_down(follow->agents[i], node->url);
    if (atomic_exchange_explicit(&node->reported, reported, memory_order_relaxed) != reported)
        log_info(reported ? "node.reported" : "node.cleared", "%s", node->url);
}

static void mark_nodes(struct follow *follow)
{
    registry_each_node(follow->registry, mark, follow);
}

/* What was counted between two reports; all of it where the agent began anew. */
static uint64_t grown(const json_t *before, const json_t *now, const char *key)
{
    json_int_t then = json_integer_value(json_object_get(before, key));
    json_int_t count = json_integer_value(json_object_get(now, key));
    return count >= then ? (uint64_t)(count - then) : count > 0 ? (uint64_t)count : 0;
}

/* The first report says how much there was before anybody here listened: that is not counted. */
static void credit_deliveries(const struct agent *agent, const json_t *report)
{
    struct unit *unit = registry_unit(agent->follow->registry, str_of(agent->unit));
    const json_t *before = json_object_get(agent->report, "colors"), *now = json_object_get(report, "colors");
    for (int color = 0; color < COLOR_COUNT && unit != NULL && before != NULL; color++) {
        const json_t *then = json_object_get(before, color_name((enum color)color));
        const json_t *counts = json_object_get(now, color_name((enum color)color));
        stat_add(&unit->tallies[color].delivered, grown(then, counts, "judged"));
        stat_add(&unit->tallies[color].undelivered, grown(then, counts, "failed"));
    }
}

static void take_report(struct agent *agent, struct str data)
{
    json_t *report = json_loadb(data.base, data.len, 0, NULL);
    if (!json_is_object(report)) {
        json_decref(report);
        snprintf(agent->fault, sizeof(agent->fault), "its report is no JSON object");
        return;
    }
    bool changed =
        !agent->heard || !json_equal(json_object_get(report, "nodes"), json_object_get(agent->report, "nodes"));
    if (!agent->heard)
        log_info("agent.heard", "%s %s", agent->unit, agent->url);
    credit_deliveries(agent, report);
    json_decref(agent->report);
    agent->report = report;
    agent->heard = true;
    agent->heard_us = clock_monotonic_us();
    agent->backoff_us = BACKOFF_US;
    agent->fault[0] = '\0';
    if (changed)
        mark_nodes(agent->follow);
}

/* A line of the event stream, as HTML's "server-sent events" has it. */
static void take_line(struct agent *agent, struct str line)
{
    if (line.len > 0 && line.base[line.len - 1] == '\r')
        line.len--;
    if (str_starts(line, STR_LIT("data:"))) {
        struct str value = {line.base + 5, line.len - 5};
        if (str_starts(value, STR_LIT(" ")))
            value = (struct str){value.base + 1, value.len - 1};
        if (agent->data.len > 0)
            buf_append(&agent->data, "\n", 1);
        buf_append_str(&agent->data, value);
    } else if (line.len == 0 && agent->data.len > 0) {
        take_report(agent, buf_str(&agent->data));
        agent->data.len = 0;
    }
}

static void fail(struct agent *agent, const char *fault);

static void on_piece(void *arg, struct str piece)
{
    struct agent *agent = arg;
    buf_append_str(&agent->pending, piece);
    size_t done = 0;
    for (char *end; (end = memchr(agent->pending.base + done, '\n', agent->pending.len - done)) != NULL;) {
        size_t len = (size_t)(end - agent->pending.base) - done;
        take_line(agent, (struct str){agent->pending.base + done, len});
        done += len + 1;
    }
    buf_consume(&agent->pending, done);
    if (agent->pending.len + agent->data.len > EVENT_MOST) {
        http_transfer_cancel(agent->stream);
        fail(agent, "its event is too long");
    }
}

/* --- streams ------------------------------------------------------------------------------------------------------ */

/* The stream is over: again later. */
static void fail(struct agent *agent, const char *fault)
{
    agent->stream = NULL;
    agent->pending.len = agent->data.len = 0;
    snprintf(agent->fault, sizeof(agent->fault), "%s", fault);
    uint64_t now_us = clock_monotonic_us();
    agent->retry_at_us = now_us + agent->backoff_us + now_us % (agent->backoff_us / 4); /* apart from the others */
    agent->backoff_us = agent->backoff_us * 2 < BACKOFF_MOST ? agent->backoff_us * 2 : BACKOFF_MOST;
}

static void on_done(void *arg, const struct http_response *response)
{
    char fault[256];
    if (response->status == 0)
        snprintf(fault, sizeof(fault), "%s", response->error);
    else if (response->status == 200)
        snprintf(fault, sizeof(fault), "it ended its event stream");
    else
        snprintf(fault, sizeof(fault), "it answered with status %ld", response->status);
    fail(arg, fault);
}

static void open_stream(struct agent *agent)
{
    struct buf url = {NULL, 0, 0};
    size_t len = strlen(agent->url);
    buf_printf(&url, "%.*s/v1/health/stream", (int)(len > 0 && agent->url[len - 1] == '/' ? len - 1 : len), agent->url);
    struct http_request request = {.method = "GET", .url = url.base, .bearer_token = agent->follow->token};
    agent->opened_us = clock_monotonic_us();
    agent->stream = http_client_start(agent->follow->client, &request, on_piece, on_done, agent);
    buf_free(&url);
}

static void expire(struct agent *agent, uint64_t now_us)
{
    if (!agent->heard || now_us < agent->heard_us + FOLLOW_LEASE_US)
        return;
    agent->heard = false;
    if (agent->fault[0] == '\0')
        snprintf(agent->fault, sizeof(agent->fault), "it fell silent");
    log_warning("agent.silent", "%s %s: %s; its verdicts no longer count", agent->unit, agent->url, agent->fault);
    mark_nodes(agent->follow);
}

static void tend(struct agent *agent, uint64_t now_us)
{
    uint64_t last_us = agent->heard_us > agent->opened_us ? agent->heard_us : agent->opened_us;
    expire(agent, now_us);
    if (agent->stream != NULL && now_us > last_us + SILENCE_US) {
        http_transfer_cancel(agent->stream);
        fail(agent, "it fell silent");
    }
    if (agent->stream == NULL && now_us >= agent->retry_at_us)
        open_stream(agent);
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct follow *follow = arg;
    for (size_t i = 0; i < follow->count; i++)
        tend(follow->agents[i], clock_monotonic_us());
    sd_event_source_set_time_relative(source, TICK_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* --- which agents ------------------------------------------------------------------------------------------------- */

static void agent_destroy(struct agent *agent)
{
    if (agent->stream != NULL)
        http_transfer_cancel(agent->stream);
    buf_free(&agent->pending);
    buf_free(&agent->data);
    json_decref(agent->report);
    free(agent->unit);
    free(agent->url);
    free(agent);
}

static struct agent *find(struct follow *follow, struct str unit, struct str url)
{
    for (size_t i = 0; i < follow->count; i++)
        if (str_equal(unit, str_of(follow->agents[i]->unit)) && str_equal(url, str_of(follow->agents[i]->url)))
            return follow->agents[i];
    struct agent *agent = mem_calloc(1, sizeof(*agent));
    *agent = (struct agent){.follow = follow,
                            .unit = str_dup(unit),
                            .url = str_dup(url),
                            .backoff_us = BACKOFF_US,
                            .fault = "not heard yet"};
    follow->agents = mem_realloc(follow->agents, (follow->count + 1) * sizeof(*follow->agents));
    return follow->agents[follow->count++] = agent;
}

static void drop_unnamed(struct follow *follow)
{
    size_t kept = 0;
    for (size_t i = 0; i < follow->count; i++) {
        if (follow->agents[i]->named)
            follow->agents[kept++] = follow->agents[i];
        else
            agent_destroy(follow->agents[i]);
    }
    follow->count = kept;
}

void follow_adopt(struct follow *follow, const struct table *table)
{
    for (size_t i = 0; i < follow->count; i++)
        follow->agents[i]->named = false;
    for (uint32_t i = 0; i < table->unit_count; i++)
        for (uint32_t j = 0; j < table->units[i].agent_count; j++)
            find(follow, table->units[i].name, table->units[i].agents[j])->named = true;
    drop_unnamed(follow);
    mark_nodes(follow);
    for (size_t i = 0; i < follow->count; i++)
        tend(follow->agents[i], clock_monotonic_us());
}

void follow_each(const struct follow *follow, void (*fn)(const struct follow_agent *agent, void *arg), void *arg)
{
    uint64_t now_us = clock_monotonic_us();
    for (size_t i = 0; i < follow->count; i++) {
        const struct agent *agent = follow->agents[i];
        fn(&(struct follow_agent){.unit = agent->unit,
                                  .url = agent->url,
                                  .heard = agent->heard,
                                  .age_ms = agent->heard_us != 0 ? (int64_t)(now_us - agent->heard_us) / 1000 : -1,
                                  .fault = agent->heard ? "" : agent->fault,
                                  .report = agent->report},
           arg);
    }
}

struct follow *follow_create(sd_event *loop, struct registry *registry, const char *token)
{
    struct follow *follow = mem_calloc(1, sizeof(*follow));
    follow->registry = registry;
    follow->token = token;
    follow->client = http_client_create(loop, CONNECTIONS);
    INVARIANT(sd_event_add_time_relative(loop, &follow->tick, CLOCK_MONOTONIC, TICK_US, 0, on_tick, follow) >= 0);
    return follow;
}

void follow_destroy(struct follow **follow)
{
    if (*follow == NULL)
        return;
    for (size_t i = 0; i < (*follow)->count; i++)
        agent_destroy((*follow)->agents[i]);
    http_client_destroy(&(*follow)->client);
    sd_event_source_disable_unref((*follow)->tick);
    free((*follow)->agents);
    free(*follow);
    *follow = NULL;
}
