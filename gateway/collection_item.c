/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_item.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/collection_value.h"
#include "common/measure.h"
#include "gateway/batch_text.h"
#include "gateway/collections.h"
#include "gateway/etag.h"

static enum verdict refuse(struct collection_item *item, enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum verdict refuse(struct collection_item *item, enum verdict verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(item->fault, sizeof(item->fault), format, args);
    va_end(args);
    return verdict;
}

static struct str text_of(const json_t *value)
{
    return json_is_string(value) ? (struct str){json_string_value(value), json_string_length(value)}
                                 : (struct str){NULL, 0};
}

/* What is misspelt must not be passed over: it may have been a condition. */
static enum verdict check_members(struct collection_item *item)
{
    static const char *const known[] = {"key", "value", "value_base64", "type", "delete", "if_match", "if_none_match"};
    for (void *at = json_object_iter(item->document); at != NULL; at = json_object_iter_next(item->document, at)) {
        const char *name = json_object_iter_key(at);
        size_t row = 0;
        while (row < COUNT_OF(known) && strcmp(name, known[row]) != 0)
            row++;
        if (row == COUNT_OF(known))
            return refuse(item, VERDICT_BAD_REQUEST, "An item has no member \"%.40s\"", name);
    }
    return VERDICT_OK;
}

static enum verdict read_key(struct collection_item *item)
{
    item->key = text_of(json_object_get(item->document, "key"));
    if (item->key.base == NULL || !collection_key_fits(item->key))
        return refuse(item, VERDICT_BAD_REQUEST, "An item needs a key: " COLLECTION_KEY_RULE);
    return VERDICT_OK;
}

/* The value of a header that says the same: a number stands for its tag. */
static struct str tag_of(const struct collection_item *item, const char *name, char *text, size_t size)
{
    const json_t *value = json_object_get(item->document, name);
    if (!json_is_integer(value))
        return text_of(value);
    return (struct str){text, (size_t)snprintf(text, size, "\"%" JSON_INTEGER_FORMAT "\"", json_integer_value(value))};
}

static enum verdict read_condition(struct collection_item *item)
{
    char match_text[24], none_text[24];
    struct str match = tag_of(item, "if_match", match_text, sizeof(match_text));
    struct str none = tag_of(item, "if_none_match", none_text, sizeof(none_text));
    bool given = json_object_get(item->document, "if_match") != NULL;
    bool none_given = json_object_get(item->document, "if_none_match") != NULL;
    if (given != (match.base != NULL) || none_given != (none.base != NULL) ||
        !etag_condition_of(match, none, &item->condition))
        return refuse(item, VERDICT_BAD_REQUEST, "if_match and if_none_match are a version, or what the header takes");
    return VERDICT_OK;
}

static enum verdict read_type(struct collection_item *item)
{
    const json_t *type = json_object_get(item->document, "type");
    if (type == NULL)
        return VERDICT_OK;
    item->type = text_of(type);
    bool plain = item->type.len > 0 && item->type.len <= COLLECTION_TYPE_MAX;
    for (size_t i = 0; i < item->type.len; i++)
        plain = plain && item->type.base[i] >= 0x20 && item->type.base[i] < 0x7f;
    return plain ? VERDICT_OK : refuse(item, VERDICT_BAD_REQUEST, "type is no media type of 255 bytes at most");
}

static enum verdict read_binary(struct collection_item *item, const json_t *encoded)
{
    struct str text = text_of(encoded);
    if (text.base == NULL || !batch_decode_base64(text, &item->decoded))
        return refuse(item, VERDICT_BAD_REQUEST, "value_base64 is not well-formed base64");
    item->type = STR_LIT("application/octet-stream");
    item->value = buf_str(&item->decoded);
    return VERDICT_OK;
}

static enum verdict read_plain(struct collection_item *item, const json_t *value, struct str line)
{
    item->type = json_is_string(value) ? STR_LIT("text/plain; charset=utf-8") : STR_LIT("application/json");
    item->value = json_is_string(value) ? text_of(value) : batch_member(line, STR_LIT("value"));
    return item->value.base != NULL ? VERDICT_OK
                                    : refuse(item, VERDICT_BAD_REQUEST, "Write the member \"value\" without escapes");
}

/* One of the three, and no more. */
static enum verdict read_value(struct collection_item *item, struct str line)
{
    const json_t *value = json_object_get(item->document, "value");
    const json_t *encoded = json_object_get(item->document, "value_base64");
    const json_t *deletes = json_object_get(item->document, "delete");
    if (deletes != NULL && !json_is_true(deletes))
        return refuse(item, VERDICT_BAD_REQUEST, "delete is true, or does not stand there");
    if ((value != NULL) + (encoded != NULL) + (deletes != NULL) != 1)
        return refuse(item, VERDICT_BAD_REQUEST, "An item has one of value, value_base64 and delete");
    item->deletes = deletes != NULL;
    if (item->deletes)
        return VERDICT_OK;
    return encoded != NULL ? read_binary(item, encoded) : read_plain(item, value, line);
}

static enum verdict parse(struct collection_item *item, struct str line)
{
    json_error_t error;
    json_decref(item->document);
    item->document = json_loadb(line.base, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (item->document == NULL)
        return refuse(item, VERDICT_BAD_JSON, "The line is no JSON: %.100s", error.text);
    if (!json_is_object(item->document))
        return refuse(item, VERDICT_BAD_JSON, "The line is no JSON object");
    return check_members(item);
}

enum verdict collection_item_read(struct collection_item *item, struct str line)
{
    item->key = item->type = item->value = (struct str){NULL, 0};
    item->condition.len = item->decoded.len = 0;
    item->fault[0] = '\0';
    enum verdict verdict = parse(item, line);
    if (verdict == VERDICT_OK)
        verdict = read_key(item);
    if (verdict == VERDICT_OK)
        verdict = read_value(item, line);
    if (verdict == VERDICT_OK)
        verdict = read_type(item);
    return verdict == VERDICT_OK ? read_condition(item) : verdict;
}

void collection_item_free(struct collection_item *item)
{
    json_decref(item->document);
    buf_free(&item->condition);
    buf_free(&item->decoded);
    *item = (struct collection_item){.document = NULL};
}
