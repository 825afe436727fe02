/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memmem */
#include "common/functions.h"

#include "common/invariant.h"

__asm__(".section .rodata\n"
        "functions_text: .incbin \"" FUNCTIONS_FILE "\"\n"
        "functions_end: .balign 8\n"
        "functions_size: .quad functions_end - functions_text\n"
        ".previous\n");
extern const char functions_text[] __attribute__((visibility("hidden")));
extern const size_t functions_size __attribute__((visibility("hidden")));

struct str functions_library(void)
{
    return (struct str){functions_text, functions_size};
}

/* What stands between MARK and END in the library. */
static struct str constant(const char *mark, char end)
{
    struct str library = functions_library(), text;
    const char *at = memmem(library.base, library.len, mark, strlen(mark));
    INVARIANT(at != NULL);
    size_t skipped = (size_t)(at - library.base) + strlen(mark);
    struct str rest = {library.base + skipped, library.len - skipped};
    INVARIANT(str_next(&rest, end, &text));
    return text;
}

bool functions_outdated(struct str version)
{
    struct str number;
    uint64_t theirs, ours;
    INVARIANT(str_to_u64(constant("local VERSION = ", '\n'), &ours));
    if (!str_next(&version, ' ', &number) || !str_to_u64(number, &theirs) || version.base == NULL)
        return true;
    return theirs < ours || (theirs == ours && !str_equal(version, constant("local DIGEST = '", '\'')));
}
