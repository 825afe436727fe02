/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memmem */
#include "ops/drill_load.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/invariant.h"

#define TICK_US            2000
#define TIMEOUT_MS         10000
#define CONNECT_TIMEOUT_MS 1000
#define MOST_CONNECTIONS   512 /* to a gateway: what a held unit's users ask for meanwhile */

struct drill_load {
    struct drill_load_plan plan;
    pthread_t thread;
    pthread_mutex_t lock; /* over `requests` and what they hold */
    struct drill_request *requests;
    size_t count, room;
    sd_event *loop;
    struct http_client *client;
    uint64_t began_us;
    size_t open;
    bool stopping; /* guarded by `lock` */
    bool joined;
};

/* One that is under way. */
struct sending {
    struct drill_load *load;
    size_t number; /* into `requests` */
    size_t tried;  /* gateways that could not be reached */
};

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* The value of the field NAME (with its colon) among "name: value" lines; base NULL where there is none. */
static struct str field_of(struct str lines, struct str name)
{
    struct str line;
    while (str_next(&lines, '\n', &line))
        if (line.len > name.len && str_equal_nocase((struct str){line.base, name.len}, name))
            return str_trim((struct str){line.base + name.len, line.len - name.len});
    return (struct str){NULL, 0};
}

/* What comes last in the problem's type: "urn:ldcgate:problem:outcome-unknown". */
static struct str problem_of(struct str body)
{
    static const char mark[] = "urn:ldcgate:problem:";
    const char *at = body.len > 0 ? memmem(body.base, body.len, mark, sizeof(mark) - 1) : NULL;
    if (at == NULL)
        return (struct str){NULL, 0};
    at += sizeof(mark) - 1;
    size_t len = 0, most = (size_t)(body.base + body.len - at);
    while (len < most && at[len] != '"')
        len++;
    return (struct str){at, len};
}

static void take_accepted(struct drill_request *request, struct str lines)
{
    struct str id = field_of(lines, STR_LIT("ldc-message-id:"));
    request->outcome = DRILL_ACCEPTED;
    request->id = id.len > 0 ? str_dup(id) : NULL;
}

static void take_refused(struct drill_request *request, const struct http_response *response)
{
    struct str problem = problem_of(response->body);
    bool unknown = response->status == 0 ? !response->unreached && !response->no_socket
                                         : str_equal(problem, STR_LIT("outcome-unknown")) || response->status == 502 ||
                                               response->status == 504;
    request->outcome = unknown ? DRILL_UNKNOWN : DRILL_FAILED;
    if (response->status == 0)
        problem = response->timed_out   ? STR_LIT("timeout")
                  : response->unreached ? STR_LIT("unreached")
                                        : STR_LIT("connection-lost");
    snprintf(request->reason, sizeof(request->reason), "%.*s", STR_ARG(problem));
}

