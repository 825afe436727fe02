/* SPDX-License-Identifier: Apache-2.0
 *
 * The library of functions that runs inside the brokers, from common/functions/. Whoever connects with
 * `struct broker_config.functions` loads it where it is missing or older.
 */
#ifndef COMMON_FUNCTIONS_H
#define COMMON_FUNCTIONS_H

#include "common/str.h"

/* For FUNCTION LOAD; static. */
struct str functions_library(void);

/* Whether a broker that answered ldc1_version with VERSION ("NUMBER DIGEST") wants our library: its number is lower, or
 * the same number names another text. */
bool functions_outdated(struct str version);

#endif
