/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/replies.h"

#include <stdlib.h>

#include "common/invariant.h"
#include "common/log.h"
#include "common/loop.h"

#define STREAM_MOST   "4096"  /* answers that a stream keeps for a gateway that does not read them */
#define STREAM_TTL_MS "60000" /* how long a stream outlives its last answer */
#define HEADERS_MOST  16384
#define HELD_MOST     (32u << 20) /* bytes that wait for the broker, or are under way */
#define CALL_MOST     64          /* answers a call */
#define RETRY_US      50000       /* while the broker is away */
#define ANSWER_WORDS  5           /* id, status, headers, body, fault */

struct answer {
    struct answer *next;
    size_t bytes;
    struct str stream;
    struct str words[ANSWER_WORDS];
    char text[];
};

struct replies {
    struct replies_config config;
    sd_event_source *flush, *retry;
    struct answer *first, **last; /* what waits, in the order it came */
    size_t held;                  /* bytes of what waits and of what is under way */
};

/* Answers under way, on one call. */
struct batch {
    struct replies *replies;
    size_t count, bytes;
};

static void drop(struct replies *replies, size_t count)
{
    stat_add(&replies->config.stats->agent_replies_dropped_total, count);
}

static void on_sent(void *arg, const redisReply *reply)
{
    struct batch *batch = arg;
    struct replies *replies = batch->replies;
    bool kept = reply != NULL && reply->type != REDIS_REPLY_ERROR;
    if (!kept) {
        log_warning("reply.refused", "%s; who waits for an answer waits in vain", reply ? reply->str : "no answer");
        drop(replies, batch->count);
    }
    replies->held -= batch->bytes;
    free(batch);
}

/* Takes from what waits all that goes to the same stream as the first. */
static bool send_first(struct replies *replies)
{
    struct str words[2 + CALL_MOST * ANSWER_WORDS] = {STR_LIT(STREAM_MOST), STR_LIT(STREAM_TTL_MS)};
    struct answer *sent[CALL_MOST];
    struct batch *batch = mem_calloc(1, sizeof(*batch));
    struct str stream = replies->first->stream;
    batch->replies = replies;
    for (struct answer **slot = &replies->first, *answer; (answer = *slot) != NULL && batch->count < CALL_MOST;) {
        if (!str_equal(answer->stream, stream)) {
            slot = &answer->next;
            continue;
        }
        *slot = answer->next;
        memcpy(&words[2 + batch->count * ANSWER_WORDS], answer->words, sizeof(answer->words));
        batch->bytes += answer->bytes;
        sent[batch->count++] = answer;
    }
    size_t count = batch->count;
    bool under_way =
        outbox_call(replies->config.outbox, "ldc1_answer", stream, words, 2 + count * ANSWER_WORDS, on_sent, batch);
    if (!under_way)
        on_sent(batch, NULL);
    for (size_t i = 0; i < count; i++)
        free(sent[i]);
    return under_way;
}

static void find_last(struct replies *replies)
{
    replies->last = &replies->first;
    while (*replies->last != NULL)
        replies->last = &(*replies->last)->next;
}

static void send_all(struct replies *replies)
{
    if (!outbox_ready(replies->config.outbox)) {
        loop_wake_in(replies->retry, RETRY_US);
        return;
    }
    while (replies->first != NULL && send_first(replies))
        continue;
    find_last(replies);
}

static int on_flush(sd_event_source *source, void *arg)
{
    (void)source;
    send_all(arg);
    return 0;
}

static int on_retry(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    send_all(arg);
    return 0;
}

/* --- one answer --------------------------------------------------------------------------------------------------- */

static struct str copy(char **at, struct str text)
{
    struct str copied = {*at, text.len};
    if (text.len > 0)
        memcpy(*at, text.base, text.len);
    *at += text.len;
    return copied;
}

static struct answer *answer_create(struct str stream, const struct str *words)
{
    size_t bytes = sizeof(struct answer) + stream.len;
    for (int i = 0; i < ANSWER_WORDS; i++)
        bytes += words[i].len;
    struct answer *answer = mem_alloc(bytes);
    *answer = (struct answer){.bytes = bytes};
    char *at = answer->text;
    answer->stream = copy(&at, stream);
    for (int i = 0; i < ANSWER_WORDS; i++)
        answer->words[i] = copy(&at, words[i]);
    return answer;
}

/* Why the answer cannot be passed on; "" where it can. */
static const char *fault_of(const struct replies *replies, const struct http_response *response, size_t header_bytes)
{
    if (response->status == 0)
        return response->timed_out ? "The app did not answer in time, and the message is dead"
                                   : "The app's answer did not arrive, and the message is dead";
    if (response->cut || response->body.len > (size_t)replies->config.options->reply.max_body)
        return "The app has taken the message, but its answer is longer than the agent's reply.max_body";
    return header_bytes > HEADERS_MOST ? "The app has taken the message, but its answer's head is too long" : "";
}

static void hold(struct replies *replies, struct answer *answer)
{
    if (replies->held + answer->bytes > HELD_MOST) {
        drop(replies, 1);
        free(answer);
        return;
    }
    replies->held += answer->bytes;
    *replies->last = answer;
    replies->last = &answer->next;
    loop_wake(replies->flush);
}

void replies_settle(struct replies *replies, const struct message *message, const struct http_response *response)
{
    struct str stream = message->envelope.fields[ENVELOPE_REPLY];
    if (stream.len == 0)
        return;
    char status[24];
    struct buf headers = {0};
    if (response->status != 0)
        http_response_headers(response, &headers);
    struct str fault = str_of(fault_of(replies, response, headers.len));
    bool whole = fault.len == 0;
    struct str words[ANSWER_WORDS] = {message->envelope.fields[ENVELOPE_ID],
                                      {status, str_from_u64((uint64_t)response->status, status)},
                                      whole ? buf_str(&headers) : STR_LIT(""),
                                      whole ? response->body : STR_LIT(""),
                                      fault};
    stat_add(&replies->config.stats->agent_replies_total, 1);
    hold(replies, answer_create(stream, words));
    buf_free(&headers);
}

bool replies_idle(const struct replies *replies)
{
    return replies->held == 0;
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

struct replies *replies_create(sd_event *loop, const struct replies_config *config)
{
    struct replies *replies = mem_calloc(1, sizeof(*replies));
    replies->config = *config;
    replies->last = &replies->first;
    replies->flush = loop_later(loop, on_flush, replies);
    /* Before the cursor that says that the message is done: an answer must not die with the agent in between. */
    INVARIANT(sd_event_source_set_priority(replies->flush, SD_EVENT_PRIORITY_IMPORTANT) >= 0);
    replies->retry = loop_timer(loop, on_retry, replies);
    return replies;
}

void replies_destroy(struct replies **replies_p)
{
    struct replies *replies = *replies_p;
    if (replies == NULL)
        return;
    *replies_p = NULL;
    for (struct answer *answer; (answer = replies->first) != NULL;) {
        replies->first = answer->next;
        free(answer);
    }
    sd_event_source_disable_unref(replies->flush);
    sd_event_source_disable_unref(replies->retry);
    free(replies);
}
