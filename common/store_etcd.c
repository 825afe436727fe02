/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store_etcd.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/invariant.h"
#include "common/store_json.h"

#define TRY_MS 50

char *store_etcd_key(const struct store_etcd *etcd, const char *format, ...)
{
    char name[300];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    struct buf key = {NULL, 0, 0};
    buf_printf(&key, "%s%s", etcd->prefix, name);
    return key.base;
}

/* --- the location ------------------------------------------------------------------------------------------------- */

static int bad_location(struct error *err, const char *why)
{
    return error_set(err, ERROR_INPUT,
                     "etcd's location: %s; for example etcd:http://10.0.0.1:2379,10.0.0.2:2379/ldcgate", why);
}

static int take_endpoints(struct etcd_access *access, const char *scheme, struct str hosts, struct error *err)
{
    struct str host;
    while (str_next(&hosts, ',', &host)) {
        if (host.len == 0 || memchr(host.base, '@', host.len) != NULL || memchr(host.base, ' ', host.len) != NULL)
            return bad_location(err, "each member must be HOST:PORT");
        if (access->endpoint_count == ETCD_ENDPOINTS_MOST)
            return bad_location(err, "there are too many members");
        struct buf url = {NULL, 0, 0};
        buf_printf(&url, "%s://%.*s", scheme, STR_ARG(host));
        access->endpoints[access->endpoint_count++] = url.base;
    }
    return 0;
}

static int take_location(struct store_etcd *etcd, struct str place, struct error *err)
{
    bool safe = str_starts(place, STR_LIT("https://"));
    size_t skip = safe ? 8 : 7;
    if (!safe && !str_starts(place, STR_LIT("http://")))
        return bad_location(err, "it must begin with http:// or https://");
    if (!safe && (etcd->access.tls.ca_file != NULL || etcd->access.tls.certificate != NULL))
        return bad_location(err, "certificates are of use with https:// alone");
    struct str rest = {place.base + skip, place.len - skip}, hosts;
    str_next(&rest, '/', &hosts);
    while (rest.len > 0 && rest.base[rest.len - 1] == '/')
        rest.len--;
    if (rest.base == NULL || rest.len == 0)
        rest = STR_LIT("ldcgate");
    struct buf prefix = {NULL, 0, 0};
    buf_printf(&prefix, "/%.*s/", STR_ARG(rest));
    etcd->prefix = prefix.base;
    return take_endpoints(&etcd->access, safe ? "https" : "http", hosts, err);
}

/* --- open and close ----------------------------------------------------------------------------------------------- */

static void close_etcd(void *state)
{
    struct store_etcd *etcd = state;
    store_etcd_watch_stop(&etcd->watch);
    if (etcd->session.http != NULL)
        store_etcd_leave(etcd);
    etcd_session_close(&etcd->session);
    etcd_mirror_close(&etcd->mirror);
    close(etcd->changed);
    for (unsigned i = 0; i < etcd->access.endpoint_count; i++)
        free(etcd->access.endpoints[i]);
    free(etcd->member_key);
    free(etcd->prefix);
    free(etcd);
}

static void *open_etcd(struct str place, const struct store_access *access, struct error *err)
{
    struct store_etcd *etcd = mem_calloc(1, sizeof(*etcd));
    etcd->changed = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    INVARIANT(etcd->changed != -1);
    etcd_mirror_open(&etcd->mirror, etcd->changed);
    etcd->access = (struct etcd_access){.user = access->user,
                                        .password_file = access->password_file,
                                        .tls = {access->ca_file, access->certificate, access->key},
                                        .try_ms = access->timeout > 0 ? access->timeout : TRY_MS};
    if (take_location(etcd, place, err) == -1) {
        close_etcd(etcd);
        return NULL;
    }
    etcd_session_open(&etcd->session, &etcd->access, NULL);
    return etcd;
}

static int watch_fd(void *state)
{
    struct store_etcd *etcd = state;
    if (etcd->watch == NULL)
        etcd->watch = store_etcd_watch_start(etcd);
    return etcd->changed;
}

