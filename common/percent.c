/* SPDX-License-Identifier: Apache-2.0 */
#include "common/percent.h"

#include <string.h>

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

int percent_byte(struct str text, size_t at)
{
    int high = at + 2 < text.len ? hex_digit(text.base[at + 1]) : -1;
    int low = high >= 0 ? hex_digit(text.base[at + 2]) : -1;
    return low >= 0 ? high << 4 | low : -1;
}

bool percent_decode(struct str text, bool plus_is_space, struct buf *out)
{
    out->len = 0;
    buf_reserve(out, text.len);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.base[i];
        if (c == '%') {
            int byte = percent_byte(text, i);
            if (byte <= 0)
                return false;
            c = (char)byte;
            i += 2;
        } else if (c == '+' && plus_is_space)
            c = ' ';
        buf_append(out, &c, 1);
    }
    return true;
}

void percent_encode(struct str text, const char *escaped, struct buf *out)
{
    size_t start = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.base[i];
        if (c > 0x20 && c < 0x7f && strchr(escaped, c) == NULL)
            continue;
        buf_append(out, text.base + start, i - start);
        buf_printf(out, "%%%02X", c);
        start = i + 1;
    }
    buf_append(out, text.base + start, text.len - start);
}

bool percent_query(struct str query, const char *name, struct buf *out)
{
    struct str pair, key;
    while (str_next(&query, '&', &pair)) {
        struct str value = pair;
        if (str_next(&value, '=', &key) && percent_decode(key, true, out) && str_equal(buf_str(out), str_of(name)))
            return percent_decode(value, true, out);
    }
    out->len = 0;
    buf_reserve(out, 0); /* the keys were decoded there, and callers read it as zero-terminated text too */
    return false;
}
