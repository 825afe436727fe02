/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/queue_call.h"

#include <xxhash.h>

#include "common/broker.h"
#include "common/collection_value.h"
#include "common/invariant.h"
#include "common/measure.h"

#define FINGERPRINT_DIGITS 32

static void add_key(struct queue_call *call, h2o_mem_pool_t *pool, const char *suffix)
{
    const struct queue_target *target = &call->target;
    char *key = h2o_mem_alloc_pool(pool, PROTOCOL_KEY_MAX);
    INVARIANT(call->key_count < QUEUE_CALL_KEYS);
    call->keys[call->key_count++] =
        (struct str){key, protocol_key(key, target->unit, target->topic->name, target->partition, suffix)};
}

static void add_unit_key(struct queue_call *call, h2o_mem_pool_t *pool, const char *suffix)
{
    char *key = h2o_mem_alloc_pool(pool, PROTOCOL_KEY_MAX);
    INVARIANT(call->key_count < QUEUE_CALL_KEYS);
    call->keys[call->key_count++] = (struct str){key, protocol_unit_key(key, call->target.unit, suffix)};
}

static void add_before(struct queue_call *call, struct str text)
{
    INVARIANT(call->before_count < QUEUE_CALL_ARGS);
    call->before[call->before_count++] = text;
}

static void add_behind(struct queue_call *call, struct str text)
{
    INVARIANT(call->behind_count < QUEUE_CALL_ARGS);
    call->behind[call->behind_count++] = text;
}

static struct str number(h2o_mem_pool_t *pool, uint64_t value)
{
    char *text = h2o_mem_alloc_pool(pool, 20);
    return (struct str){text, str_from_u64(value, text)};
}

/* --- idempotency -------------------------------------------------------------------------------------------------- */

/* Slashes of the key are escaped, for users may have some: the last one stands between the two. */
static void add_idempotency_key(struct queue_call *call, h2o_mem_pool_t *pool, struct str key)
{
    struct str user = call->envelope.fields[ENVELOPE_USER];
    char *text = h2o_mem_alloc_pool(pool, PROTOCOL_KEY_MAX + user.len + 3 * key.len);
    size_t len = protocol_key(text, call->target.unit, call->target.topic->name, call->target.partition, "idem:");
    if (user.len > 0)
        memcpy(text + len, user.base, user.len);
    len += user.len;
    text[len++] = '/';
    for (size_t i = 0; i < key.len; i++) {
        bool escaped = key.base[i] == '/' || key.base[i] == '%';
        if (escaped)
            memcpy(text + len, key.base[i] == '/' ? "%2F" : "%25", 3);
        else
            text[len] = key.base[i];
        len += escaped ? 3 : 1;
    }
    INVARIANT(call->key_count < QUEUE_CALL_KEYS);
    call->keys[call->key_count++] = (struct str){text, len};
}

/* XXH3-128 of method, path and body, in hex; their lengths are no part of it, for methods have no slash and paths no
 * line end. */
static struct str fingerprint(const struct envelope *envelope, h2o_mem_pool_t *pool)
{
    static const enum envelope_field parts[] = {ENVELOPE_METHOD, ENVELOPE_PATH, ENVELOPE_BODY};
    XXH3_state_t *state = XXH3_createState();
    INVARIANT(state != NULL);
    XXH3_128bits_reset(state);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        struct str part = envelope->fields[parts[i]];
        if (part.len > 0)
            XXH3_128bits_update(state, part.base, part.len);
        XXH3_128bits_update(state, "\n", 1);
    }
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    char *text = h2o_mem_alloc_pool(pool, FINGERPRINT_DIGITS);
    for (size_t i = 0; i < FINGERPRINT_DIGITS; i++)
        text[i] = "0123456789abcdef"[hash.digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
    return (struct str){text, FINGERPRINT_DIGITS};
}

/* --- the functions ------------------------------------------------------------------------------------------------ */

/* What all functions that take a message begin with. */
static void add_limits(struct queue_call *call, h2o_mem_pool_t *pool, const struct publish_options *options)
{
    bool keyed = options->idempotency_key.base != NULL;
    add_before(call, number(pool, call->target.topic->max_backlog));
    add_before(call, number(pool, (uint64_t)call->target.topic->idempotency_window_ms));
    add_before(call, keyed ? fingerprint(&call->envelope, pool) : STR_LIT(""));
}

