/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract between gateways, agents and plain broker clients: key names, message ids and the envelope. What it
 * promises to client authors is written in docs/PROTOCOL.md; this is its one implementation.
 *
 * Keys: a partition's keys share one hash tag, so that they live together on any broker:
 *   ldc:{UNIT/TOPIC/PARTITION}:stream   the messages, a Redis stream
 *   ldc:{UNIT/TOPIC/PARTITION}:cursor   how far the unit's agent got: see common/cursor.h
 * Message id: UNIT.TOPIC.PARTITION.UNIQUE, UNIQUE being 24 hex digits (48 bits of milliseconds, 48 random bits).
 */
#ifndef COMMON_PROTOCOL_H
#define COMMON_PROTOCOL_H

#include <stdint.h>

#include "common/error.h"
#include "common/str.h"

#define PROTOCOL_NAME_MAX 64 /* bytes of a unit's or a topic's name; [A-Za-z0-9_-] only */
#define PROTOCOL_KEY_MAX  192
#define PROTOCOL_ID_MAX   180

/* Zero-terminated text into KEY of PROTOCOL_KEY_MAX bytes; returns its length. SUFFIX: "stream", "cursor". */
size_t protocol_key(char *key, struct str unit, struct str topic, unsigned partition, const char *suffix);

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

/* The envelope's fields, in stream order. Values are bytes; numbers are decimal text. */
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
    ENVELOPE_FIELDS,
};

extern const char *const envelope_names[ENVELOPE_FIELDS];

struct envelope {
    struct str fields[ENVELOPE_FIELDS];
};

/* NAMES and VALUES: COUNT pairs as a stream entry holds them, in any order; unknown names are passed over.
 * False where a field is missing or `slot` or `epoch` is no number. */
bool envelope_decode(const struct str *names, const struct str *values, size_t count, struct envelope *envelope);

#endif
