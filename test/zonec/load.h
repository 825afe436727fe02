/* SPDX-License-Identifier: Apache-2.0
 *
 * A load on one collection through gateways, that keeps the books: each write with a number of its own and sent again
 * under the same request id until it is accepted; each read held against what its reader's unit showed before; and for
 * some writes the time until every unit shows them. One thread; main() owns the load, everything else borrows it.
 */
#ifndef TEST_ZONEC_LOAD_H
#define TEST_ZONEC_LOAD_H

#include <stdio.h>

#include "test/zonec/client.h"
#include "test/zonec/figures.h"
#include "test/zonec/known.h"

#define LOAD_UNITS_MOST (KNOWN_UNITS_MOST / 2 - 1) /* and the core, by itself and in the place of each */
#define LOAD_KEY_SIZE   32

struct load_options {
    const char *collection, *journal;
    const char *units[LOAD_UNITS_MOST];       /* whose copies are read; NULL behind the last */
    uint32_t keys, writers, readers, probers; /* readers and probers: of each unit */
    uint32_t rate;                            /* writes a second; 0: as many as are accepted */
    uint32_t reads_rate;                      /* reads a second of each unit; 0: as many as are answered */
    uint32_t probe_rate;                      /* writes a second whose way to the units is timed */
    uint32_t count;                           /* writes until it ends by itself; 0: until SIGTERM */
    uint32_t first;                           /* the number of the first write */
    uint32_t value_size, deletes;             /* bytes; percent */
    bool in_order;                            /* the keys one after the other, in place of at random */
};

struct load_phase { /* from one SIGUSR1 to the next */
    uint64_t began_us;
    struct figures writes, waits; /* us: of a request; from when it was due */
    uint64_t accepted, refused, lost, reads, read_refused, read_lost, warned;
    uint64_t by_core, core_back; /* reads that another unit answered; older than what that one had shown */
    struct figures reading, visible[LOAD_UNITS_MOST]; /* us: of a read; from the acknowledgement on */
    struct figures readable, everywhere; /* us: until all units would show it, as a reader finds; have shown it */
};

struct writer;
struct reader;
struct probing;

struct load {
    struct load_options options;
    struct client_set set;
    struct known known;
    struct load_phase phase;
    uint64_t random;
    size_t units;
    bool stopping;
    struct writer *writers;
    struct reader *readers;
    struct probing *probing;
};

uint64_t load_random(struct load *load);
/* Zero-terminated name of the key with that number. */
void load_key(char key[LOAD_KEY_SIZE], uint32_t number);
/* Appends a GET of the key from the copy of UNIT; MIN_VERSION 0: whatever it has. */
void load_get(struct load *load, struct buf *out, uint32_t key, size_t unit, uint64_t min_version);

void writers_create(struct load *load);
/* Begins what is due, and sends again what was refused; called each turn. */
void writers_turn(struct load *load, uint64_t now_us);
/* Whether every write that was begun is accepted. */
bool writers_done(const struct load *load);
/* When writers_turn() has something to do next. */
uint64_t writers_next_us(const struct load *load);
/* Writes that nobody accepted until now, into the journal. */
void writers_tell(const struct load *load, FILE *journal);
void writers_destroy(struct load *load);

void readers_create(struct load *load);
void readers_turn(struct load *load, uint64_t now_us);
void readers_destroy(struct load *load);

void probing_create(struct load *load);
/* The key has been acknowledged with VERSION: looked for in every unit, where its turn has come. */
void probing_accept(struct load *load, uint32_t key, uint64_t version, uint64_t now_us);
void probing_turn(struct load *load, uint64_t now_us);
/* When probing_turn() has something to do next; LATEST_US at the latest. */
uint64_t probing_next_us(const struct load *load, uint64_t latest_us);
bool probing_done(const struct load *load);
void probing_destroy(struct load *load);

#endif
