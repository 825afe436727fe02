/* SPDX-License-Identifier: Apache-2.0 */
#include "common/options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/file.h"
#include "common/invariant.h"
#include "common/yaml_doc.h"

#define FILE_MOST ((size_t)4 << 20)

struct suffix {
    const char *text;
    int64_t factor;
};

/* Largest first, for those who print. */
static const struct suffix durations[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {0}};
static const struct suffix sizes[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {0}};

/* DIGITS SUFFIX; BARE is the factor where no suffix stands, 0 where one must (except behind a lone 0). */
static bool parse_scaled(struct str text, const struct suffix *suffixes, int64_t bare, int64_t *out)
{
    size_t digits = 0;
    while (digits < text.len && text.base[digits] >= '0' && text.base[digits] <= '9')
        digits++;
    uint64_t number;
    if (!str_to_u64((struct str){text.base, digits}, &number) || number > INT64_MAX)
        return false;
    struct str unit = {text.base + digits, text.len - digits};
    int64_t factor = unit.len > 0 ? 0 : number == 0 ? 1 : bare;
    for (; unit.len > 0 && suffixes->text != NULL; suffixes++)
        if (str_equal(unit, str_of(suffixes->text)))
            factor = suffixes->factor;
    int64_t product;
    if (factor == 0 || __builtin_mul_overflow((int64_t)number, factor, &product))
        return false;
    *out = product;
    return true;
}

static void print_scaled(int64_t value, const struct suffix *suffixes, struct buf *out)
{
    while (value == 0 ? suffixes->factor != 1 : value % suffixes->factor != 0)
        suffixes++;
    buf_printf(out, "%lld%s", (long long)(value / suffixes->factor), suffixes->text);
}

bool option_parse_duration(struct str text, int64_t *ms)
{
    return parse_scaled(text, durations, 0, ms);
}

bool option_parse_size(struct str text, int64_t *bytes)
{
    return parse_scaled(text, sizes, 1, bytes);
}

static bool parse_int(struct str text, int64_t *out)
{
    bool negative = str_starts(text, STR_LIT("-"));
    uint64_t number;
    if (!str_to_u64((struct str){text.base + negative, text.len - negative}, &number) || number > INT64_MAX)
        return false;
    *out = negative ? -(int64_t)number : (int64_t)number;
    return true;
}

static void print_int(int64_t value, struct buf *out)
{
    buf_printf(out, "%lld", (long long)value);
}

static void print_duration(int64_t value, struct buf *out)
{
    print_scaled(value, durations, out);
}

static void print_size(int64_t value, struct buf *out)
{
    print_scaled(value, sizes, out);
}

/* What the number setters share. */
static int set_number(const struct option *option, struct str text, int64_t *field,
                      bool (*parse)(struct str, int64_t *), void (*print)(int64_t, struct buf *), const char *example,
                      struct error *err)
{
    int64_t value;
    if (!parse(text, &value))
        return error_set(err, ERROR_INPUT, "%s is expected, not \"%.*s\"", example, STR_ARG(text));
    if ((option->min == 0 && option->max == 0) || (value >= option->min && value <= option->max)) {
        *field = value;
        return 0;
    }
    struct buf low = {NULL, 0, 0}, high = {NULL, 0, 0};
    print(option->min, &low);
    print(option->max, &high);
    error_set(err, ERROR_INPUT, "%.*s is out of range: %s to %s", STR_ARG(text), low.base, high.base);
    buf_free(&low);
    buf_free(&high);
    return -1;
}

int option_set_int(const struct option *option, struct str text, void *field, struct error *err)
{
    return set_number(option, text, field, parse_int, print_int, "a whole number", err);
}

int option_set_size(const struct option *option, struct str text, void *field, struct error *err)
{
    return set_number(option, text, field, option_parse_size, print_size, "a size such as 16KiB, 1MiB or 4096", err);
}

int option_set_duration(const struct option *option, struct str text, void *field, struct error *err)
{
    return set_number(option, text, field, option_parse_duration, print_duration,
                      "a duration such as 250ms, 5s, 2m or 1h", err);
}

