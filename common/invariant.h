/* SPDX-License-Identifier: Apache-2.0
 *
 * Broken invariants stop the program, in release builds too: a router that goes on with a state that it has
 * proven to be wrong misroutes money.
 */
#ifndef COMMON_INVARIANT_H
#define COMMON_INVARIANT_H

#define INVARIANT(condition) ((condition) ? (void)0 : invariant_broken(#condition, __FILE__, __LINE__, __func__))

/* Writes what was broken, and where, to standard error, and aborts. */
_Noreturn void invariant_broken(const char *condition, const char *file, int line, const char *function);

#endif
