/* SPDX-License-Identifier: Apache-2.0
 *
 * Starts and ends the processes of a playground. A process is known by its number and the moment when it began, and
 * signals go through a descriptor of it (pidfd), so that a number that was given out again is never hit.
 */
#ifndef OPS_PLAY_PROCESS_H
#define OPS_PLAY_PROCESS_H

#include "ops/play_plan.h"

/* Writes its configuration and starts it, in a process group of its own, with its output in its log. DIES_WITH_US: it
 * is killed when the caller ends, however that comes about. */
int play_process_start(struct play_process *process, bool dies_with_us, struct error *err) MUST_CHECK;

/* Whether PID still is the process that began at START_TICKS, and has not ended. */
bool play_process_lives(pid_t pid, uint64_t start_ticks);

/* In the kernel's ticks since it booted; 0: there is no such process. */
uint64_t play_process_start_ticks(pid_t pid);

/* A descriptor (pidfd) of it, to be closed; -1 where it does not live. */
int play_process_open(const struct play_process *process);

/* Whether the process of FD has ended; waits for it until UNTIL_US, monotonic. */
bool play_process_await(int fd, uint64_t until_us);

/* Ends those of COUNT processes, which are ordered by role, that live: role by role, the last first, with SIGTERM, and
 * with SIGKILL where that was not enough in time. Returns how many there were. Children are not reaped. */
size_t play_process_end(const struct play_process *processes, size_t count);

/* The last lines of its log, to standard error. */
void play_process_show_log(const struct play_process *process);

#endif