static void take_answer(struct drill_request *request, const struct http_response *response)
{
    struct buf lines = {0};
    http_response_headers(response, &lines);
    request->status = (uint16_t)response->status;
    (void)str_to_u64(field_of(buf_str(&lines), STR_LIT("ldc-epoch:")), &request->epoch);
    if (response->status >= 200 && response->status < 300)
        take_accepted(request, buf_str(&lines));
    else
        take_refused(request, response);
    buf_free(&lines);
    request->answered_us = clock_monotonic_us();
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void send_one(struct sending *sending);

static void on_done(void *arg, const struct http_response *response)
{
    struct sending *sending = arg;
    struct drill_load *load = sending->load;
    bool again = response->unreached && ++sending->tried < load->plan.gateway_count;
    pthread_mutex_lock(&load->lock);
    struct drill_request *request = &load->requests[sending->number];
    if (again)
        request->gateway = (uint8_t)((request->gateway + 1U) % load->plan.gateway_count);
    else
        take_answer(request, response);
    pthread_mutex_unlock(&load->lock);
    if (again) {
        send_one(sending);
        return;
    }
    load->open--;
    free(sending);
}

/* As a balancer before the gateways does, it asks the next where one does not take connections. */
static void send_one(struct sending *sending)
{
    struct drill_load *load = sending->load;
    const struct drill_request *request = &load->requests[sending->number];
    const char *name = load->plan.users[request->user].name;
    char url[200], user[40], body[200];
    snprintf(url, sizeof(url), "%s%.*s", load->plan.gateways[request->gateway], STR_ARG(load->plan.path));
    snprintf(user, sizeof(user), "X-User-Id: %s", name);
    /* Whoever is paid is the same user: the message concerns one unit. */
    snprintf(body, sizeof(body), "{\"drill\":\"%s\",\"n\":%zu,\"payee\":\"%s\"}", load->plan.run, sending->number,
             name);
    const char *headers[] = {user, "Content-Type: application/json", NULL};
    struct http_request http = {.method = "POST",
                                .url = url,
                                .headers = headers,
                                .body = str_of(body),
                                .timeout_ms = TIMEOUT_MS,
                                .connect_timeout_ms = CONNECT_TIMEOUT_MS};
    http_client_start(load->client, &http, NULL, on_done, sending);
}

static struct drill_request *add_request(struct drill_load *load)
{
    if (load->count == load->room) {
        load->room = load->room > 0 ? 2 * load->room : 4096;
        load->requests = mem_realloc(load->requests, load->room * sizeof(*load->requests));
    }
    struct drill_request *request = &load->requests[load->count++];
    *request = (struct drill_request){.outcome = DRILL_UNDER_WAY};
    return request;
}

/* So that each user comes through each gateway, whatever count divides another (Knuth's multiplicative hash). */
static uint32_t spread(uint32_t number)
{
    return (number * 2654435761U) >> 16;
}

/* Whose turn it is: evenly spread, whatever the share. */
static uint32_t user_of(const struct drill_load_plan *plan, size_t number)
{
    size_t others = plan->user_count - plan->own_count;
    if (plan->own_percent == 0 || plan->own_count == 0 || others == 0)
        return (uint32_t)(number % plan->user_count);
    size_t own = number * plan->own_percent / 100, own_next = (number + 1) * plan->own_percent / 100;
    if (own_next > own)
        return (uint32_t)(own % plan->own_count);
    return (uint32_t)(plan->own_count + (number - own) % others);
}

static void ask_next(struct drill_load *load)
{
    const struct drill_load_plan *plan = &load->plan;
    struct sending *sending = mem_calloc(1, sizeof(*sending));
    pthread_mutex_lock(&load->lock);
    size_t number = load->count;
    struct drill_request *request = add_request(load);
    request->user = user_of(plan, number);
    request->gateway = (uint8_t)(spread((uint32_t)number) % plan->gateway_count);
    request->asked_us = clock_monotonic_us();
    pthread_mutex_unlock(&load->lock);
    *sending = (struct sending){.load = load, .number = number};
    load->open++;
    send_one(sending);
}

/* --- thread ------------------------------------------------------------------------------------------------------- */

static bool told_to_stop(struct drill_load *load)
{
    pthread_mutex_lock(&load->lock);
    bool stopping = load->stopping;
    pthread_mutex_unlock(&load->lock);
    return stopping;
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    struct drill_load *load = arg;
    (void)at_us;
    uint64_t now_us = clock_monotonic_us();
    if (!told_to_stop(load)) {
        uint64_t due = (now_us - load->began_us) * load->plan.rate / 1000000;
        while (load->count < due)
            ask_next(load);
    } else if (load->open == 0) {
        return sd_event_exit(load->loop, 0);
    }
    INVARIANT(sd_event_source_set_time(source, now_us + TICK_US) >= 0);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void *run(void *arg)
{
    struct drill_load *load = arg;
    sd_event_source *timer = NULL;
    INVARIANT(sd_event_new(&load->loop) >= 0);
    load->client = http_client_create(load->loop, MOST_CONNECTIONS);
    load->began_us = clock_monotonic_us();
    INVARIANT(sd_event_add_time(load->loop, &timer, CLOCK_MONOTONIC, load->began_us, 100, on_tick, load) >= 0);
    INVARIANT(sd_event_loop(load->loop) >= 0);
    sd_event_source_unref(timer);
    http_client_destroy(&load->client);
    sd_event_unref(load->loop);
    return NULL;
}

/* Signals are for the thread that runs the drill. */
static void start_thread(struct drill_load *load)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    INVARIANT(pthread_create(&load->thread, NULL, run, load) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct drill_load *drill_load_start(const struct drill_load_plan *plan)
{
    struct drill_load *load = mem_calloc(1, sizeof(*load));
    load->plan = *plan;
    pthread_mutex_init(&load->lock, NULL);
    start_thread(load);
    return load;
}

void drill_load_stop(struct drill_load *load)
{
    if (load->joined)
        return;
    pthread_mutex_lock(&load->lock);
    load->stopping = true;
    pthread_mutex_unlock(&load->lock);
    pthread_join(load->thread, NULL);
    load->joined = true;
}

void drill_load_destroy(struct drill_load **owned)
{
    struct drill_load *load = *owned;
    if (load == NULL)
        return;
    drill_load_stop(load);
    for (size_t i = 0; i < load->count; i++)
        free(load->requests[i].id);
    free(load->requests);
    pthread_mutex_destroy(&load->lock);
    free(load);
    *owned = NULL;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

size_t drill_load_each(struct drill_load *load, size_t from, drill_load_fn fn, void *arg)
{
    pthread_mutex_lock(&load->lock);
    size_t count = load->count;
    for (size_t i = from; i < count; i++)
        fn(arg, &load->requests[i]);
    pthread_mutex_unlock(&load->lock);
    return count;
}

size_t drill_load_since(struct drill_load *load, uint64_t since_us)
{
    pthread_mutex_lock(&load->lock);
    size_t first = 0;
    for (size_t end = load->count; first < end;) {
        size_t middle = first + (end - first) / 2;
        if (load->requests[middle].asked_us < since_us)
            first = middle + 1;
        else
            end = middle;
    }
    pthread_mutex_unlock(&load->lock);
    return first;
}
