/* SPDX-License-Identifier: Apache-2.0 */
#include "test/zonec/known.h"

#include <stdlib.h>

#include "common/str.h"

void known_open(struct known *known, size_t units, uint32_t keys, FILE *journal)
{
    *known = (struct known){.journal = journal};
    for (size_t i = 0; i < units; i++) {
        known->had[i] = mem_calloc(keys, sizeof(uint32_t));
        known->missed[i] = mem_calloc(keys, sizeof(uint32_t));
    }
}

static void make_room(struct known *known, uint64_t version)
{
    if (version < known->capacity)
        return;
    size_t capacity = version * 2 + 4096;
    known->versions = mem_realloc(known->versions, capacity * sizeof(*known->versions));
    memset(known->versions + known->capacity, 0, (capacity - known->capacity) * sizeof(*known->versions));
    known->capacity = capacity;
}

void known_add(struct known *known, uint64_t version, struct known_version what)
{
    make_room(known, version);
    struct known_version *there = &known->versions[version];
    if (there->source != KNOWN_NOT && there->write != what.write) {
        known->anomalies++;
        fprintf(known->journal, "two %llu %u %u\n", (unsigned long long)version, there->write, what.write);
    }
    if (what.source >= there->source)
        *there = what;
    if (what.source == KNOWN_ACKED && version > known->highest)
        known->highest = version;
}

void known_read(struct known *known, size_t unit, uint32_t key, uint32_t had, uint64_t version)
{
    if (version == 0) {
        if (had > 0 && known->missed[unit][key] != had)
            fprintf(known->journal, "gone %zu %u %u\n", unit, key, had);
        known->missed[unit][key] = had;
        return;
    }
    if (version < had) {
        known->anomalies++;
        fprintf(known->journal, "back %zu %u %u %llu\n", unit, key, had, (unsigned long long)version);
    }
    if (version > known->had[unit][key])
        known->had[unit][key] = (uint32_t)version;
}

void known_alien(struct known *known, uint32_t key, uint64_t version)
{
    known->anomalies++;
    fprintf(known->journal, "alien %u %llu\n", key, (unsigned long long)version);
}

void known_tell(const struct known *known)
{
    for (size_t i = 0; i < known->capacity; i++) {
        const struct known_version *one = &known->versions[i];
        if (one->source != KNOWN_NOT)
            fprintf(known->journal, "version %zu %u %u %s %s\n", i, one->write, one->key, one->deleted ? "del" : "put",
                    one->source == KNOWN_ACKED ? "acked" : "seen");
    }
}

void known_close(struct known *known)
{
    for (size_t i = 0; i < KNOWN_UNITS_MOST; i++) {
        free(known->had[i]);
        free(known->missed[i]);
    }
    free(known->versions);
}
