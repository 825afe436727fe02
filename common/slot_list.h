/* SPDX-License-Identifier: Apache-2.0
 *
 * A set of slots as a short text, for records that people read too: "12-40,77"; "" is none, "*" all of them. Pure.
 */
#ifndef COMMON_SLOT_LIST_H
#define COMMON_SLOT_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes those of the COUNT slots whose entry in SLOTS is true to OUT, which has room for SIZE bytes (at least 2). A
 * set that does not fit becomes "*": too many, never too few. */
void slot_list_format(const bool *slots, uint32_t count, char *out, size_t size);

/* Sets those of the COUNT entries of SLOTS that LIST names. */
void slot_list_mark(const char *list, bool *slots, uint32_t count);

/* LIST must be such a text. */
bool slot_list_has(const char *list, uint32_t slot);

/* Whether LIST is such a text. */
bool slot_list_is_valid(const char *list);

#endif
