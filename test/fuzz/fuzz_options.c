/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration files: any text, loaded by a table of all kinds of options. What loads is shown, and what was shown
 * loads again to the same.
 */
#include <stdlib.h>

#include "common/invariant.h"
#include "common/options.h"
#include "test/fuzz/replay.h"

struct config {
    bool flag;
    int64_t number, size, time;
    char *text;
    struct option_strings list;
};

#define AT(field) offsetof(struct config, field)

static const struct option table[] = {
    {"flag", option_set_bool, AT(flag), 0, 0, "false", true, "A flag."},
    {"a.number", option_set_int, AT(number), -1000, 1000, "3", true, "A number."},
    {"a.size", option_set_size, AT(size), 0, 0, "16KiB", false, "A size."},
    {"a.b.time", option_set_duration, AT(time), 0, 86400000, "2m", true, "A time."},
    {"text", option_set_string, AT(text), 0, 0, "", false, "A text."},
    {"a.list", option_set_strings, AT(list), 0, 0, "a,b", true, "A list."},
};
#define COUNT (sizeof(table) / sizeof(table[0]))

struct overrides {
    char *items[COUNT + 1];
    size_t count;
};

static void add(const struct option *option, struct str value, void *arg)
{
    struct overrides *overrides = arg;
    struct buf text = {NULL, 0, 0};
    buf_printf(&text, "%s=%.*s", option->name, STR_ARG(value));
    overrides->items[overrides->count++] = text.base;
}

/* Overrides carry the values: they are plain text, whatever bytes it holds. */
static void check_round_trip(const struct config *config)
{
    struct overrides overrides = {{NULL}, 0};
    struct config again = {0};
    struct diag_list diags = {.file = "again"};
    struct buf before = {NULL, 0, 0}, after = {NULL, 0, 0};
    options_each(table, COUNT, config, add, &overrides);
    INVARIANT(options_load(table, COUNT, &again, STR_LIT(""), (const char *const *)overrides.items, &diags) == 0);
    options_show(table, COUNT, config, &before);
    options_show(table, COUNT, &again, &after);
    INVARIANT(str_equal(buf_str(&before), buf_str(&after)));
    for (size_t i = 0; i < overrides.count; i++)
        free(overrides.items[i]);
    buf_free(&before);
    buf_free(&after);
    diag_free(&diags);
    options_free(table, COUNT, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config = {0};
    struct diag_list diags = {.file = "fuzz"};
    struct buf out = {NULL, 0, 0};
    int result = options_load(table, COUNT, &config, (struct str){(const char *)data, size}, NULL, &diags);
    INVARIANT((result == 0) == (diags.errors == 0));
    diag_print(&diags, &out);
    if (result == 0)
        check_round_trip(&config);
    buf_free(&out);
    diag_free(&diags);
    options_free(table, COUNT, &config);
    return 0;
}
