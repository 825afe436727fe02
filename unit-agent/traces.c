/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memrchr */
#include "unit-agent/traces.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/measure.h"
#include "common/percent.h"

#define HELD_MOST     (8u << 20) /* bytes that wait, or are under way */
#define PAGE_MOST     16384      /* bytes of one entry */
#define COVERS        64
#define UNIQUE_DIGITS 24

/* From when on a replica held the entries up to ID. */
struct cover {
    struct stream_id id;
    uint64_t us;
};

/* What waits of one partition of one subscription. It lives as long as the traces. */
struct trace_page {
    struct trace_page *next_dirty, *next;
    char *key, *subscription;
    struct buf lines;
    size_t count;
    struct cover covers[COVERS]; /* the latest ones, as a ring */
    unsigned next_cover;
};

struct traces {
    struct traces_config config;
    sd_event *loop;
    sd_event_source *timer;
    bool armed;
    struct trace_page *pages, *dirty;
    size_t held;     /* bytes of what waits and of what is under way */
    bool complained; /* since the last entry that the broker took */
};

/* One entry under way. */
struct trace_entry {
    struct traces *traces;
    size_t count, bytes;
};

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void on_written(void *arg, const redisReply *reply)
{
    struct trace_entry *entry = arg;
    struct traces *traces = entry->traces;
    bool kept = reply != NULL && reply->type != REDIS_REPLY_ERROR;
    if (!kept && !traces->complained)
        log_warning("trace.refused", "%s; what happens to messages is not traced", reply ? reply->str : "no answer");
    traces->complained = !kept;
    stat_add(kept ? &traces->config.stats->agent_traces_total : &traces->config.stats->agent_traces_dropped_total,
             entry->count);
    traces->held -= entry->bytes;
    free(entry);
}

static void write_page(struct traces *traces, struct trace_page *page)
{
    char most[24];
    struct trace_entry *entry = mem_calloc(1, sizeof(*entry));
    *entry = (struct trace_entry){traces, page->count, page->lines.len};
    struct str args[] = {{most, str_from_u64((uint64_t)traces->config.options->trace.max_entries, most)},
                         str_of(traces->config.agent),
                         str_of(page->subscription),
                         buf_str(&page->lines)};
    if (!outbox_call(traces->config.outbox, "ldc1_note", str_of(page->key), args, COUNT_OF(args), on_written, entry))
        on_written(entry, NULL);
    page->lines.len = page->count = 0;
}

static void arm(struct traces *traces)
{
    if (traces->armed)
        return;
    traces->armed = true;
    loop_wake_in(traces->timer, (uint64_t)traces->config.options->trace.interval * 1000);
}

/* While the broker is away lines wait, up to a bound. */
void traces_flush(struct traces *traces)
{
    if (traces->dirty != NULL && !outbox_ready(traces->config.outbox)) {
        arm(traces);
        return;
    }
    for (struct trace_page *page; (page = traces->dirty) != NULL;) {
        traces->dirty = page->next_dirty;
        if (page->count > 0)
            write_page(traces, page);
        page->next_dirty = NULL;
    }
}

static int on_timer(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct traces *traces = arg;
    traces->armed = false;
    traces_flush(traces);
    return 0;
}

