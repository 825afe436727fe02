/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/batch_item.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/measure.h"
#include "common/percent.h"

#define JSON_TYPE       "application/json"
#define MOST_ATTRIBUTES 100 /* as many as a request may have fields: what agents send takes both */

static enum verdict refuse(struct batch_item *item, enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum verdict refuse(struct batch_item *item, enum verdict verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(item->fault, sizeof(item->fault), format, args);
    va_end(args);
    return verdict;
}

static bool is_attribute_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
    return len > 0 && len <= 64 && name[len] == '\0';
}

/* Not null, which counts as absent. */
static enum verdict put_attribute(struct batch_item *item, const char *name, const json_t *value)
{
    if (!is_attribute_name(name))
        return refuse(item, VERDICT_BAD_REQUEST, "An attribute's name is made of a-z and 0-9, unlike \"%.40s\"", name);
    buf_append_str(&item->lines, STR_LIT("ce-"));
    buf_append_str(&item->lines, str_of(name));
    buf_append_str(&item->lines, STR_LIT(": "));
    if (json_is_string(value))
        percent_encode((struct str){json_string_value(value), json_string_length(value)}, PERCENT_CLOUDEVENTS,
                       &item->lines);
    else if (json_is_integer(value))
        buf_printf(&item->lines, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        buf_append_str(&item->lines, json_is_true(value) ? STR_LIT("true") : STR_LIT("false"));
    else
        return refuse(item, VERDICT_BAD_REQUEST, "The attribute \"%.40s\" is no string, whole number or boolean", name);
    buf_append(&item->lines, "\n", 1);
    return VERDICT_OK;
}

static bool is_member_of_its_own(const char *name)
{
    return strcmp(name, "data") == 0 || strcmp(name, "data_base64") == 0 || strcmp(name, "datacontenttype") == 0;
}

static enum verdict put_attributes(struct batch_item *item)
{
    enum verdict verdict = VERDICT_OK;
    if (json_object_size(item->document) > MOST_ATTRIBUTES)
        return refuse(item, VERDICT_BAD_REQUEST, "An event has at most %d attributes", MOST_ATTRIBUTES);
    for (void *at = json_object_iter(item->document); at != NULL && verdict == VERDICT_OK;
         at = json_object_iter_next(item->document, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *value = json_object_iter_value(at);
        if (!is_member_of_its_own(name) && !json_is_null(value))
            verdict = put_attribute(item, name, value);
    }
    return verdict;
}

static struct str text_of(const struct batch_item *item, const char *name)
{
    const json_t *value = json_object_get(item->document, name);
    return json_is_string(value) ? (struct str){json_string_value(value), json_string_length(value)}
                                 : (struct str){NULL, 0};
}

static enum verdict check_required(struct batch_item *item)
{
    static const char *const required[] = {"specversion", "id", "source", "type"};
    for (size_t i = 0; i < COUNT_OF(required); i++)
        if (text_of(item, required[i]).len == 0)
            return refuse(item, VERDICT_BAD_REQUEST, "An event needs the attribute \"%s\", a string", required[i]);
    if (!str_equal(text_of(item, "specversion"), STR_LIT("1.0")))
        return refuse(item, VERDICT_BAD_REQUEST, "Events of specversion 1.0 are understood");
    return VERDICT_OK;
}

static bool is_json_type(struct str type)
{
    struct str essence = {NULL, 0};
    str_next(&type, ';', &essence);
    if (essence.base == NULL)
        return true;
    essence = str_trim(essence);
    return str_equal_nocase(essence, STR_LIT("application/json")) || str_equal_nocase(essence, STR_LIT("text/json")) ||
           (essence.len > 5 && str_equal_nocase((struct str){essence.base + essence.len - 5, 5}, STR_LIT("+json")));
}

/* The type goes into a header as it is. */
static enum verdict read_type(struct batch_item *item, struct str *type)
{
    const json_t *value = json_object_get(item->document, "datacontenttype");
    *type = text_of(item, "datacontenttype");
    bool plain = value == NULL || json_is_null(value) || type->len > 0;
    for (size_t i = 0; i < type->len; i++)
        plain = plain && type->base[i] >= 0x20 && type->base[i] < 0x7f;
    return plain ? VERDICT_OK : refuse(item, VERDICT_BAD_REQUEST, "datacontenttype is no media type");
}

static enum verdict read_binary(struct batch_item *item)
{
    if (json_object_get(item->document, "data") != NULL)
        return refuse(item, VERDICT_BAD_REQUEST, "An event has data or data_base64, not both");
    struct str text = text_of(item, "data_base64");
    if (text.base == NULL || !batch_decode_base64(text, &item->decoded))
        return refuse(item, VERDICT_BAD_REQUEST, "data_base64 is not well-formed base64");
    item->body = buf_str(&item->decoded);
    return VERDICT_OK;
}

/* JSON data is passed on byte by byte as it was written: no number changes its look. */
static enum verdict read_data(struct batch_item *item, struct str text, struct str *type)
{
    json_t *data = json_object_get(item->document, "data");
    if (data == NULL)
        return VERDICT_OK;
    if (json_is_string(data) && !is_json_type(*type)) {
        item->body = (struct str){json_string_value(data), json_string_length(data)};
        return VERDICT_OK;
    }
    item->json = data;
    item->body = batch_member(text, STR_LIT("data"));
    if (type->base == NULL)
        *type = STR_LIT(JSON_TYPE);
    return item->body.base != NULL ? VERDICT_OK
                                   : refuse(item, VERDICT_BAD_REQUEST, "Write the name of data without escapes");
}

static enum verdict read_payload(struct batch_item *item, struct str text)
{
    struct str type;
    enum verdict verdict = read_type(item, &type);
    if (verdict == VERDICT_OK)
        verdict =
            json_object_get(item->document, "data_base64") != NULL ? read_binary(item) : read_data(item, text, &type);
    if (verdict == VERDICT_OK && type.len > 0) {
        buf_append_str(&item->lines, STR_LIT("content-type: "));
        buf_append_str(&item->lines, type);
        buf_append(&item->lines, "\n", 1);
    }
    return verdict;
}

/* Behind the lines, so that one buffer does. */
static void name_event(struct batch_item *item, struct str source, struct str id)
{
    size_t start = item->lines.len;
    percent_encode(source, PERCENT_CLOUDEVENTS, &item->lines);
    buf_append(&item->lines, " ", 1);
    percent_encode(id, PERCENT_CLOUDEVENTS, &item->lines);
    item->event = (struct str){item->lines.base + start, item->lines.len - start};
    item->headers = (struct str){item->lines.base, start};
}

static enum verdict read_event(struct batch_item *item, struct str text)
{
    if (!json_is_object(item->document))
        return refuse(item, VERDICT_BAD_REQUEST, "An event is a JSON object");
    enum verdict verdict = check_required(item);
    if (verdict == VERDICT_OK)
        verdict = read_payload(item, text);
    if (verdict == VERDICT_OK)
        verdict = put_attributes(item);
    if (verdict != VERDICT_OK)
        return verdict;
    item->subject = text_of(item, "subject");
    name_event(item, text_of(item, "source"), text_of(item, "id"));
    return VERDICT_OK;
}

enum verdict batch_item_read(struct batch_item *item, enum batch_format format, struct str text)
{
    struct buf lines = item->lines, decoded = item->decoded;
    lines.len = decoded.len = 0;
    json_decref(item->document);
    *item = (struct batch_item){.lines = lines, .decoded = decoded, .body = STR_LIT("")};
    json_error_t error;
    /* Of two equal keys the app could read the other one. */
    item->document = json_loadb(text.base, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (item->document == NULL)
        return refuse(item, VERDICT_BAD_JSON, "The item is not well-formed JSON: line %d, column %d: %.80s", error.line,
                      error.column, error.text);
    if (format == BATCH_EVENTS)
        return read_event(item, text);
    item->json = item->document;
    item->body = text;
    item->headers = STR_LIT("content-type: " JSON_TYPE "\n");
    return VERDICT_OK;
}

void batch_item_free(struct batch_item *item)
{
    json_decref(item->document);
    buf_free(&item->lines);
    buf_free(&item->decoded);
    *item = (struct batch_item){.document = NULL};
}
