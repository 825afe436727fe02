/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/batch_text.h"

#define FIRST_ROOM 64

enum batch_format batch_format(struct str content_type)
{
    struct str type = {NULL, 0};
    str_next(&content_type, ';', &type);
    type = type.base ? str_trim(type) : type;
    if (str_equal_nocase(type, STR_LIT("application/cloudevents-batch+json")))
        return BATCH_EVENTS;
    return str_equal_nocase(type, STR_LIT("application/x-ndjson")) ? BATCH_LINES : BATCH_NONE;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && is_blank(*at))
        at++;
    return at;
}

/* Behind the string whose quote is at AT; NULL where it does not end. A quote behind an odd number of backslashes is
 * escaped; counting them stops at the opening quote. */
static const char *skip_string(const char *at, const char *end)
{
    while ((at = memchr(at + 1, '"', (size_t)(end - at - 1))) != NULL) {
        const char *slash = at;
        while (slash[-1] == '\\')
            slash--;
        if ((at - slash) % 2 == 0)
            return at + 1;
    }
    return NULL;
}

/* Behind the array or object whose bracket is at AT, whatever kinds of brackets close it; NULL where it does not end.
 */
static const char *skip_nested(const char *at, const char *end)
{
    size_t depth = 0;
    while (at != NULL && at < end) {
        char c = *at;
        if (c == '"') {
            at = skip_string(at, end);
            continue;
        }
        at++;
        depth += c == '{' || c == '[';
        if ((c == '}' || c == ']') && --depth == 0)
            return at;
    }
    return NULL;
}

/* Behind the value that begins at AT, by its quotes and brackets alone. */
static const char *skip_value(const char *at, const char *end)
{
    if (*at == '"')
        return skip_string(at, end);
    if (*at == '{' || *at == '[')
        return skip_nested(at, end);
    while (at < end && !is_blank(*at) && *at != ',' && *at != ']' && *at != '}')
        at++;
    return at;
}

static void add_slice(struct batch_slices *slices, const char *base, const char *end)
{
    if (slices->count == slices->room) {
        slices->room = slices->room == 0 ? FIRST_ROOM : 2 * slices->room;
        slices->items = mem_realloc(slices->items, slices->room * sizeof(struct str));
    }
    slices->items[slices->count++] = (struct str){base, (size_t)(end - base)};
}

static enum verdict refuse(enum verdict verdict, const char **fault, const char *text)
{
    *fault = text;
    return verdict;
}

static enum verdict refuse_long(const char **fault)
{
    return refuse(VERDICT_BODY_TOO_LARGE, fault, "The batch has more items than batch.items allows");
}

static enum verdict split_array(struct str text, size_t most, struct batch_slices *slices, const char **fault)
{
    const char *end = text.base + text.len, *at = skip_blanks(text.base, end);
    if (at == end || *at != '[')
        return refuse(VERDICT_BAD_JSON, fault, "The body is no JSON array of CloudEvents");
    at = skip_blanks(at + 1, end);
    bool more = at < end && *at != ']';
    while (more) {
        const char *item = at;
        at = skip_value(item, end);
        if (at == NULL || at == item)
            return refuse(VERDICT_BAD_JSON, fault, "The body is cut off, or has a comma or a quote too many");
        if (slices->count == most)
            return refuse_long(fault);
        add_slice(slices, item, at);
        at = skip_blanks(at, end);
        more = at < end && *at == ',';
        at = more ? skip_blanks(at + 1, end) : at;
        if (at == end)
            return refuse(VERDICT_BAD_JSON, fault, "The body ends before its array does");
    }
    if (at == end || *at != ']' || skip_blanks(at + 1, end) != end)
        return refuse(VERDICT_BAD_JSON, fault, "The array does not end where the body ends");
    return VERDICT_OK;
}

static enum verdict split_lines(struct str text, size_t most, struct batch_slices *slices, const char **fault)
{
    for (struct str line; str_next(&text, '\n', &line);) {
        const char *end = line.base + line.len, *at = skip_blanks(line.base, end);
        while (end > at && is_blank(end[-1]))
            end--;
        if (at == end)
            continue;
        if (slices->count == most)
            return refuse_long(fault);
        add_slice(slices, at, end);
    }
    return VERDICT_OK;
}

enum verdict batch_split(enum batch_format format, struct str text, size_t most, struct batch_slices *slices,
                         const char **fault)
{
    return format == BATCH_EVENTS ? split_array(text, most, slices, fault) : split_lines(text, most, slices, fault);
}

struct str batch_member(struct str object, struct str name)
{
    const char *end = object.base + object.len, *at = skip_blanks(object.base + 1, end);
    while (at < end && *at == '"') {
        const char *key = at + 1;
        at = skip_string(at, end);
        bool found = at != NULL && str_equal((struct str){key, (size_t)(at - 1 - key)}, name);
        at = at != NULL ? skip_blanks(at, end) : end;
        at = at < end ? skip_blanks(at + 1, end) : end; /* the colon */
        const char *value = at;
        at = at < end ? skip_value(at, end) : NULL;
        if (at == NULL || found)
            return at != NULL ? (struct str){value, (size_t)(at - value)} : (struct str){NULL, 0};
        at = skip_blanks(at, end);
        at = at < end ? skip_blanks(at + 1, end) : end; /* the comma */
    }
    return (struct str){NULL, 0};
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool batch_decode_base64(struct str text, struct buf *out)
{
    size_t padding = 0;
    while (padding < 2 && padding < text.len && text.base[text.len - 1 - padding] == '=')
        padding++;
    if (text.len % 4 != 0)
        return false;
    uint32_t bits = 0;
    for (size_t i = 0; i < text.len - padding; i++) {
        int digit = base64_digit(text.base[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 == 3)
            buf_append(out, (char[]){(char)(bits >> 16), (char)(bits >> 8), (char)bits}, 3);
    }
    if (padding == 1)
        buf_append(out, (char[]){(char)(bits >> 10), (char)(bits >> 2)}, 2);
    else if (padding == 2)
        buf_append(out, (char[]){(char)(bits >> 4)}, 1);
    return padding == 0 || (bits & (padding == 1 ? 3U : 15U)) == 0;
}
