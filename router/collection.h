/* SPDX-License-Identifier: Apache-2.0
 *
 * One collection of global data, as the rules say it: how its changes come to the units, and what holds for who reads
 * there. Part of the compiled table, which owns all texts.
 */
#ifndef ROUTER_COLLECTION_H
#define ROUTER_COLLECTION_H

#include "common/str.h"

enum collection_replication {
    COLLECTION_BUS = 0,  /* each change as it comes */
    COLLECTION_SNAPSHOT, /* all that there is, at intervals */
};

/* What becomes of a read where the unit's copy is older than it may be. */
enum collection_stale {
    COLLECTION_STALE_CORE = 0, /* the core unit is asked */
    COLLECTION_STALE_SERVE,    /* the old value, with a warning */
    COLLECTION_STALE_REFUSE,   /* 503 */
};

/* Who may write over HTTP. */
enum collection_writers {
    COLLECTION_WRITERS_TRUSTED = 0, /* the gateway's trusted peers */
    COLLECTION_WRITERS_ANY,
};

struct table_collection {
    struct str name;
    enum collection_replication replication;
    enum collection_stale when_stale;
    enum collection_writers writers;
    int64_t staleness_ms; /* how far a copy may be behind */
    int64_t digest_ms;    /* between two comparisons of all copies with the origin */
    int64_t keep_ms;      /* for how long changes wait for a unit that is away */
    int64_t interval_ms;  /* between two snapshots */
    uint64_t feed;        /* the last so many changes can be read again */
    struct str push;      /* URL that each unit's agent posts changes to; len 0: none */
    uint32_t line;
};

const char *replication_name(enum collection_replication replication);
const char *stale_name(enum collection_stale when_stale);
const char *writers_name(enum collection_writers writers);

#endif
