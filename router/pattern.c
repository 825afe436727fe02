/* SPDX-License-Identifier: Apache-2.0 */
#include "router/pattern.h"

#define LONGEST 1024

static bool is_star(struct str segment)
{
    return segment.len == 1 && segment.base[0] == '*';
}

static int check_bytes(struct str text, struct error *err)
{
    if (text.len == 0 || text.base[0] != '/')
        return error_set(err, ERROR_INPUT, "a path pattern starts with a slash");
    if (text.len > LONGEST)
        return error_set(err, ERROR_INPUT, "a path pattern has at most %d bytes", LONGEST);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.base[i];
        if (c < 0x20 || c == 0x7f || c == '?' || c == '#')
            return error_set(err, ERROR_INPUT, "a path pattern holds no query, fragment or control character");
        if (c == '%')
            return error_set(err, ERROR_INPUT, "a path pattern is compared with the decoded path: write no %% escapes");
    }
    return 0;
}

static int check_segments(struct str text, struct error *err)
{
    struct str rest = {text.base + 1, text.len - 1}, segment;
    while (str_next(&rest, '/', &segment)) {
        if (segment.len == 0 && rest.base != NULL)
            return error_set(err, ERROR_INPUT, "a path pattern holds no empty segments");
        if (str_equal(segment, STR_LIT(".")) || str_equal(segment, STR_LIT("..")))
            return error_set(err, ERROR_INPUT, "a path pattern holds no dot segments");
        if (!is_star(segment) && segment.len > 0 && memchr(segment.base, '*', segment.len) != NULL)
            return error_set(err, ERROR_INPUT, "a star in a path pattern stands for a whole segment: /pay/*");
    }
    return 0;
}

uint64_t pattern_word(struct str path)
{
    uint64_t word = 0;
    memcpy(&word, path.base, path.len < sizeof(word) ? path.len : sizeof(word));
    return word;
}

int pattern_parse(struct str text, struct pattern *pattern, struct error *err)
{
    if (check_bytes(text, err) == -1 || check_segments(text, err) == -1)
        return -1;
    const char *star = memchr(text.base, '*', text.len);
    size_t head = star ? (size_t)(star - text.base) : text.len;
    *pattern =
        (struct pattern){.text = text,
                         .head = {text.base, head},
                         .word = pattern_word((struct str){text.base, head}),
                         .mask = pattern_word((struct str){"\xff\xff\xff\xff\xff\xff\xff\xff", head < 8 ? head : 8}),
                         .shape = head == text.len       ? PATTERN_EXACT
                                  : head + 1 == text.len ? PATTERN_PREFIX
                                                         : PATTERN_SEGMENTS};
    return 0;
}

/* Both begin with a segment. */
static bool match_segments(struct str pattern, struct str path)
{
    struct str wanted, segment;
    while (str_next(&pattern, '/', &wanted)) {
        bool star = is_star(wanted), last = pattern.base == NULL;
        if (!str_next(&path, '/', &segment))
            return false;
        if (star && last)
            return true;
        if (star ? segment.len == 0 : !str_equal(wanted, segment))
            return false;
    }
    return path.base == NULL;
}

bool pattern_match(const struct pattern *pattern, struct str path)
{
    size_t head = pattern->head.len;
    if (!str_starts(path, pattern->head))
        return false;
    if (pattern->shape == PATTERN_EXACT)
        return path.len == head;
    return pattern->shape == PATTERN_PREFIX ||
           match_segments((struct str){pattern->text.base + head, pattern->text.len - head},
                          (struct str){path.base + head, path.len - head});
}

bool pattern_covers(const struct pattern *outer, const struct pattern *inner)
{
    struct str wanted, segment, outer_rest = outer->text, inner_rest = inner->text;
    while (str_next(&outer_rest, '/', &wanted)) {
        bool star = is_star(wanted), last = outer_rest.base == NULL;
        if (!str_next(&inner_rest, '/', &segment))
            return false;
        if (star && last)
            return true;
        if (is_star(segment) && (!star || inner_rest.base == NULL))
            return false;
        if (star ? segment.len == 0 : !str_equal(wanted, segment))
            return false;
    }
    return inner_rest.base == NULL;
}