static void fill_enqueue(struct queue_call *call, h2o_mem_pool_t *pool, const struct publish_options *options)
{
    add_key(call, pool, "stream");
    add_key(call, pool, "state");
    add_unit_key(call, pool, "epoch");
    if (options->idempotency_key.base != NULL)
        add_idempotency_key(call, pool, options->idempotency_key);
    add_limits(call, pool, options);
}

/* What all functions that put a message aside begin with. */
static void fill_aside(struct queue_call *call, h2o_mem_pool_t *pool, const struct publish_options *options)
{
    add_key(call, pool, "stream");
    add_key(call, pool, "state");
    add_unit_key(call, pool, "epoch");
    add_unit_key(call, pool, "");
    if (options->idempotency_key.base != NULL)
        add_idempotency_key(call, pool, options->idempotency_key);
    add_limits(call, pool, options);
}

static struct str due(h2o_mem_pool_t *pool, const struct publish_options *options)
{
    if (options->delay_us == 0)
        return number(pool, options->due_us);
    char *text = h2o_mem_alloc_pool(pool, 24);
    text[0] = '+';
    return (struct str){text, 1 + str_from_u64(options->delay_us, text + 1)};
}

static void fill_schedule(struct queue_call *call, h2o_mem_pool_t *pool, const struct publish_options *options)
{
    fill_aside(call, pool, options);
    add_behind(call, due(pool, options));
    add_behind(call, number(pool, (uint64_t)options->config->timers.near));
    add_behind(call, number(pool, (uint64_t)options->config->transactions.remember));
}

static void fill_prepare(struct queue_call *call, h2o_mem_pool_t *pool, const struct publish_options *options)
{
    fill_aside(call, pool, options);
    add_behind(call, options->check_url);
    add_behind(call, number(pool, (uint64_t)options->config->transactions.first_check));
    add_behind(call, number(pool, (uint64_t)options->config->transactions.remember));
}

static bool is_due_later(const struct publish_options *options)
{
    return options->due_us != 0;
}

static bool is_prepared(const struct publish_options *options)
{
    return options->prepares;
}

static bool always(const struct publish_options *options)
{
    (void)options;
    return true;
}

/* The first row that takes what the client asks for. */
static const struct {
    struct str function;
    bool (*takes)(const struct publish_options *options);
    void (*fill)(struct queue_call *call, h2o_mem_pool_t *pool, const struct publish_options *options);
} functions[] = {
    {STR_LIT("ldc1_prepare"), is_prepared, fill_prepare},
    {STR_LIT("ldc1_schedule"), is_due_later, fill_schedule},
    {STR_LIT("ldc1_enqueue"), always, fill_enqueue},
};

#define COLLECTIONS "ldc1_c_" /* as the names of their functions begin */

static const struct {
    struct str function, replay;
} replays[] = {
    {STR_LIT("ldc1_prepare"), STR_LIT("ldc1_replay_prepare")},
    {STR_LIT("ldc1_schedule"), STR_LIT("ldc1_replay_schedule")},
    {STR_LIT("ldc1_enqueue"), STR_LIT("ldc1_replay")},
    {STR_LIT(QUEUE_CALL_PUT), STR_LIT(QUEUE_CALL_REPLAY)},
};

void queue_call_init(struct queue_call *call, h2o_mem_pool_t *pool, const struct queue_target *target,
                     const struct publish_options *options)
{
    size_t row = 0;
    while (!functions[row].takes(options))
        row++;
    call->target = *target;
    call->function = functions[row].function;
    call->key_count = call->before_count = call->behind_count = 0;
    call->kind = QUEUE_CALL_MESSAGE;
    call->reads = false;
    functions[row].fill(call, pool, options);
}

void queue_call_init_end(struct queue_call *call, h2o_mem_pool_t *pool, struct str function, struct str id,
                         struct str argument)
{
    struct protocol_id parts;
    INVARIANT(protocol_id_parse(id, &parts));
    *call = (struct queue_call){
        .function = function, .target.unit = parts.unit, .envelope.fields[ENVELOPE_ID] = id, .kind = QUEUE_CALL_ENDING};
    add_unit_key(call, pool, "");
    add_before(call, id);
    add_before(call, argument);
}

