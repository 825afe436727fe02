/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/store_etcd.h"
#include "common/store_json.h"

#define PIECE      ((size_t)1000000) /* etcd refuses requests of more than 1.5 MB, and base64 is not what it counts */
#define RULES_MOST ((size_t)64 << 20)
#define ROUNDS     30

/* --- texts -------------------------------------------------------------------------------------------------------- */

static char *piece_key(const struct store_etcd *etcd, const char *sha256, size_t i)
{
    return store_etcd_key(etcd, "rules/%s/%04zu", sha256, i);
}

static int put_piece(struct store_etcd *etcd, const char *sha256, size_t i, struct str piece, struct error *err)
{
    char *key = piece_key(etcd, sha256, i);
    struct buf body = {NULL, 0, 0};
    struct etcd_answer answer;
    etcd_put_format(&(struct etcd_put){key, piece, 0}, &body);
    int result = store_etcd_call(etcd, ETCD_PUT, buf_str(&body), STORE_ETCD_PATIENT, &answer, err);
    etcd_answer_free(&answer);
    buf_free(&body);
    free(key);
    return result;
}

/* Whoever puts the same text puts the same pieces. */
static int put_text(struct store_etcd *etcd, const char *sha256, struct str text, struct error *err)
{
    size_t i = 0;
    do {
        struct str piece = {text.base, text.len < PIECE ? text.len : PIECE};
        if (put_piece(etcd, sha256, i++, piece, err) == -1)
            return -1;
        text = (struct str){text.base + piece.len, text.len - piece.len};
    } while (text.len > 0);
    return 0;
}

/* 1: appended; 0: there is none of that number. */
static int get_piece(struct store_etcd *etcd, const char *key, struct buf *out, struct error *err)
{
    struct buf body = {NULL, 0, 0};
    struct etcd_answer answer;
    etcd_range_format(&(struct etcd_range){.key = key}, &body);
    int result = store_etcd_call(etcd, ETCD_RANGE, buf_str(&body), STORE_ETCD_PATIENT, &answer, err);
    const struct etcd_entry *entry = result == 0 ? etcd_answer_find(&answer, key) : NULL;
    if (entry != NULL)
        buf_append_str(out, buf_str(&entry->value));
    etcd_answer_free(&answer);
    buf_free(&body);
    return result == 0 ? entry != NULL : -1;
}

static int get_text(struct store_etcd *etcd, const char *sha256, struct buf *text, struct error *err)
{
    size_t before = text->len;
    char found[65];
    int result = 1;
    for (size_t i = 0; result == 1 && text->len - before <= RULES_MOST; i++) {
        char *key = piece_key(etcd, sha256, i);
        result = get_piece(etcd, key, text, err);
        free(key);
    }
    store_sha256((struct str){text->base + before, text->len - before}, found);
    if (result != -1 && strcmp(found, sha256) == 0)
        return 0;
    text->len = before;
    return result == -1 ? -1
                        : error_set(err, ERROR_SYSTEM,
                                    "etcd holds no sound rules of the SHA-256 %s: what is there "
                                    "comes to %s",
                                    sha256, found);
}

/* --- the history -------------------------------------------------------------------------------------------------- */

static bool parse_record(const struct etcd_entry *entry, struct store_record *record, char attempt[17])
{
    json_t *json = json_loadb(entry->value.base ? entry->value.base : "", entry->value.len, 0, NULL);
    const char *said = json_string_value(json_object_get(json, "attempt"));
    if (attempt != NULL)
        snprintf(attempt, 17, "%s", said != NULL ? said : "");
    bool whole = json != NULL && store_record_from_json(json, record) && record->version > 0;
    json_decref(json);
    return whole;
}

static int ask_history(struct store_etcd *etcd, const struct etcd_range *range, struct etcd_answer *answer,
                       struct error *err)
{
    struct buf body = {NULL, 0, 0};
    etcd_range_format(range, &body);
    int result = store_etcd_call(etcd, ETCD_RANGE, buf_str(&body), STORE_ETCD_CALM, answer, err);
    buf_free(&body);
    return result;
}

int store_etcd_history(void *state, struct store_record *records, size_t most, struct error *err)
{
    struct store_etcd *etcd = state;
    char *key = store_etcd_key(etcd, "history/");
    struct etcd_answer answer;
    int count = ask_history(
        etcd, &(struct etcd_range){.key = key, .below = true, .newest = true, .most = (unsigned)most}, &answer, err);
    for (size_t i = 0; count != -1 && i < answer.count && i < most; i++)
        count = parse_record(&answer.entries[i], &records[i], NULL)
                    ? count + 1
                    : error_set(err, ERROR_SYSTEM, "etcd holds no store record in %s", answer.entries[i].key);
    etcd_answer_free(&answer);
    free(key);
    return count;
}

