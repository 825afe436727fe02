/* SPDX-License-Identifier: Apache-2.0 */
#include "common/diag_json.h"

/* Messages may quote what is no UTF-8. */
static json_t *text_of(const char *text)
{
    json_t *json = json_string(text ? text : "");
    return json != NULL ? json : json_string("(not well-formed UTF-8)");
}

json_t *diag_to_json(struct diag_list *diags)
{
    json_t *list = json_array();
    diag_sort(diags);
    for (size_t i = 0; i < diags->count; i++) {
        const struct diag *diag = &diags->items[i];
        json_array_append_new(list, json_pack("{s:i,s:i,s:s,s:o,s:o}", "line", diag->line, "column", diag->column,
                                              "severity", diag->severity == DIAG_ERROR ? "error" : "warning", "message",
                                              text_of(diag->message), "hint", text_of(diag->hint)));
    }
    return list;
}
