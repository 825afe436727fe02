/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: any bytes are cut into items that lie in them in order, and each item gives a message or a refusal. The
 * first byte says how the rest is read. Items of an array that parse one by one make an array that parses whole.
 */
#include <jansson.h>
#include <stdlib.h>

#include "common/invariant.h"
#include "gateway/batch_item.h"
#include "test/fuzz/replay.h"

#define MOST 100

static void check_lines(struct str lines)
{
    for (struct str line, name; str_next(&lines, '\n', &line);) {
        for (size_t i = 0; i < line.len; i++)
            INVARIANT(line.base[i] >= 0x20 && line.base[i] < 0x7f);
        INVARIANT(line.len == 0 || (str_next(&line, ':', &name) && line.base != NULL && name.len > 0));
    }
}

static void check_order(const struct batch_slices *slices, struct str text)
{
    const char *at = text.base;
    for (size_t i = 0; i < slices->count; i++) {
        INVARIANT(slices->items[i].len > 0 && slices->items[i].base >= at);
        at = slices->items[i].base + slices->items[i].len;
    }
    INVARIANT(at <= text.base + text.len);
}

static bool read_items(enum batch_format format, const struct batch_slices *slices)
{
    struct batch_item item = {.json = NULL};
    bool well_formed = true;
    for (size_t i = 0; i < slices->count; i++) {
        enum verdict verdict = batch_item_read(&item, format, slices->items[i]);
        well_formed &= verdict != VERDICT_BAD_JSON;
        INVARIANT((verdict == VERDICT_OK) == (item.fault[0] == '\0'));
        if (verdict != VERDICT_OK)
            continue;
        check_lines(item.headers);
        INVARIANT(item.body.base != NULL && (format == BATCH_EVENTS) == (item.event.base != NULL));
    }
    batch_item_free(&item);
    return well_formed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batch_slices slices = {NULL, 0, 0};
    const char *fault = NULL;
    if (size == 0)
        return 0;
    enum batch_format format = data[0] == 'e' ? BATCH_EVENTS : BATCH_LINES;
    struct str text = {(const char *)data + 1, size - 1};
    if (batch_split(format, text, MOST, &slices, &fault) == VERDICT_OK) {
        check_order(&slices, text);
        bool well_formed = read_items(format, &slices);
        if (format == BATCH_EVENTS && well_formed) {
            json_t *whole = json_loadb(text.base, text.len, JSON_REJECT_DUPLICATES, NULL);
            INVARIANT(whole != NULL && json_array_size(whole) == slices.count);
            json_decref(whole);
        }
    } else {
        INVARIANT(fault != NULL);
    }
    free(slices.items);
    return 0;
}