static int record_of(struct store_etcd *etcd, uint64_t version, struct store_record *record, struct error *err)
{
    char *key = store_etcd_key(etcd, "history/%010llu", (unsigned long long)version);
    struct etcd_answer answer;
    int result = ask_history(etcd, &(struct etcd_range){.key = key}, &answer, err);
    if (result == 0 && (answer.count != 1 || !parse_record(&answer.entries[0], record, NULL)))
        result =
            error_set(err, ERROR_SYSTEM, "etcd's history does not tell of version %llu", (unsigned long long)version);
    etcd_answer_free(&answer);
    free(key);
    return result;
}

int store_etcd_rules(void *state, uint64_t version, struct buf *text, struct error *err)
{
    struct store_record record;
    if (record_of(state, version, &record, err) == -1)
        return -1;
    return get_text(state, record.sha256, text, err);
}

/* --- changing ----------------------------------------------------------------------------------------------------- */

/* One change under way. BASE's value is that of HISTORY_KEY, the place of the version that the last try would have
 * made. */
struct change {
    struct store_etcd *etcd;
    struct store_record *next;
    char attempt[17];
    uint64_t expected;
    struct store_etcd_base base;
    bool fresh;
    char *history_key; /* NULL: nothing was tried yet */
};

/* 1: done; 0: not yet. */
static int try_change(struct change *change, struct error *err)
{
    struct store_etcd *etcd = change->etcd;
    struct store_record *next = change->next;
    char *current_key = store_etcd_key(etcd, "live/current");
    struct buf record = {NULL, 0, 0}, kept = {NULL, 0, 0}, body = {NULL, 0, 0};
    struct etcd_answer answer;
    next->epoch = next->rules_epoch = change->base.record.epoch + 1;
    next->version = change->base.record.version + 1;
    free(change->history_key);
    change->history_key = store_etcd_key(etcd, "history/%010llu", (unsigned long long)next->version);
    store_etcd_format_record(next, NULL, &record);
    store_etcd_format_record(next, change->attempt, &kept);
    etcd_txn_format(
        &(struct etcd_txn){.compares = {{current_key, change->base.record_revision}},
                           .compare_count = 1,
                           .puts = {{current_key, buf_str(&record), 0}, {change->history_key, buf_str(&kept), 0}},
                           .put_count = 2,
                           .reads = {current_key, change->history_key},
                           .read_count = 2},
        &body);
    int result = store_etcd_call(etcd, ETCD_TXN, buf_str(&body), STORE_ETCD_CALM, &answer, err);
    if (result == 0 && answer.succeeded) {
        etcd_mirror_set(&etcd->mirror, current_key, buf_str(&record), answer.revision, 0);
        result = 1;
    } else if (result == 0) {
        result = store_etcd_base_take(etcd, change->history_key, &answer, &change->base, err);
        change->fresh = true;
    }
    etcd_answer_free(&answer);
    buf_free(&body);
    buf_free(&kept);
    buf_free(&record);
    free(current_key);
    return result;
}

/* Whether a try that was not answered was carried out after all. */
static bool is_own_work(const struct change *change)
{
    struct etcd_entry entry = {.value = change->base.value};
    struct store_record record;
    char attempt[17];
    if (change->history_key == NULL || change->base.value_revision == 0 || !parse_record(&entry, &record, attempt) ||
        strcmp(attempt, change->attempt) != 0)
        return false;
    *change->next = record;
    return true;
}

static int read_base(struct change *change, bool fresh, struct error *err)
{
    const char *key = change->history_key;
    char *current_key = store_etcd_key(change->etcd, "live/current");
    change->fresh = fresh;
    int result = store_etcd_base_read(change->etcd, key != NULL ? key : current_key, fresh, &change->base, err);
    free(current_key);
    return result;
}

static int change_rules(struct change *change, struct error *err)
{
    int result = read_base(change, false, err);
    for (int round = 0; result == 0 && round < ROUNDS; round++) {
        if (is_own_work(change))
            return 0;
        if (store_rules_stand(&change->base.record, change->expected))
            result = try_change(change, err);
        else if (!change->fresh)
            result = read_base(change, true, err);
        else {
            *change->next = change->base.record;
            return store_stale_rules(change->next, change->expected, err);
        }
    }
    if (result == 0)
        return error_set(err, ERROR_TIMEOUT, "others change the store all the time");
    return result == 1 ? 0 : -1;
}

int store_etcd_put_rules(void *state, uint64_t expected_epoch, struct str rules, struct store_record *next,
                         struct error *err)
{
    struct change change = {.etcd = state, .next = next, .expected = expected_epoch};
    if (rules.len > RULES_MOST)
        return error_set(err, ERROR_INPUT, "rules in etcd must not be longer than %zu bytes", RULES_MOST);
    store_etcd_attempt(change.attempt);
    if (put_text(change.etcd, next->sha256, rules, err) == -1)
        return -1;
    int result = change_rules(&change, err);
    buf_free(&change.base.value);
    free(change.history_key);
    return result;
}
