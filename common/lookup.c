/* SPDX-License-Identifier: Apache-2.0 */
#include "common/lookup.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/cursor.h"
#include "common/invariant.h"
#include "common/lookup_found.h"
#include "common/measure.h"

#define UNIQUE_DIGITS  24
#define CLOCK_SLACK_MS 10000 /* the broker's clock may be that far behind the gateway's */
#define DEAD_SLACK_MS  1000
#define MOST_PLACES    64 /* subscriptions, each agent's of a broadcast on its own */

/* Of the stream: pages grow while their entries are small. */
#define PAGE_LEAST   16
#define PAGE_MOST    128
#define PAGE_BYTES   (64u << 10)
#define MOST_ENTRIES 10000
#define MOST_BYTES   (16u << 20)

/* Of the traces, whose records may be large. */
#define TRACE_PAGE "32"
#define MOST_PAGES 128

/* Where the search for the entry goes: the broker stamps entries by its own clock when a message reaches it, a little
 * after the gateway named it; or long after it, where it was delayed. */
enum way {
    FORWARD = 0, /* from when the message was named */
    BEFORE,      /* back from there, in case that the broker's clock is behind */
    NEWEST,      /* from the end, where the way forward was too long */
    WAYS,
};

/* The cursor of one subscription, or of one agent's of a broadcast. */
struct place {
    struct lookup *lookup;
    char name[2 * PROTOCOL_NAME_MAX + 2];
};

/* Lifecycle: start -> timers and transactions -> agents -> traces -> the stream -> the places -> done. One question is
 * under way at a time, but for the places, which are asked together. */
struct lookup {
    struct broker *broker;
    lookup_done_fn done; /* NULL: nobody waits */
    void *arg;
    char id[PROTOCOL_ID_MAX];
    struct protocol_id parts; /* points into `id` */
    uint64_t made_ms;
    struct place places[MOST_PLACES];
    bool broadcast[MOST_PLACES];
    size_t place_count, owed;
    enum way way;
    bool forward_ended;
    char from[STREAM_ID_TEXT + 1], until[STREAM_ID_TEXT + 1];
    unsigned page, pages;
    size_t entries, bytes; /* seen on this way */
    bool away;
    struct lookup_found found;
};

static void finish(struct lookup *lookup, enum lookup_verdict verdict)
{
    json_t *document = verdict == LOOKUP_FOUND && lookup->done != NULL
                           ? lookup_found_document(&lookup->found, str_of(lookup->id), &lookup->parts)
                           : NULL;
    if (lookup->done != NULL)
        lookup->done(lookup->arg, verdict, document);
    json_decref(document);
    lookup_found_free(&lookup->found);
    free(lookup);
}

static void ask(struct lookup *lookup, broker_reply_fn done, int count, const char *const *words)
{
    if (lookup->done == NULL || !broker_command(lookup->broker, done, lookup, count, words, NULL))
        finish(lookup, LOOKUP_AWAY);
}

#define ASK(lookup, done, ...)                                                                                         \
    ask(lookup, done, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)),                              \
        (const char *const[]){__VA_ARGS__})

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, reply->len} : (struct str){"", 0};
}

static bool is_list(const redisReply *reply, size_t count)
{
    return reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == count;
}

static const char *key_of(const struct lookup *lookup, char key[PROTOCOL_KEY_MAX], const char *suffix)
{
    protocol_key(key, lookup->parts.unit, lookup->parts.topic, lookup->parts.partition, suffix);
    return key;
}

static struct str unique_of(const struct lookup *lookup)
{
    return str_of(lookup->id + strlen(lookup->id) - UNIQUE_DIGITS);
}

static void set_bounds(struct lookup *lookup, const char *from, const char *until)
{
    snprintf(lookup->from, sizeof(lookup->from), "%s", from);
    snprintf(lookup->until, sizeof(lookup->until), "%s", until);
}

static const char *ms_text(char text[24], uint64_t ms)
{
    text[str_from_u64(ms, text)] = '\0';
    return text;
}

static uint64_t earliest_ms(const struct lookup *lookup)
{
    return lookup->made_ms > CLOCK_SLACK_MS ? lookup->made_ms - CLOCK_SLACK_MS : 0;
}

