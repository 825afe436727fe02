/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_text.h"

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void append_control(struct buf *out, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    static const char shorts[] = "\b\f\n\r\t", letters[] = "bfnrt";
    const char *found = c != 0 ? strchr(shorts, c) : NULL;
    if (found != NULL)
        buf_append(out, (char[]){'\\', letters[found - shorts]}, 2);
    else
        buf_append(out, (char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
}

/* The well-formed multi-byte sequence at the start of TEXT, or an empty one. */
static struct str sequence_of(struct str text)
{
    for (size_t len = 2; len <= 4 && len <= text.len; len++)
        if (str_is_utf8((struct str){text.base, len}))
            return (struct str){text.base, len};
    return (struct str){text.base, 0};
}

/* Appends what stands at the start of TEXT, which is not plain; returns how many bytes that was. */
static size_t append_special(struct buf *out, struct str text)
{
    unsigned char c = (unsigned char)text.base[0];
    if (c == '"' || c == '\\') {
        buf_append(out, (char[]){'\\', (char)c}, 2);
        return 1;
    }
    if (c < 0x80) {
        append_control(out, c);
        return 1;
    }
    struct str sequence = sequence_of(text);
    if (sequence.len == 0)
        sequence = STR_LIT("\xef\xbf\xbd");
    buf_append_str(out, sequence);
    return sequence.base == text.base ? sequence.len : 1;
}

void json_append_text(struct buf *out, struct str text)
{
    buf_append(out, "\"", 1);
    size_t done = 0;
    for (size_t at = 0; at < text.len;) {
        if (is_plain((unsigned char)text.base[at])) {
            at++;
            continue;
        }
        buf_append(out, text.base + done, at - done);
        at += append_special(out, (struct str){text.base + at, text.len - at});
        done = at;
    }
    buf_append(out, text.base ? text.base + done : "", text.len - done);
    buf_append(out, "\"", 1);
}
