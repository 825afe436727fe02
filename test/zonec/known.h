/* SPDX-License-Identifier: Apache-2.0
 *
 * What clients were told: which write has which version, and what the readers of each unit have seen of each key. What
 * contradicts that is an anomaly and goes into the journal, one line each; so does all that is known, at the end, for
 * the audit that holds it against the brokers' logs:
 *
 *   version VERSION WRITE KEY put|del acked|seen    a version and the write that it is
 *   open WRITE KEY put|del                          a write that was never acknowledged: it may have happened, or not
 *   gone UNIT KEY HAD                               404 where the unit showed this version of the key before
 *   back UNIT KEY HAD GOT                           an older version than the unit showed before
 *   two VERSION WRITE WRITE                         one version, two writes
 *   alien KEY VERSION                               a value that is not of this key, or was never sent
 */
#ifndef TEST_ZONEC_KNOWN_H
#define TEST_ZONEC_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define KNOWN_UNITS_MOST 32

enum known_source {
    KNOWN_NOT = 0,
    KNOWN_SEEN,
    KNOWN_ACKED,
};

struct known_version {
    uint32_t write, key;
    uint8_t source;
    bool deleted;
};

struct known {
    struct known_version *versions; /* by version */
    size_t capacity;
    uint32_t *had[KNOWN_UNITS_MOST];    /* by unit and key: the highest version seen */
    uint32_t *missed[KNOWN_UNITS_MOST]; /* the version that was there when it was told gone, so that it is told once */
    uint64_t highest;                   /* acknowledged */
    FILE *journal;
    uint64_t anomalies;
};

void known_open(struct known *known, size_t units, uint32_t keys, FILE *journal);
void known_add(struct known *known, uint64_t version, struct known_version what);
/* A reader of UNIT, who had HAD when it asked, got VERSION (0: 404) of KEY. */
void known_read(struct known *known, size_t unit, uint32_t key, uint32_t had, uint64_t version);
void known_alien(struct known *known, uint32_t key, uint64_t version);
void known_tell(const struct known *known);
void known_close(struct known *known);

#endif