/* --- the places --------------------------------------------------------------------------------------------------- */

static void add_numbers(json_t *place, const redisReply *reply, const char *const *names)
{
    for (size_t i = 0; i < reply->elements; i++) {
        uint64_t number;
        if (str_to_u64(text_of(reply->element[i]), &number))
            json_object_set_new(place, names[i], json_integer((json_int_t)number));
    }
}

static const char *state_by_cursor(const struct lookup *lookup, const redisReply *reply, enum lookup_trace last)
{
    struct cursor cursor;
    bool covered = false;
    if (lookup->found.entry.ms != 0 && text_of(reply->element[0]).len > 0 &&
        cursor_decode(text_of(reply->element[0]), text_of(reply->element[1]), text_of(reply->element[2]), &cursor)) {
        covered = cursor_covers(&cursor, lookup->found.entry);
        cursor_free(&cursor);
    }
    if (covered || last == LOOKUP_RECORDED)
        return last == LOOKUP_DEAD ? "dead" : "delivered";
    return last == LOOKUP_BEGUN ? "delivering" : "pending";
}

/* {watermark, done, passed, {due, attempts}, {status, attempts, microseconds, reason}} */
static json_t *place_json(const struct place *place, const redisReply *reply)
{
    static const char *const parked[] = {"due_ms", "attempts"};
    static const char *const dead[] = {"status", "attempts", "dead_us", ""};
    const struct lookup *lookup = place->lookup;
    const redisReply *park = reply->element[3], *letter = reply->element[4];
    uint64_t us = 0;
    enum lookup_trace last = lookup_found_last(&lookup->found, str_of(place->name), &us);
    const char *state = letter->elements == 4 ? "dead"
                        : park->elements == 2 ? "parked"
                                              : state_by_cursor(lookup, reply, last);
    json_t *json = json_pack("{s:s,s:s}", "name", place->name, "state", state);
    add_numbers(json, park, parked);
    if (letter->elements != 4)
        return json;
    add_numbers(json, letter, dead);
    struct str reason = text_of(letter->element[3]);
    json_t *text = json_stringn(reason.base, reason.len);
    json_object_set_new(json, "reason", text != NULL ? text : json_null());
    return json;
}

static void place_asked(struct lookup *lookup)
{
    if (--lookup->owed == 0)
        finish(lookup, lookup->away ? LOOKUP_AWAY : LOOKUP_FOUND);
}

static void on_place(void *arg, const redisReply *reply)
{
    struct place *place = arg;
    struct lookup *lookup = place->lookup;
    if (is_list(reply, 5) && reply->element[3]->type == REDIS_REPLY_ARRAY &&
        reply->element[4]->type == REDIS_REPLY_ARRAY)
        json_array_append_new(lookup->found.subscriptions, place_json(place, reply));
    else
        lookup->away = true;
    place_asked(lookup);
}

/* The parks of users have keys as long as the users. */
static bool ask_place(struct place *place, const char *entry, const char *dead_until)
{
    static const char *const kinds[] = {"cursor", "parked", "tries", "dead"};
    struct lookup *lookup = place->lookup;
    struct str user = buf_str(&lookup->found.user);
    char keys[4][PROTOCOL_KEY_MAX], suffix[2 * PROTOCOL_NAME_MAX + 16], park[PROTOCOL_KEY_MAX];
    struct buf park_key = {0};
    for (size_t i = 0; i < 4; i++) {
        snprintf(suffix, sizeof(suffix), "%s:%s", kinds[i], place->name);
        key_of(lookup, keys[i], suffix);
    }
    snprintf(suffix, sizeof(suffix), "park:%s:", place->name);
    buf_append_str(&park_key, str_of(key_of(lookup, park, suffix)));
    buf_append_str(&park_key, user);
    const char *words[] = {"FCALL", "ldc1_where", "5",           keys[0],    keys[1],
                           keys[2], keys[3],      park_key.base, lookup->id, user.len > 0 ? user.base : "",
                           entry,   dead_until};
    size_t lengths[12];
    for (size_t i = 0; i < 12; i++)
        lengths[i] = strlen(words[i]);
    lengths[7] = park_key.len;
    lengths[9] = user.len;
    bool asked = broker_command(lookup->broker, on_place, place, 12, words, lengths);
    buf_free(&park_key);
    return asked;
}

