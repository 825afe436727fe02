/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/schema.h"

#include <stdio.h>

#include "common/invariant.h"
#include "common/options.h"

#define MOST_SHOWN 80
#define MOST_KEYS  32

struct reading {
    const struct schema *schema;
    const struct schema_key *key;
    struct diag_list *diags;
};

int schema_shown(struct str s)
{
    size_t len = s.len < MOST_SHOWN ? s.len : MOST_SHOWN;
    while (len < s.len && len > 0 && ((unsigned char)s.base[len] & 0xc0) == 0x80)
        len--;
    return (int)len;
}

const char *schema_hint(char hint[SCHEMA_HINT_SIZE], struct str text, const char *const *names)
{
    const char *nearest = yaml_nearest(text, names);
    if (nearest == NULL)
        return NULL;
    snprintf(hint, SCHEMA_HINT_SIZE, "did you mean %s?", nearest);
    return hint;
}

static bool is_empty(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && !node->quoted && node->text.len == 0;
}

bool schema_is_text(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && node->text.len > 0;
}

static const char *kind_written(const struct yaml_node *node)
{
    return is_empty(node) ? "nothing" : yaml_kind_name(node->kind);
}

static bool parse_number(struct str text, int64_t *value)
{
    uint64_t number;
    if (!str_to_u64(text, &number) || number > INT64_MAX)
        return false;
    *value = (int64_t)number;
    return true;
}

/* Rows of the number types: how to read them, and an example for who wrote something else. */
static const struct {
    bool (*parse)(struct str text, int64_t *value);
    const char *expected;
} number_types[] = {
    [SCHEMA_NUMBER] = {parse_number, "a whole number"},
    [SCHEMA_DURATION] = {option_parse_duration, "a duration such as 250ms, 5s, 2m or 1h"},
    [SCHEMA_SIZE] = {option_parse_size, "a size such as 16KiB, 1MiB or 4096"},
    [SCHEMA_NUMBERS] = {parse_number, "a whole number"},
    [SCHEMA_DURATIONS] = {option_parse_duration, "a duration such as 250ms, 5s, 2m or 1h"},
};

struct scale {
    const char *suffix;
    int64_t factor;
};

static void print_number(enum schema_type type, int64_t value, struct buf *out)
{
    static const struct scale none[] = {{"", 1}};
    static const struct scale durations[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    static const struct scale sizes[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}};
    bool duration = type == SCHEMA_DURATION || type == SCHEMA_DURATIONS;
    const struct scale *scale = duration ? durations : type == SCHEMA_SIZE ? sizes : none;
    while (scale->factor > 1 && (value == 0 || value % scale->factor != 0))
        scale++;
    buf_printf(out, "%lld%s", (long long)(value / scale->factor), scale->suffix);
}

static void print_range(const struct schema_key *key, struct buf *out)
{
    print_number(key->type, key->min, out);
    buf_printf(out, " to ");
    print_number(key->type, key->max, out);
}

static void read_number(const struct reading *reading, const struct yaml_node *node, struct schema_number *field)
{
    const struct schema_key *key = reading->key;
    int64_t value;
    if (node->quoted || !number_types[key->type].parse(node->text, &value)) {
        FAULT(reading->diags, *node, node->quoted ? "write it without quotes" : NULL,
              "%s: %s is expected, not \"%.*s\"", key->name, number_types[key->type].expected, SHOWN(node->text));
        return;
    }
    if ((key->min != 0 || key->max != 0) && (value < key->min || value > key->max)) {
        struct buf range = {NULL, 0, 0};
        print_range(key, &range);
        FAULT(reading->diags, *node, NULL, "%s: %.*s is out of range: %s", key->name, SHOWN(node->text), range.base);
        buf_free(&range);
        return;
    }
    *field = (struct schema_number){value, place_of(node)};
}

/* "a, b or c" where LAST is " or ". */
static void print_choices(const char *const *choices, const char *between, const char *last, struct buf *out)
{
    for (size_t i = 0; choices[i] != NULL; i++)
        buf_printf(out, "%s%s", i == 0 ? "" : choices[i + 1] == NULL ? last : between, choices[i]);
}

static bool find_choice(const char *const *choices, struct str text, int64_t *index)
{
    for (*index = 0; choices[*index] != NULL; (*index)++)
        if (str_equal(str_of(choices[*index]), text))
            return true;
    return false;
}

