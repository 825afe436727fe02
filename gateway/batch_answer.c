/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/batch_answer.h"

#include "common/json_text.h"

void batch_answer_begin(struct buf *out, size_t count, size_t accepted, size_t unknown)
{
    buf_printf(out, "{\"accepted\":%zu,\"refused\":%zu,\"unknown\":%zu,\"items\":[", accepted,
               count - accepted - unknown, unknown);
}

void batch_answer_verdict(struct buf *out, enum verdict verdict, bool replayed, const char *detail)
{
    if (replayed)
        buf_append_str(out, STR_LIT(",\"replayed\":true"));
    if (verdict != VERDICT_OK)
        buf_printf(out, ",\"problem\":\"urn:ldcgate:problem:%s\"", verdict_info(verdict)->name);
    if (detail != NULL) {
        buf_append_str(out, STR_LIT(",\"detail\":"));
        json_append_text(out, str_of(detail));
    }
    buf_append(out, "}", 1);
}
