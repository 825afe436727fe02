/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ctl.h"

#include <stdio.h>
#include <stdlib.h>

enum ctl_exit ctl_fail(const struct error *err)
{
    fprintf(stderr, "ldcctl: %s\n", err->text);
    return err->code == ERROR_UNREACHABLE || err->code == ERROR_TIMEOUT ? CTL_UNREACHABLE : CTL_FAILED;
}

enum ctl_exit ctl_misused(const struct error *err)
{
    fprintf(stderr, "ldcctl: %s\n", err->text);
    return CTL_USAGE;
}

void ctl_print_json(json_t *document)
{
    char *text = json_dumps(document, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    puts(text);
    free(text);
    json_decref(document);
}

const char *ctl_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

json_t *ctl_find(const json_t *items, const char *key, const char *text)
{
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item) {
        if (strcmp(ctl_text(item, key), text) == 0)
            return item;
    }
    return NULL;
}

json_t *ctl_lines(struct str text)
{
    json_t *list = json_array();
    struct str line;
    while (str_next(&text, '\n', &line))
        if (line.len > 0)
            json_array_append_new(list, json_stringn(line.base, line.len));
    return list;
}
