/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/poll.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/http_client.h"
#include "common/invariant.h"
#include "common/str.h"
#include "ops/answer.h"

struct poll;

struct asked {
    struct poll *poll;
    size_t index;
    sd_event_source *again; /* the timer of the next question */
};

struct poll {
    const struct poll_question *question;
    poll_fn answered;
    void *arg;
    sd_event *loop;
    struct http_client *client;
    struct asked *asked;
    size_t open; /* who has not said enough */
};

static void on_answer(void *arg, const struct http_response *response);

static void ask(struct asked *asked)
{
    const struct poll_question *question = asked->poll->question;
    struct buf url = {0};
    buf_printf(&url, "%s%s", question->urls[asked->index], question->path);
    struct http_request request = {.method = "GET",
                                   .url = url.base,
                                   .timeout_ms = question->each_ms,
                                   .connect_timeout_ms = question->each_ms,
                                   .bearer_token = question->token};
    http_client_start(asked->poll->client, &request, NULL, on_answer, asked);
    buf_free(&url);
}

static int on_again(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source;
    (void)at_us;
    ask(arg);
    return 0;
}

static void on_answer(void *arg, const struct http_response *response)
{
    struct asked *asked = arg;
    struct poll *poll = asked->poll;
    char fault[80];
    bool fine = response->status >= 200 && response->status < 300;
    json_t *json = fine ? answer_parse(response->body) : NULL;
    snprintf(fault, sizeof(fault), "answered %ld%s", response->status, fine ? ", not with JSON" : "");
    struct poll_answer answer = {
        .index = asked->index, .json = json, .fault = response->status > 0 ? fault : response->error};
    enum poll_next next = poll->answered(poll->arg, &answer);
    json_decref(json);
    if (next == POLL_STOP || (next == POLL_ENOUGH && --poll->open == 0))
        sd_event_exit(poll->loop, 0);
    if (next != POLL_AGAIN)
        return;
    INVARIANT(sd_event_source_set_time_relative(asked->again, (uint64_t)poll->question->interval_ms * 1000) >= 0);
    INVARIANT(sd_event_source_set_enabled(asked->again, SD_EVENT_ONESHOT) >= 0);
}

static int on_deadline(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    (void)arg;
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

void poll_all(const struct poll_question *question, poll_fn answered, void *arg)
{
    struct poll poll = {.question = question, .answered = answered, .arg = arg, .open = question->url_count};
    if (poll.open == 0)
        return;
    INVARIANT(sd_event_new(&poll.loop) >= 0);
    poll.client = http_client_create(poll.loop, 2);
    poll.asked = mem_calloc(question->url_count, sizeof(*poll.asked));
    INVARIANT(sd_event_add_time_relative(poll.loop, NULL, CLOCK_MONOTONIC, (uint64_t)question->deadline_ms * 1000, 1000,
                                         on_deadline, NULL) >= 0);
    for (size_t i = 0; i < question->url_count; i++) {
        struct asked *asked = &poll.asked[i];
        *asked = (struct asked){.poll = &poll, .index = i};
        INVARIANT(sd_event_add_time_relative(poll.loop, &asked->again, CLOCK_MONOTONIC, 0, 1000, on_again, asked) >= 0);
    }
    INVARIANT(sd_event_loop(poll.loop) >= 0);
    http_client_destroy(&poll.client);
    for (size_t i = 0; i < question->url_count; i++)
        sd_event_source_disable_unref(poll.asked[i].again);
    free(poll.asked);
    sd_event_unref(poll.loop);
}
