/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/post.h"

#include "common/clock.h"
#include "common/percent.h"

static void begin(struct post *post, struct str name)
{
    post->starts[post->count++] = post->text.len;
    buf_append_str(&post->text, name);
    buf_append(&post->text, ": ", 2);
}

static void end(struct post *post)
{
    buf_append(&post->text, "", 1);
}

static void put(struct post *post, struct str name, struct str value)
{
    begin(post, name);
    buf_append_str(&post->text, value);
    end(post);
}

static void put_number(struct post *post, struct str name, unsigned long value)
{
    begin(post, name);
    buf_printf(&post->text, "%lu", value);
    end(post);
}

static bool in_list(struct str name, const char *const *list)
{
    for (; *list != NULL; list++)
        if (str_equal_nocase(name, str_of(*list)))
            return true;
    return false;
}

static bool has_prefix(struct str name, struct str prefix)
{
    return name.len >= prefix.len && str_equal_nocase((struct str){name.base, prefix.len}, prefix);
}

/* Not the client's to say here: they belong to one hop, or are this program's own. */
static bool is_own(struct str name)
{
    static const char *const own[] = {"host", "content-length", "transfer-encoding", "connection", "keep-alive",
                                      "te",   "trailer",        "upgrade",           "expect",     NULL};
    return name.len == 0 || has_prefix(name, STR_LIT("ldc-")) || has_prefix(name, STR_LIT("proxy-")) ||
           in_list(name, own);
}

/* Whether the client sent a CloudEvent. It stays the event that it is: its attributes go on, and none is made up. */
static bool is_event(struct str lines)
{
    for (struct str line, name; str_next(&lines, '\n', &line);)
        if (str_next(&line, ':', &name) && str_equal_nocase(name, STR_LIT("ce-specversion")))
            return true;
    return false;
}

/* Returns whether an Idempotency-Key was among them. */
static bool put_stored(struct post *post, struct str lines, bool event)
{
    bool has_key = false;
    for (struct str value, name; str_next(&lines, '\n', &value);) {
        if (!str_next(&value, ':', &name) || value.base == NULL || is_own(name) ||
            (!event && has_prefix(name, STR_LIT("ce-"))) || post->count >= POST_MOST_HEADERS - 32)
            continue;
        has_key |= str_equal_nocase(name, STR_LIT("idempotency-key"));
        put(post, name, str_trim(value));
    }
    return has_key;
}

static void put_event(struct post *post, const struct message *message, struct str unit, struct str topic,
                      unsigned number)
{
    const struct str *fields = message->envelope.fields;
    char time[CLOCK_UTC_SIZE];
    clock_format_utc(message->ingress_us, time);
    put(post, STR_LIT("ce-specversion"), STR_LIT("1.0"));
    put(post, STR_LIT("ce-type"), STR_LIT("ldcgate.message"));
    put(post, STR_LIT("ce-id"), fields[ENVELOPE_ID]);
    begin(post, STR_LIT("ce-source"));
    buf_printf(&post->text, "/units/%.*s/topics/%.*s/%u", STR_ARG(unit), STR_ARG(topic), number);
    end(post);
    put(post, STR_LIT("ce-time"), str_of(time));
    begin(post, STR_LIT("ce-subject"));
    percent_encode(fields[ENVELOPE_USER], PERCENT_CLOUDEVENTS, &post->text);
    end(post);
}

void post_compose(struct post *post, const struct message *message, struct str unit, struct str topic, unsigned number)
{
    const struct str *fields = message->envelope.fields;
    bool event = is_event(fields[ENVELOPE_HEADERS]);
    post->count = post->text.len = 0;
    if (!event)
        put_event(post, message, unit, topic, number);
    put(post, STR_LIT("LDC-Message-Id"), fields[ENVELOPE_ID]);
    put(post, STR_LIT("LDC-User"), fields[ENVELOPE_USER]);
    put(post, STR_LIT("LDC-Unit"), unit);
    put(post, STR_LIT("LDC-Slot"), fields[ENVELOPE_SLOT]);
    put(post, STR_LIT("LDC-Color"), fields[ENVELOPE_COLOR]);
    put(post, STR_LIT("LDC-Epoch"), fields[ENVELOPE_EPOCH]);
    put(post, STR_LIT("LDC-Topic"), topic);
    put(post, STR_LIT("LDC-Method"), fields[ENVELOPE_METHOD]);
    put_number(post, STR_LIT("LDC-Attempt"), message->attempt);
    if (!put_stored(post, fields[ENVELOPE_HEADERS], event))
        put(post, STR_LIT("Idempotency-Key"), fields[ENVELOPE_ID]);
    for (size_t i = 0; i < post->count; i++)
        post->headers[i] = post->text.base + post->starts[i];
    post->headers[post->count] = NULL;
}

void post_free(struct post *post)
{
    buf_free(&post->text);
}
