/* SPDX-License-Identifier: Apache-2.0
 *
 * The drills of ops/drills/, which the program carries in it: each behind a line "%%% FILE".
 */
#define _GNU_SOURCE /* memmem */
#include "ops/drill_file.h"

__asm__(".section .rodata\n"
        "drills_text: .incbin \"" DRILLS_FILE "\"\n"
        "drills_end: .balign 8\n"
        "drills_size: .quad drills_end - drills_text\n"
        ".previous\n");
extern const char drills_text[] __attribute__((visibility("hidden")));
extern const size_t drills_size __attribute__((visibility("hidden")));

static const struct str mark = {"%%% ", 4};

/* What comes before the next mark; *REST moves behind that. */
static struct str next_part(struct str *rest)
{
    const char *at = rest->len > 0 ? memmem(rest->base, rest->len, mark.base, mark.len) : NULL;
    struct str part = {rest->base, at != NULL ? (size_t)(at - rest->base) : rest->len};
    size_t skipped = at != NULL ? part.len + mark.len : rest->len;
    *rest = (struct str){rest->base + skipped, rest->len - skipped};
    return part;
}

bool drill_shipped(size_t i, struct str *file, struct str *text)
{
    struct str rest = {drills_text, drills_size};
    next_part(&rest);
    for (; i > 0 && rest.len > 0; i--)
        next_part(&rest);
    *text = next_part(&rest);
    return text->len > 0 && str_next(text, '\n', file);
}
