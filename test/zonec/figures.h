/* SPDX-License-Identifier: Apache-2.0
 *
 * Measured times, all of them kept. Zero-initialised; figures_clear() releases what they hold.
 */
#ifndef TEST_ZONEC_FIGURES_H
#define TEST_ZONEC_FIGURES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct figures {
    uint32_t *times;
    size_t count, capacity;
};

void figures_add(struct figures *figures, uint64_t us);
/* Sorts them, and prints ,"NAME":{"count":...,"p50_us":...} to OUT. */
void figures_print(struct figures *figures, const char *name, FILE *out);
void figures_clear(struct figures *figures);

#endif
