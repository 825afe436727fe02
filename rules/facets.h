/* SPDX-License-Identifier: Apache-2.0
 *
 * What differs between two tables apart from who owns which slot: a line for each difference, in words.
 */
#ifndef RULES_FACETS_H
#define RULES_FACETS_H

#include "router/table.h"

/* Appends lines such as "unit RZ01: weights blue 100, green 0 -> blue 90, green 10". */
void facets_compare(const struct table *before, const struct table *after, struct buf *out);

#endif