int option_set_bool(const struct option *option, struct str text, void *field, struct error *err)
{
    (void)option;
    bool yes = str_equal(text, STR_LIT("true"));
    if (!yes && !str_equal(text, STR_LIT("false")))
        return error_set(err, ERROR_INPUT, "true or false is expected, not \"%.*s\"", STR_ARG(text));
    *(bool *)field = yes;
    return 0;
}

int option_set_string(const struct option *option, struct str text, void *field, struct error *err)
{
    (void)option;
    if (memchr(text.base ? text.base : "", '\0', text.len) != NULL)
        return error_set(err, ERROR_INPUT, "the text must not hold a zero byte");
    char **string = field;
    free(*string);
    *string = text.len > 0 ? str_dup(text) : NULL;
    return 0;
}

static void strings_free(struct option_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct option_strings){NULL, 0};
}

int option_set_strings(const struct option *option, struct str text, void *field, struct error *err)
{
    (void)option;
    struct option_strings *strings = field;
    if (memchr(text.base ? text.base : "", '\0', text.len) != NULL)
        return error_set(err, ERROR_INPUT, "the text must not hold a zero byte");
    strings_free(strings);
    struct str part;
    while (str_next(&text, ',', &part)) {
        part = str_trim(part);
        if (part.len == 0)
            continue;
        strings->items = mem_realloc(strings->items, (strings->count + 1) * sizeof(*strings->items));
        strings->items[strings->count++] = str_dup(part);
    }
    return 0;
}

