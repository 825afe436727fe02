/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines of a batch of changes, and conditions: any bytes give a change that the origin takes, or a refusal that says
 * why. The first byte says how the rest is read.
 */
#include "common/collection_value.h"
#include "common/invariant.h"
#include "gateway/collection_item.h"
#include "gateway/collections.h"
#include "gateway/etag.h"
#include "test/fuzz/replay.h"

/* "", or `match` or `none` and versions. */
static void check_condition(struct str condition)
{
    struct str word;
    uint64_t version;
    if (condition.len == 0)
        return;
    str_next(&condition, ' ', &word);
    INVARIANT(str_equal(word, STR_LIT("match")) || str_equal(word, STR_LIT("none")));
    while (str_next(&condition, ' ', &word))
        INVARIANT(str_to_u64(word, &version));
}

static void read_lines(struct str text)
{
    struct collection_item item = {.document = NULL};
    for (struct str line; str_next(&text, '\n', &line);) {
        enum verdict verdict = collection_item_read(&item, line);
        INVARIANT((verdict == VERDICT_OK) == (item.fault[0] == '\0'));
        if (verdict != VERDICT_OK)
            continue;
        INVARIANT(collection_key_fits(item.key));
        INVARIANT(item.type.len <= COLLECTION_TYPE_MAX && item.deletes == (item.type.len == 0));
        check_condition(buf_str(&item.condition));
    }
    collection_item_free(&item);
}

static void read_condition(struct str text)
{
    struct buf out = {NULL, 0, 0};
    struct str match = {NULL, 0};
    str_next(&text, '\n', &match);
    if (etag_condition_of(match, text, &out))
        check_condition(buf_str(&out));
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data + 1, size - 1};
    if (size == 0)
        return 0;
    if (data[0] == 'c')
        read_condition(text);
    else
        read_lines(text);
    return 0;
}
