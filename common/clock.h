/* SPDX-License-Identifier: Apache-2.0
 *
 * The two clocks, so that no other file asks the kernel itself. Wall time stamps what people and other machines
 * read; monotonic time measures.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

#include "common/str.h"

/* Microseconds: since 1970; since a moment that is the same for all processes of the machine, and never back. */
uint64_t clock_wall_us(void);
uint64_t clock_monotonic_us(void);

#define CLOCK_UTC_SIZE 28

/* "2026-01-31T13:37:00.123456Z" into TEXT, which must hold CLOCK_UTC_SIZE bytes. Years 0 to 9999. */
void clock_format_utc(uint64_t wall_us, char *text);

/* The same and all else that RFC 3339 allows: any number of decimals or none, "Z" or an offset such as "+02:00", "t"
 * and "z". False for anything else, and before 1970. */
bool clock_parse_utc(struct str text, uint64_t *wall_us);

#endif
