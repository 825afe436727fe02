/* SPDX-License-Identifier: Apache-2.0
 *
 * One message that was read from a stream and is not recorded as done yet: one block of memory, with its envelope in
 * it. It belongs to its partition, which hands it to the deliverer while it is its user's turn.
 */
#ifndef AGENT_MESSAGE_H
#define AGENT_MESSAGE_H

#include <systemd/sd-event.h>

#include "common/http_client.h"
#include "common/protocol.h"
#include "common/stream_id.h"
#include "router/table.h"

struct delivery;
struct lane;
struct message;
struct node;
struct partition;
struct valve;

/* A run of entries of a stream, in the list that a partition keeps in stream order: one message, or (MESSAGE NULL)
 * COUNT entries that are all recorded as done. */
struct span {
    struct span *before, *after;
    struct stream_id first, last;
    uint64_t count;
    uint64_t number; /* of the last one: how many messages the partition had got by then */
    struct message *message;
};

enum message_state {
    MESSAGE_WAITING = 0, /* an earlier message of its user is not recorded yet */
    MESSAGE_READY,       /* the deliverer may send it when it has room */
    MESSAGE_IN_FLIGHT,
    MESSAGE_BACKING_OFF, /* the deliverer's timer runs */
    MESSAGE_LEAVING,     /* to the park or the dead letters, not on its way to the broker yet */
    MESSAGE_DONE,        /* acknowledged by the app, not on its way to the broker yet */
    MESSAGE_RECORDING,   /* in the cursor that is being written */
};

/* What became of a message that the deliverer had. */
enum message_fate {
    FATE_TAKEN = 0, /* the app acknowledged it */
    FATE_PARKED,    /* it is to be tried again later */
    FATE_DEAD,
};

struct message {
    struct span span;
    struct partition *partition;
    struct lane *lane;
    enum message_state state;
    struct message *next; /* in its lane, or among the heads of parks; */
    struct message *link; /* and in the one other list that it is on: ready, leaving, done, recording, ended */
    size_t bytes;         /* of the whole block */
    struct envelope envelope;
    enum color color;
    uint64_t ingress_us;
    struct valve *valve; /* that keeps it back; NULL: none */
    bool from_park;      /* it is no part of the list of spans */
    enum message_fate fate;
    const char *reason; /* of FATE_DEAD; static text */
    long status;        /* of the answer that led to FATE_DEAD; 0: there was none */
    int64_t wait_ms;    /* of FATE_PARKED, until the next attempt; -1: when its turn comes */
    uint64_t serial;    /* of the first write that it was in; 0: none yet */
    /* the deliverer's */
    struct delivery *delivery;
    uint32_t attempt;          /* of the exchange under way or of the next one; from 1 */
    uint32_t puts_off, losses; /* in this life of it: answers that ask for later, exchanges that broke off */
    struct node *node;
    uint64_t began_us; /* wall; the exchange under way */
    bool told_begun;   /* it is traced that it has begun */
    struct message *flight_before, *flight_after;
    struct http_transfer *transfer;
    sd_event_source *timer;
};

/* False where ENVELOPE holds what must not go into an HTTP request: control characters in the user, the path, the
 * method or the headers, a path that does not start with a slash. */
bool message_fits_http(const struct envelope *envelope);

/* Copies ENVELOPE. */
struct message *message_create(struct stream_id id, const struct envelope *envelope);
void message_free(struct message *message);

/* A first-in first-out list through `link`. Zero-initialise it. */
struct message_queue {
    struct message *head, *tail;
    size_t count;
};

void message_queue_put(struct message_queue *queue, struct message *message);
struct message *message_queue_take(struct message_queue *queue); /* NULL when empty */
void message_queue_remove(struct message_queue *queue, struct message *message);

#endif
