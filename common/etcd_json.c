/* SPDX-License-Identifier: Apache-2.0 */
#include "common/etcd_json.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/invariant.h"
#include "common/json_text.h"

/* --- base64 ------------------------------------------------------------------------------------------------------- */

void etcd_base64(struct str bytes, struct buf *out)
{
    char *to = buf_reserve(out, 4 * ((bytes.len + 2) / 3) + 1);
    out->len += (size_t)EVP_EncodeBlock((unsigned char *)to, (const unsigned char *)(bytes.base ? bytes.base : ""),
                                        (int)bytes.len);
}

/* EVP_DecodeBlock counts the padding as bytes, and passes over blanks at the ends. */
bool etcd_base64_decode(struct str text, struct buf *out)
{
    if (text.len % 4 != 0)
        return false;
    if (text.len == 0)
        return true;
    size_t padding = (size_t)(text.base[text.len - 1] == '=') + (text.base[text.len - 2] == '=');
    char *to = buf_reserve(out, text.len / 4 * 3 + 1);
    int len = EVP_DecodeBlock((unsigned char *)to, (const unsigned char *)text.base, (int)text.len);
    if (len != (int)(text.len / 4 * 3))
        return false;
    out->len += (size_t)len - padding;
    out->base[out->len] = '\0';
    return true;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void put_bytes(struct buf *out, const char *name, struct str bytes)
{
    buf_printf(out, "\"%s\":\"", name);
    etcd_base64(bytes, out);
    buf_append(out, "\"", 1);
}

static void put_key(struct buf *out, const char *key)
{
    put_bytes(out, "key", str_of(key));
}

/* The first key behind all that begin with PREFIX: its last byte is one more. */
static void put_range_end(struct buf *out, const char *prefix)
{
    struct buf end = {NULL, 0, 0};
    buf_append_str(&end, str_of(prefix));
    INVARIANT(end.len > 0 && (unsigned char)end.base[end.len - 1] < 0xff);
    end.base[end.len - 1]++;
    buf_append(out, ",", 1);
    put_bytes(out, "range_end", buf_str(&end));
    buf_free(&end);
}

static void put_compare(struct buf *out, const struct etcd_compare *compare)
{
    buf_append(out, "{", 1);
    put_key(out, compare->key);
    buf_printf(out, ",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"%lld\"}",
               (long long)compare->mod_revision);
}

static void put_put(struct buf *out, const struct etcd_put *put)
{
    buf_append(out, "{", 1);
    put_key(out, put->key);
    buf_append(out, ",", 1);
    put_bytes(out, "value", put->value);
    if (put->lease != 0)
        buf_printf(out, ",\"lease\":\"%lld\"", (long long)put->lease);
    buf_append(out, "}", 1);
}

void etcd_txn_format(const struct etcd_txn *txn, struct buf *out)
{
    INVARIANT(txn->compare_count > 0 && txn->compare_count <= ETCD_PARTS_MOST);
    INVARIANT(txn->put_count <= ETCD_PARTS_MOST && txn->read_count <= ETCD_PARTS_MOST);
    buf_printf(out, "{\"compare\":[");
    for (unsigned i = 0; i < txn->compare_count; i++) {
        buf_printf(out, "%s", i > 0 ? "," : "");
        put_compare(out, &txn->compares[i]);
    }
    buf_printf(out, "],\"success\":[");
    for (unsigned i = 0; i < txn->put_count; i++) {
        buf_printf(out, "%s{\"request_put\":", i > 0 ? "," : "");
        put_put(out, &txn->puts[i]);
        buf_append(out, "}", 1);
    }
    buf_printf(out, "],\"failure\":[");
    for (unsigned i = 0; i < txn->read_count; i++) {
        buf_printf(out, "%s{\"request_range\":{", i > 0 ? "," : "");
        put_key(out, txn->reads[i]);
        buf_append(out, "}}", 2);
    }
    buf_printf(out, "]}");
}

void etcd_range_format(const struct etcd_range *range, struct buf *out)
{
    buf_append(out, "{", 1);
    put_key(out, range->key);
    if (range->below)
        put_range_end(out, range->key);
    if (range->most > 0)
        buf_printf(out, ",\"limit\":\"%u\"", range->most);
    if (range->newest)
        buf_printf(out, ",\"sort_order\":\"DESCEND\",\"sort_target\":\"KEY\"");
    buf_append(out, "}", 1);
}

void etcd_put_format(const struct etcd_put *put, struct buf *out)
{
    put_put(out, put);
}

void etcd_watch_format(const char *prefix, int64_t revision, struct buf *out)
{
    buf_printf(out, "{\"create_request\":{");
    put_key(out, prefix);
    put_range_end(out, prefix);
    buf_printf(out, ",\"start_revision\":\"%lld\"}}", (long long)revision);
}

void etcd_authenticate_format(const char *user, const char *password, struct buf *out)
{
    buf_printf(out, "{\"name\":");
    json_append_text(out, str_of(user));
    buf_printf(out, ",\"password\":");
    json_append_text(out, str_of(password));
    buf_append(out, "}", 1);
}

void etcd_lease_grant_format(int64_t ttl_s, struct buf *out)
{
    buf_printf(out, "{\"TTL\":\"%lld\"}", (long long)ttl_s);
}

void etcd_lease_format(int64_t lease, struct buf *out)
{
    buf_printf(out, "{\"ID\":\"%lld\"}", (long long)lease);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* Strings of digits, and plain numbers besides. */
static int64_t number_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) ? strtoll(json_string_value(value), NULL, 10) : json_integer_value(value);
}

