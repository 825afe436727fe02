/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/dead_letter.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/measure.h"
#include "common/protocol.h"

static struct str value_of(const redisReply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *key = fields->element[i], *value = fields->element[i + 1];
        if (key->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING &&
            str_equal((struct str){key->str, (size_t)key->len}, str_of(name)))
            return (struct str){value->str, (size_t)value->len};
    }
    return (struct str){"", 0};
}

static void add_text(json_t *item, const char *name, struct str text)
{
    json_t *value = json_stringn(text.base, text.len);
    json_object_set_new(item, name, value != NULL ? value : json_string("(not UTF-8)"));
}

static void add_number(json_t *item, const char *name, struct str text)
{
    uint64_t number = 0;
    (void)!str_to_u64(text, &number);
    json_object_set_new(item, name, json_integer((json_int_t)number));
}

static void add_time(json_t *item, const char *name, struct str text)
{
    char time[CLOCK_UTC_SIZE];
    uint64_t us;
    if (!str_to_u64(text, &us))
        return;
    clock_format_utc(us, time);
    json_object_set_new(item, name, json_string(time));
}

static void add_body(json_t *item, struct str body)
{
    json_t *text = json_stringn(body.base, body.len);
    if (text != NULL) {
        json_object_set_new(item, "body", text);
        return;
    }
    unsigned char *encoded = mem_alloc((body.len + 2) / 3 * 4 + 1);
    EVP_EncodeBlock(encoded, (const unsigned char *)body.base, (int)body.len);
    json_object_set_new(item, "body_base64", json_string((const char *)encoded));
    free(encoded);
}

bool dead_letter_to_json(const redisReply *entry, struct str id, json_t *item)
{
    static const enum envelope_field shown[] = {ENVELOPE_ID, ENVELOPE_USER, ENVELOPE_METHOD, ENVELOPE_PATH,
                                                ENVELOPE_COLOR};
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 || entry->element[1]->type != REDIS_REPLY_ARRAY)
        return false;
    const redisReply *fields = entry->element[1];
    if (id.len > 0 && !str_equal(value_of(fields, "id"), id))
        return false;
    for (size_t i = 0; i < COUNT_OF(shown); i++)
        add_text(item, envelope_names[shown[i]], value_of(fields, envelope_names[shown[i]]));
    add_text(item, "reason", value_of(fields, "reason"));
    add_number(item, "status", value_of(fields, "status"));
    add_number(item, "attempts", value_of(fields, "attempts"));
    add_time(item, "received", value_of(fields, "in_us"));
    add_time(item, "died", value_of(fields, "dead_us"));
    json_object_set_new(item, "bytes", json_integer((json_int_t)value_of(fields, "body").len));
    if (id.len > 0) {
        add_text(item, "headers", value_of(fields, "headers"));
        add_body(item, value_of(fields, "body"));
    }
    return true;
}
