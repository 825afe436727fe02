/* SPDX-License-Identifier: Apache-2.0
 *
 * One YAML document as a tree in which each node knows its line and column. The only place that knows libyaml.
 * The document owns its nodes and texts; everybody else borrows them until yaml_doc_destroy().
 * Anchors, aliases and tags are refused: a rule file must say what it means where it stands. So are duplicate keys,
 * malformed UTF-8, and nesting deeper than 32.
 */
#ifndef COMMON_YAML_DOC_H
#define COMMON_YAML_DOC_H

#include "common/diag.h"
#include "common/error.h"
#include "common/str.h"

enum yaml_kind {
    YAML_SCALAR = 0,
    YAML_SEQUENCE,
    YAML_MAPPING,
};

struct yaml_node {
    enum yaml_kind kind;
    int line, column;       /* from 1 */
    bool quoted;            /* scalars: written in quotes, so never a number or a boolean */
    struct str text;        /* scalars */
    struct yaml_node *keys; /* mappings: `count` scalars, beside `items` */
    struct yaml_node *items;
    size_t count;
};

struct yaml_doc;

/* Parses LEN bytes of TEXT. NULL with at least one entry in DIAGS where that is not one well-formed document. */
struct yaml_doc *yaml_doc_parse(const char *text, size_t len, struct diag_list *diags) MUST_CHECK;
const struct yaml_node *yaml_doc_root(const struct yaml_doc *doc);
void yaml_doc_destroy(struct yaml_doc **doc);

/* The value of KEY in a mapping, or NULL. */
const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key);

/* "a mapping", "a list", "a value": for messages. */
const char *yaml_kind_name(enum yaml_kind kind);

/* The nearest of NAMES (NULL-terminated) to TEXT within two edits, without regard to case, or NULL: for hints such as
 * "did you mean ...?". */
const char *yaml_nearest(struct str text, const char *const *names);

#endif
