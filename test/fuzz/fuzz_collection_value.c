/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands in a broker may be anything, for anybody can write there. A value that is taken lies within its bytes;
 * one that is sound comes back from what it says, with the same check.
 */
#include "common/collection_value.h"
#include "common/invariant.h"
#include "test/fuzz/replay.h"

static void check_whole(struct str key, const struct collection_value *value)
{
    struct collection_value again;
    struct buf packed = {NULL, 0, 0};
    collection_pack(key, value->type, value->value, &packed);
    INVARIANT(collection_unpack(buf_str(&packed), &again) && collection_is_sound(key, &again));
    if (value->type.len <= COLLECTION_TYPE_MAX) {
        INVARIANT(str_equal(again.type, value->type) && str_equal(again.value, value->value));
        INVARIANT((again.check == value->check) == collection_is_sound(key, value));
    }
    buf_free(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = {(const char *)data, size}, key = {all.base, size < 4 ? size : 4};
    struct collection_value value;
    if (!collection_unpack(all, &value))
        return 0;
    INVARIANT(value.type.len + value.value.len + COLLECTION_HEADER == size);
    uint64_t share = collection_share(&value);
    INVARIANT(share >> 48 == 0 &&
              collection_sum_remove(collection_sum_add(UINT64_C(1) << 47, share), share) >> 47 == 1);
    check_whole(key, &value);
    return 0;
}