static void print_strings(const struct option_strings *strings, struct buf *out)
{
    for (size_t i = 0; i < strings->count; i++)
        buf_printf(out, "%s%s", i > 0 ? "," : "", strings->items[i]);
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

struct loading {
    const struct option *table;
    size_t count;
    char *config;
    bool *given;
    struct diag_list *diags;
};

static const struct option *find(const struct loading *loading, struct str name)
{
    for (size_t i = 0; i < loading->count; i++)
        if (str_equal(name, str_of(loading->table[i].name)))
            return &loading->table[i];
    return NULL;
}

static bool is_section(const struct loading *loading, struct str name)
{
    for (size_t i = 0; i < loading->count; i++) {
        struct str full = str_of(loading->table[i].name);
        if (full.len > name.len && str_starts(full, name) && full.base[name.len] == '.')
            return true;
    }
    return false;
}

/* LINE 0: the value does not come from the file. */
static void set(struct loading *loading, const struct option *option, struct str text, int line, int column)
{
    struct error err;
    loading->given[option - loading->table] = true;
    if (option->set(option, text, loading->config + option->offset, &err) == -1)
        diag_add(loading->diags, DIAG_ERROR, line, column, NULL, "%s%s: %s", line == 0 ? "--set " : "", option->name,
                 err.text);
}

static void fault_unknown(struct loading *loading, struct str name, int line, int column)
{
    const char **names = mem_calloc(loading->count + 1, sizeof(*names));
    for (size_t i = 0; i < loading->count; i++)
        names[i] = loading->table[i].name;
    const char *nearest = yaml_nearest(name, names);
    char hint[160];
    snprintf(hint, sizeof(hint), "did you mean %s?", nearest ? nearest : "");
    diag_add(loading->diags, DIAG_ERROR, line, column, nearest ? hint : NULL, "there is no option \"%.*s\"",
             STR_ARG(name));
    free(names);
}

/* A list becomes the text that a person would have written on one line. */
static void set_list(struct loading *loading, const struct option *option, const struct yaml_node *list)
{
    struct buf text = {NULL, 0, 0};
    for (size_t i = 0; i < list->count; i++) {
        const struct yaml_node *item = &list->items[i];
        if (item->kind != YAML_SCALAR || memchr(item->text.base, ',', item->text.len) != NULL)
            diag_add(loading->diags, DIAG_ERROR, item->line, item->column, NULL,
                     "%s: a value without commas is expected here", option->name);
        else
            buf_printf(&text, "%s%.*s", i > 0 ? "," : "", STR_ARG(item->text));
    }
    set(loading, option, buf_str(&text), list->line, list->column);
    buf_free(&text);
}

static void set_node(struct loading *loading, const struct option *option, const struct yaml_node *node)
{
    bool takes_list = option->set == option_set_strings;
    if (node->kind == YAML_SCALAR)
        set(loading, option, node->text, node->line, node->column);
    else if (node->kind == YAML_SEQUENCE && takes_list)
        set_list(loading, option, node);
    else
        diag_add(loading->diags, DIAG_ERROR, node->line, node->column, NULL, "%s: %s is expected, not %s", option->name,
                 takes_list ? "a list" : "a value", yaml_kind_name(node->kind));
}

static bool is_empty(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && !node->quoted && node->text.len == 0;
}

static void load_mapping(struct loading *loading, const struct yaml_node *mapping, struct str prefix)
{
    struct buf name = {NULL, 0, 0};
    for (size_t i = 0; i < mapping->count; i++) {
        const struct yaml_node *key = &mapping->keys[i], *value = &mapping->items[i];
        name.len = 0;
        buf_append_str(&name, prefix);
        buf_append_str(&name, key->text);
        const struct option *option = find(loading, buf_str(&name));
        if (option != NULL) {
            set_node(loading, option, value);
        } else if (!is_section(loading, buf_str(&name))) {
            fault_unknown(loading, buf_str(&name), key->line, key->column);
        } else if (value->kind == YAML_MAPPING) {
            buf_append(&name, ".", 1);
            load_mapping(loading, value, buf_str(&name));
        } else if (!is_empty(value)) {
            diag_add(loading->diags, DIAG_ERROR, value->line, value->column, NULL, "%s: a mapping is expected, not %s",
                     name.base, yaml_kind_name(value->kind));
        }
    }
    buf_free(&name);
}

/* False where TEXT is no YAML: then nobody can tell what it would have given. */
static bool load_text(struct loading *loading, struct str text)
{
    if (text.len == 0)
        return true;
    struct yaml_doc *doc = yaml_doc_parse(text.base, text.len, loading->diags);
    if (doc == NULL)
        return false;
    const struct yaml_node *root = yaml_doc_root(doc);
    if (root->kind == YAML_MAPPING)
        load_mapping(loading, root, (struct str){"", 0});
    else if (!is_empty(root))
        diag_add(loading->diags, DIAG_ERROR, root->line, root->column, NULL, "a mapping is expected, not %s",
                 yaml_kind_name(root->kind));
    yaml_doc_destroy(&doc);
    return true;
}

static void load_override(struct loading *loading, const char *override)
{
    struct str value = str_of(override), name;
    str_next(&value, '=', &name);
    if (value.base == NULL) {
        diag_add(loading->diags, DIAG_ERROR, 0, 0, NULL, "--set %s: NAME=VALUE is expected", override);
        return;
    }
    const struct option *option = find(loading, name);
    if (option == NULL)
        fault_unknown(loading, name, 0, 0);
    else
        set(loading, option, value, 0, 0);
}

static void load_preset(struct loading *loading, const struct option *option, bool text_is_known)
{
    struct error err;
    if (option->preset == NULL && text_is_known)
        diag_add(loading->diags, DIAG_ERROR, 0, 0, "in the file, or by --set NAME=VALUE", "%s must be given",
                 option->name);
    else if (option->preset != NULL)
        INVARIANT(option->set(option, str_of(option->preset), loading->config + option->offset, &err) == 0);
}

int options_load(const struct option *table, size_t count, void *config, struct str text, const char *const *overrides,
                 struct diag_list *diags)
{
    size_t before = diags->errors;
    struct loading loading = {table, count, config, mem_calloc(count, sizeof(bool)), diags};
    bool text_is_known = load_text(&loading, text);
    for (; overrides != NULL && *overrides != NULL; overrides++)
        load_override(&loading, *overrides);
    for (size_t i = 0; i < count; i++)
        if (!loading.given[i])
            load_preset(&loading, &table[i], text_is_known);
    free(loading.given);
    return diags->errors == before ? 0 : -1;
}

int options_load_file(const struct option *table, size_t count, void *config, const char *path,
                      const char *const *overrides, struct diag_list *diags)
{
    struct buf text = {NULL, 0, 0};
    struct error err;
    int result = -1;
    if (path != NULL && file_read(path, FILE_MOST, &text, &err) != 0)
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "%s", err.text);
    else
        result = options_load(table, count, config, buf_str(&text), overrides, diags);
    buf_free(&text);
    return result;
}

bool option_is_name(const char *name, const char *more, size_t most)
{
    size_t len = 0;
    for (; name != NULL && name[len] != '\0'; len++)
        if (!isalnum((unsigned char)name[len]) && strchr(more, name[len]) == NULL)
            return false;
    return len <= most;
}

