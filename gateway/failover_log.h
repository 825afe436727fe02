/* SPDX-License-Identifier: Apache-2.0
 *
 * The last transitions of all units, with the time of each: what operators and drills read to see who suspected what,
 * who decided, and when it was in force. A ring of fixed size. Guarded by its owner's lock.
 */
#ifndef GATEWAY_FAILOVER_LOG_H
#define GATEWAY_FAILOVER_LOG_H

#include <jansson.h>

#include "common/str.h"

#define FAILOVER_LOG_MOST 512
#define FAILOVER_LOG_TEXT 320

enum failover_event {
    FAILOVER_SUSPECTED = 0, /* here */
    FAILOVER_CLEARED,
    FAILOVER_VOTED,
    FAILOVER_PROPOSED,
    FAILOVER_WON,
    FAILOVER_LOST,
    FAILOVER_UNKNOWN,
    FAILOVER_RECORD,   /* a new record is in force here */
    FAILOVER_PLANNED,  /* how far a planned switch has come, as heard here */
    FAILOVER_PROMOTED, /* its primary was heard to be stamped with it */
    FAILOVER_ALARM,
    FAILOVER_CALM,
};

struct failover_entry {
    uint64_t at_us; /* wall */
    uint64_t epoch; /* of the record that it is about */
    enum failover_event event;
    char unit[64];
    char text[FAILOVER_LOG_TEXT];
};

/* Zero-initialise it. */
struct failover_log {
    struct failover_entry entries[FAILOVER_LOG_MOST];
    uint64_t count; /* ever */
};

/* Also tells the program's log. TEXT is cut to what fits. */
void failover_log_add(struct failover_log *log, enum failover_event event, const char *unit, uint64_t epoch,
                      struct str text);

/* The newest MOST, newest first. */
json_t *failover_log_json(const struct failover_log *log, size_t most);

#endif
