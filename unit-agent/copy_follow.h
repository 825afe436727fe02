/* SPDX-License-Identifier: Apache-2.0
 *
 * Applies what was read and covered to the copy, and opens it as soon as it has applied what the origin had when that
 * was asked.
 */
#ifndef AGENT_COPY_FOLLOW_H
#define AGENT_COPY_FOLLOW_H

struct copy;

/* COPY follows from now on, behind what it has applied. */
void copy_follow(struct copy *copy);
/* The next step of COPY, which FOLLOWS. */
void copy_follow_step(struct copy *copy);

#endif
