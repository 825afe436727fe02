/* SPDX-License-Identifier: Apache-2.0 */
#include "common/lookup_found.h"

#include "common/clock.h"
#include "common/measure.h"
#include "common/percent.h"

#define MOST_HOPS 1000

void lookup_found_init(struct lookup_found *found)
{
    *found = (struct lookup_found){.hops = json_array(), .subscriptions = json_array()};
}

void lookup_found_free(struct lookup_found *found)
{
    json_decref(found->hops);
    json_decref(found->subscriptions);
    buf_free(&found->user);
    buf_free(&found->gateway);
}

static void set_text(struct buf *buf, struct str text)
{
    buf->len = 0;
    buf_append_str(buf, text);
}

/* --- the envelope ------------------------------------------------------------------------------------------------- */

/* The gateway says its name in the last Via field. */
static struct str last_via(struct str lines)
{
    static const struct str start = STR_LIT("via: 1.1 ");
    struct str via = STR_LIT("");
    for (struct str line; str_next(&lines, '\n', &line);)
        if (str_starts(line, start))
            via = (struct str){line.base + start.len, line.len - start.len};
    return via;
}

void lookup_found_envelope(struct lookup_found *found, struct stream_id entry, const struct envelope *envelope)
{
    const struct str *fields = envelope->fields;
    found->stored = true;
    found->entry = entry;
    (void)!str_to_u64(fields[ENVELOPE_INGRESS], &found->in_us);
    (void)!str_to_u64(fields[ENVELOPE_STORED], &found->st_us);
    if (found->st_us == 0)
        found->st_us = entry.ms * 1000;
    set_text(&found->user, fields[ENVELOPE_USER]);
    set_text(&found->gateway, last_via(fields[ENVELOPE_HEADERS]));
}

/* --- hops --------------------------------------------------------------------------------------------------------- */

static json_t *text_json(struct str text)
{
    json_t *value = json_stringn(text.base, text.len);
    return value != NULL ? value : json_string("(not UTF-8)");
}

static json_t *hop_at(const char *name, uint64_t us, struct str by)
{
    char at[CLOCK_UTC_SIZE];
    clock_format_utc(us, at);
    return json_pack("{s:s,s:s,s:I,s:o}", "hop", name, "at", at, "us", (json_int_t)us, "by", text_json(by));
}

static uint64_t hop_us(const json_t *hop)
{
    return (uint64_t)json_integer_value(json_object_get(hop, "us"));
}

/* In the order of their times; there are few. The same one may be found twice, from both ends of the stream. */
static void add_hop(struct lookup_found *found, json_t *hop)
{
    size_t at = json_array_size(found->hops);
    for (size_t i = 0; i < at; i++)
        if (json_equal(json_array_get(found->hops, i), hop)) {
            json_decref(hop);
            return;
        }
    while (at > 0 && hop_us(json_array_get(found->hops, at - 1)) > hop_us(hop))
        at--;
    if (json_array_size(found->hops) < MOST_HOPS)
        json_array_insert_new(found->hops, at, hop);
    else
        json_decref(hop);
}

