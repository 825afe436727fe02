/* SPDX-License-Identifier: Apache-2.0
 *
 * Whom a unit has taken in and may still have to wait for: a unit that users left for this one delivers what it had of
 * them first. It stands in the control store as the document "arrivals/UNIT", in JSON:
 *   {"from": [{"unit": "RZ01", "epoch": 57, "version": 3}...]}
 * Put before the rules that move the users, by who puts these; an entry is taken out by an agent of the unit, when all
 * that stood before it is done. A plain value, without pointers: copied freely.
 */
#ifndef COMMON_ARRIVAL_RECORD_H
#define COMMON_ARRIVAL_RECORD_H

#include "common/broker_record.h"

#define ARRIVALS_MOST 16 /* that are under way to one unit */

/* Users whom the rules of this epoch and version, which were replaced then, gave to that unit. */
struct arrival {
    char unit[BROKER_UNIT_SIZE];
    uint64_t epoch, version;
};

struct arrival_record {
    uint64_t version; /* of the document; 0: there is none. Not in the JSON */
    struct arrival from[ARRIVALS_MOST];
    unsigned count;
};

/* "arrivals/UNIT" into NAME, which has room for SIZE bytes. */
void arrival_record_name(char *name, size_t size, struct str unit);

/* On failure *RECORD is without arrivals. */
int arrival_record_parse(struct str text, struct arrival_record *record, struct error *err) MUST_CHECK;
void arrival_record_format(const struct arrival_record *record, struct buf *out);

/* Adds one, unless it is there. False where there is no room. */
bool arrival_record_add(struct arrival_record *record, const struct arrival *arrival);
/* Takes it out, where it is there. */
void arrival_record_remove(struct arrival_record *record, const struct arrival *arrival);

#endif
