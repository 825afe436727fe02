/* SPDX-License-Identifier: Apache-2.0
 *
 * test/golden/NAME.yaml are rules, NAME.routes what they decide, one request a line, and NAME.expected the warnings, if
 * any. test/golden/invalid/NAME.yaml are refused with exactly the diagnostics of NAME.expected. Run from the project's
 * root.
 *
 *   METHOD PATH [user=U] [with=U,U] [color=C] [datacenter=D] -> UNIT COLOR [slot=N] by=WHAT line=N [partition=N]
 *   METHOD PATH ... -> VERDICT
 */
#include "rules/rules.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/file.h"

static unsigned faults;

static struct buf read_text(const char *path)
{
    struct buf text = {NULL, 0, 0};
    struct error err;
    if (file_read(path, 1 << 24, &text, &err) == -1)
        fail_msg("%s", err.text);
    return text;
}

/* PATH with another suffix; NULL where there is no such file. For free(). */
static char *sibling(const char *path, const char *suffix)
{
    struct buf name = {NULL, 0, 0};
    buf_printf(&name, "%.*s%s", (int)(strlen(path) - strlen(".yaml")), path, suffix);
    if (access(name.base, R_OK) == 0)
        return name.base;
    buf_free(&name);
    return NULL;
}

static struct table *load(const char *path, struct buf *diagnostics)
{
    struct buf text = read_text(path);
    const char *slash = strrchr(path, '/');
    struct diag_list diags = {.file = slash ? slash + 1 : path};
    struct table *table = rules_load(buf_str(&text), 7, &diags);
    buf_printf(diagnostics, "%s", "");
    diag_print(&diags, diagnostics);
    assert_int_equal(table == NULL, diags.errors > 0);
    diag_free(&diags);
    buf_free(&text);
    return table;
}

static void expect_diagnostics(const char *path, const struct buf *actual)
{
    char *file = sibling(path, ".expected");
    struct buf expected = {NULL, 0, 0};
    if (file != NULL)
        expected = read_text(file);
    if (!str_equal(buf_str(&expected), buf_str(actual))) {
        faults++;
        print_error("%s: expected\n%.*sgot\n%.*s", path, STR_ARG(buf_str(&expected)), STR_ARG(buf_str(actual)));
    }
    buf_free(&expected);
    free(file);
}

static void read_participants(struct str list, struct routing *routing)
{
    struct str user;
    while (str_next(&list, ',', &user)) {
        assert_true(routing->participant_count < ROUTE_MAX_PARTICIPANTS);
        routing->participants[routing->participant_count++] = user;
    }
}

static void read_word(struct str word, struct routing *routing)
{
    struct str value = word, key;
    str_next(&value, '=', &key);
    if (str_equal(key, STR_LIT("user")))
        routing->user = value;
    else if (str_equal(key, STR_LIT("with")))
        read_participants(value, routing);
    else if (str_equal(key, STR_LIT("color")))
        routing->color = value;
    else if (str_equal(key, STR_LIT("datacenter")))
        routing->datacenter = value;
    else
        fail_msg("what is \"%.*s\"?", STR_ARG(word));
}

static void print_decision(const struct table *table, const struct routing *routing, const struct decision *decision,
                           struct buf *out)
{
    static const char *const by[] = {[BY_SLOT] = "slot",
                                     [BY_OVERRIDE_USER] = "user",
                                     [BY_OVERRIDE_PREFIX] = "prefix",
                                     [BY_CROSS_UNIT] = "cross-unit",
                                     [BY_MISSING] = "missing",
                                     [BY_ZONE] = "zone"};
    const struct table_route *route = &table->routes[routing->route];
    buf_printf(out, "%.*s %s", STR_ARG(table->units[decision->unit].name), color_name(decision->color));
    if (decision->slot != UINT32_MAX)
        buf_printf(out, " slot=%u", decision->slot);
    buf_printf(out, " by=%s line=%u", by[decision->by], decision->line);
    if (route->action == ACTION_QUEUE)
        buf_printf(out, " partition=%u", table_partition(&table->topics[route->topic], decision->slot, routing->user));
}

/* REQUEST: "METHOD PATH key=value ...". */
static void decide(const struct table *table, struct str request, struct buf *out)
{
    struct str method, path, word;
    struct routing routing = {.user = {NULL, 0}};
    struct decision decision;
    assert_true(str_next(&request, ' ', &method) && str_next(&request, ' ', &path));
    while (str_next(&request, ' ', &word))
        if (word.len > 0)
            read_word(word, &routing);
    enum verdict verdict = table_match(table, method, path, &routing.route);
    if (verdict == VERDICT_OK)
        verdict = table_route(table, &routing, &decision);
    if (verdict == VERDICT_OK)
        print_decision(table, &routing, &decision, out);
    else
        buf_printf(out, "%s", verdict_info(verdict)->name);
}

static void check_line(const struct table *table, const char *file, unsigned number, struct str line)
{
    struct buf actual = {NULL, 0, 0};
    struct str expected = line, request;
    str_next(&expected, '>', &request);
    if (expected.base == NULL || request.len < 2 || request.base[request.len - 1] != '-')
        fail_msg("%s:%u: no arrow", file, number);
    request.len--;
    expected = str_trim(expected);
    decide(table, request, &actual);
    if (!str_equal(expected, buf_str(&actual))) {
        faults++;
        print_error("%s:%u: %.*s\n    got %s\n", file, number, STR_ARG(line), actual.base);
    }
    buf_free(&actual);
}

static void check_routes(const char *path)
{
    struct buf diagnostics = {NULL, 0, 0};
    struct table *table = load(path, &diagnostics);
    expect_diagnostics(path, &diagnostics);
    char *file = sibling(path, ".routes");
    assert_non_null(file);
    struct buf text = read_text(file);
    struct str rest = buf_str(&text), line;
    for (unsigned number = 1; table != NULL && str_next(&rest, '\n', &line); number++)
        if (line.len > 0 && line.base[0] != '#')
            check_line(table, file, number, line);
    table_unref(&table);
    free(file);
    buf_free(&text);
    buf_free(&diagnostics);
}

static void check_invalid(const char *path)
{
    struct buf diagnostics = {NULL, 0, 0};
    struct table *table = load(path, &diagnostics);
    if (table != NULL) {
        faults++;
        print_error("%s is taken for valid\n", path);
    }
    expect_diagnostics(path, &diagnostics);
    table_unref(&table);
    buf_free(&diagnostics);
}

static void for_each(const char *pattern, size_t least, void (*check)(const char *path))
{
    glob_t found;
    faults = 0;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= least);
    for (size_t i = 0; i < found.gl_pathc; i++)
        check(found.gl_pathv[i]);
    globfree(&found);
    assert_int_equal(faults, 0);
}

static void requests_are_routed_as_written(void **state)
{
    (void)state;
    for_each("test/golden/*.yaml", 10, check_routes);
}

static void faulty_rules_get_exactly_their_diagnostics(void **state)
{
    (void)state;
    for_each("test/golden/invalid/*.yaml", 40, check_invalid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_routed_as_written),
        cmocka_unit_test(faulty_rules_get_exactly_their_diagnostics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
