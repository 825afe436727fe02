/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a program of the system (ip, iptables, cp) to its end.
 */
#ifndef OPS_PROGRAM_H
#define OPS_PROGRAM_H

#include <stdbool.h>

#include "common/error.h"
#include "common/str.h"

/* ARGV ends with NULL; its standard input is INPUT. NAMESPACE: of the network, in which it runs; NULL: ours. What it
 * wrote to standard error is in *err when it fails. */
int program_run(const char *namespace, const char *const argv[], struct str input, struct error *err) MUST_CHECK;

/* The same for one that acts upon its LAST words: they are given, and *AT_US is taken, when it has started and read all
 * FIRST ones (up to 4 KiB). */
int program_run_at(const char *namespace, const char *const argv[], struct str first, struct str last, uint64_t *at_us,
                   struct error *err) MUST_CHECK;

/* Whether PATH, the variable, leads to it. */
bool program_found(const char *name);

/* The folder that this very program stands in, for free(). */
char *program_folder(void);

/* Moves the calling thread into the network namespace NAME. False with errno; safe between fork and exec. */
bool program_enter(const char *namespace);

#endif
