/* SPDX-License-Identifier: Apache-2.0
 *
 * What a drill found, for people: a table for the terminal, and one HTML file that needs nothing beside it. REPORT is a
 * run's report.json (schema 1), borrowed. What it does not say is shown as not recorded; nothing in it is trusted to be
 * free of markup or control characters.
 */
#ifndef OPS_DRILL_REPORT_H
#define OPS_DRILL_REPORT_H

#include <jansson.h>

#include "common/str.h"

/* Append to OUT. */
void drill_report_table(const json_t *report, struct buf *out);
void drill_report_html(const json_t *report, struct buf *out);

#endif
