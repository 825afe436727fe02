/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs of free ports on loopback, apart from those of playgrounds that come up at the same moment.
 */
#ifndef OPS_PLAY_PORTS_H
#define OPS_PLAY_PORTS_H

#include "common/error.h"

/* The first of COUNT free ports below the range from which the kernel gives out its own. They are spoken for until
 * this process ends. 0 with *err. */
unsigned play_ports_find(unsigned count, struct error *err) MUST_CHECK;

/* Whether the COUNT ports from BASE on are free; *err names the first that is not. */
int play_ports_check(unsigned base, unsigned count, struct error *err) MUST_CHECK;

#endif
