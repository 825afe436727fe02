/* SPDX-License-Identifier: Apache-2.0
 *
 * The sections of a drill's HTML report that are tables, and what it shows of one round; shared by drill_html.c and
 * drill_page.c alone. All append to OUT.
 */
#ifndef OPS_DRILL_PAGE_H
#define OPS_DRILL_PAGE_H

#include <jansson.h>
#include <stdbool.h>

#include "common/str.h"

/* Timeline, latency, votes and events; with WHOLE the latencies of all units, else that of the target alone. */
void drill_page_round(const json_t *report, const json_t *round, bool whole, struct buf *out);

void drill_page_blast(const json_t *report, struct buf *out);  /* whom it touched */
void drill_page_proof(const json_t *report, struct buf *out);  /* where each accepted request is */
void drill_page_rounds(const json_t *report, struct buf *out); /* how each ended and was rolled back */
void drill_page_before(const json_t *report, struct buf *out); /* guard rails and steady state */

#endif
