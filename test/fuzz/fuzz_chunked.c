/* SPDX-License-Identifier: Apache-2.0
 *
 * Chunked bodies. The first byte of the input is the size of the pieces that it arrives in: whole or in pieces, the
 * verdict, the decoded bytes and the end are the same.
 */
#include <stdlib.h>

#include "common/http1.h"
#include "common/invariant.h"
#include "test/fuzz/replay.h"

struct decoded {
    enum http1_verdict verdict;
    struct buf bytes;
    size_t used;
};

static struct decoded decode(const char *bytes, size_t size, size_t step)
{
    struct decoded decoded = {.verdict = HTTP1_PARTIAL};
    struct http1_chunked chunked = {0};
    while (decoded.used < size && decoded.verdict == HTTP1_PARTIAL) {
        size_t piece = size - decoded.used < step ? size - decoded.used : step, len = piece, used = 0;
        char *copy = malloc(piece);
        memcpy(copy, bytes + decoded.used, piece);
        decoded.verdict = http1_decode_chunked(&chunked, copy, &len, &used);
        INVARIANT(len <= used && used <= piece);
        INVARIANT(decoded.verdict != HTTP1_PARTIAL || used == piece);
        buf_append(&decoded.bytes, copy, len);
        decoded.used += used;
        free(copy);
    }
    return decoded;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *bytes = (const char *)data + 1;
    struct decoded whole = decode(bytes, size - 1, size), parted = decode(bytes, size - 1, data[0] + 1u);
    INVARIANT(whole.verdict == HTTP1_COMPLETE || whole.verdict == HTTP1_PARTIAL || whole.verdict == HTTP1_BAD_REQUEST);
    INVARIANT(whole.verdict == parted.verdict && whole.used == parted.used);
    INVARIANT(str_equal(buf_str(&whole.bytes), buf_str(&parted.bytes)));
    buf_free(&whole.bytes);
    buf_free(&parted.bytes);
    return 0;
}
