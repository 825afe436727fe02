/* SPDX-License-Identifier: Apache-2.0
 *
 * The stamp of a broker: the epoch whose writers it lets in. Whoever knows the record in force may raise it, at the
 * primary that the record names in the very run; nobody can lower it. Borrows all that it is given.
 */
#ifndef COMMON_BROKER_STAMP_H
#define COMMON_BROKER_STAMP_H

#include "common/broker.h"
#include "common/broker_record.h"

/* Raises the stamp of UNIT's data in BROKER to EPOCH, where they are RECORD's data: else DONE sees LDC_DATA. False
 * where the connection takes no command, or leads to another run than RUN_ID. */
bool broker_stamp(struct broker *broker, struct str unit, const struct broker_record *record, const char *run_id,
                  uint64_t epoch, broker_reply_fn done, void *arg) MUST_CHECK;

#endif
