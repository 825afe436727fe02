/* SPDX-License-Identifier: Apache-2.0
 *
 * A route's path pattern: literal segments, "*" for one segment that is not empty, and a final "*" for any rest, the
 * empty one too ("/pay/" is among what "/pay/" and a star takes; "/pay" is not). Pure; borrows its text.
 */
#ifndef ROUTER_PATTERN_H
#define ROUTER_PATTERN_H

#include "common/error.h"
#include "common/str.h"

enum pattern_shape {
    PATTERN_EXACT = 0, /* no star */
    PATTERN_PREFIX,    /* a final star only */
    PATTERN_SEGMENTS,
};

struct pattern {
    struct str text;
    struct str head;     /* up to the first star */
    uint64_t word, mask; /* of the head's first bytes, see pattern_word() */
    enum pattern_shape shape;
};

/* The first eight bytes of PATH as a number, zeros behind a shorter one. */
uint64_t pattern_word(struct str path);

/* False for most patterns that PATH does not match: a glance at its first bytes. */
static inline bool pattern_may_match(const struct pattern *pattern, uint64_t word_of_path)
{
    return (word_of_path & pattern->mask) == pattern->word;
}

/* -1 with the reason where TEXT is no pattern. */
int pattern_parse(struct str text, struct pattern *pattern, struct error *err) MUST_CHECK;

/* PATH is decoded, and has no query. */
bool pattern_match(const struct pattern *pattern, struct str path);

/* True where each path that INNER matches is matched by OUTER. */
bool pattern_covers(const struct pattern *outer, const struct pattern *inner);

#endif