static void read_choice(const struct reading *reading, const struct yaml_node *node, struct schema_number *field)
{
    int64_t index;
    if (find_choice(reading->key->choices, node->text, &index)) {
        *field = (struct schema_number){index, place_of(node)};
        return;
    }
    char hint[SCHEMA_HINT_SIZE];
    struct buf choices = {NULL, 0, 0};
    print_choices(reading->key->choices, ", ", " or ", &choices);
    FAULT(reading->diags, *node, schema_hint(hint, node->text, reading->key->choices),
          "%s: %s is expected, not \"%.*s\"", reading->key->name, choices.base, SHOWN(node->text));
    buf_free(&choices);
}

static void read_scalar(const struct reading *reading, const struct yaml_node *node, void *field)
{
    if (!schema_is_text(node))
        FAULT(reading->diags, *node, NULL, "%s: a value is expected, not %s", reading->key->name,
              node->kind == YAML_SCALAR ? "nothing" : yaml_kind_name(node->kind));
    else if (reading->key->type == SCHEMA_TEXT)
        *(struct schema_text *)field = (struct schema_text){node->text, place_of(node)};
    else if (reading->key->type == SCHEMA_CHOICE)
        read_choice(reading, node, field);
    else
        read_number(reading, node, field);
}

static void read_items(const struct reading *reading, const struct yaml_node *list, struct schema_numbers *field)
{
    struct schema_numbers numbers = {.at = place_of(list)};
    for (size_t i = 0; i < list->count; i++) {
        struct schema_number number = {0};
        read_scalar(reading, &list->items[i], &number);
        if (number.at.line > 0)
            numbers.values[numbers.count++] = number.value;
    }
    if (numbers.count == list->count)
        *field = numbers;
}

static void read_numbers(const struct reading *reading, const struct yaml_node *list, struct schema_numbers *field)
{
    if (list->kind != YAML_SEQUENCE)
        FAULT(reading->diags, *list, list->kind == YAML_SCALAR ? "write [VALUE]" : NULL,
              "%s: a list is expected, not %s", reading->key->name, kind_written(list));
    else if (list->count > SCHEMA_MOST_NUMBERS)
        FAULT(reading->diags, *list, NULL, "%s: %zu entries are more than %d", reading->key->name, list->count,
              SCHEMA_MOST_NUMBERS);
    else
        read_items(reading, list, field);
}

/* Faulty items stay in the list: who goes through it passes over what is no text. */
static void check_texts(const struct reading *reading, const struct yaml_node *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (!schema_is_text(&list->items[i]))
            FAULT(reading->diags, list->items[i], list->items[i].kind == YAML_MAPPING ? "put it in quotes" : NULL,
                  "%s: a value is expected here, not %s", reading->key->name,
                  list->items[i].kind == YAML_SCALAR ? "nothing" : yaml_kind_name(list->items[i].kind));
}

static void read_container(const struct reading *reading, const struct yaml_node *node, const struct yaml_node **field)
{
    const struct schema_key *key = reading->key;
    enum yaml_kind wanted = key->type == SCHEMA_MAPPING ? YAML_MAPPING : YAML_SEQUENCE;
    if (node->kind != wanted)
        FAULT(reading->diags, *node, node->kind == YAML_SCALAR && key->type == SCHEMA_TEXTS ? "write [VALUE]" : NULL,
              "%s: %s is expected, not %s", key->name, yaml_kind_name(wanted), kind_written(node));
    else if (node->count < (size_t)key->min)
        FAULT(reading->diags, *node, NULL, "%s: the %s is empty", key->name,
              node->kind == YAML_MAPPING ? "mapping" : "list");
    else if (key->max > 0 && node->count > (size_t)key->max)
        FAULT(reading->diags, *node, NULL, "%s: %zu entries are more than %lld", key->name, node->count,
              (long long)key->max);
    else
        *field = node;
    if (*field != NULL && key->type == SCHEMA_TEXTS)
        check_texts(reading, node);
}

static void read_value(struct reading *reading, const struct yaml_node *node, void *model)
{
    void *field = (char *)model + reading->key->offset;
    if (reading->key->type >= SCHEMA_TEXTS)
        read_container(reading, node, field);
    else if (reading->key->type >= SCHEMA_NUMBERS)
        read_numbers(reading, node, field);
    else
        read_scalar(reading, node, field);
}

