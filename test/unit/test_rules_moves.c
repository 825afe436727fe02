/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/moves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "rules/rules.h"
#include "test/unit/rules_text.h"

#define NODES "brokers: [\"redis://r:1\"], nodes: {blue: [\"http://n:1\"]}"
#define HEAD                                                                                                           \
    "version: 1\n"                                                                                                     \
    "identity: {sources: [\"header:X-User-Id\"]}\n"                                                                    \
    "routes:\n"                                                                                                        \
    "  - {match: {path: \"/a\"}, zone: A}\n"
#define SHARDING     "sharding: {hash: modulo, slots: 10}\n"
#define UNIT(n, s)   "  " n ": {kind: A, datacenter: x, slots: [" s "], " NODES "}\n"
#define UNITS(a, b)  "units:\n" UNIT("R1", a) UNIT("R2", b)
#define BASE         HEAD SHARDING UNITS("\"0-4\"", "\"5-9\"")
#define OVERRIDES(o) "overrides: [" o "]\n"

/* The slots that users leave each of two units by, as digits; then who takes whom, as "FROM>TO". */
static void assert_moves(const char *before, const char *after, const char *expected)
{
    struct table *old = load(before), *new = load(after);
    struct rules_moves moves;
    struct buf out = {NULL, 0, 0};
    rules_moves_find(old, new, &moves);
    for (uint32_t unit = 0; unit < old->unit_count; unit++) {
        for (uint32_t slot = 0; moves.leaving[unit] != NULL && slot < 10; slot++)
            buf_printf(&out, "%s", moves.leaving[unit][slot] ? (char[]){(char)('0' + slot), '\0'} : "");
        buf_printf(&out, "%s", unit + 1 < old->unit_count ? "|" : "");
    }
    for (uint32_t from = 0; from < old->unit_count; from++)
        for (uint32_t to = 0; to < new->unit_count; to++)
            if (rules_moves_way(&moves, from, to))
                buf_printf(&out, " %.*s>%.*s", STR_ARG(old->units[from].name), STR_ARG(new->units[to].name));
    assert_string_equal(out.base, expected);
    assert_int_equal(moves.any, strcmp(expected, "|") != 0);
    rules_moves_free(&moves);
    buf_free(&out);
    table_unref(&old);
    table_unref(&new);
}

static void the_same_users_move_nowhere(void **state)
{
    (void)state;
    assert_moves(BASE, BASE, "|");
    assert_moves(BASE, HEAD SHARDING "units:\n" UNIT("R2", "\"5-9\"") UNIT("R1", "\"0-4\""), "|");
}

static void slots_move(void **state)
{
    (void)state;
    assert_moves(BASE, HEAD SHARDING UNITS("\"0-2\", \"9\"", "\"3-8\""), "34|9 R1>R2 R2>R1");
    assert_moves(BASE, HEAD SHARDING "units:\n" UNIT("R2", "\"0-9\""), "01234| R1>R2");
    assert_moves(BASE, HEAD SHARDING "units:\n" UNIT("R3", "\"0-4\"") UNIT("R2", "\"5-9\""), "01234| R1>R3");
}

static void an_override_moves_its_users_slot(void **state)
{
    (void)state;
    assert_moves(BASE, BASE OVERRIDES("{users: [\"13\", \"27\"], unit: R2}"), "3| R1>R2");
    assert_moves(BASE OVERRIDES("{users: [\"13\"], unit: R2}"), BASE, "|3 R2>R1");
    assert_moves(BASE OVERRIDES("{users: [\"13\"], unit: R2}"), BASE OVERRIDES("{users: [\"13\"], unit: R2}"), "|");
}

static void a_prefix_or_another_hash_may_move_anybody(void **state)
{
    (void)state;
    assert_moves(BASE, BASE OVERRIDES("{prefix: \"9\", unit: R2}"), "0123456789|0123456789 R1>R2 R2>R1");
    assert_moves(BASE OVERRIDES("{prefix: \"9\", unit: R2}"), BASE OVERRIDES("{prefix: \"9\", unit: R2}"), "|");
    assert_moves(BASE, HEAD "sharding: {hash: modulo, slots: 20}\n" UNITS("\"0-9\"", "\"10-19\""),
                 "0123456789|0123456789 R1>R2 R2>R1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_users_move_nowhere),
        cmocka_unit_test(slots_move),
        cmocka_unit_test(an_override_moves_its_users_slot),
        cmocka_unit_test(a_prefix_or_another_hash_may_move_anybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
