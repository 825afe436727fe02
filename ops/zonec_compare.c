/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/zonec_compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"

#define AT_ONCE_MOST 128   /* buckets in one answer, */
#define KEYS_AT_ONCE 30000 /* and about as many keys */
#define ANSWER_MS    15000 /* such an answer takes a busy broker a while */
#define CLOSE_LOOKS  5
#define DIGEST_LOOKS 50

/* One copy against the origin. */
struct pair {
    struct zonec_comparison *comparison;
    struct zonec_compared *origin, *copy;
    struct zonec_changes *changes;
};

/* --- asking ------------------------------------------------------------------------------------------------------- */

static void lose(struct zonec_compared *compared, const struct error *err)
{
    compared->lost = err->code == ERROR_UNREACHABLE || err->code == ERROR_TIMEOUT;
    snprintf(compared->fault, sizeof(compared->fault), "%.190s", err->text);
}

/* COUNT buckets from FIRST on, a new reference; NULL, and the fault is noted. */
static json_t *read_buckets(const struct zonec_comparison *comparison, struct zonec_compared *compared, unsigned first,
                            unsigned count, bool with_keys)
{
    struct buf target = {0};
    struct error err;
    buf_printf(&target, "/v1/collections/entries?from=%u&count=%u&keys=%d", first, count, with_keys);
    deployment_add_query(&target, "name", comparison->collection);
    compared->site->agents.patience_ms = ANSWER_MS;
    json_t *items = zonec_ask(compared->site, "GET", target.base, &err);
    compared->site->agents.patience_ms = 0;
    buf_free(&target);
    if (items == NULL)
        lose(compared, &err);
    return items;
}

static bool is_snapshot(const struct pair *pair)
{
    return strcmp(ctl_text(zonec_item(pair->copy->site, pair->comparison->collection), "replication"), "snapshot") == 0;
}

static bool has_applied(void *arg, const json_t *item)
{
    return fleet_number(item, "seq") >= *(const uint64_t *)arg;
}

/* A snapshot is behind by its nature; of other copies one that never comes along is not waited for again and again. */
static void await(struct pair *pair, uint64_t seq)
{
    if (is_snapshot(pair) || pair->comparison->patience_ms <= 0)
        return;
    uint64_t begun = clock_monotonic_us();
    (void)zonec_wait(pair->copy->site, pair->comparison->collection, pair->comparison->patience_ms, has_applied, &seq);
    pair->comparison->patience_ms -= (int64_t)((clock_monotonic_us() - begun) / 1000);
}

bool zonec_is_bad(const struct zonec_compared *compared, uint64_t bucket)
{
    for (size_t i = 0; i < json_array_size(compared->buckets); i++)
        if ((uint64_t)json_integer_value(json_array_get(compared->buckets, i)) == bucket)
            return true;
    return false;
}

