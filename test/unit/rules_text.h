/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules of tests: a text that must load.
 */
#ifndef TEST_RULES_TEXT_H
#define TEST_RULES_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "rules/rules.h"

/* The table of TEXT, which is the caller's; the test fails where TEXT is faulty. */
static inline struct table *load(const char *text)
{
    struct diag_list diags = {.file = "x"};
    struct table *table = rules_load(str_of(text), 1, &diags);
    if (table == NULL) {
        struct buf out = {NULL, 0, 0};
        diag_print(&diags, &out);
        fail_msg("%s", out.base);
    }
    diag_free(&diags);
    return table;
}

#endif
