/* SPDX-License-Identifier: Apache-2.0 */
#include "common/yaml_doc.h"

#include <ctype.h>
#include <stdlib.h>
#include <yaml.h>

#include "common/arena.h"

#define DEEPEST 32

struct yaml_doc {
    struct yaml_node root;
    struct arena texts;
};

struct loader {
    yaml_parser_t parser;
    struct yaml_doc *doc;
    struct diag_list *diags;
    struct str text;
};

static void free_content(struct yaml_node *node)
{
    for (size_t i = 0; i < node->count; i++)
        if (node->items[i].kind != YAML_SCALAR)
            free_content(&node->items[i]);
    free(node->keys);
    free(node->items);
    node->keys = node->items = NULL;
    node->count = 0;
}

/* Makes room for one more item; the capacity is the next power of two. */
static struct yaml_node *grow(struct yaml_node *items, size_t count)
{
    bool full = (count & (count - 1)) == 0;
    return full ? mem_realloc(items, (count > 0 ? 2 * count : 1) * sizeof(*items)) : items;
}

/* The parser's reader knows a byte offset only. */
static void place_of_offset(struct str text, size_t offset, int *line, int *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < offset && i < text.len; i++) {
        unsigned char c = (unsigned char)text.base[i];
        *column = c == '\n' ? 1 : *column + ((c & 0xc0) != 0x80);
        *line += c == '\n';
    }
}

static void fault_syntax(struct loader *loader)
{
    const yaml_parser_t *parser = &loader->parser;
    int line = (int)parser->problem_mark.line + 1, column = (int)parser->problem_mark.column + 1;
    if (parser->error == YAML_READER_ERROR)
        place_of_offset(loader->text, parser->problem_offset, &line, &column);
    char hint[160] = "";
    if (parser->context != NULL)
        snprintf(hint, sizeof(hint), "%s from line %zu on", parser->context, parser->context_mark.line + 1);
    diag_add(loader->diags, DIAG_ERROR, line, column, hint[0] ? hint : NULL, "this is not YAML: %s",
             parser->problem ? parser->problem : "out of memory");
}

static bool next_event(struct loader *loader, yaml_event_t *event)
{
    if (yaml_parser_parse(&loader->parser, event))
        return true;
    fault_syntax(loader);
    return false;
}

static void fault(struct loader *loader, const struct yaml_node *node, const char *message, const char *hint)
{
    diag_add(loader->diags, DIAG_ERROR, node->line, node->column, hint, "%s", message);
}

static const unsigned char *anchor_of(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT           ? event->data.scalar.anchor
           : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.anchor
                                                      : event->data.mapping_start.anchor;
}

static const unsigned char *tag_of(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT           ? event->data.scalar.tag
           : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.tag
                                                      : event->data.mapping_start.tag;
}

static void read_scalar(struct loader *loader, const yaml_event_t *event, struct yaml_node *node)
{
    const char *value = (const char *)event->data.scalar.value;
    node->kind = YAML_SCALAR;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = arena_str(&loader->doc->texts, (struct str){value, event->data.scalar.length});
    if (memchr(value, '\0', event->data.scalar.length) != NULL)
        fault(loader, node, "a text must not hold a zero byte", NULL);
}

static bool read_node(struct loader *loader, yaml_event_t *event, int depth, struct yaml_node *node);

static bool read_sequence(struct loader *loader, int depth, struct yaml_node *node)
{
    yaml_event_t event;
    node->kind = YAML_SEQUENCE;
    while (next_event(loader, &event)) {
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return true;
        }
        struct yaml_node item;
        bool going = read_node(loader, &event, depth + 1, &item);
        node->items = grow(node->items, node->count);
        node->items[node->count++] = item;
        if (!going)
            return false;
    }
    return false;
}

static int by_text(const void *left, const void *right)
{
    const struct yaml_node *a = *(const struct yaml_node *const *)left, *b = *(const struct yaml_node *const *)right;
    size_t len = a->text.len < b->text.len ? a->text.len : b->text.len;
    int order = memcmp(a->text.base, b->text.base, len);
    if (order == 0)
        order = (a->text.len > b->text.len) - (a->text.len < b->text.len);
    return order != 0 ? order : (a > b) - (a < b);
}

static void refuse_duplicates(struct loader *loader, const struct yaml_node *mapping)
{
    const struct yaml_node **keys = mem_calloc(mapping->count, sizeof(struct yaml_node *));
    for (size_t i = 0; i < mapping->count; i++)
        keys[i] = &mapping->keys[i];
    qsort(keys, mapping->count, sizeof(struct yaml_node *), by_text);
    for (size_t i = 1; i < mapping->count; i++)
        if (str_equal(keys[i - 1]->text, keys[i]->text))
            diag_add(loader->diags, DIAG_ERROR, keys[i]->line, keys[i]->column, NULL,
                     "the key \"%.*s\" stands here twice, before on line %d", STR_ARG(keys[i]->text),
                     keys[i - 1]->line);
    free(keys);
}

static bool read_key(struct loader *loader, yaml_event_t *event, int depth, struct yaml_node *key)
{
    bool going = read_node(loader, event, depth, key);
    if (key->kind != YAML_SCALAR) {
        fault(loader, key, "a key must be plain text", NULL);
        free_content(key);
        key->kind = YAML_SCALAR;
        key->text = (struct str){"", 0};
    }
    return going;
}

