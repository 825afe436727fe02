/* SPDX-License-Identifier: Apache-2.0 */
#include "common/invariant.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void invariant_broken(const char *condition, const char *file, int line, const char *function)
{
    fprintf(stderr, "%s:%d: %s: broken invariant: %s\n", file, line, function, condition);
    abort();
}
