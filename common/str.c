/* SPDX-License-Identifier: Apache-2.0 */
#include "common/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

bool str_equal_nocase(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower((unsigned char)a.base[i]) != lower((unsigned char)b.base[i]))
            return false;
    return true;
}

bool str_to_u64(struct str s, uint64_t *out)
{
    if (s.len == 0 || s.len > 20)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.base[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *out = value;
    return true;
}

/* In place, and the short ones at once: most numbers are lengths of words. */
size_t str_from_u64(uint64_t number, char *to)
{
    if (number < 10) {
        to[0] = (char)('0' + number);
        return 1;
    }
    size_t len = 1;
    for (uint64_t rest = number; rest >= 10; rest /= 10)
        len++;
    for (size_t at = len; at-- > 0; number /= 10)
        to[at] = (char)('0' + number % 10);
    return len;
}

struct str str_trim(struct str s)
{
    while (s.len > 0 && (s.base[0] == ' ' || s.base[0] == '\t'))
        s.base++, s.len--;
    while (s.len > 0 && (s.base[s.len - 1] == ' ' || s.base[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* The length of the well-formed sequence at P, or 0. The ranges are those of RFC 3629, section 4. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char c = p[0], low = 0x80, high = 0xbf;
    size_t len = c < 0x80                 ? 1
                 : c >= 0xc2 && c <= 0xdf ? 2
                 : c >= 0xe0 && c <= 0xef ? 3
                 : c >= 0xf0 && c <= 0xf4 ? 4
                                          : 0;
    if (len == 0 || len > left)
        return 0;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < len; i++, low = 0x80, high = 0xbf)
        if (p[i] < low || p[i] > high)
            return 0;
    return len;
}

bool str_is_utf8(struct str s)
{
    for (size_t at = 0, len; at < s.len; at += len)
        if ((len = utf8_sequence((const unsigned char *)s.base + at, s.len - at)) == 0)
            return false;
    return true;
}

bool str_next(struct str *rest, char separator, struct str *part)
{
    if (rest->base == NULL)
        return false;
    const char *end = memchr(rest->base, separator, rest->len);
    *part = *rest;
    if (end == NULL) {
        *rest = (struct str){NULL, 0};
        return true;
    }
    part->len = (size_t)(end - rest->base);
    *rest = (struct str){end + 1, rest->len - part->len - 1};
    return true;
}

static void *must(void *memory)
{
    if (memory != NULL)
        return memory;
    fputs("out of memory\n", stderr);
    abort();
}

void *mem_alloc(size_t size)
{
    return must(malloc(size ? size : 1));
}

void *mem_calloc(size_t count, size_t size)
{
    return must(calloc(count ? count : 1, size ? size : 1));
}

void *mem_realloc(void *old, size_t size)
{
    return must(realloc(old, size ? size : 1));
}

char *str_dup(struct str s)
{
    char *copy = mem_alloc(s.len + 1);
    if (s.len > 0)
        memcpy(copy, s.base, s.len);
    copy[s.len] = '\0';
    return copy;
}

char *buf_reserve(struct buf *buf, size_t extra)
{
    size_t need = buf->len + extra + 1;
    if (need > buf->capacity) {
        size_t grown = buf->capacity ? buf->capacity : 64;
        while (grown < need)
            grown *= 2;
        buf->base = mem_realloc(buf->base, grown);
        buf->capacity = grown;
    }
    buf->base[buf->len] = '\0';
    return buf->base + buf->len;
}

void buf_append(struct buf *buf, const void *bytes, size_t len)
{
    char *end = buf_reserve(buf, len);
    if (len > 0)
        memcpy(end, bytes, len);
    end[len] = '\0';
    buf->len += len;
}

void buf_append_str(struct buf *buf, struct str s)
{
    buf_append(buf, s.base, s.len);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        vsnprintf(buf_reserve(buf, (size_t)len), (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void buf_consume(struct buf *buf, size_t len)
{
    buf->len -= len;
    if (buf->base != NULL) {
        memmove(buf->base, buf->base + len, buf->len);
        buf->base[buf->len] = '\0';
    }
}

void buf_free(struct buf *buf)
{
    free(buf->base);
    *buf = (struct buf){NULL, 0, 0};
}

struct str buf_str(const struct buf *buf)
{
    return (struct str){buf->base ? buf->base : "", buf->len};
}