static bool read_mapping(struct loader *loader, int depth, struct yaml_node *node)
{
    yaml_event_t event;
    node->kind = YAML_MAPPING;
    while (next_event(loader, &event)) {
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            refuse_duplicates(loader, node);
            return true;
        }
        struct yaml_node key, item = {.kind = YAML_SCALAR};
        bool going = read_key(loader, &event, depth + 1, &key) && next_event(loader, &event) &&
                     read_node(loader, &event, depth + 1, &item);
        node->keys = grow(node->keys, node->count);
        node->items = grow(node->items, node->count);
        node->keys[node->count] = key;
        node->items[node->count++] = item;
        if (!going)
            return false;
    }
    return false;
}

/* Takes EVENT over. Leaves a *node that can be freed, also where it returns false: no further events can be had. */
static bool read_node(struct loader *loader, yaml_event_t *event, int depth, struct yaml_node *node)
{
    yaml_event_type_t type = event->type;
    *node = (struct yaml_node){
        .line = (int)event->start_mark.line + 1, .column = (int)event->start_mark.column + 1, .text = {"", 0}};
    if (type == YAML_ALIAS_EVENT)
        fault(loader, node, "aliases are not supported", "write the value out where it is used");
    else if (anchor_of(event) != NULL)
        fault(loader, node, "anchors are not supported", "write the value out where it is used");
    else if (tag_of(event) != NULL)
        fault(loader, node, "tags are not supported", "quote a value to make it a text");
    if (type == YAML_SCALAR_EVENT)
        read_scalar(loader, event, node);
    yaml_event_delete(event);
    if (type == YAML_SCALAR_EVENT || type == YAML_ALIAS_EVENT)
        return true;
    if (depth == DEEPEST) {
        fault(loader, node, "this is nested deeper than 32 levels", NULL);
        return false;
    }
    return type == YAML_SEQUENCE_START_EVENT ? read_sequence(loader, depth, node) : read_mapping(loader, depth, node);
}

/* Takes the next event where it is of TYPE. */
static bool expect(struct loader *loader, yaml_event_type_t type, yaml_event_t *event)
{
    if (!next_event(loader, event))
        return false;
    if (event->type == type)
        return true;
    /* Only a second document can get here: the parser keeps the rest of the grammar. */
    diag_add(loader->diags, DIAG_ERROR, (int)event->start_mark.line + 1, (int)event->start_mark.column + 1, NULL,
             "a second document starts here");
    yaml_event_delete(event);
    return false;
}

static void read_document(struct loader *loader)
{
    yaml_event_t event;
    if (!expect(loader, YAML_STREAM_START_EVENT, &event))
        return;
    yaml_event_delete(&event);
    if (!next_event(loader, &event))
        return;
    bool empty = event.type == YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
    if (empty || !next_event(loader, &event) || !read_node(loader, &event, 0, &loader->doc->root))
        return;
    if (expect(loader, YAML_DOCUMENT_END_EVENT, &event)) {
        yaml_event_delete(&event);
        if (expect(loader, YAML_STREAM_END_EVENT, &event))
            yaml_event_delete(&event);
    }
}

struct yaml_doc *yaml_doc_parse(const char *text, size_t len, struct diag_list *diags)
{
    struct loader loader = {.diags = diags, .text = {text, len}};
    size_t errors_before = diags->errors;
    if (!yaml_parser_initialize(&loader.parser)) {
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "out of memory");
        return NULL;
    }
    loader.doc = mem_calloc(1, sizeof(*loader.doc));
    loader.doc->root = (struct yaml_node){.kind = YAML_SCALAR, .line = 1, .column = 1, .text = {"", 0}};
    yaml_parser_set_encoding(&loader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&loader.parser, (const unsigned char *)text, len);
    read_document(&loader);
    yaml_parser_delete(&loader.parser);
    if (diags->errors > errors_before)
        yaml_doc_destroy(&loader.doc);
    return loader.doc;
}

const struct yaml_node *yaml_doc_root(const struct yaml_doc *doc)
{
    return &doc->root;
}

void yaml_doc_destroy(struct yaml_doc **doc)
{
    if (*doc == NULL)
        return;
    free_content(&(*doc)->root);
    arena_free(&(*doc)->texts);
    free(*doc);
    *doc = NULL;
}

const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key)
{
    for (size_t i = 0; i < mapping->count && mapping->kind == YAML_MAPPING; i++)
        if (str_equal(mapping->keys[i].text, str_of(key)))
            return &mapping->items[i];
    return NULL;
}

const char *yaml_kind_name(enum yaml_kind kind)
{
    return kind == YAML_MAPPING ? "a mapping" : kind == YAML_SEQUENCE ? "a list" : "a value";
}

#define LONGEST_NAME 64

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance by rows, letters without their case; neither text is longer than LONGEST_NAME. */
static unsigned distance(struct str a, struct str b)
{
    unsigned row[LONGEST_NAME + 1];
    for (unsigned j = 0; j <= b.len; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned replaced =
                diagonal + (tolower((unsigned char)a.base[i - 1]) != tolower((unsigned char)b.base[j - 1]));
            diagonal = row[j];
            row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.len];
}

const char *yaml_nearest(struct str text, const char *const *names)
{
    const char *best = NULL;
    unsigned best_distance = text.len < 4 ? 2 : 3; /* short texts are within two edits of anything */
    for (; text.len <= LONGEST_NAME && *names != NULL; names++) {
        struct str name = str_of(*names);
        unsigned edits = name.len > LONGEST_NAME ? best_distance : distance(text, name);
        if (edits < best_distance && edits < name.len) {
            best_distance = edits;
            best = *names;
        }
    }
    return best;
}
