/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pulse.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/invariant.h"
#include "common/measure.h"

#define VERSION    1
#define BY_AGENT   0x80
#define DIGEST     32
#define HEAD_LEAST (4 + 1 + 1)

static const uint8_t magic[4] = {'L', 'D', 'C', 'P'};

uint64_t pulse_hash(struct str text)
{
    uint64_t hash = text.len > 0 ? XXH3_64bits(text.base, text.len) : 0;
    return text.len > 0 && hash == 0 ? 1 : hash;
}

bool pulse_set_record(struct pulse *pulse, const char *unit, uint64_t version, struct str text)
{
    *pulse = (struct pulse){.kind = PULSE_RECORD};
    if (text.len > PULSE_RECORD_MOST)
        return false;
    snprintf(pulse->record.unit, sizeof(pulse->record.unit), "%s", unit);
    pulse->record.version = version;
    pulse->record.text_len = (uint16_t)text.len;
    memcpy(pulse->record.text, text.base, text.len);
    return true;
}

/* --- the key ------------------------------------------------------------------------------------------------------ */

/* The MAC is keyed once: fetching the algorithm for each datagram would cost more than the rest together. */
struct pulse_key {
    EVP_MAC *mac;
    EVP_MAC_CTX *context;
};

struct pulse_key *pulse_key_create(struct str secret)
{
    static const char purpose[] = "ldcgate pulse"; /* the secret is used elsewhere, too */
    unsigned char digest[EVP_MAX_MD_SIZE];
    struct buf text = {NULL, 0, 0};
    struct pulse_key *key = mem_calloc(1, sizeof(*key));
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
                               OSSL_PARAM_construct_end()};
    buf_append(&text, purpose, sizeof(purpose));
    buf_append_str(&text, secret);
    INVARIANT(EVP_Digest(text.base, text.len, digest, NULL, EVP_sha256(), NULL) == 1);
    key->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    key->context = key->mac != NULL ? EVP_MAC_CTX_new(key->mac) : NULL;
    INVARIANT(key->context != NULL && EVP_MAC_init(key->context, digest, DIGEST, parameters) == 1);
    OPENSSL_cleanse(digest, sizeof(digest));
    OPENSSL_cleanse(text.base, text.len);
    buf_free(&text);
    return key;
}

void pulse_key_destroy(struct pulse_key **key)
{
    if (*key == NULL)
        return;
    EVP_MAC_CTX_free((*key)->context);
    EVP_MAC_free((*key)->mac);
    free(*key);
    *key = NULL;
}

static void authenticate(struct pulse_key *key, const uint8_t *bytes, size_t len, uint8_t *digest)
{
    size_t size = 0;
    INVARIANT(EVP_MAC_init(key->context, NULL, 0, NULL) == 1 && EVP_MAC_update(key->context, bytes, len) == 1 &&
              EVP_MAC_final(key->context, digest, &size, DIGEST) == 1 && size == DIGEST);
}