static void ask_places(struct lookup *lookup)
{
    char entry[STREAM_ID_TEXT] = "", dead_until[24] = "";
    uint64_t us;
    if (lookup->found.entry.ms == 0 && !lookup->found.stored && json_array_size(lookup->found.hops) == 0) {
        finish(lookup, LOOKUP_NOTHING);
        return;
    }
    if (lookup->found.entry.ms != 0)
        stream_id_format(entry, lookup->found.entry);
    lookup->owed = lookup->place_count + 1;
    for (size_t i = 0; i < lookup->place_count; i++) {
        struct place *place = &lookup->places[i];
        bool dead = lookup_found_last(&lookup->found, str_of(place->name), &us) == LOOKUP_DEAD;
        if (!ask_place(place, entry, dead ? ms_text(dead_until, us / 1000 + DEAD_SLACK_MS) : "")) {
            lookup->away = true;
            lookup->owed--;
        }
    }
    place_asked(lookup);
}

/* --- the stream --------------------------------------------------------------------------------------------------- */

static void ask_page(struct lookup *lookup);

/* The id is the envelope's first field. */
static bool is_wanted(const redisReply *entry, const struct lookup *lookup)
{
    const redisReply *fields = entry->elements == 2 ? entry->element[1] : NULL;
    return fields != NULL && fields->elements >= 2 && str_equal(text_of(fields->element[1]), str_of(lookup->id));
}

static size_t bytes_of(const redisReply *entry)
{
    const redisReply *fields = entry->elements == 2 ? entry->element[1] : NULL;
    size_t bytes = 0;
    for (size_t i = 0; fields != NULL && i < fields->elements; i++)
        bytes += fields->element[i]->len;
    return bytes;
}

static void take_entry(struct lookup *lookup, const redisReply *entry)
{
    const redisReply *fields = entry->element[1];
    struct str names[32], values[32];
    struct envelope envelope;
    struct stream_id id;
    size_t count = 0;
    for (; count < 32 && 2 * count + 1 < fields->elements; count++) {
        names[count] = text_of(fields->element[2 * count]);
        values[count] = text_of(fields->element[2 * count + 1]);
    }
    if (stream_id_parse(text_of(entry->element[0]), &id) && envelope_decode(names, values, count, &envelope))
        lookup_found_envelope(&lookup->found, id, &envelope);
    ask_places(lookup);
}

/* Behind the last entry of the page REPLY. */
static void go_on(struct lookup *lookup, const redisReply *reply, size_t bytes)
{
    lookup->entries += reply->elements;
    lookup->bytes += bytes;
    if (bytes < PAGE_BYTES && lookup->page < PAGE_MOST)
        lookup->page *= 2;
    else if (bytes > 4 * PAGE_BYTES && lookup->page > 1)
        lookup->page /= 2;
    snprintf(lookup->from, sizeof(lookup->from), "(%.*s",
             STR_ARG(text_of(reply->element[reply->elements - 1]->element[0])));
    ask_page(lookup);
}

static void begin_way(struct lookup *lookup)
{
    char made[24], earliest[24];
    ms_text(made, lookup->made_ms);
    ms_text(earliest, earliest_ms(lookup));
    lookup->entries = lookup->bytes = 0;
    lookup->page = PAGE_LEAST;
    if (lookup->way == FORWARD)
        set_bounds(lookup, made, "+");
    else if (lookup->way == BEFORE)
        set_bounds(lookup, made, earliest);
    else
        set_bounds(lookup, "+", made);
    ask_page(lookup);
}

static void next_way(struct lookup *lookup, bool ended)
{
    if (lookup->way == FORWARD)
        lookup->forward_ended = ended;
    lookup->way++;
    if (lookup->way == WAYS || (lookup->way == NEWEST && lookup->forward_ended))
        ask_places(lookup);
    else
        begin_way(lookup);
}

