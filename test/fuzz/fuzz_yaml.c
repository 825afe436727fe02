/* SPDX-License-Identifier: Apache-2.0
 *
 * The YAML reader: any bytes give a tree with sane places, or at least one fault.
 */
#include "common/invariant.h"
#include "common/yaml_doc.h"
#include "test/fuzz/replay.h"

static void check(const struct yaml_node *node, int depth)
{
    INVARIANT(depth <= 32 && node->line >= 1 && node->column >= 1);
    INVARIANT(node->kind == YAML_SCALAR ? node->count == 0 : node->text.len == 0);
    INVARIANT(node->text.base != NULL && str_is_utf8(node->text) && node->text.base[node->text.len] == '\0');
    for (size_t i = 0; i < node->count; i++) {
        check(&node->items[i], depth + 1);
        if (node->kind == YAML_MAPPING)
            INVARIANT(yaml_get(node, node->keys[i].text.base) == &node->items[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diag_list diags = {.file = "input"};
    struct buf text = {NULL, 0, 0};
    struct yaml_doc *doc = yaml_doc_parse((const char *)data, size, &diags);
    INVARIANT((doc == NULL) == (diags.errors > 0));
    if (doc != NULL)
        check(yaml_doc_root(doc), 0);
    diag_print(&diags, &text);
    INVARIANT(diags.count == 0 || text.len > 0);
    yaml_doc_destroy(&doc);
    diag_free(&diags);
    buf_free(&text);
    return 0;
}
