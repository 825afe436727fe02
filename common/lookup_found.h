/* SPDX-License-Identifier: Apache-2.0
 *
 * What a look-up has found so far, and the document that it becomes. Owned by the look-up.
 */
#ifndef COMMON_LOOKUP_FOUND_H
#define COMMON_LOOKUP_FOUND_H

#include <jansson.h>

#include "common/protocol.h"
#include "common/stream_id.h"

struct lookup_found {
    struct stream_id entry;   /* 0-0: not known */
    bool stored;              /* it stands in the stream */
    uint64_t in_us, st_us;    /* 0: not known */
    struct buf user, gateway; /* empty: not known */
    json_t *hops;             /* array */
    json_t *subscriptions;    /* array */
    const char *waiting;      /* the state of a timer or a transaction; NULL: it is none */
    uint64_t waiting_ms;      /* when it is due, or asked next */
    bool incomplete;          /* there may be more traces */
};

void lookup_found_init(struct lookup_found *found);
void lookup_found_free(struct lookup_found *found);

/* The message as the stream has it. */
void lookup_found_envelope(struct lookup_found *found, struct stream_id entry, const struct envelope *envelope);

/* One line of a trace stream; what is no such line is passed over. */
void lookup_found_line(struct lookup_found *found, struct str agent, struct str subscription, struct str line);

/* What the traces say last of SUBSCRIPTION. */
enum lookup_trace {
    LOOKUP_UNTRACED = 0,
    LOOKUP_BEGUN,    /* an attempt has begun, and no end is known */
    LOOKUP_FAILED,   /* the last attempt has ended */
    LOOKUP_RECORDED, /* acknowledged, and the cursor says so */
    LOOKUP_DEAD,
};

/* *US: when. */
enum lookup_trace lookup_found_last(const struct lookup_found *found, struct str subscription, uint64_t *us);

/* A new reference. */
json_t *lookup_found_document(const struct lookup_found *found, struct str id, const struct protocol_id *parts);

#endif
