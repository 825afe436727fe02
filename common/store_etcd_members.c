/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/store_etcd.h"
#include "common/store_json.h"

static char *key_of(const struct store_etcd *etcd, const struct store_member *member)
{
    struct buf name = {NULL, 0, 0};
    for (const char *at = member->name; *at != '\0'; at++)
        buf_printf(&name, isalnum((unsigned char)*at) || strchr("-_.", *at) != NULL ? "%c" : "%%%02x",
                   (unsigned char)*at);
    char *key = store_etcd_key(etcd, "live/member/%s/%s", member->role, name.base ? name.base : "");
    buf_free(&name);
    return key;
}

static bool parse_member(struct str text, struct store_member *member)
{
    json_t *json = json_loadb(text.base ? text.base : "", text.len, 0, NULL);
    bool whole = json != NULL && store_member_from_json(json, member);
    member->alive = whole;
    json_decref(json);
    return whole;
}

/* --- who is there ------------------------------------------------------------------------------------------------- */

struct list {
    struct store_member *members;
    size_t count, most;
};

static void add_member(const struct etcd_entry *entry, void *arg)
{
    struct list *list = arg;
    if (list->count < list->most && parse_member(buf_str(&entry->value), &list->members[list->count]))
        list->count++;
}

static int ask_members(struct store_etcd *etcd, const char *prefix, struct list *list, struct error *err)
{
    struct buf body = {NULL, 0, 0};
    struct etcd_answer answer;
    etcd_range_format(&(struct etcd_range){.key = prefix, .below = true}, &body);
    int result = store_etcd_call(etcd, ETCD_RANGE, buf_str(&body), STORE_ETCD_CALM, &answer, err);
    for (size_t i = 0; i < answer.count; i++)
        add_member(&answer.entries[i], list);
    etcd_answer_free(&answer);
    buf_free(&body);
    return result;
}

int store_etcd_members(void *state, struct store_member *members, size_t most, struct error *err)
{
    struct store_etcd *etcd = state;
    struct list list = {members, 0, most};
    char *prefix = store_etcd_key(etcd, "live/member/");
    int result = 0;
    switch (etcd_mirror_state(&etcd->mirror, err)) {
    case ETCD_MIRROR_AWAY:
        result = -1;
        break;
    case ETCD_MIRROR_EMPTY:
        result = ask_members(etcd, prefix, &list, err);
        break;
    case ETCD_MIRROR_UP:
        etcd_mirror_each(&etcd->mirror, prefix, add_member, &list);
        break;
    }
    qsort(members, list.count, sizeof(*members), store_member_order);
    free(prefix);
    return result == -1 ? -1 : (int)list.count;
}

/* --- this process ------------------------------------------------------------------------------------------------- */

static int grant(struct store_etcd *etcd, struct error *err)
{
    struct buf body = {NULL, 0, 0};
    struct etcd_answer answer;
    if (atomic_load(&etcd->lease) != 0)
        return 0;
    etcd_lease_grant_format(STORE_ETCD_LEASE_S, &body);
    int result = store_etcd_call(etcd, ETCD_GRANT, buf_str(&body), STORE_ETCD_CALM, &answer, err);
    if (result == 0 && answer.lease == 0)
        result = error_set(err, ERROR_SYSTEM, "etcd granted no lease");
    if (result == 0)
        atomic_store(&etcd->lease, answer.lease);
    etcd_answer_free(&answer);
    buf_free(&body);
    return result;
}

/* Another process under this name counts as living until its lease ends, unless it listened where we do: then it is our
 * own predecessor, for a port has one owner. */
static bool is_another(const struct buf *value, const struct store_member *self)
{
    struct store_member there;
    return parse_member(buf_str(value), &there) && strcmp(there.admin, self->admin) != 0;
}