/* --- showing ------------------------------------------------------------------------------------------------------ */

static void show_value(const struct option *option, const void *config, struct buf *out)
{
    const void *field = (const char *)config + option->offset;
    if (option->set == option_set_bool)
        buf_printf(out, "%s", *(const bool *)field ? "true" : "false");
    else if (option->set == option_set_int)
        print_int(*(const int64_t *)field, out);
    else if (option->set == option_set_size)
        print_size(*(const int64_t *)field, out);
    else if (option->set == option_set_duration)
        print_duration(*(const int64_t *)field, out);
    else if (option->set == option_set_strings)
        print_strings(field, out);
    else if (*(char *const *)field != NULL)
        buf_printf(out, "%s", *(char *const *)field);
}

void options_each(const struct option *table, size_t count, const void *config, option_each_fn fn, void *arg)
{
    struct buf value = {NULL, 0, 0};
    for (size_t i = 0; i < count; i++) {
        value.len = 0;
        show_value(&table[i], config, &value);
        fn(&table[i], buf_str(&value), arg);
    }
    buf_free(&value);
}

static void show_line(const struct option *option, struct str value, void *arg)
{
    buf_printf(arg, "%s = %.*s\n", option->name, STR_ARG(value));
}

void options_show(const struct option *table, size_t count, const void *config, struct buf *out)
{
    options_each(table, count, config, show_line, out);
}

size_t options_unreloadable(const struct option *table, size_t count, const void *before, const void *after,
                            struct buf *out)
{
    struct buf old = {NULL, 0, 0}, new = {NULL, 0, 0};
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        old.len = new.len = 0;
        show_value(&table[i], before, &old);
        show_value(&table[i], after, &new);
        if (!table[i].reloadable && !str_equal(buf_str(&old), buf_str(&new)))
            buf_printf(out, "%s%s", found++ > 0 ? ", " : "", table[i].name);
    }
    buf_free(&old);
    buf_free(&new);
    return found;
}

static size_t size_of(const struct option *option)
{
    return option->set == option_set_bool      ? sizeof(bool)
           : option->set == option_set_string  ? sizeof(char *)
           : option->set == option_set_strings ? sizeof(struct option_strings)
                                               : sizeof(int64_t);
}

void options_exchange(const struct option *table, size_t count, void *config, void *other)
{
    for (const struct option *option = table; option < table + count; option++) {
        char kept[sizeof(struct option_strings)];
        char *one = (char *)config + option->offset, *two = (char *)other + option->offset;
        if (!option->reloadable)
            continue;
        memcpy(kept, one, size_of(option));
        memcpy(one, two, size_of(option));
        memcpy(two, kept, size_of(option));
    }
}

static void document_range(const struct option *option, struct buf *out)
{
    void (*print)(int64_t, struct buf *) = option->set == option_set_size       ? print_size
                                           : option->set == option_set_duration ? print_duration
                                                                                : print_int;
    if (option->min == 0 && option->max == 0)
        return;
    print(option->min, out);
    buf_printf(out, " to ");
    print(option->max, out);
}

void options_document(const struct option *table, size_t count, struct buf *out)
{
    buf_printf(out, "| Option | Default | Range | Reloaded at SIGHUP | Meaning |\n|---|---|---|---|---|\n");
    for (const struct option *option = table; option < table + count; option++) {
        const char *preset = option->preset == NULL ? "must be given" : option->preset[0] == '\0' ? "none" : NULL;
        buf_printf(out, "| `%s` | ", option->name);
        if (preset != NULL)
            buf_printf(out, "%s", preset);
        else
            buf_printf(out, "`%s`", option->preset);
        buf_printf(out, " | ");
        document_range(option, out);
        buf_printf(out, " | %s | %s |\n", option->reloadable ? "yes" : "no", option->doc);
    }
}

void options_free(const struct option *table, size_t count, void *config)
{
    for (const struct option *option = table; option < table + count; option++) {
        void *field = (char *)config + option->offset;
        if (option->set == option_set_strings) {
            strings_free(field);
        } else if (option->set == option_set_string) {
            free(*(char **)field);
            *(char **)field = NULL;
        }
    }
}