void pulse_seal(struct pulse_key *key, uint8_t *bytes, size_t len)
{
    uint8_t digest[DIGEST];
    authenticate(key, bytes, len, digest);
    memcpy(bytes + len, digest, PULSE_SEAL);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* WIDTH bytes of NUMBER. Returns where the next field begins. */
static uint8_t *put(uint8_t *at, uint64_t number, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        at[i] = (uint8_t)(number >> (8 * i));
    return at + width;
}

static uint8_t *put_name(uint8_t *at, const char *name)
{
    size_t len = strnlen(name, PULSE_NAME_SIZE - 1);
    *at++ = (uint8_t)len;
    memcpy(at, name, len);
    return at + len;
}

static uint8_t *put_broker(uint8_t *at, const struct pulse_broker *broker)
{
    at = put(at, broker->unit, 8);
    at = put(at, broker->url, 8);
    at = put(at, broker->run_id, 8);
    at = put(at, broker->epoch, 8);
    at = put(at, broker->offset, 8);
    at = put(at, broker->age_us, 4);
    unsigned flags = broker->healthy * 1U | broker->primary * 2U | broker->link_up * 4U | broker->gone * 8U |
                     broker->sees_primary * 16U;
    return put(at, flags, 1);
}

static uint8_t *put_agent(uint8_t *at, const struct pulse *pulse)
{
    INVARIANT(pulse->agent.broker_count <= PULSE_BROKERS_MOST);
    at = put(at, pulse->agent.epoch, 8);
    for (unsigned i = 0; i < PULSE_COLORS; i++) {
        at = put(at, pulse->agent.nodes[i].up, 2);
        at = put(at, pulse->agent.nodes[i].listed, 2);
    }
    at = put(at, pulse->agent.broker_count, 1);
    for (unsigned i = 0; i < pulse->agent.broker_count; i++)
        at = put_broker(at, &pulse->agent.brokers[i]);
    return at;
}

static uint8_t *put_gateway(uint8_t *at, const struct pulse *pulse)
{
    INVARIANT(pulse->gateway.vote_count <= PULSE_VOTES_MOST);
    at = put(at, pulse->gateway.vote_count, 1);
    for (unsigned i = 0; i < pulse->gateway.vote_count; i++) {
        const struct pulse_vote *vote = &pulse->gateway.votes[i];
        at = put(at, vote->unit, 8);
        at = put(at, vote->epoch, 8);
        for (unsigned matter = 0; matter < PULSE_MATTERS; matter++)
            at = put(at, vote->reasons[matter], 1);
        at = put(at, vote->abstains * 1U | vote->standby_healthy * 2U, 1);
    }
    return at;
}

static uint8_t *put_record(uint8_t *at, const struct pulse *pulse)
{
    INVARIANT(pulse->record.text_len <= PULSE_RECORD_MOST);
    at = put_name(at, pulse->record.unit);
    at = put(at, pulse->record.version, 8);
    at = put(at, pulse->record.text_len, 2);
    memcpy(at, pulse->record.text, pulse->record.text_len);
    return at + pulse->record.text_len;
}

size_t pulse_encode(struct pulse_key *key, const struct pulse *pulse, uint8_t *out)
{
    static uint8_t *(*const put_kind[])(uint8_t * at, const struct pulse *pulse) = {
        [PULSE_AGENT] = put_agent, [PULSE_GATEWAY] = put_gateway, [PULSE_RECORD] = put_record};
    uint8_t *at = out;
    memcpy(at, magic, sizeof(magic));
    at = put(at + sizeof(magic), VERSION, 1);
    at = put(at, (unsigned)pulse->kind | (pulse->by_agent ? BY_AGENT : 0U), 1);
    at = put_name(at, pulse->name);
    at = put_name(at, pulse->place);
    at = put(at, pulse->incarnation, 8);
    at = put(at, pulse->seq, 8);
    at = put(at, pulse->sent_us, 8);
    at = put(at, pulse->loop_lag_us, 4);
    at = put_kind[pulse->kind](at, pulse);
    pulse_seal(key, out, (size_t)(at - out));
    return (size_t)(at - out) + PULSE_SEAL;
}

/* The largest of each kind fits. */
#define HEAD_MOST (HEAD_LEAST + 2 * PULSE_NAME_SIZE + 28 + PULSE_SEAL)
_Static_assert(HEAD_MOST + 8 + 4 * PULSE_COLORS + 1 + PULSE_BROKERS_MOST * 45 <= PULSE_MOST, "agents' pulses");
_Static_assert(HEAD_MOST + 1 + PULSE_VOTES_MOST * 19 <= PULSE_MOST, "gateways' pulses");
_Static_assert(HEAD_MOST + PULSE_NAME_SIZE + 10 + PULSE_RECORD_MOST <= PULSE_MOST, "records' pulses");

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* What is left of a datagram; `base` is NULL once more was asked for than there was. */
struct rest {
    const uint8_t *base;
    size_t len;
};

static const uint8_t *get_bytes(struct rest *rest, size_t len)
{
    const uint8_t *at = rest->base;
    if (at == NULL || rest->len < len) {
        rest->base = NULL;
        return NULL;
    }
    rest->base += len;
    rest->len -= len;
    return at;
}

static uint64_t get(struct rest *rest, unsigned width)
{
    const uint8_t *at = get_bytes(rest, width);
    uint64_t number = 0;
    for (unsigned i = 0; at != NULL && i < width; i++)
        number |= (uint64_t)at[i] << (8 * i);
    return number;
}

/* A number of things of which there may be MOST. */
static unsigned get_count(struct rest *rest, unsigned most)
{
    unsigned count = (unsigned)get(rest, 1);
    if (count > most)
        rest->base = NULL;
    return rest->base != NULL ? count : 0;
}

/* Names stand in logs and labels: nothing but visible ASCII. */
static void get_name(struct rest *rest, char *name)
{
    size_t len = get_count(rest, PULSE_NAME_SIZE - 1);
    const uint8_t *at = get_bytes(rest, len);
    for (size_t i = 0; at != NULL && i < len; i++)
        if (at[i] <= ' ' || at[i] > '~')
            rest->base = NULL;
    if (at != NULL)
        memcpy(name, at, len);
    name[at != NULL ? len : 0] = '\0';
}

static bool get_broker(struct rest *rest, struct pulse_broker *broker)
{
    broker->unit = get(rest, 8);
    broker->url = get(rest, 8);
    broker->run_id = get(rest, 8);
    broker->epoch = get(rest, 8);
    broker->offset = get(rest, 8);
    broker->age_us = (uint32_t)get(rest, 4);
    unsigned flags = (unsigned)get(rest, 1);
    broker->healthy = (flags & 1) != 0;
    broker->primary = (flags & 2) != 0;
    broker->link_up = (flags & 4) != 0;
    broker->gone = (flags & 8) != 0;
    broker->sees_primary = (flags & 16) != 0;
    return flags < 32;
}

static bool get_agent(struct rest *rest, struct pulse *pulse)
{
    bool fine = true;
    pulse->agent.epoch = get(rest, 8);
    for (unsigned i = 0; i < PULSE_COLORS; i++) {
        pulse->agent.nodes[i].up = (uint16_t)get(rest, 2);
        pulse->agent.nodes[i].listed = (uint16_t)get(rest, 2);
        fine &= pulse->agent.nodes[i].up <= pulse->agent.nodes[i].listed;
    }
    pulse->agent.broker_count = get_count(rest, PULSE_BROKERS_MOST);
    for (unsigned i = 0; i < pulse->agent.broker_count; i++)
        fine &= get_broker(rest, &pulse->agent.brokers[i]);
    return fine;
}

static bool get_gateway(struct rest *rest, struct pulse *pulse)
{
    bool fine = true;
    pulse->gateway.vote_count = get_count(rest, PULSE_VOTES_MOST);
    for (unsigned i = 0; i < pulse->gateway.vote_count; i++) {
        struct pulse_vote *vote = &pulse->gateway.votes[i];
        vote->unit = get(rest, 8);
        vote->epoch = get(rest, 8);
        for (unsigned matter = 0; matter < PULSE_MATTERS; matter++)
            vote->reasons[matter] = (uint8_t)get(rest, 1);
        unsigned flags = (unsigned)get(rest, 1);
        vote->abstains = (flags & 1) != 0;
        vote->standby_healthy = (flags & 2) != 0;
        fine &= flags < 4;
    }
    return fine;
}

static bool get_record(struct rest *rest, struct pulse *pulse)
{
    get_name(rest, pulse->record.unit);
    pulse->record.version = get(rest, 8);
    pulse->record.text_len = (uint16_t)get(rest, 2);
    const uint8_t *text = get_bytes(rest, pulse->record.text_len);
    if (text == NULL || pulse->record.text_len > PULSE_RECORD_MOST)
        return false;
    memcpy(pulse->record.text, text, pulse->record.text_len);
    return true;
}

enum pulse_fault pulse_decode(struct pulse_key *key, const uint8_t *bytes, size_t len, struct pulse *pulse)
{
    static bool (*const get_kind[])(struct rest * rest, struct pulse * pulse) = {
        [PULSE_AGENT] = get_agent, [PULSE_GATEWAY] = get_gateway, [PULSE_RECORD] = get_record};
    uint8_t digest[DIGEST];
    if (len < HEAD_LEAST || memcmp(bytes, magic, sizeof(magic)) != 0 || bytes[4] != VERSION)
        return PULSE_FOREIGN;
    if (len > PULSE_MOST || len < HEAD_LEAST + PULSE_SEAL)
        return PULSE_MALFORMED;
    authenticate(key, bytes, len - PULSE_SEAL, digest);
    if (CRYPTO_memcmp(digest, bytes + len - PULSE_SEAL, PULSE_SEAL) != 0)
        return PULSE_FORGED;
    struct rest rest = {bytes + HEAD_LEAST, len - HEAD_LEAST - PULSE_SEAL};
    unsigned kind = bytes[5] & ~BY_AGENT;
    if (kind >= COUNT_OF(get_kind))
        return PULSE_MALFORMED;
    memset(pulse, 0, sizeof(*pulse));
    pulse->kind = (enum pulse_kind)kind;
    pulse->by_agent = (bytes[5] & BY_AGENT) != 0;
    get_name(&rest, pulse->name);
    get_name(&rest, pulse->place);
    pulse->incarnation = get(&rest, 8);
    pulse->seq = get(&rest, 8);
    pulse->sent_us = get(&rest, 8);
    pulse->loop_lag_us = (uint32_t)get(&rest, 4);
    bool fine = get_kind[pulse->kind](&rest, pulse);
    return fine && rest.base != NULL && rest.len == 0 ? PULSE_FINE : PULSE_MALFORMED;
}

/* --- freshness ---------------------------------------------------------------------------------------------------- */

bool pulse_window_take(struct pulse_window *window, uint64_t incarnation, uint64_t seq)
{
    if (incarnation < window->incarnation)
        return false;
    if (incarnation > window->incarnation) {
        *window = (struct pulse_window){incarnation, seq, 1};
        return true;
    }
    if (seq > window->newest) {
        uint64_t ahead = seq - window->newest;
        window->seen = ahead < 64 ? window->seen << ahead | 1 : 1;
        window->newest = seq;
        return true;
    }
    uint64_t behind = window->newest - seq;
    bool fresh = behind < 64 && (window->seen >> behind & 1) == 0;
    if (fresh)
        window->seen |= UINT64_C(1) << behind;
    return fresh;
}