static void on_page(void *arg, const redisReply *reply)
{
    struct lookup *lookup = arg;
    size_t bytes = 0;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        finish(lookup, LOOKUP_AWAY);
        return;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        if (is_wanted(reply->element[i], lookup)) {
            take_entry(lookup, reply->element[i]);
            return;
        }
        bytes += bytes_of(reply->element[i]);
    }
    bool ended = reply->elements < lookup->page;
    if (!ended && lookup->entries < MOST_ENTRIES && lookup->bytes < MOST_BYTES)
        go_on(lookup, reply, bytes);
    else
        next_way(lookup, ended);
}

static void ask_page(struct lookup *lookup)
{
    char key[PROTOCOL_KEY_MAX], count[12];
    snprintf(count, sizeof(count), "%u", lookup->page);
    ASK(lookup, on_page, lookup->way == FORWARD ? "XRANGE" : "XREVRANGE", key_of(lookup, key, "stream"), lookup->from,
        lookup->until, "COUNT", count);
}

static void on_entry(void *arg, const redisReply *reply)
{
    struct lookup *lookup = arg;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY)
        finish(lookup, LOOKUP_AWAY);
    else if (reply->elements == 1 && is_wanted(reply->element[0], lookup))
        take_entry(lookup, reply->element[0]);
    else
        ask_places(lookup); /* trimmed */
}

static void ask_stream(struct lookup *lookup)
{
    char key[PROTOCOL_KEY_MAX], entry[STREAM_ID_TEXT];
    if (lookup->found.entry.ms == 0) {
        lookup->way = FORWARD;
        begin_way(lookup);
        return;
    }
    stream_id_format(entry, lookup->found.entry);
    ASK(lookup, on_entry, "XRANGE", key_of(lookup, key, "stream"), entry, entry);
}

/* --- traces ------------------------------------------------------------------------------------------------------- */

static void ask_traces(struct lookup *lookup);

static void take_lines(struct lookup *lookup, const redisReply *lines)
{
    for (size_t i = 0; i < lines->elements; i++) {
        const redisReply *line = lines->element[i];
        if (is_list(line, 3))
            lookup_found_line(&lookup->found, text_of(line->element[0]), text_of(line->element[1]),
                              text_of(line->element[2]));
    }
}

static bool all_ended(const struct lookup *lookup)
{
    uint64_t us;
    for (size_t i = 0; i < lookup->place_count; i++) {
        enum lookup_trace last = lookup_found_last(&lookup->found, str_of(lookup->places[i].name), &us);
        if (last != LOOKUP_RECORDED && last != LOOKUP_DEAD)
            return false;
    }
    return true;
}

static void on_traces(void *arg, const redisReply *reply)
{
    struct lookup *lookup = arg;
    if (!is_list(reply, 2) || reply->element[1]->type != REDIS_REPLY_ARRAY) {
        finish(lookup, LOOKUP_AWAY);
        return;
    }
    take_lines(lookup, reply->element[1]);
    struct str next = text_of(reply->element[0]);
    char earliest[24];
    if (next.len == 0 || all_ended(lookup)) {
        ask_stream(lookup);
    } else if (++lookup->pages < MOST_PAGES) {
        snprintf(lookup->from, sizeof(lookup->from), "%.*s", STR_ARG(next));
        ask_traces(lookup);
    } else if (lookup->way == FORWARD) { /* what is between the two ways is not looked at */
        lookup->found.incomplete = true;
        lookup->way = NEWEST;
        lookup->pages = 0;
        set_bounds(lookup, "+", ms_text(earliest, earliest_ms(lookup)));
        ask_traces(lookup);
    } else {
        ask_stream(lookup);
    }
}

static void ask_traces(struct lookup *lookup)
{
    char key[PROTOCOL_KEY_MAX];
    ASK(lookup, on_traces, "FCALL", "ldc1_traced", "1", key_of(lookup, key, "trace"), unique_of(lookup).base,
        lookup->from, lookup->until, TRACE_PAGE, lookup->way == NEWEST ? "newest" : "");
}

static void begin_traces(struct lookup *lookup)
{
    char earliest[24];
    set_bounds(lookup, ms_text(earliest, earliest_ms(lookup)), "+");
    ask_traces(lookup);
}

/* --- agents, timers and transactions ------------------------------------------------------------------------------ */

