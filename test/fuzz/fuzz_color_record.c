/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store may say of a unit's colours. A record that is taken comes back from its own text, and every change
 * leaves one that can be read again.
 */
#include "common/color_record.h"
#include "common/invariant.h"
#include "test/fuzz/replay.h"

static void check_whole(const struct color_record *record)
{
    struct color_record again;
    struct buf text = {0};
    color_record_format(record, &text);
    INVARIANT(color_record_parse(buf_str(&text), &again, NULL) == 0);
    INVARIANT(again.weights.blue == record->weights.blue && again.weights.green == record->weights.green);
    INVARIANT(again.ramp.state == record->ramp.state && again.ramp.step == record->ramp.step);
    INVARIANT(strcmp(again.why, record->why) == 0 && strcmp(again.salt, record->salt) == 0);
    buf_free(&text);
}

static void check_changes(const struct color_record *record)
{
    struct color_change change = {1, "fuzz", record->why};
    struct color_record changed = *record;
    if (record->ramp.state == COLOR_RAMP_RUNNING) {
        color_record_advance(&changed, &change);
        check_whole(&changed);
    }
    changed = *record;
    if (color_record_begin(&changed, &record->ramp, 0, &change, NULL) == 0)
        check_whole(&changed);
    changed = *record;
    if (color_record_roll_back(&changed, &change, NULL) == 0)
        check_whole(&changed);
    changed = *record;
    if (color_record_set(&changed, record->before, record->salt, &change, NULL) == 0)
        check_whole(&changed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct color_record record;
    if (color_record_parse((struct str){(const char *)data, size}, &record, NULL) == 0) {
        check_whole(&record);
        check_changes(&record);
    }
    return 0;
}