static void set_number(json_t *hop, const char *name, uint64_t number)
{
    json_object_set_new(hop, name, json_integer((json_int_t)number));
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static struct str next_word(struct str *rest)
{
    struct str word = STR_LIT("");
    return str_next(rest, ' ', &word) ? word : STR_LIT("");
}

/* 0 where there is none. */
static uint64_t next_number(struct str *rest)
{
    uint64_t number = 0;
    return str_to_u64(next_word(rest), &number) ? number : 0;
}

/* When something was that lies the next word's microseconds before THEN_US; 0: not known. */
static uint64_t next_before(struct str *rest, uint64_t then_us)
{
    uint64_t us;
    return str_to_u64(next_word(rest), &us) && us <= then_us ? then_us - us : 0;
}

static struct str next_text(struct str *rest)
{
    struct str word = next_word(rest);
    return str_equal(word, STR_LIT("-")) ? STR_LIT("") : word;
}

static void learn_user(struct lookup_found *found, struct str encoded)
{
    if (found->user.len == 0 && !percent_decode(encoded, false, &found->user))
        found->user.len = 0;
}

/* Of the first attempt that is found: where it came from, in case that the stream has it no more. */
static void learn_birth(struct lookup_found *found, struct str *rest, uint64_t began_us)
{
    uint64_t in_us = next_before(rest, began_us), st_us = next_before(rest, began_us);
    found->in_us = found->in_us != 0 ? found->in_us : in_us;
    found->st_us = found->st_us != 0 ? found->st_us : st_us;
}

/* "ATTEMPT STATUS BEGAN TOOK AGE STORED COVERED ENTRY NODE GATEWAY USER" */
static json_t *read_attempt(struct lookup_found *found, struct str agent, struct str subscription, struct str rest)
{
    struct stream_id entry;
    uint64_t attempt = next_number(&rest), status = next_number(&rest), began_us = next_number(&rest);
    uint64_t took_us = next_number(&rest);
    learn_birth(found, &rest, began_us);
    uint64_t covered_us = next_before(&rest, began_us);
    if (stream_id_parse(next_word(&rest), &entry) && found->entry.ms == 0)
        found->entry = entry;
    struct str node = next_text(&rest), gateway = next_text(&rest);
    if (found->gateway.len == 0)
        set_text(&found->gateway, gateway);
    learn_user(found, next_text(&rest));
    if (covered_us != 0) {
        json_t *covered = hop_at("replicated", covered_us, agent);
        json_object_set_new(covered, "subscription", text_json(subscription));
        add_hop(found, covered);
    }
    json_t *hop = hop_at("attempt", began_us, agent);
    set_number(hop, "attempt", attempt);
    set_number(hop, "status", status);
    set_number(hop, "took_us", took_us);
    json_object_set_new(hop, "node", text_json(node));
    return hop;
}

/* "ATTEMPT BEGAN NODE" */
static json_t *read_begun(struct str agent, struct str rest)
{
    uint64_t attempt = next_number(&rest);
    json_t *hop = hop_at("begun", next_number(&rest), agent);
    set_number(hop, "attempt", attempt);
    json_object_set_new(hop, "node", text_json(next_text(&rest)));
    return hop;
}

/* "US [MS]" */
static json_t *read_parked(struct str agent, struct str rest)
{
    json_t *hop = hop_at("parked", next_number(&rest), agent);
    uint64_t wait_ms;
    if (str_to_u64(next_word(&rest), &wait_ms))
        set_number(hop, "wait_ms", wait_ms);
    return hop;
}

/* "US STATUS" */
static json_t *read_dead(struct str agent, struct str rest)
{
    json_t *hop = hop_at("dead", next_number(&rest), agent);
    set_number(hop, "status", next_number(&rest));
    return hop;
}

void lookup_found_line(struct lookup_found *found, struct str agent, struct str subscription, struct str line)
{
    struct str rest = line, kind = next_word(&rest);
    json_t *hop = NULL;
    (void)next_word(&rest); /* the id */
    if (str_equal(kind, STR_LIT("a")))
        hop = read_attempt(found, agent, subscription, rest);
    else if (str_equal(kind, STR_LIT("s")))
        hop = read_begun(agent, rest);
    else if (str_equal(kind, STR_LIT("k")))
        hop = hop_at("acknowledged", next_number(&rest), agent);
    else if (str_equal(kind, STR_LIT("p")))
        hop = read_parked(agent, rest);
    else if (str_equal(kind, STR_LIT("d")))
        hop = read_dead(agent, rest);
    if (hop == NULL)
        return;
    json_object_set_new(hop, "subscription", text_json(subscription));
    add_hop(found, hop);
}

enum lookup_trace lookup_found_last(const struct lookup_found *found, struct str subscription, uint64_t *us)
{
    static const struct {
        const char *hop;
        enum lookup_trace trace;
    } kinds[] = {{"begun", LOOKUP_BEGUN},
                 {"attempt", LOOKUP_FAILED},
                 {"parked", LOOKUP_FAILED},
                 {"acknowledged", LOOKUP_RECORDED},
                 {"dead", LOOKUP_DEAD}};
    enum lookup_trace last = LOOKUP_UNTRACED;
    for (size_t i = 0; i < json_array_size(found->hops); i++) {
        const json_t *hop = json_array_get(found->hops, i);
        const char *name = json_string_value(json_object_get(hop, "hop"));
        const char *of = json_string_value(json_object_get(hop, "subscription"));
        if (of == NULL || !str_equal(str_of(of), subscription))
            continue;
        for (size_t k = 0; k < COUNT_OF(kinds); k++)
            if (strcmp(name, kinds[k].hop) == 0) {
                last = kinds[k].trace;
                *us = hop_us(hop);
            }
    }
    return last;
}

/* --- the document ------------------------------------------------------------------------------------------------- */

/* The one that an operator should know first. */
static const char *overall_state(const struct lookup_found *found)
{
    static const char *const states[] = {"dead", "parked", "delivering", "pending"};
    if (found->waiting != NULL)
        return found->waiting;
    for (size_t i = 0; i < COUNT_OF(states); i++)
        for (size_t k = 0; k < json_array_size(found->subscriptions); k++) {
            const json_t *state = json_object_get(json_array_get(found->subscriptions, k), "state");
            if (strcmp(json_string_value(state), states[i]) == 0)
                return states[i];
        }
    return "delivered";
}

static void set_time(json_t *document, const char *name, uint64_t us)
{
    char text[CLOCK_UTC_SIZE];
    if (us == 0)
        return;
    clock_format_utc(us, text);
    json_object_set_new(document, name, json_string(text));
}

static void set_entry(json_t *document, const struct lookup_found *found)
{
    char entry[STREAM_ID_TEXT];
    if (found->entry.ms == 0)
        return;
    stream_id_format(entry, found->entry);
    json_object_set_new(document, "entry", json_string(entry));
}

/* The hops that lie before the agents', with theirs. */
static json_t *all_hops(const struct lookup_found *found)
{
    json_t *hops = json_array();
    if (found->in_us != 0)
        json_array_append_new(hops, hop_at("received", found->in_us, buf_str(&found->gateway)));
    if (found->st_us != 0)
        json_array_append_new(hops, hop_at("stored", found->st_us, STR_LIT("broker")));
    json_array_extend(hops, found->hops);
    return hops;
}

json_t *lookup_found_document(const struct lookup_found *found, struct str id, const struct protocol_id *parts)
{
    json_t *document =
        json_pack("{s:o,s:o,s:o,s:I,s:s}", "id", text_json(id), "unit", text_json(parts->unit), "topic",
                  text_json(parts->topic), "partition", (json_int_t)parts->partition, "state", overall_state(found));
    set_entry(document, found);
    set_time(document, "received", found->in_us);
    set_time(document, "stored", found->st_us);
    if (found->waiting != NULL)
        set_time(document, "due", found->waiting_ms * 1000);
    json_object_set_new(document, "gateway",
                        found->gateway.len > 0 ? text_json(buf_str(&found->gateway)) : json_null());
    json_object_set(document, "subscriptions", found->subscriptions);
    json_object_set_new(document, "hops", all_hops(found));
    json_object_set_new(document, "complete", json_boolean(!found->incomplete));
    return document;
}
