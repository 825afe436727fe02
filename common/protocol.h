/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract between gateways, agents and plain broker clients: key names, message ids and the envelope. What it
 * promises to client authors is written in docs/PROTOCOL.md; this is its one implementation.
 *
 * Keys: a partition's keys share one hash tag, so that they live together on any broker:
 *   ldc:{UNIT/TOPIC/PARTITION}:stream             the messages, a Redis stream
 *   ldc:{UNIT/TOPIC/PARTITION}:state              a hash: `n`, the last message's number, and more
 *   ldc:{UNIT/TOPIC/PARTITION}:cursor:SUBSCRIPTION  how far a subscription got: see common/cursor.h
 * Message id: UNIT.TOPIC.PARTITION.UNIQUE, UNIQUE being 24 hex digits (48 bits of milliseconds, 48 random bits).
 */
#ifndef COMMON_PROTOCOL_H
#define COMMON_PROTOCOL_H

#include <stdint.h>

#include "common/error.h"
#include "common/str.h"

#define PROTOCOL_NAME_MAX 64  /* bytes of a unit's or a topic's name; [A-Za-z0-9_-] only */
#define PROTOCOL_KEY_MAX  384 /* bytes of a key, but for those that name a user or an idempotency key */
#define PROTOCOL_ID_MAX   180

#define PROTOCOL_DEFAULT_SUBSCRIPTION "default"

/* Zero-terminated text into KEY of PROTOCOL_KEY_MAX bytes; returns its length. SUFFIX: "stream", "cursor:NAME". */
size_t protocol_key(char *key, struct str unit, struct str topic, unsigned partition, const char *suffix);

/* The same for what belongs to the whole unit, "ldc:{UNIT}:SUFFIX". */
size_t protocol_unit_key(char *key, struct str unit, const char *suffix);

/* RANDOM: 48 bits. Zero-terminated text into ID of PROTOCOL_ID_MAX bytes; returns its length. */
size_t protocol_id_format(char *id, struct str unit, struct str topic, unsigned partition, uint64_t wall_us,
                          uint64_t random);

struct protocol_id {
    struct str unit, topic;
    unsigned partition;
};

/* False where TEXT is no message id. */
bool protocol_id_parse(struct str text, struct protocol_id *id);

/* Takes a key of a partition apart; SUFFIX as in protocol_key. False where TEXT is none. */
bool protocol_key_parse(struct str text, struct protocol_id *parts, struct str *suffix);

/* The envelope's fields, in stream order. Values are bytes; numbers are decimal text. The gateway gives all but `n` and
 * `st_us`, which the broker's function adds. */
enum envelope_field {
    ENVELOPE_ID = 0,  /* "id" */
    ENVELOPE_USER,    /* "user": the ordering key */
    ENVELOPE_SLOT,    /* "slot"; empty where no user was hashed */
    ENVELOPE_EPOCH,   /* "epoch": of the rules that routed it */
    ENVELOPE_INGRESS, /* "in_us": wall clock when the gateway had the whole request */
    ENVELOPE_COLOR,   /* "color" */
    ENVELOPE_METHOD,  /* "method" */
    ENVELOPE_PATH,    /* "path": with the query */
    ENVELOPE_HEADERS, /* "headers": "name: value" lines, separated by \n; names lower-case */
    ENVELOPE_BODY,    /* "body" */
    ENVELOPE_NUMBER,  /* "n": counts the partition's messages from 1 without a gap */
    ENVELOPE_STORED,  /* "st_us": the broker's wall clock when it took the message */
    ENVELOPE_REPLY,   /* "reply": the stream that the answer goes to; empty: nobody waits */
    ENVELOPE_ONLY,    /* "only": the one subscription that it is for; empty: all */
    ENVELOPE_FIELDS,
    ENVELOPE_REQUIRED = ENVELOPE_NUMBER, /* what comes before must be there */
};

extern const char *const envelope_names[ENVELOPE_FIELDS];

struct envelope {
    struct str fields[ENVELOPE_FIELDS];
};

/* NAMES and VALUES: COUNT pairs as a stream entry holds them, in any order; unknown names are passed over, and optional
 * fields that are missing are empty. False where a required field is missing or a number is none. */
bool envelope_decode(const struct str *names, const struct str *values, size_t count, struct envelope *envelope);

#endif