static void add_place(struct lookup *lookup, const char *subscription, struct str agent)
{
    if (lookup->place_count == MOST_PLACES || agent.len > PROTOCOL_NAME_MAX)
        return;
    struct place *place = &lookup->places[lookup->place_count++];
    place->lookup = lookup;
    snprintf(place->name, sizeof(place->name), "%s%s%.*s", subscription, agent.len > 0 ? "@" : "", STR_ARG(agent));
}

/* Of a broadcast each agent has a cursor of its own. */
static void on_agents(void *arg, const redisReply *reply)
{
    struct lookup *lookup = arg;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        finish(lookup, LOOKUP_AWAY);
        return;
    }
    size_t named = lookup->place_count, kept = 0;
    struct place places[MOST_PLACES];
    memcpy(places, lookup->places, sizeof(places));
    lookup->place_count = 0;
    for (; kept < named; kept++)
        if (!lookup->broadcast[kept])
            add_place(lookup, places[kept].name, STR_LIT(""));
        else
            for (size_t i = 0; i < reply->elements; i++)
                add_place(lookup, places[kept].name, text_of(reply->element[i]));
    begin_traces(lookup);
}

static void ask_agents(struct lookup *lookup)
{
    char key[PROTOCOL_KEY_MAX];
    protocol_unit_key(key, lookup->parts.unit, "agents");
    ASK(lookup, on_agents, "HKEYS", key);
}

/* {state, ms, checks}, or nil. Those that were stored are in the stream like all others, but from another time on than
 * their ids say. */
static void on_waiting(void *arg, const redisReply *reply)
{
    static const char *const states[] = {"scheduled", "prepared", "parked", "rolled-back", "cancelled"};
    struct lookup *lookup = arg;
    if (reply == NULL) {
        finish(lookup, LOOKUP_AWAY);
        return;
    }
    for (size_t i = 0; is_list(reply, 3) && i < COUNT_OF(states); i++)
        if (str_equal(text_of(reply->element[0]), str_of(states[i]))) {
            lookup->found.waiting = states[i];
            lookup->found.waiting_ms = 0;
            (void)!str_to_u64(text_of(reply->element[1]), &lookup->found.waiting_ms);
            lookup->found.in_us = lookup->made_ms * 1000;
            finish(lookup, LOOKUP_FOUND);
            return;
        }
    if (is_list(reply, 3))
        (void)!str_to_u64(text_of(reply->element[1]), &lookup->made_ms);
    ask_agents(lookup);
}

static bool ask_waiting(struct lookup *lookup)
{
    char key[PROTOCOL_KEY_MAX];
    protocol_unit_key(key, lookup->parts.unit, "");
    const char *const words[] = {"FCALL", "ldc1_find", "1", key, lookup->id};
    return broker_command(lookup->broker, on_waiting, lookup, COUNT_OF(words), words, NULL);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

/* The id's last part begins with the milliseconds at which it was made. */
static uint64_t made_ms(struct str unique)
{
    char digits[13] = "";
    memcpy(digits, unique.base, 12);
    return strtoull(digits, NULL, 16);
}

struct lookup *lookup_start(struct broker *broker, struct str id, const struct lookup_subscription *subscriptions,
                            size_t count, lookup_done_fn done, void *arg)
{
    struct lookup *lookup = mem_calloc(1, sizeof(*lookup));
    *lookup = (struct lookup){.broker = broker, .done = done, .arg = arg};
    INVARIANT(id.len < sizeof(lookup->id));
    memcpy(lookup->id, id.base, id.len);
    INVARIANT(protocol_id_parse(str_of(lookup->id), &lookup->parts));
    lookup->made_ms = made_ms(unique_of(lookup));
    lookup_found_init(&lookup->found);
    for (size_t i = 0; i < count && i < MOST_PLACES; i++) {
        char name[PROTOCOL_NAME_MAX + 1];
        snprintf(name, sizeof(name), "%.*s", STR_ARG(subscriptions[i].name));
        lookup->broadcast[i] = subscriptions[i].broadcast;
        add_place(lookup, name, STR_LIT(""));
    }
    if (ask_waiting(lookup))
        return lookup;
    lookup_found_free(&lookup->found);
    free(lookup);
    return NULL;
}

void lookup_forget(struct lookup *lookup)
{
    lookup->done = NULL;
}
