/* SPDX-License-Identifier: Apache-2.0
 *
 * What a broker says of itself in its answer to INFO, as text of "name:value" lines. Nothing is copied or kept: what
 * comes back points into the answer.
 */
#ifndef COMMON_BROKER_INFO_H
#define COMMON_BROKER_INFO_H

#include "common/str.h"

/* The value of NAME; base NULL where INFO has none. */
struct str broker_info_text(struct str info, const char *name);
/* False where there is none, or it is no number. */
bool broker_info_number(struct str info, const char *name, uint64_t *value);
/* True where NAME is there and has just this VALUE. */
bool broker_info_is(struct str info, const char *name, const char *value);

/* One line of a primary's "slaveN:ip=...,port=...,state=...,offset=...,lag=...". */
struct broker_replica {
    struct str ip, state; /* "online" once it follows the stream of writes */
    uint64_t port;        /* where it says that it listens */
    uint64_t offset;      /* that it acknowledged */
    uint64_t lag_s;       /* whole seconds since it acknowledged */
};

/* The replica of that INDEX, from 0; false behind the last. */
bool broker_info_replica(struct str info, unsigned index, struct broker_replica *replica);

#endif