static void fault_unknown(const struct reading *reading, const struct yaml_node *key)
{
    const char *names[MOST_KEYS + 1] = {NULL};
    INVARIANT(reading->schema->count <= MOST_KEYS);
    for (size_t i = 0; i < reading->schema->count; i++)
        names[i] = reading->schema->keys[i].name;
    char hint[SCHEMA_HINT_SIZE];
    FAULT(reading->diags, *key, schema_hint(hint, key->text, names), "%s has no key \"%.*s\"", reading->schema->what,
          SHOWN(key->text));
}

static const struct schema_key *find_key(const struct schema *schema, struct str name)
{
    for (size_t i = 0; i < schema->count; i++)
        if (str_equal(str_of(schema->keys[i].name), name))
            return &schema->keys[i];
    return NULL;
}

static bool parse_preset(const struct schema_key *key, struct str text, int64_t *value)
{
    return key->type == SCHEMA_CHOICE ? find_choice(key->choices, text, value)
                                      : number_types[key->type].parse(text, value);
}

static void apply_list_preset(const struct schema_key *key, struct schema_numbers *field)
{
    struct str rest = str_of(key->preset), item;
    for (field->count = 0; str_next(&rest, ',', &item); field->count++)
        INVARIANT(parse_preset(key, str_trim(item), &field->values[field->count]));
}

/* Presets come first, so that a value which is refused leaves something sound behind. */
static void apply_presets(const struct schema *schema, void *model)
{
    for (const struct schema_key *key = schema->keys; key < schema->keys + schema->count; key++) {
        if (key->preset == NULL)
            continue;
        void *field = (char *)model + key->offset;
        if (key->type >= SCHEMA_NUMBERS)
            apply_list_preset(key, field);
        else
            INVARIANT(parse_preset(key, str_of(key->preset), &((struct schema_number *)field)->value));
    }
}

static void fault_missing(const struct schema *schema, const struct yaml_node *mapping, struct diag_list *diags)
{
    for (const struct schema_key *key = schema->keys; key < schema->keys + schema->count; key++)
        if (key->required && yaml_get(mapping, key->name) == NULL)
            FAULT(diags, *mapping, NULL, "%s needs the key \"%s\"", schema->what, key->name);
}

bool schema_read(const struct schema *schema, const struct yaml_node *mapping, void *model, struct diag_list *diags)
{
    struct reading reading = {.schema = schema, .diags = diags};
    apply_presets(schema, model);
    if (mapping->kind != YAML_MAPPING) {
        FAULT(diags, *mapping, NULL, "%s must be a mapping, not %s", schema->what, kind_written(mapping));
        return false;
    }
    for (size_t i = 0; i < mapping->count; i++) {
        if ((reading.key = find_key(schema, mapping->keys[i].text)) != NULL)
            read_value(&reading, &mapping->items[i], model);
        else
            fault_unknown(&reading, &mapping->keys[i]);
    }
    fault_missing(schema, mapping, diags);
    return true;
}

static void document_value(const struct schema_key *key, struct buf *out)
{
    static const char *const names[] = {
        [SCHEMA_NUMBER] = "number",
        [SCHEMA_DURATION] = "duration",
        [SCHEMA_SIZE] = "size",
        [SCHEMA_TEXT] = "text",
        [SCHEMA_NUMBERS] = "list of numbers",
        [SCHEMA_DURATIONS] = "list of durations",
        [SCHEMA_TEXTS] = "list of texts",
        [SCHEMA_LIST] = "list of mappings",
        [SCHEMA_MAPPING] = "mapping",
    };
    if (key->type == SCHEMA_CHOICE) {
        buf_printf(out, "`");
        print_choices(key->choices, "`, `", "`, `", out);
        buf_printf(out, "`");
        return;
    }
    buf_printf(out, "%s", names[key->type]);
    if (key->max == 0)
        return;
    buf_printf(out, key->type >= SCHEMA_TEXTS ? ", up to " : ", ");
    if (key->type >= SCHEMA_TEXTS)
        print_number(SCHEMA_NUMBER, key->max, out);
    else
        print_range(key, out);
}

void schema_document(const struct schema *schema, struct buf *out)
{
    buf_printf(out, "### %s\n\n%s\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n", schema->path,
               schema->doc);
    for (const struct schema_key *key = schema->keys; key < schema->keys + schema->count; key++) {
        buf_printf(out, "| `%s` | ", key->name);
        document_value(key, out);
        buf_printf(out, " | %s%s%s | %s |\n", key->preset ? "`" : "",
                   key->preset     ? key->preset
                   : key->required ? "must be given"
                                   : "none",
                   key->preset ? "`" : "", key->doc);
    }
    buf_printf(out, "\n");
}
