/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/html.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *escape(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return (unsigned char)c < ' ' && c != '\n' && c != '\t' ? "?" : NULL;
    }
}

void html_text(struct buf *out, const char *text)
{
    for (; *text; text++) {
        const char *escaped = escape(*text);
        buf_append_str(out, escaped ? str_of(escaped) : (struct str){text, 1});
    }
}

void html_element(struct buf *out, const char *open, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = mem_alloc((size_t)len + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    buf_printf(out, "<%s>", open);
    html_text(out, text);
    buf_printf(out, "</%.*s>", (int)strcspn(open, " "), open);
    free(text);
}
