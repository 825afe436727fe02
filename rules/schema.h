/* SPDX-License-Identifier: Apache-2.0
 *
 * What may stand in a mapping of the rules: one row a key. The rows drive reading (types, ranges, presets, unknown and
 * missing keys) and the reference in docs/RULES.md alike. What is read borrows the YAML document.
 */
#ifndef RULES_SCHEMA_H
#define RULES_SCHEMA_H

#include "common/diag.h"
#include "common/str.h"
#include "common/yaml_doc.h"

/* Each type fills a field of its own kind, named behind it. */
enum schema_type {
    SCHEMA_NUMBER = 0, /* struct schema_number */
    SCHEMA_DURATION,   /* struct schema_number, milliseconds */
    SCHEMA_SIZE,       /* struct schema_number, bytes */
    SCHEMA_CHOICE,     /* struct schema_number, index into `choices` */
    SCHEMA_TEXT,       /* struct schema_text */
    SCHEMA_NUMBERS,    /* struct schema_numbers: a list of numbers, each within min..max */
    SCHEMA_DURATIONS,  /* struct schema_numbers, milliseconds */
    SCHEMA_TEXTS,      /* const struct yaml_node *: a list of scalars; min..max items */
    SCHEMA_LIST,       /* const struct yaml_node *: a list of mappings; up to max items */
    SCHEMA_MAPPING,    /* const struct yaml_node *; min..max entries */
};

/* Where a value was written; line 0: it was not, and is the preset. */
struct place {
    int line, column;
};

struct schema_number {
    int64_t value;
    struct place at;
};

#define SCHEMA_MOST_NUMBERS 32

struct schema_numbers {
    int64_t values[SCHEMA_MOST_NUMBERS];
    size_t count;
    struct place at;
};

struct schema_text {
    struct str value; /* base NULL: not written, and there is no preset */
    struct place at;
};

struct schema_key {
    const char *name;
    enum schema_type type;
    size_t offset; /* of the field */
    bool required;
    int64_t min, max;           /* both 0: unbounded */
    const char *preset;         /* numbers, lists of them ("1, 2") and choices, as text; NULL: 0, or no items */
    const char *const *choices; /* NULL-terminated */
    const char *doc;            /* one sentence */
};

struct schema {
    const char *path; /* "units.NAME": for documents */
    const char *what; /* "a unit": for messages */
    const char *doc;  /* one sentence */
    const struct schema_key *keys;
    size_t count;
};

/* Fills the zeroed struct at MODEL from MAPPING; each fault goes to DIAGS. False where MAPPING is none. */
bool schema_read(const struct schema *schema, const struct yaml_node *mapping, void *model, struct diag_list *diags);

/* A heading and a Markdown table. */
void schema_document(const struct schema *schema, struct buf *out);

/* False for items of a SCHEMA_TEXTS list that were found faulty when it was read. */
bool schema_is_text(const struct yaml_node *node);

#define SCHEMA_HINT_SIZE 200

/* "did you mean NAME?" into HINT where one of NAMES is near TEXT, else NULL. */
const char *schema_hint(char hint[SCHEMA_HINT_SIZE], struct str text, const char *const *names);

/* How many bytes of S a message shows. */
int schema_shown(struct str s);

/* For "%.*s" in messages about what was written. */
#define SHOWN(s) schema_shown(s), ((s).base ? (s).base : "")

/* A fault of what stands at AT: a place or a node. */
#define FAULT(diags, at, hint, ...)   diag_add(diags, DIAG_ERROR, (at).line, (at).column, hint, __VA_ARGS__)
#define WARNING(diags, at, hint, ...) diag_add(diags, DIAG_WARNING, (at).line, (at).column, hint, __VA_ARGS__)

static inline struct place place_of(const struct yaml_node *node)
{
    return (struct place){node->line, node->column};
}

#endif
