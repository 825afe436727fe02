/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/source.h"

#include <ctype.h>

#include "common/measure.h"

#define LONGEST 256

bool source_is_token(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.base[i];
        if (c == 0 || c >= 0x80 || (!isalnum(c) && strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return name.len > 0;
}

static int check_token(struct str name, struct error *err)
{
    if (source_is_token(name))
        return 0;
    return error_set(err, ERROR_INPUT, "a header or cookie name is made of letters, digits and !#$%%&'*+-.^_`|~");
}

static int check_path(struct str path, struct error *err)
{
    if (path.base[0] != '/')
        return error_set(err, ERROR_INPUT, "a path template starts with a slash: path:/users/{uid}");
    struct str rest = {path.base + 1, path.len - 1}, segment;
    int variables = 0;
    while (str_next(&rest, '/', &segment)) {
        bool braces =
            segment.len > 0 && (memchr(segment.base, '{', segment.len) || memchr(segment.base, '}', segment.len));
        if (segment.len == 0)
            return error_set(err, ERROR_INPUT, "a path template holds no empty segments");
        if (braces && (segment.len < 3 || segment.base[0] != '{' || segment.base[segment.len - 1] != '}'))
            return error_set(err, ERROR_INPUT, "a variable of a path template is a whole segment: /users/{uid}");
        variables += braces;
    }
    if (variables != 1)
        return error_set(err, ERROR_INPUT, "a path template has exactly one {variable}");
    return 0;
}

static int check_pointer(struct str pointer, struct error *err)
{
    if (pointer.base[0] != '/')
        return error_set(err, ERROR_INPUT, "a JSON pointer starts with a slash: json:/user/id");
    for (size_t i = 0; i < pointer.len; i++)
        if (pointer.base[i] == '~' &&
            (i + 1 == pointer.len || (pointer.base[i + 1] != '0' && pointer.base[i + 1] != '1')))
            return error_set(err, ERROR_INPUT, "in a JSON pointer ~ is written ~0, and / in a name is written ~1");
    return 0;
}

static int check_any(struct str name, struct error *err)
{
    (void)name;
    (void)err;
    return 0;
}

static const struct {
    struct str scheme;
    int (*check)(struct str name, struct error *err);
} kinds[] = {
    [SOURCE_HEADER] = {{"header", 6}, check_token}, [SOURCE_COOKIE] = {{"cookie", 6}, check_token},
    [SOURCE_QUERY] = {{"query", 5}, check_any},     [SOURCE_PATH] = {{"path", 4}, check_path},
    [SOURCE_JSON] = {{"json", 4}, check_pointer},   [SOURCE_JWT] = {{"jwt", 3}, check_any},
};

int source_parse(struct str text, struct source *source, struct error *err)
{
    struct str rest = text, scheme;
    str_next(&rest, ':', &scheme);
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        if (!str_equal(scheme, kinds[kind].scheme) || rest.len == 0)
            continue;
        if (text.len > LONGEST)
            return error_set(err, ERROR_INPUT, "a source has at most %d bytes", LONGEST);
        *source = (struct source){.kind = (enum source_kind)kind, .name = rest, .text = text};
        return kinds[kind].check(rest, err);
    }
    return error_set(err, ERROR_INPUT,
                     "a source is header:NAME, cookie:NAME, query:NAME, path:/TEMPLATE, json:/POINTER or jwt:CLAIM");
}
