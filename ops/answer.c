/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/answer.h"

#include <stdlib.h>

/* Line ends are those of rule files. */
static bool is_control(const unsigned char *at)
{
    return (*at < 0x20 && *at != '\n' && *at != '\t' && (at[0] != '\r' || at[1] != '\n')) || *at == 0x7f;
}

/* U+0080 to U+009F, which some terminals obey as well, but for the line end that YAML has among them. */
static bool is_late_control(const unsigned char *at)
{
    return at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f && at[1] != 0x85;
}

/* NULL where TEXT can be shown as it is. */
static char *make_printable(const char *text)
{
    char *copy = str_dup(str_of(text));
    unsigned char *to = (unsigned char *)copy;
    bool changed = false;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++, to++) {
        bool late = is_late_control(at), control = late || is_control(at);
        *to = control ? '?' : *at;
        at += late;
        changed |= control;
    }
    *to = '\0';
    if (changed)
        return copy;
    free(copy);
    return NULL;
}

static json_t *printable(json_t *json);

static json_t *printable_object(json_t *json)
{
    json_t *object = json_object();
    for (void *at = json_object_iter(json); at != NULL; at = json_object_iter_next(json, at)) {
        const char *key = json_object_iter_key(at);
        char *shown = make_printable(key);
        json_object_set_new(object, shown != NULL ? shown : key, printable(json_object_iter_value(at)));
        free(shown);
    }
    return object;
}

static json_t *printable_array(json_t *json)
{
    json_t *array = json_array();
    for (size_t i = 0; i < json_array_size(json); i++)
        json_array_append_new(array, printable(json_array_get(json, i)));
    return array;
}

/* A new reference. */
static json_t *printable(json_t *json)
{
    if (json_is_object(json))
        return printable_object(json);
    if (json_is_array(json))
        return printable_array(json);
    char *shown = json_is_string(json) ? make_printable(json_string_value(json)) : NULL;
    json_t *result = shown != NULL ? json_string(shown) : json_incref(json);
    free(shown);
    return result;
}

json_t *answer_parse(struct str text)
{
    json_t *json = text.len > 0 ? json_loadb(text.base, text.len, 0, NULL) : NULL;
    json_t *shown = json != NULL ? printable(json) : NULL;
    json_decref(json);
    return shown;
}