bool traces_idle(const struct traces *traces)
{
    return traces->held == 0;
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static struct trace_page *page_of(struct traces *traces, struct partition *partition)
{
    struct trace_page *page = partition->trace;
    if (page != NULL)
        return page;
    page = partition->trace = mem_calloc(1, sizeof(*page));
    struct str stream = str_of(partition->stream_key), suffix = STR_LIT("stream");
    struct buf key = {0};
    INVARIANT(stream.len > suffix.len);
    buf_append(&key, stream.base, stream.len - suffix.len);
    buf_append(&key, "trace", sizeof("trace"));
    page->key = key.base;
    page->subscription = str_dup(str_of(partition->place));
    page->next = traces->pages;
    traces->pages = page;
    return page;
}

static struct str unique_of(const struct message *message)
{
    struct str id = message->envelope.fields[ENVELOPE_ID];
    return id.len > UNIQUE_DIGITS ? (struct str){id.base + id.len - UNIQUE_DIGITS, UNIQUE_DIGITS} : STR_LIT("");
}

/* By the random end of the id, so that all agents trace the same messages. */
static bool is_sampled(const struct traces *traces, struct str unique)
{
    uint64_t sample = (uint64_t)traces->config.options->trace.sample, number = 0;
    if (sample <= 1)
        return sample == 1;
    for (size_t i = UNIQUE_DIGITS - 12; i < UNIQUE_DIGITS; i++)
        number = number * 16 + (unsigned)(unique.base[i] & 15) + (unique.base[i] >= 'a' ? 9u : 0u);
    return number % sample == 0;
}

/* The page that takes a line about MESSAGE of KIND, which it begins; NULL: none is to be written. */
static struct trace_page *begin(struct traces *traces, const struct message *message, struct str kind)
{
    struct str unique = unique_of(message);
    if (unique.len == 0 || !is_sampled(traces, unique))
        return NULL;
    if (traces->held > HELD_MOST) {
        stat_add(&traces->config.stats->agent_traces_dropped_total, 1);
        return NULL;
    }
    struct trace_page *page = page_of(traces, message->partition);
    traces->held -= page->lines.len; /* what the line adds is counted when it ends */
    if (page->count == 0) {
        page->next_dirty = traces->dirty;
        traces->dirty = page;
    }
    buf_append_str(&page->lines, kind);
    buf_append_str(&page->lines, unique);
    return page;
}

static void end(struct traces *traces, struct trace_page *page)
{
    buf_append(&page->lines, "\n", 1);
    page->count++;
    traces->held += page->lines.len;
    if (page->lines.len > PAGE_MOST)
        traces_flush(traces);
    else
        arm(traces);
}

static void put_number(struct trace_page *page, uint64_t number)
{
    char *at = buf_reserve(&page->lines, 24);
    at[0] = ' ';
    page->lines.len += 1 + str_from_u64(number, at + 1);
}

/* How long before NOW_US something was; "-" where that is not known. */
static void put_before(struct trace_page *page, uint64_t now_us, uint64_t then_us)
{
    if (then_us == 0)
        buf_append(&page->lines, " -", 2);
    else
        put_number(page, now_us > then_us ? now_us - then_us : 0);
}

static void put_text(struct trace_page *page, struct str text)
{
    buf_append(&page->lines, " ", 1);
    if (text.len > 0)
        buf_append_str(&page->lines, text);
    else
        buf_append(&page->lines, "-", 1);
}

/* The gateway says its name in the last Via field. */
static struct str gateway_of(const struct message *message)
{
    static const struct str start = STR_LIT("via: 1.1 ");
    struct str lines = message->envelope.fields[ENVELOPE_HEADERS];
    while (lines.len > 0) {
        const char *before = memrchr(lines.base, '\n', lines.len);
        const char *line = before != NULL ? before + 1 : lines.base;
        struct str text = {line, (size_t)(lines.base + lines.len - line)};
        if (str_starts(text, start))
            return (struct str){text.base + start.len, text.len - start.len};
        lines.len = before != NULL ? (size_t)(before - lines.base) : 0;
    }
    return STR_LIT("");
}

static uint64_t number_of(const struct message *message, enum envelope_field field)
{
    uint64_t number = 0;
    return str_to_u64(message->envelope.fields[field], &number) ? number : 0;
}

void traces_covered(struct traces *traces, struct partition *partition, struct stream_id id)
{
    struct trace_page *page = page_of(traces, partition);
    page->covers[page->next_cover++ % COVERS] = (struct cover){id, clock_wall_us()};
}

/* 0: not known, or no replica is asked. */
static uint64_t covered_us(const struct trace_page *page, struct stream_id id)
{
    uint64_t us = 0;
    for (unsigned i = 1; i <= COVERS; i++) {
        const struct cover *cover = &page->covers[(page->next_cover - i) % COVERS];
        if (stream_id_compare(cover->id, id) < 0)
            return us;
        us = cover->us;
    }
    return 0; /* it was longer ago than this page knows */
}

/* Users may have blanks. */
static void put_user(struct trace_page *page, struct str user)
{
    buf_append(&page->lines, " ", 1);
    percent_encode(user, "%", &page->lines);
}

void traces_attempted(struct traces *traces, const struct message *message, const struct delivery_attempt *attempt)
{
    struct trace_page *page = begin(traces, message, STR_LIT("a "));
    char entry[STREAM_ID_TEXT];
    if (page == NULL)
        return;
    put_number(page, message->attempt);
    put_number(page, (uint64_t)attempt->response->status);
    put_number(page, attempt->began_us);
    put_before(page, attempt->ended_us, attempt->began_us);
    put_before(page, attempt->began_us, message->ingress_us);
    put_before(page, attempt->began_us, number_of(message, ENVELOPE_STORED));
    put_before(page, attempt->began_us, covered_us(page, message->span.first));
    put_text(page, (struct str){entry, stream_id_format(entry, message->span.first)});
    put_text(page, str_of(attempt->node));
    put_text(page, gateway_of(message));
    put_user(page, message->envelope.fields[ENVELOPE_USER]);
    end(traces, page);
}

void traces_begun(struct traces *traces, struct message *message)
{
    struct trace_page *page = message->told_begun ? NULL : begin(traces, message, STR_LIT("s "));
    message->told_begun = true;
    if (page == NULL)
        return;
    put_number(page, message->attempt);
    put_number(page, message->began_us);
    put_text(page, str_of(message->node->url));
    end(traces, page);
}

void traces_recorded(struct traces *traces, const struct message *message)
{
    static const struct str kinds[] = {
        [FATE_TAKEN] = STR_LIT("k "), [FATE_PARKED] = STR_LIT("p "), [FATE_DEAD] = STR_LIT("d ")};
    struct trace_page *page = begin(traces, message, kinds[message->fate]);
    if (page == NULL)
        return;
    put_number(page, clock_wall_us());
    if (message->fate == FATE_DEAD)
        put_number(page, (uint64_t)message->status);
    else if (message->fate == FATE_PARKED && message->wait_ms >= 0)
        put_number(page, (uint64_t)message->wait_ms);
    end(traces, page);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

struct traces *traces_create(sd_event *loop, const struct traces_config *config)
{
    struct traces *traces = mem_calloc(1, sizeof(*traces));
    traces->loop = loop;
    traces->config = *config;
    traces->timer = loop_timer(loop, on_timer, traces);
    return traces;
}

void traces_destroy(struct traces **traces_p)
{
    struct traces *traces = *traces_p;
    if (traces == NULL)
        return;
    *traces_p = NULL;
    for (struct trace_page *page; (page = traces->pages) != NULL;) {
        traces->pages = page->next;
        buf_free(&page->lines);
        free(page->key);
        free(page->subscription);
        free(page);
    }
    sd_event_source_disable_unref(traces->timer);
    free(traces);
}