void queue_call_init_collection(struct queue_call *call, h2o_mem_pool_t *pool, struct str function, struct str unit,
                                struct str collection)
{
    char *at = h2o_mem_alloc_pool(pool, PROTOCOL_KEY_MAX);
    *call = (struct queue_call){.function = function,
                                .target.unit = unit,
                                .keys[0] = {at, collection_key(at, unit, collection, "")},
                                .key_count = 1,
                                .kind = QUEUE_CALL_COLLECTION};
}

void queue_call_add_word(struct queue_call *call, struct str word)
{
    add_before(call, word);
}

/* --- the wire ----------------------------------------------------------------------------------------------------- */

static void put_number(struct buf *wire, uint64_t value)
{
    char text[20];
    broker_put_word(wire, (struct str){text, str_from_u64(value, text)});
}

static void put_words(struct buf *wire, const struct str *words, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        broker_put_word(wire, words[i]);
}

#define WORDS_FIXED   4                       /* FCALL name count, epoch */
#define WORDS_MESSAGE (ENVELOPE_REQUIRED + 1) /* the message, reply */

size_t queue_call_format(const struct queue_call *call, uint64_t broker_epoch, struct buf *wire)
{
    size_t start = wire->len, words = WORDS_FIXED + (call->kind == QUEUE_CALL_MESSAGE ? WORDS_MESSAGE : 0);
    broker_put_count(wire, words + call->key_count + call->before_count + call->behind_count);
    broker_put_word(wire, STR_LIT("FCALL"));
    broker_put_word(wire, call->function);
    put_number(wire, call->key_count);
    put_words(wire, call->keys, call->key_count);
    if (call->kind != QUEUE_CALL_ENDING)
        put_number(wire, broker_epoch);
    put_words(wire, call->before, call->before_count);
    if (call->kind == QUEUE_CALL_MESSAGE) {
        put_words(wire, call->envelope.fields, ENVELOPE_REQUIRED);
        broker_put_word(wire, call->envelope.fields[ENVELOPE_REPLY]);
    }
    put_words(wire, call->behind, call->behind_count);
    if (call->kind == QUEUE_CALL_ENDING)
        put_number(wire, broker_epoch);
    return wire->len - start;
}

/* --- once more ---------------------------------------------------------------------------------------------------- */

/* Takes the number behind its KIND, and the end of that line, off REST, which we have written ourselves. */
static uint64_t take_head(struct str *rest, char kind)
{
    struct str line;
    uint64_t number;
    INVARIANT(rest->len > 0 && rest->base[0] == kind && str_next(rest, '\n', &line) && line.len >= 3);
    INVARIANT(str_to_u64((struct str){line.base + 1, line.len - 2}, &number));
    return number;
}

static struct str take_word(struct str *rest)
{
    uint64_t len = take_head(rest, '$');
    INVARIANT(len + 2 <= rest->len);
    struct str word = {rest->base, len};
    *rest = (struct str){rest->base + len + 2, rest->len - len - 2};
    return word;
}

/* What FUNCTION is called as where nobody knows whether it has run. One that ends a message, reads, or looks for its
 * request itself may be called twice as it is. */
static struct str replay_of(struct str function)
{
    for (size_t i = 0; i < COUNT_OF(replays); i++)
        if (str_equal(function, replays[i].function))
            return replays[i].replay;
    return function;
}

static bool has_epoch_last(struct str function)
{
    return str_equal(function, replay_of(function)) && !str_starts(function, STR_LIT(COLLECTIONS));
}

size_t queue_call_format_again(struct str made, bool replay, uint64_t broker_epoch, struct buf *wire)
{
    struct str rest = made;
    size_t start = wire->len;
    uint64_t count = take_head(&rest, '*'), key_count;
    broker_put_count(wire, count);
    broker_put_word(wire, take_word(&rest));
    struct str function = take_word(&rest);
    bool last = has_epoch_last(function);
    broker_put_word(wire, replay ? replay_of(function) : function);
    struct str keys = rest;
    INVARIANT(str_to_u64(take_word(&rest), &key_count));
    for (count -= WORDS_FIXED + key_count; key_count > 0; key_count--)
        take_word(&rest);
    for (; last && count > 0; count--)
        take_word(&rest);
    buf_append(wire, keys.base, (size_t)(rest.base - keys.base));
    take_word(&rest);
    put_number(wire, broker_epoch);
    buf_append_str(wire, rest);
    return wire->len - start;
}
