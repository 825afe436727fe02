/* SPDX-License-Identifier: Apache-2.0
 *
 * Explanations against test/oracle/oracle.py, which computes the same from the definitions, in another language: ten
 * thousand users for each hash. Run from the project's root.
 */
#include "rules/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <jansson.h>

#include "common/file.h"

#define USERS 10000

struct layout {
    const char *sharding;  /* as in the rules */
    const char *arguments; /* the same, for the oracle */
    unsigned slots;
    const char *ranges[3]; /* of the units U0, U1, U2 */
    bool numeric;
};

static struct table *load(const struct layout *layout)
{
    struct buf text = {NULL, 0, 0}, faults = {NULL, 0, 0};
    buf_printf(&text, "version: 1\nsharding: {%s, slots: %u}\nunits:\n", layout->sharding, layout->slots);
    for (int i = 0; i < 3; i++) {
        buf_printf(&text, "  U%d: {kind: A, datacenter: x, slots: [", i);
        struct str rest = str_of(layout->ranges[i]), range;
        while (str_next(&rest, ',', &range))
            buf_printf(&text, "\"%.*s\", ", STR_ARG(range));
        buf_printf(&text, "]}\n");
    }
    struct diag_list diags = {.file = "x"};
    struct table *table = rules_load(buf_str(&text), 1, &diags);
    diag_print(&diags, &faults);
    if (table == NULL)
        fail_msg("%s", faults.base);
    diag_free(&diags);
    buf_free(&faults);
    buf_free(&text);
    return table;
}

/* IDs as they come: short and long numbers, names, tags, umlauts, up to what a gateway takes. */
static void make_user(const struct layout *layout, unsigned i, struct buf *user)
{
    unsigned seed = i * 2654435761u + 17;
    user->len = 0;
    if (layout->numeric || i % 4 == 0) {
        for (unsigned digits = 1 + (unsigned)rand_r(&seed) % (i % 50 == 0 ? 256 : 20); digits > 0; digits--)
            buf_printf(user, "%d", rand_r(&seed) % 10);
    } else if (i % 4 == 1) {
        buf_printf(user, "user-%u@example.org", i);
    } else if (i % 4 == 2) {
        buf_printf(user, "%u:{%x}:%c", i, rand_r(&seed) % 4096, "{}x"[i / 4 % 3]);
    } else {
        for (unsigned len = 1 + (unsigned)rand_r(&seed) % 120; len > 0; len--)
            buf_printf(user, "%s", len % 7 == 0 ? "\xc3\xa4" : "z");
    }
}

static struct buf ask_oracle(const struct layout *layout, const char *input)
{
    struct buf command = {NULL, 0, 0}, answer = {NULL, 0, 0};
    buf_printf(&command, "exec python3 test/oracle/oracle.py %s --slots %u --unit U0=%s --unit U1=%s --unit U2=%s < %s",
               layout->arguments, layout->slots, layout->ranges[0], layout->ranges[1], layout->ranges[2], input);
    FILE *oracle = popen(command.base, "r");
    assert_non_null(oracle);
    char piece[4096];
    for (size_t len; (len = fread(piece, 1, sizeof(piece), oracle)) > 0;)
        buf_append(&answer, piece, len);
    assert_int_equal(pclose(oracle), 0);
    buf_free(&command);
    return answer;
}

static void explain(const struct table *table, struct str user, struct buf *out)
{
    struct buf text = {NULL, 0, 0};
    rules_explain(table, "x", user, (struct str){NULL, 0}, (struct str){NULL, 0}, &text);
    json_t *json = json_loads(text.base, 0, NULL);
    const char *unit = json_string_value(json_object_get(json, "unit"));
    assert_non_null(json);
    if (unit != NULL)
        buf_printf(out, "%lld %s\n", json_integer_value(json_object_get(json, "slot")), unit);
    else
        buf_printf(out, "-\n");
    json_decref(json);
    buf_free(&text);
}

static void compare(const struct layout *layout)
{
    char path[] = "/tmp/ldc-oracle-XXXXXX";
    struct table *table = load(layout);
    struct buf users = {NULL, 0, 0}, user = {NULL, 0, 0}, explained = {NULL, 0, 0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < USERS; i++) {
        make_user(layout, i, &user);
        explain(table, buf_str(&user), &explained);
        buf_printf(&users, "%s\n", user.base);
    }
    assert_int_equal(write(fd, users.base, users.len), users.len);
    close(fd);
    struct buf answer = ask_oracle(layout, path);
    unlink(path);
    struct str left = buf_str(&explained), right = buf_str(&answer), ours, theirs;
    for (unsigned i = 0; i <= USERS; i++) {
        assert_true(str_next(&left, '\n', &ours) && str_next(&right, '\n', &theirs));
        make_user(layout, i, &user);
        if (!str_equal(ours, theirs))
            fail_msg("%s: %.*s, says the oracle: %.*s", user.base, STR_ARG(ours), STR_ARG(theirs));
    }
    table_unref(&table);
    buf_free(&users);
    buf_free(&user);
    buf_free(&explained);
    buf_free(&answer);
}

static void modulo_agrees(void **state)
{
    (void)state;
    compare(&(struct layout){"hash: modulo", "--hash modulo", 100, {"00-33", "34-66", "67-99"}, true});
}

static void modulo_with_any_ids_agrees(void **state)
{
    (void)state;
    compare(&(struct layout){"hash: modulo, non_numeric: xxh3, salt: pepper",
                             "--hash modulo --non-numeric xxh3 --salt pepper",
                             9973,
                             {"0-3000,9000", "3001-8999", "9001-9972"},
                             false});
    compare(
        &(struct layout){"hash: modulo", "--hash modulo", 16384, {"0-3000,9000", "3001-8999", "9001-16383"}, false});
}

static void crc16_agrees(void **state)
{
    (void)state;
    compare(&(struct layout){"hash: crc16", "--hash crc16", 16384, {"0-5460", "5461-10922", "10923-16383"}, false});
}

static void xxh3_agrees(void **state)
{
    (void)state;
    compare(&(struct layout){"hash: xxh3", "--hash xxh3", 1024, {"0-511", "512-767", "768-1023"}, false});
}

static void salted_xxh3_agrees(void **state)
{
    (void)state;
    compare(&(struct layout){
        "hash: xxh3, salt: pepper", "--hash xxh3 --salt pepper", 1000, {"0-499", "500-899", "900-999"}, false});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modulo_agrees), cmocka_unit_test(modulo_with_any_ids_agrees), cmocka_unit_test(crc16_agrees),
        cmocka_unit_test(xxh3_agrees),   cmocka_unit_test(salted_xxh3_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