static void drain(void *state)
{
    struct store_etcd *etcd = state;
    uint64_t count;
    ssize_t got = read(etcd->changed, &count, sizeof(count));
    (void)got; /* nothing was there: as good as drained */
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

int store_etcd_call(struct store_etcd *etcd, const char *path, struct str body, unsigned patience,
                    struct etcd_answer *answer, struct error *err)
{
    *answer = (struct etcd_answer){0};
    if (etcd_mirror_state(&etcd->mirror, err) == ETCD_MIRROR_AWAY)
        return -1;
    return etcd_call(&etcd->session, path, body, patience, answer, err);
}

static int ask(struct store_etcd *etcd, const char *key, struct buf *value, int64_t *mod_revision, struct error *err)
{
    struct buf body = {NULL, 0, 0};
    struct etcd_answer answer;
    etcd_range_format(&(struct etcd_range){.key = key}, &body);
    int result = store_etcd_call(etcd, ETCD_RANGE, buf_str(&body), STORE_ETCD_BRISK, &answer, err);
    const struct etcd_entry *entry = result == 0 ? etcd_answer_find(&answer, key) : NULL;
    *mod_revision = entry != NULL ? entry->mod_revision : 0;
    if (entry != NULL)
        buf_append_str(value, buf_str(&entry->value));
    etcd_answer_free(&answer);
    buf_free(&body);
    return result;
}

int store_etcd_read(struct store_etcd *etcd, const char *key, bool fresh, struct buf *value, int64_t *mod_revision,
                    struct error *err)
{
    *mod_revision = 0;
    enum etcd_mirror_state state = etcd_mirror_state(&etcd->mirror, err);
    if (state == ETCD_MIRROR_AWAY)
        return -1;
    if (fresh || state == ETCD_MIRROR_EMPTY)
        return ask(etcd, key, value, mod_revision, err);
    etcd_mirror_get(&etcd->mirror, key, value, mod_revision, NULL);
    return 0;
}

static int parse_record(struct str text, struct store_record *record, struct error *err)
{
    json_t *json = json_loadb(text.base ? text.base : "", text.len, JSON_REJECT_DUPLICATES, NULL);
    bool whole = json != NULL && store_record_from_json(json, record) && record->epoch > 0;
    json_decref(json);
    return whole ? 0 : error_set(err, ERROR_SYSTEM, "etcd holds no store record where one should be");
}

void store_etcd_format_record(const struct store_record *record, const char *attempt, struct buf *out)
{
    json_t *json = store_record_to_json(record);
    if (attempt != NULL)
        json_object_set_new(json, "attempt", json_string(attempt));
    char *text = json_dumps(json, JSON_COMPACT);
    buf_append_str(out, str_of(text));
    free(text);
    json_decref(json);
}

static int current(void *state, struct store_record *record, struct error *err)
{
    struct store_etcd *etcd = state;
    char *key = store_etcd_key(etcd, "live/current");
    struct buf text = {NULL, 0, 0};
    int64_t mod_revision;
    *record = (struct store_record){0};
    int result = store_etcd_read(etcd, key, false, &text, &mod_revision, err);
    if (result == 0 && mod_revision != 0)
        result = parse_record(buf_str(&text), record, err);
    buf_free(&text);
    free(key);
    return result;
}

/* --- what a change is based on ------------------------------------------------------------------------------------ */

void store_etcd_attempt(char attempt[17])
{
    uint64_t drawn;
    INVARIANT(getrandom(&drawn, sizeof(drawn), 0) == sizeof(drawn));
    snprintf(attempt, 17, "%016llx", (unsigned long long)drawn);
}

static int take_record(struct store_etcd_base *base, struct str text, struct error *err)
{
    base->record = (struct store_record){0};
    return base->record_revision != 0 ? parse_record(text, &base->record, err) : 0;
}

/* A base that is wrong costs a round trip, and nothing else. */
static int read_for_base(struct store_etcd *etcd, const char *key, bool fresh, struct buf *value, int64_t *mod_revision,
                         struct error *err)
{
    struct etcd_mirror *other = etcd->leans_on;
    if (fresh || other == NULL || etcd_mirror_state(other, NULL) != ETCD_MIRROR_UP)
        return store_etcd_read(etcd, key, fresh, value, mod_revision, err);
    etcd_mirror_get(other, key, value, mod_revision, NULL);
    return 0;
}

int store_etcd_base_read(struct store_etcd *etcd, const char *key, bool fresh, struct store_etcd_base *base,
                         struct error *err)
{
    char *current_key = store_etcd_key(etcd, "live/current");
    struct buf record = {NULL, 0, 0};
    base->value.len = 0;
    int result = read_for_base(etcd, current_key, fresh, &record, &base->record_revision, err);
    if (result == 0)
        result = take_record(base, buf_str(&record), err);
    if (result == 0)
        result = read_for_base(etcd, key, fresh, &base->value, &base->value_revision, err);
    buf_free(&record);
    free(current_key);
    return result;
}

int store_etcd_base_take(struct store_etcd *etcd, const char *key, const struct etcd_answer *answer,
                         struct store_etcd_base *base, struct error *err)
{
    char *current_key = store_etcd_key(etcd, "live/current");
    const struct etcd_entry *record = etcd_answer_find(answer, current_key), *value = etcd_answer_find(answer, key);
    base->record_revision = record != NULL ? record->mod_revision : 0;
    base->value_revision = value != NULL ? value->mod_revision : 0;
    base->value.len = 0;
    if (value != NULL)
        buf_append_str(&base->value, buf_str(&value->value));
    int result = take_record(base, record != NULL ? buf_str(&record->value) : STR_LIT(""), err);
    free(current_key);
    return result;
}

static void keep_warm(void *state)
{
    struct store_etcd *etcd = state;
    char *current_key = store_etcd_key(etcd, "live/current");
    if (etcd_mirror_state(&etcd->mirror, NULL) != ETCD_MIRROR_AWAY)
        etcd_session_warm(&etcd->session, current_key);
    free(current_key);
}

static void lean_on(void *state, void *other)
{
    struct store_etcd *etcd = state;
    etcd->leans_on = &((struct store_etcd *)other)->mirror;
}

const struct store_backend store_etcd = {
    .scheme = "etcd",
    .open = open_etcd,
    .close = close_etcd,
    .current = current,
    .rules = store_etcd_rules,
    .put_rules = store_etcd_put_rules,
    .history = store_etcd_history,
    .enroll = store_etcd_enroll,
    .members = store_etcd_members,
    .document_get = store_etcd_document_get,
    .document_put = store_etcd_document_put,
    .watch_fd = watch_fd,
    .drain = drain,
    .keep_warm = keep_warm,
    .lean_on = lean_on,
};
