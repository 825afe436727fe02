/* SPDX-License-Identifier: Apache-2.0
 *
 * Pulses: the datagrams by which agents and gateways tell each other, many times a second and past the store, that
 * they live and what they see. A pulse is authenticated by the deployment's pulse key and is worth something only while
 * it is fresh: whatever it says ends when the next ones fail to come.
 *
 * A pulse is a plain value: copied freely. In it, units, brokers' URLs and run_ids stand as 64-bit hashes (pulse_hash),
 * so that all that a process knows fits one datagram; who reads it finds the texts in the rules.
 *
 * On the wire (little-endian): "LDCP", version, kind (the highest bit: by an agent), name and place (a length byte
 * each), incarnation, seq, sent_us, loop_lag_us, the kind's own part, and the first 16 bytes of the HMAC-SHA256 of all
 * that.
 */
#ifndef COMMON_PULSE_H
#define COMMON_PULSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/str.h"

#define PULSE_MOST         ((size_t)1400) /* bytes of a datagram: no network cuts it in two */
#define PULSE_NAME_SIZE    64
#define PULSE_BROKERS_MOST 16
#define PULSE_VOTES_MOST   32 /* a gateway of more units sends several datagrams in turn */
#define PULSE_RECORD_MOST  ((size_t)1100)
#define PULSE_COLORS       2
#define PULSE_MATTERS      2
#define PULSE_PERIOD_US    10000

enum pulse_kind {
    PULSE_AGENT = 0, /* what an agent sees of brokers and nodes */
    PULSE_GATEWAY,   /* a gateway's votes on units */
    PULSE_RECORD,    /* a unit's record that was just put into the store */
};

/* What an agent knows of one broker that it guards. */
struct pulse_broker {
    uint64_t unit;     /* pulse_hash of the unit's name */
    uint64_t url;      /* pulse_hash of its URL as the rules and records write it */
    uint64_t run_id;   /* pulse_hash of its run_id; 0: not known */
    uint64_t epoch;    /* that it is stamped with */
    uint64_t offset;   /* of replication */
    uint32_t age_us;   /* since the broker answered last, as of sent_us; UINT32_MAX: it never did */
    bool healthy;      /* the agent's verdict: it answers, and does what its role asks */
    bool primary;      /* its role; false: a replica, or fenced */
    bool link_up;      /* of a replica: its master's link */
    bool sees_primary; /* of a replica: its agent's own probes of the unit's primary were answered of late */
    bool gone;         /* the broker refuses connections or its process ended: certain, not a matter of patience */
};

/* What a gateway thinks of one unit. */
struct pulse_vote {
    uint64_t unit;                  /* pulse_hash of the unit's name */
    uint64_t epoch;                 /* version of the record that it judges by; 0: it has none */
    uint8_t reasons[PULSE_MATTERS]; /* enum core_reason of router/core_state.h, for each enum core_matter */
    bool abstains;                  /* it does not trust what it sees */
    bool standby_healthy;           /* it sees the standby able to take over */
};

struct pulse_nodes {
    uint16_t up, listed;
};

struct pulse {
    enum pulse_kind kind;
    bool by_agent;               /* else by a gateway */
    char name[PULSE_NAME_SIZE];  /* of who sends */
    char place[PULSE_NAME_SIZE]; /* an agent's unit; a gateway's datacentre */
    uint64_t incarnation;        /* rises with each start of the process */
    uint64_t seq;                /* rises with each datagram of an incarnation */
    uint64_t sent_us;            /* wall */
    uint32_t loop_lag_us;        /* how late its own loop runs */
    union {
        struct {
            struct pulse_broker brokers[PULSE_BROKERS_MOST];
            unsigned broker_count;
            struct pulse_nodes nodes[PULSE_COLORS]; /* of its unit's app, by colour */
            uint64_t epoch;                         /* version of its unit's record that it goes by */
        } agent;
        struct {
            struct pulse_vote votes[PULSE_VOTES_MOST];
            unsigned vote_count;
        } gateway;
        struct {
            char unit[PULSE_NAME_SIZE];
            uint64_t version;
            char text[PULSE_RECORD_MOST]; /* the document's JSON; no zero behind it */
            uint16_t text_len;
        } record;
    };
};

/* Makes *PULSE tell of the record TEXT of UNIT. False where it is too long for that: the store brings it later. */
bool pulse_set_record(struct pulse *pulse, const char *unit, uint64_t version, struct str text);

/* 0 for no text at all, else never 0. XXH3, 64 bits. */
uint64_t pulse_hash(struct str text);

/* Owned by one thread: it holds the state of the computation. */
struct pulse_key;

/* From any SECRET; an empty one keeps no stranger out, and suits loopback alone. */
struct pulse_key *pulse_key_create(struct str secret);
void pulse_key_destroy(struct pulse_key **key);

/* Writes PULSE to OUT, which has room for PULSE_MOST bytes, and returns the length. */
size_t pulse_encode(struct pulse_key *key, const struct pulse *pulse, uint8_t *out);

#define PULSE_SEAL 16

/* Writes PULSE_SEAL bytes behind the LEN BYTES, which make them authentic. */
void pulse_seal(struct pulse_key *key, uint8_t *bytes, size_t len);

enum pulse_fault {
    PULSE_FINE = 0,
    PULSE_FOREIGN,   /* no pulse at all, or one of another version */
    PULSE_MALFORMED, /* cut short, or with fields that no pulse has */
    PULSE_FORGED,    /* made without the key, or changed on its way */
};

/* *PULSE is of use only where it is fine. Nothing but the authentic is taken apart. */
enum pulse_fault pulse_decode(struct pulse_key *key, const uint8_t *bytes, size_t len, struct pulse *pulse);

/* What was heard of one sender: tells the fresh from the repeated. Zero-initialise it. */
struct pulse_window {
    uint64_t incarnation, newest; /* seq */
    uint64_t seen;                /* bit i: newest - i was taken */
};

/* True once for each datagram; false for what was seen, is older than the last 64, or comes from an incarnation before
 * the present one. After RFC 4303, 3.4.3. */
bool pulse_window_take(struct pulse_window *window, uint64_t incarnation, uint64_t seq);

#endif
