/* SPDX-License-Identifier: Apache-2.0
 *
 * How many elements an array has, and the units in which tables of options are written.
 */
#ifndef COMMON_MEASURE_H
#define COMMON_MEASURE_H

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define KIB 1024LL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define SECOND_MS 1000LL
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)

#endif
