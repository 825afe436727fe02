/* SPDX-License-Identifier: Apache-2.0
 *
 * A borrowed run of bytes, not zero-terminated, and a growing buffer that owns its bytes. A struct str never
 * owns anything: it points into a request, a table or a buffer, and lives as long as that does.
 */
#ifndef COMMON_STR_H
#define COMMON_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *base; /* NULL where there is no value at all */
    size_t len;
};

#define STR_LIT(literal) ((struct str){"" literal, sizeof(literal) - 1})
/* For printf's "%.*s". */
#define STR_ARG(s) (int)(s).len, ((s).base ? (s).base : "")

static inline struct str str_of(const char *text)
{
    return (struct str){text, text ? strlen(text) : 0};
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.base, prefix.base, prefix.len) == 0);
}

/* ASCII letters compare without case, as HTTP's field names do. */
bool str_equal_nocase(struct str a, struct str b);

/* Takes a run of 1..20 decimal digits and nothing else. False where S is not one, or is above UINT64_MAX. */
bool str_to_u64(struct str s, uint64_t *out);

/* Writes NUMBER in decimal digits to TO, which has room for 20, and returns how many; no zero byte follows. */
size_t str_from_u64(uint64_t number, char *to);

/* Without blanks and tabs at either end. */
struct str str_trim(struct str s);

/* True where all of S is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool str_is_utf8(struct str s);

/* The part of *REST before SEPARATOR; *REST moves behind it. False when *REST.base is NULL: nothing is left. */
bool str_next(struct str *rest, char separator, struct str *part);

/* A zero-terminated copy for free(). Never NULL: dies when memory is out. */
char *str_dup(struct str s);

/* malloc family that never returns NULL: a process that cannot get memory stops here, loudly. */
void *mem_alloc(size_t size);
void *mem_calloc(size_t count, size_t size);
void *mem_realloc(void *old, size_t size);

/* A growing buffer. Zero-initialise it; buf_free() releases the bytes. `base` is zero-terminated after each call. */
struct buf {
    char *base;
    size_t len, capacity;
};

void buf_append(struct buf *buf, const void *bytes, size_t len);
void buf_append_str(struct buf *buf, struct str s);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Makes room for EXTRA more bytes and returns where they start; the caller adds to `len` what it wrote. */
char *buf_reserve(struct buf *buf, size_t extra);
/* Takes LEN bytes off the front. */
void buf_consume(struct buf *buf, size_t len);
void buf_free(struct buf *buf);
struct str buf_str(const struct buf *buf);

#endif