/* Puts what SELF says if KEY is still as it was at REVISION. */
static int put_member(struct store_etcd *etcd, const char *key, int64_t revision, const struct store_member *self,
                      struct error *err)
{
    json_t *json = store_member_to_json(self);
    char *text = json_dumps(json, JSON_COMPACT);
    struct buf body = {NULL, 0, 0};
    struct etcd_answer answer = {0};
    int64_t lease = atomic_load(&etcd->lease);
    etcd_txn_format(&(struct etcd_txn){.compares = {{key, revision}},
                                       .compare_count = 1,
                                       .puts = {{key, str_of(text), lease}},
                                       .put_count = 1,
                                       .reads = {key},
                                       .read_count = 1},
                    &body);
    int result = store_etcd_call(etcd, ETCD_TXN, buf_str(&body), STORE_ETCD_CALM, &answer, err);
    const struct etcd_entry *there = etcd_answer_find(&answer, key);
    if (result == -1 && err->code == ERROR_REFUSED)
        atomic_store(&etcd->lease, 0); /* it may be gone: the next call asks for another */
    else if (result == 0 && (answer.succeeded || (there != NULL && there->lease == lease)))
        etcd_mirror_set(&etcd->mirror, key, str_of(text), answer.revision, lease);
    else if (result == 0)
        result = error_set(err, ERROR_CONFLICT, "another process registers as %s %s", self->role, self->name);
    etcd_answer_free(&answer);
    buf_free(&body);
    free(text);
    json_decref(json);
    return result;
}

/* Takes KEY over where it succeeds. */
static int enroll_as(struct store_etcd *etcd, char *key, const struct store_member *self, struct error *err)
{
    struct buf value = {NULL, 0, 0};
    int64_t revision;
    bool ours = etcd->member_key != NULL && strcmp(etcd->member_key, key) == 0;
    int result = store_etcd_read(etcd, key, true, &value, &revision, err);
    if (result == 0 && revision != 0 && !ours && is_another(&value, self))
        result =
            error_set(err, ERROR_CONFLICT, "another living process is registered as %s %s", self->role, self->name);
    if (result == 0)
        result = grant(etcd, err) == 0 ? put_member(etcd, key, revision, self, err) : -1;
    buf_free(&value);
    return result;
}

static bool is_enrolled(struct store_etcd *etcd, const struct store_member *self)
{
    int64_t revision = 0, lease = 0;
    struct buf value = {NULL, 0, 0};
    if (etcd->member_key == NULL || memcmp(self, &etcd->self, sizeof(*self)) != 0)
        return false;
    etcd_mirror_get(&etcd->mirror, etcd->member_key, &value, &revision, &lease);
    buf_free(&value);
    return revision != 0 && lease != 0 && lease == atomic_load(&etcd->lease);
}

int store_etcd_enroll(void *state, const struct store_member *self, struct error *err)
{
    struct store_etcd *etcd = state;
    if (etcd->watch == NULL)
        etcd->watch = store_etcd_watch_start(etcd);
    if (etcd_mirror_state(&etcd->mirror, err) == ETCD_MIRROR_AWAY)
        return -1;
    if (is_enrolled(etcd, self))
        return 0;
    char *key = key_of(etcd, self);
    if (etcd->member_key != NULL && strcmp(etcd->member_key, key) != 0)
        store_etcd_leave(etcd); /* the former name goes with the former lease */
    if (enroll_as(etcd, key, self, err) == -1) {
        free(key);
        return -1;
    }
    free(etcd->member_key);
    etcd->member_key = key;
    etcd->self = *self;
    return 0;
}

void store_etcd_leave(struct store_etcd *etcd)
{
    struct buf body = {NULL, 0, 0};
    struct etcd_answer answer = {0};
    struct error ignored;
    int64_t lease = atomic_exchange(&etcd->lease, 0);
    if (lease == 0)
        return;
    etcd_lease_format(lease, &body);
    int result = store_etcd_call(etcd, ETCD_REVOKE, buf_str(&body), STORE_ETCD_BRISK, &answer, &ignored);
    (void)result; /* it ends by itself soon */
    etcd_answer_free(&answer);
    buf_free(&body);
}