/* A bucket may be wrong for more than one reason. */
static void note_bucket(struct zonec_compared *compared, unsigned bucket)
{
    if (!zonec_is_bad(compared, bucket))
        json_array_append_new(compared->buckets, json_integer(bucket));
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static void note_key(struct pair *pair, unsigned bucket, const char *key, const json_t *ours, const json_t *theirs)
{
    json_int_t version = json_integer_value(json_array_get(ours, 0));
    json_int_t its_version = json_integer_value(json_array_get(theirs, 0));
    const char *fault = theirs == NULL           ? "missing"
                        : ours == NULL           ? "extra"
                        : version != its_version ? "version"
                                                 : "value";
    if (pair->copy->different++ < pair->comparison->most_keys)
        json_array_append_new(pair->copy->keys,
                              json_pack("{s:s,s:s,s:i,s:I,s:I}", "key", key, "fault", fault, "bucket", (int)bucket,
                                        "origin_version", version, "copy_version", its_version));
}

/* Both at one sequence. */
static void compare_keys(struct pair *pair, unsigned bucket, json_t *ours, json_t *theirs)
{
    const char *key;
    json_t *one;
    json_object_foreach(ours, key, one) {
        if (!json_equal(one, json_object_get(theirs, key)))
            note_key(pair, bucket, key, one, json_object_get(theirs, key));
    }
    json_object_foreach(theirs, key, one) {
        if (json_object_get(ours, key) == NULL)
            note_key(pair, bucket, key, NULL, one);
    }
    note_bucket(pair->copy, bucket);
}

enum look {
    LOOK_UNSURE = 0, /* the log does not tell what happened between the two readings */
    LOOK_SAME,
    LOOK_DIFFERENT,
};

/* With NOTE, what differs is listed. */
static enum look compare_at_one_sequence(struct pair *pair, unsigned bucket, const json_t *ours, const json_t *theirs,
                                         bool note)
{
    uint64_t seq = fleet_number(ours, "seq"), its_seq = fleet_number(theirs, "seq");
    uint64_t low = seq < its_seq ? seq : its_seq, high = seq < its_seq ? its_seq : seq;
    json_t *keys = json_object_get(ours, "keys"), *its_keys = json_object_get(theirs, "keys");
    if (!zonec_changes_apply(pair->changes, bucket, low, high, seq < its_seq ? keys : its_keys))
        return LOOK_UNSURE;
    pair->copy->seq = high;
    if (json_equal(keys, its_keys))
        return LOOK_SAME;
    if (note)
        compare_keys(pair, bucket, keys, its_keys);
    return LOOK_DIFFERENT;
}

/* Reads BUCKET of both with its keys. Of who is lost nothing more is to be said: SAME. */
static enum look look_closely_once(struct pair *pair, unsigned bucket, bool note)
{
    enum look look = LOOK_SAME;
    json_t *ours = read_buckets(pair->comparison, pair->origin, bucket, 1, true), *theirs = NULL;
    if (ours != NULL) {
        await(pair, fleet_number(json_array_get(ours, 0), "seq"));
        theirs = read_buckets(pair->comparison, pair->copy, bucket, 1, true);
    }
    if (ours != NULL && theirs != NULL)
        look = compare_at_one_sequence(pair, bucket, json_array_get(ours, 0), json_array_get(theirs, 0), note);
    json_decref(ours);
    json_decref(theirs);
    return look;
}

/* What differs must do so twice: the origin may change its broker between two readings, and forget what nobody was told
 * of. */
static void look_closely(struct pair *pair, unsigned bucket)
{
    bool differed = false;
    for (int i = 0; i < CLOSE_LOOKS; i++) {
        enum look look = look_closely_once(pair, bucket, differed);
        if (look == LOOK_SAME || (look == LOOK_DIFFERENT && differed))
            return;
        differed = look == LOOK_DIFFERENT;
    }
    pair->copy->open_buckets++;
}

/* --- buckets ------------------------------------------------------------------------------------------------------ */

/* What a reading shows of itself: the values, and the sum that is kept for them. */
static void judge(struct zonec_compared *compared, const json_t *reading)
{
    const json_t *unsound = json_object_get(reading, "unsound");
    compared->entries += fleet_number(reading, "entries");
    if (fleet_number(reading, "sum") != fleet_number(reading, "made") || json_array_size(unsound) > 0)
        note_bucket(compared, (unsigned)fleet_number(reading, "bucket"));
    for (size_t i = 0; i < json_array_size(unsound); i++)
        json_array_append(compared->unsound, json_array_get(unsound, i));
}

static void compare_buckets(struct pair *pair, const json_t *ours)
{
    const json_t *last = json_array_get(ours, json_array_size(ours) - 1);
    await(pair, fleet_number(last, "seq"));
    unsigned first = (unsigned)fleet_number(json_array_get(ours, 0), "bucket");
    json_t *theirs = read_buckets(pair->comparison, pair->copy, first, (unsigned)json_array_size(ours), false);
    for (size_t i = 0; i < json_array_size(theirs) && pair->copy->fault[0] == '\0'; i++) {
        const json_t *our = json_array_get(ours, i), *their = json_array_get(theirs, i);
        judge(pair->copy, their);
        if (strcmp(ctl_text(our, "fingerprint"), ctl_text(their, "fingerprint")) == 0)
            pair->copy->seq = fleet_number(their, "seq"); /* versions are in it: nothing happened in between */
        else
            look_closely(pair, first + (unsigned)i);
    }
    json_decref(theirs);
}

/* --- digests ------------------------------------------------------------------------------------------------------ */

static json_t *look_at(struct zonec_site *site, const char *collection)
{
    struct buf target = {0};
    struct error err;
    buf_printf(&target, "/v1/collections");
    deployment_add_query(&target, "name", collection);
    json_t *items = zonec_ask(site, "GET", target.base, &err);
    buf_free(&target);
    return items;
}

static void note_looks(struct zonec_compared *copy, const json_t *ours, const json_t *theirs)
{
    json_decref(copy->same_digest);
    json_decref(copy->same_list);
    copy->same_digest = json_boolean(strcmp(ctl_text(ours, "digest"), ctl_text(theirs, "digest")) == 0);
    copy->same_list = json_boolean(fleet_number(ours, "keys") == fleet_number(theirs, "keys"));
}

/* Both are looked at until they are seen at one sequence, which steady writes may prevent. */
static void compare_digests(struct pair *pair)
{
    for (int i = 0; i < DIGEST_LOOKS && json_is_null(pair->copy->same_digest); i++) {
        json_t *ours = look_at(pair->origin->site, pair->comparison->collection);
        json_t *theirs = look_at(pair->copy->site, pair->comparison->collection);
        const json_t *our = json_array_get(ours, 0), *their = json_array_get(theirs, 0);
        if (our != NULL && their != NULL && fleet_number(our, "seq") == fleet_number(their, "seq"))
            note_looks(pair->copy, our, their);
        json_decref(ours);
        json_decref(theirs);
    }
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

/* What was read of a copy that was begun anew meanwhile says nothing. */
static void check_still_whole(struct pair *pair)
{
    json_t *items = look_at(pair->copy->site, pair->comparison->collection);
    const char *state = ctl_text(json_array_get(items, 0), "state");
    pair->copy->begun_anew = items != NULL && strcmp(state, "live") != 0;
    if (pair->copy->begun_anew)
        snprintf(pair->copy->fault, sizeof(pair->copy->fault), "it was begun anew while it was read");
    json_decref(items);
}

static void begin(struct zonec_compared *compared, struct zonec_site *site)
{
    *compared = (struct zonec_compared){.site = site,
                                        .keys = json_array(),
                                        .buckets = json_array(),
                                        .unsound = json_array(),
                                        .same_digest = json_null(),
                                        .same_list = json_null()};
}

static void end(struct zonec_compared *compared)
{
    json_decref(compared->keys);
    json_decref(compared->buckets);
    json_decref(compared->unsound);
    json_decref(compared->same_digest);
    json_decref(compared->same_list);
}

/* Those that can be compared at all are left without a fault. */
static void begin_all(struct zonec_comparison *comparison, const struct zonec *zonec)
{
    struct zonec_site *origin = zonec_origin(zonec, comparison->collection);
    comparison->copies = mem_calloc(zonec->count, sizeof(*comparison->copies));
    begin(&comparison->origin, origin);
    for (size_t i = 0; i < zonec->count; i++) {
        struct zonec_site *site = &zonec->sites[i];
        const json_t *item = zonec_item(site, comparison->collection);
        if (site == origin)
            continue;
        struct zonec_compared *copy = &comparison->copies[comparison->count++];
        begin(copy, site);
        if (item == NULL)
            lose(copy, &site->err);
        else if (strcmp(ctl_text(item, "state"), "live") != 0)
            snprintf(copy->fault, sizeof(copy->fault), "it is not whole: bucket %llu of 1024 comes next",
                     (unsigned long long)fleet_number(item, "copy_bucket"));
    }
}

/* Few for long buckets, so that little happens between the two readings. */
static unsigned buckets_at_once(const struct zonec_comparison *comparison)
{
    uint64_t keys = fleet_number(zonec_item(comparison->origin.site, comparison->collection), "keys");
    uint64_t count = KEYS_AT_ONCE / (keys / ZONEC_BUCKETS + 1);
    return count > AT_ONCE_MOST ? AT_ONCE_MOST : count > 0 ? (unsigned)count : 1;
}

/* For who waits: a million keys take half a minute. */
static void show_progress(const struct zonec_comparison *comparison, unsigned buckets)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%s: %u %% read", comparison->collection, 100 * buckets / ZONEC_BUCKETS);
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

static void compare_all(struct zonec_comparison *comparison, struct zonec_changes *changes)
{
    unsigned at_once = buckets_at_once(comparison);
    for (unsigned first = 0; first < ZONEC_BUCKETS && comparison->origin.fault[0] == '\0'; first += at_once) {
        show_progress(comparison, first);
        json_t *ours = read_buckets(comparison, &comparison->origin, first, at_once, false);
        for (size_t i = 0; i < json_array_size(ours); i++)
            judge(&comparison->origin, json_array_get(ours, i));
        for (size_t i = 0; ours != NULL && i < comparison->count; i++) {
            struct pair pair = {comparison, &comparison->origin, &comparison->copies[i], changes};
            if (pair.copy->fault[0] == '\0')
                compare_buckets(&pair, ours);
        }
        json_decref(ours);
    }
    end_progress();
}

void zonec_compare(struct zonec_comparison *comparison, const struct zonec *zonec)
{
    struct zonec_changes changes;
    begin_all(comparison, zonec);
    zonec_changes_init(&changes, comparison->origin.site, comparison->collection);
    compare_all(comparison, &changes);
    zonec_changes_free(&changes);
    for (size_t i = 0; i < comparison->count; i++) {
        struct pair pair = {comparison, &comparison->origin, &comparison->copies[i], &changes};
        if (pair.copy->fault[0] != '\0')
            continue;
        compare_digests(&pair);
        check_still_whole(&pair);
    }
}

void zonec_comparison_free(struct zonec_comparison *comparison)
{
    for (size_t i = 0; i < comparison->count; i++)
        end(&comparison->copies[i]);
    end(&comparison->origin);
    free(comparison->copies);
}

enum zonec_verdict zonec_verdict(const struct zonec_compared *compared)
{
    bool different = json_array_size(compared->buckets) > 0 || json_array_size(compared->unsound) > 0 ||
                     json_is_false(compared->same_digest) || json_is_false(compared->same_list);
    return different && !compared->begun_anew                         ? ZONEC_DIFFERENT
           : compared->lost                                           ? ZONEC_UNREACHABLE
           : compared->fault[0] != '\0' || compared->open_buckets > 0 ? ZONEC_BEHIND
                                                                      : ZONEC_SAME;
}

const char *zonec_verdict_name(enum zonec_verdict verdict)
{
    static const char *const names[] = {"same", "different", "not compared", "unreachable"};
    return names[verdict];
}
