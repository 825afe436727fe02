/* SPDX-License-Identifier: Apache-2.0
 *
 * How many files and sockets this process may have open at once. Owns nothing.
 */
#ifndef COMMON_DESCRIPTORS_H
#define COMMON_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

/* Raises the soft limit to the hard one: shells and systemd keep it at 1024 for the sake of programs that call
 * select(). Returns how many there may be, UINT32_MAX at most. */
uint32_t descriptors_raise(void);

/* Whether FAILED, the errno of a call that opens something, means that this process or this machine has no room for one
 * more. Then the log says so, with WANTED_FOR ("clients"), once a minute at most. Any thread. */
bool descriptors_are_out(int failed, const char *wanted_for);

#endif
