/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of a verb, taken apart by the same text that its help shows. A usage text is the grammar:
 * "FILE [--note TEXT] [--detach]" wants one word, and knows a flag with a value and one without. What stands outside
 * brackets must be given. All texts are borrowed from argv.
 */
#ifndef OPS_ARGS_H
#define OPS_ARGS_H

#include "common/error.h"
#include "common/str.h"

#define ARGS_MOST 24

struct args {
    struct {
        struct str name;   /* "--note" */
        const char *value; /* "" where the flag takes none */
    } flags[ARGS_MOST];
    size_t flag_count;
    const char *words[ARGS_MOST];
    size_t word_count;
};

/* Adds the COUNT texts of ARGV to ARGS (zeroed by the caller), as the grammars VERB and GLOBAL allow. With
 * ONLY_LEADING it stops at the first word. Returns how many were taken, or -1 with *err. */
int args_take(struct args *args, const char *verb, const char *global, int count, char *const *argv, bool only_leading,
              struct error *err) MUST_CHECK;

/* Whether all is there that VERB wants, and no word more. */
int args_check(const struct args *args, const char *verb, struct error *err) MUST_CHECK;

const char *args_value(const struct args *args, const char *flag); /* NULL: not given; the last one counts */
const char *args_word(const struct args *args, size_t i);          /* NULL: not given */

/* *OUT keeps its value where FLAG was not given. */
int args_number(const struct args *args, const char *flag, int64_t min, int64_t max, int64_t *out,
                struct error *err) MUST_CHECK;

/* The one of NAMES that comes nearest to WORD, where it is near enough for a "did you mean"; base NULL otherwise.
 * Optimal string alignment distance (Damerau 1964, Levenshtein 1966). */
struct str args_nearest(struct str word, const struct str *names, size_t count);

#endif
