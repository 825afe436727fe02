/* SPDX-License-Identifier: Apache-2.0 */
#include "common/broker_stamp.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/protocol.h"

/* Another run would have another connection: what is sent over this one is run by that which greeted, or by nobody. */
bool broker_stamp(struct broker *broker, struct str unit, const struct broker_record *record, const char *run_id,
                  uint64_t epoch, broker_reply_fn done, void *arg)
{
    char epoch_key[PROTOCOL_KEY_MAX], dataset_key[PROTOCOL_KEY_MAX], text[24];
    if (strcmp(broker_run_id(broker), run_id) != 0)
        return false;
    protocol_unit_key(epoch_key, unit, "epoch");
    protocol_unit_key(dataset_key, unit, "dataset");
    snprintf(text, sizeof(text), "%" PRIu64, epoch);
    const char *const words[] = {"FCALL", "ldc1_stamp", "2", epoch_key, dataset_key, text, record->dataset};
    return broker_command(broker, done, arg, 7, words, NULL);
}
