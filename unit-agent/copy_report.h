/* SPDX-License-Identifier: Apache-2.0
 *
 * What an agent says of its copies at their origin, each second:
 * {"agent","seq","state","open","digest_seq","digest_ok", "bad","beat_us","at_us"}, as it stands in the unit's broker.
 * The origin keeps its log for who says so.
 */
#ifndef AGENT_COPY_REPORT_H
#define AGENT_COPY_REPORT_H

struct copy;

#define COPY_REPORT_US 1000000

/* Asks the unit's broker, and tells the origin. What it finds otherwise than this agent believes is looked at anew. */
void copy_report(struct copy *copy);

#endif