static bool take_bytes(const json_t *json, struct buf *out)
{
    return json_is_string(json) &&
           etcd_base64_decode((struct str){json_string_value(json), json_string_length(json)}, out);
}

static bool take_entry(struct etcd_answer *answer, const json_t *kv, bool deleted)
{
    const json_t *key = json_object_get(kv, "key"), *value = json_object_get(kv, "value");
    struct buf name = {NULL, 0, 0};
    answer->entries = mem_realloc(answer->entries, (answer->count + 1) * sizeof(*answer->entries));
    struct etcd_entry *entry = &answer->entries[answer->count++];
    *entry = (struct etcd_entry){
        .mod_revision = number_at(kv, "mod_revision"), .lease = number_at(kv, "lease"), .deleted = deleted};
    bool whole = take_bytes(key, &name) && (value == NULL || take_bytes(value, &entry->value));
    entry->key = name.base != NULL ? name.base : str_dup(STR_LIT(""));
    return whole;
}

static bool take_entries(struct etcd_answer *answer, const json_t *list)
{
    bool whole = true;
    for (size_t i = 0; i < json_array_size(list); i++)
        whole = take_entry(answer, json_array_get(list, i), false) && whole;
    return whole;
}

static bool take_events(struct etcd_answer *answer, const json_t *list)
{
    bool whole = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *event = json_array_get(list, i), *type = json_object_get(event, "type");
        bool deleted = json_is_string(type) && strcmp(json_string_value(type), "DELETE") == 0;
        whole = take_entry(answer, json_object_get(event, "kv"), deleted) && whole;
    }
    return whole;
}

static void take_fault(struct etcd_answer *answer, const json_t *error, const json_t *result)
{
    const json_t *why = json_is_object(error) ? json_object_get(error, "message") : error;
    const json_t *reason = json_object_get(result, "cancel_reason");
    if (error != NULL)
        snprintf(answer->fault, sizeof(answer->fault), "%s",
                 json_is_string(why) ? json_string_value(why) : "it ended the watch");
    else if (answer->compact_revision != 0)
        snprintf(answer->fault, sizeof(answer->fault), "the revision was compacted");
    else if (answer->cancelled)
        snprintf(answer->fault, sizeof(answer->fault), "%s",
                 json_is_string(reason) ? json_string_value(reason) : "it cancelled the watch");
}

static bool take_all(struct etcd_answer *answer, const json_t *json)
{
    const json_t *result = json_object_get(json, "result"), *token = json_object_get(json, "token");
    if (result == NULL)
        result = json;
    answer->revision = number_at(json_object_get(result, "header"), "revision");
    answer->succeeded = json_is_true(json_object_get(result, "succeeded"));
    answer->lease = number_at(result, "ID");
    answer->ttl_s = number_at(result, "TTL");
    answer->token = json_is_string(token) ? str_dup(str_of(json_string_value(token))) : NULL;
    answer->created = json_is_true(json_object_get(result, "created"));
    answer->cancelled = json_is_true(json_object_get(result, "canceled"));
    answer->compact_revision = number_at(result, "compact_revision");
    take_fault(answer, json_object_get(json, "error"), result);
    bool whole = take_entries(answer, json_object_get(result, "kvs"));
    const json_t *responses = json_object_get(result, "responses");
    for (size_t i = 0; i < json_array_size(responses); i++) {
        const json_t *range = json_object_get(json_array_get(responses, i), "response_range");
        whole = take_entries(answer, json_object_get(range, "kvs")) && whole;
    }
    return take_events(answer, json_object_get(result, "events")) && whole;
}

int etcd_answer_parse(struct str text, struct etcd_answer *answer, struct error *err)
{
    *answer = (struct etcd_answer){0};
    json_t *json = json_loadb(text.base ? text.base : "", text.len, 0, NULL);
    bool whole = json_is_object(json) && take_all(answer, json);
    json_decref(json);
    if (whole)
        return 0;
    etcd_answer_free(answer);
    return error_set(err, ERROR_SYSTEM, "what answered is no etcd: its answer makes no sense");
}

void etcd_answer_free(struct etcd_answer *answer)
{
    for (size_t i = 0; i < answer->count; i++) {
        free(answer->entries[i].key);
        buf_free(&answer->entries[i].value);
    }
    free(answer->entries);
    free(answer->token);
    *answer = (struct etcd_answer){0};
}

const struct etcd_entry *etcd_answer_find(const struct etcd_answer *answer, const char *key)
{
    for (size_t i = 0; i < answer->count; i++)
        if (strcmp(answer->entries[i].key, key) == 0)
            return &answer->entries[i];
    return NULL;
}

int etcd_refusal_parse(struct str text, char *message, size_t size)
{
    json_t *json = json_loadb(text.base ? text.base : "", text.len, 0, NULL);
    const json_t *code = json_object_get(json, "code"), *said = json_object_get(json, "message");
    if (said == NULL)
        said = json_object_get(json, "error");
    if (json_is_string(said))
        snprintf(message, size, "%s", json_string_value(said));
    else
        snprintf(message, size, "%.*s", (int)(text.len < 100 ? text.len : 100), text.base ? text.base : "");
    int result = json_is_integer(code) ? (int)json_integer_value(code) : 2;
    json_decref(json);
    return result;
}
