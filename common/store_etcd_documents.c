/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "common/store_etcd.h"

#define ROUNDS 30 /* others may change other things at the same moment; each round somebody gets on */

/* A document's value: "VERSION ATTEMPT\n" and the text. */
struct document {
    uint64_t version;
    struct str attempt, text;
};

static int take_apart(const char *name, const struct buf *value, int64_t revision, struct document *document,
                      struct error *err)
{
    *document = (struct document){0};
    if (revision == 0)
        return 0;
    struct str rest = buf_str(value), line = {NULL, 0}, version = {NULL, 0};
    str_next(&rest, '\n', &line);
    document->text = rest;
    str_next(&line, ' ', &version);
    document->attempt = line;
    if (rest.base == NULL || line.base == NULL || !str_to_u64(version, &document->version) || document->version == 0)
        return error_set(err, ERROR_SYSTEM, "etcd holds no document under the name of %s", name);
    return 0;
}

int store_etcd_document_get(void *state, const char *name, struct buf *text, uint64_t *version, struct error *err)
{
    struct store_etcd *etcd = state;
    char *key = store_etcd_key(etcd, "live/document/%s", name);
    struct buf value = {NULL, 0, 0};
    struct document document;
    int64_t revision;
    int result = store_etcd_read(etcd, key, false, &value, &revision, err);
    if (result == 0)
        result = take_apart(name, &value, revision, &document, err);
    if (result == 0) {
        *version = document.version;
        buf_append_str(text, document.text);
    }
    buf_free(&value);
    free(key);
    return result;
}

/* One change under way. */
struct change {
    struct store_etcd *etcd;
    const char *name;
    char *key;
    char attempt[17];
    struct str text;
    uint64_t expected, version;
    struct store_etcd_base base;
    bool fresh; /* BASE is etcd's own word, not the mirror's */
};

/* 1: it is done; 0: not yet; -1: *err. */
static int try_change(struct change *change, struct error *err)
{
    struct store_etcd *etcd = change->etcd;
    struct store_etcd_base *base = &change->base;
    char *current_key = store_etcd_key(etcd, "live/current");
    struct buf record = {NULL, 0, 0}, value = {NULL, 0, 0}, body = {NULL, 0, 0};
    struct etcd_answer answer;
    change->version = (base->record.epoch > change->expected ? base->record.epoch : change->expected) + 1;
    base->record.epoch = change->version;
    store_etcd_format_record(&base->record, NULL, &record);
    buf_printf(&value, "%llu %s\n", (unsigned long long)change->version, change->attempt);
    buf_append_str(&value, change->text);
    etcd_txn_format(
        &(struct etcd_txn){.compares = {{current_key, base->record_revision}, {change->key, base->value_revision}},
                           .compare_count = 2,
                           .puts = {{current_key, buf_str(&record), 0}, {change->key, buf_str(&value), 0}},
                           .put_count = 2,
                           .reads = {current_key, change->key},
                           .read_count = 2},
        &body);
    int result = store_etcd_call(etcd, ETCD_TXN, buf_str(&body), STORE_ETCD_BRISK, &answer, err);
    if (result == 0 && answer.succeeded) {
        etcd_mirror_set(&etcd->mirror, current_key, buf_str(&record), answer.revision, 0);
        etcd_mirror_set(&etcd->mirror, change->key, buf_str(&value), answer.revision, 0);
        result = 1;
    } else if (result == 0) {
        etcd_mirror_merge(&etcd->mirror, &answer);
        result = store_etcd_base_take(etcd, change->key, &answer, base, err);
        change->fresh = true;
    }
    etcd_answer_free(&answer);
    buf_free(&body);
    buf_free(&value);
    buf_free(&record);
    free(current_key);
    return result;
}

/* 1: what is there is our own work; 0: it is what we expect; -1: neither, or *err of another kind. */
static int look(struct change *change, struct error *err)
{
    struct document there;
    if (take_apart(change->name, &change->base.value, change->base.value_revision, &there, err) == -1)
        return -1;
    if (str_equal(there.attempt, str_of(change->attempt))) {
        change->version = there.version;
        return 1;
    }
    if (there.version == change->expected)
        return 0;
    change->version = there.version;
    return error_set(err, ERROR_CONFLICT, "%s is at version %llu, not at %llu", change->name,
                     (unsigned long long)there.version, (unsigned long long)change->expected);
}

static int change_document(struct change *change, struct error *err)
{
    int result = store_etcd_base_read(change->etcd, change->key, false, &change->base, err);
    for (int round = 0; result == 0 && round < ROUNDS; round++) {
        result = look(change, err);
        if (result == -1 && err->code == ERROR_CONFLICT && !change->fresh) {
            result = store_etcd_base_read(change->etcd, change->key, true, &change->base, err);
            change->fresh = true;
        } else if (result == 0) {
            result = try_change(change, err);
        }
    }
    if (result == 0)
        return error_set(err, ERROR_TIMEOUT, "others change the store all the time");
    return result == 1 ? 0 : -1;
}

int store_etcd_document_put(void *state, const char *name, uint64_t expected_version, struct str text,
                            uint64_t *now_version, struct error *err)
{
    struct change change = {.etcd = state, .name = name, .text = text, .expected = expected_version};
    struct error fault = {ERROR_NONE, ""};
    change.key = store_etcd_key(change.etcd, "live/document/%s", name);
    store_etcd_attempt(change.attempt);
    int result = change_document(&change, &fault);
    if (result == 0 || fault.code == ERROR_CONFLICT)
        *now_version = change.version;
    if (result == -1)
        *err = fault;
    buf_free(&change.base.value);
    free(change.key);
    return result;
}
