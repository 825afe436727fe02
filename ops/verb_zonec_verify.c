/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl zonec verify: is each copy what the origin is?
 */
#include <stdio.h>

#include "common/measure.h"
#include "ops/grid.h"
#include "ops/zonec_compare.h"

#define KEYS_PRESET      20
#define TIMEOUT_PRESET_S 10

/* What is asked for, and what came of it. */
struct verification {
    struct fleet *fleet;
    struct deployment *deployment;
    const char *unit;
    int64_t most_keys, timeout_s;
    bool repair, quiet;
    json_t *collections; /* [{collection, origin, copies}...] */
    enum zonec_verdict worst;
    enum ctl_exit failed; /* what could not even be begun */
};

/* --- what was found ----------------------------------------------------------------------------------------------- */

static json_t *compared_json(const struct zonec_compared *compared)
{
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:O,s:O,s:O,s:O,s:O,s:I,s:s}", "unit", compared->site->unit, "verdict",
                     zonec_verdict_name(zonec_verdict(compared)), "seq", (json_int_t)compared->seq, "entries",
                     (json_int_t)compared->entries, "different", (json_int_t)compared->different, "keys",
                     compared->keys, "buckets", compared->buckets, "unsound", compared->unsound, "same_digest",
                     compared->same_digest, "same_list", compared->same_list, "not_compared",
                     (json_int_t)compared->open_buckets, "fault", compared->fault);
}

static json_t *comparison_json(const struct zonec_comparison *comparison)
{
    json_t *copies = json_array();
    for (size_t i = 0; i < comparison->count; i++)
        json_array_append_new(copies, compared_json(&comparison->copies[i]));
    return json_pack("{s:s,s:o,s:o}", "collection", comparison->collection, "origin",
                     compared_json(&comparison->origin), "copies", copies);
}

/* The first of these that is true counts. */
static void note_verdict(struct verification *verification, enum zonec_verdict verdict)
{
    static const enum zonec_verdict order[] = {ZONEC_DIFFERENT, ZONEC_UNREACHABLE, ZONEC_BEHIND, ZONEC_SAME};
    for (size_t i = 0; i < COUNT_OF(order); i++)
        if (verification->worst == order[i] || verdict == order[i]) {
            verification->worst = order[i];
            return;
        }
}

/* --- repair ------------------------------------------------------------------------------------------------------- */

/* Its owner sees them at once, and takes each out as it is repaired. */
static bool is_repaired(void *arg, const json_t *item)
{
    (void)arg;
    return json_array_size(json_object_get(item, "bad")) == 0;
}

/* The numbers of what can be repaired, with commas: what is wrong at the origin is no better there. */
static size_t list_buckets(const struct zonec_compared *copy, const struct zonec_compared *origin, struct buf *out)
{
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(copy->buckets); i++) {
        uint64_t bucket = (uint64_t)json_integer_value(json_array_get(copy->buckets, i));
        if (zonec_is_bad(origin, bucket))
            continue;
        buf_printf(out, "%s%llu", count > 0 ? "," : "", (unsigned long long)bucket);
        count++;
    }
    return count;
}

static void tell_repaired(const struct verification *verification, struct zonec_compared *copy, const char *collection,
                          size_t count)
{
    if (!zonec_wait(copy->site, collection, verification->timeout_s * 1000, is_repaired, NULL))
        fprintf(stderr, "ldcctl: %s of %s: not all is repaired after %lld s\n", collection, copy->site->unit,
                (long long)verification->timeout_s);
    else if (!verification->quiet)
        printf("%s: %zu buckets of %s were repaired\n", copy->site->unit, count, collection);
}

/* False where there was nothing to do. */
static bool repair(const struct verification *verification, const struct zonec_comparison *comparison,
                   struct zonec_compared *copy)
{
    const char *collection = comparison->collection;
    struct buf target = {0}, buckets = {0};
    struct error err;
    size_t count = list_buckets(copy, &comparison->origin, &buckets);
    if (count == 0)
        return false;
    buf_printf(&target, "/v1/collections/repair");
    deployment_add_query(&target, "name", collection);
    deployment_add_query(&target, "buckets", buckets.base);
    json_t *items = zonec_ask(copy->site, "POST", target.base, &err);
    if (items == NULL)
        fprintf(stderr, "ldcctl: %s of %s is not repaired: %s\n", collection, copy->site->unit, err.text);
    else
        tell_repaired(verification, copy, collection, count);
    json_decref(items);
    buf_free(&buckets);
    buf_free(&target);
    return true;
}

/* --- one collection ----------------------------------------------------------------------------------------------- */

/* True where something is to be compared again. */
static bool repair_all(const struct verification *verification, const struct zonec_comparison *comparison)
{
    bool any = false;
    for (size_t i = 0; i < comparison->count; i++)
        any |= repair(verification, comparison, &comparison->copies[i]);
    return any;
}

static struct zonec_comparison compare(const struct verification *verification, const struct zonec *zonec,
                                       const char *collection)
{
    struct zonec_comparison comparison = {.collection = collection,
                                          .most_keys = (size_t)verification->most_keys,
                                          .patience_ms = verification->timeout_s * 1000};
    zonec_compare(&comparison, zonec);
    return comparison;
}

static void conclude(struct verification *verification, const struct zonec_comparison *comparison)
{
    note_verdict(verification, zonec_verdict(&comparison->origin));
    for (size_t i = 0; i < comparison->count; i++)
        note_verdict(verification, zonec_verdict(&comparison->copies[i]));
    json_array_append_new(verification->collections, comparison_json(comparison));
}

/* There is nothing to compare with. */
static enum ctl_exit fail_without_origin(const struct zonec *zonec, const char *collection)
{
    struct error err;
    if (zonec->count == 0)
        error_set(&err, ERROR_UNREACHABLE, "the store lists no agents");
    else
        error_set(&err, zonec->sites[0].err.code, "the origin of %s cannot be read: %.300s", collection,
                  zonec->sites[0].err.text);
    return ctl_fail(&err);
}

static void verify(struct verification *verification, const char *collection)
{
    struct zonec zonec;
    zonec_find(&zonec, verification->fleet, verification->deployment, verification->unit, collection);
    if (zonec_origin(&zonec, collection) == NULL) {
        verification->failed = fail_without_origin(&zonec, collection);
        zonec_free(&zonec);
        return;
    }
    struct zonec_comparison comparison = compare(verification, &zonec, collection);
    if (verification->repair && repair_all(verification, &comparison)) {
        zonec_comparison_free(&comparison);
        comparison = compare(verification, &zonec, collection);
    }
    conclude(verification, &comparison);
    zonec_comparison_free(&comparison);
    zonec_free(&zonec);
}

/* --- for people --------------------------------------------------------------------------------------------------- */

static void add_row(struct grid *grid, const json_t *collection, const json_t *compared, const char *role)
{
    const json_t *same = json_object_get(compared, "same_digest");
    grid_add(grid, "%s", ctl_text(collection, "collection"));
    grid_add(grid, "%s", ctl_text(compared, "unit"));
    grid_add(grid, "%s", role);
    grid_add(grid, "%s", ctl_text(compared, "verdict"));
    fleet_add_count(grid, compared, "entries");
    if (fleet_number(compared, "seq") > 0)
        fleet_add_count(grid, compared, "seq");
    else
        grid_add(grid, "-");
    grid_add(grid, "%s", json_is_true(same) ? "same" : json_is_false(same) ? "DIFFERS" : "-");
    fleet_add_count(grid, compared, "different");
    grid_add(grid, "%zu", json_array_size(json_object_get(compared, "buckets")));
}

static void print_compared(const json_t *collection, const json_t *compared)
{
    const char *name = ctl_text(collection, "collection"), *unit = ctl_text(compared, "unit");
    size_t i;
    json_t *key;
    if (*ctl_text(compared, "fault"))
        printf("%s of %s: %s\n", name, unit, ctl_text(compared, "fault"));
    json_array_foreach(json_object_get(compared, "keys"), i, key) {
        printf("%s of %s: %s: %s (version %llu; the origin's: %llu)\n", name, unit, ctl_text(key, "key"),
               ctl_text(key, "fault"), (unsigned long long)fleet_number(key, "copy_version"),
               (unsigned long long)fleet_number(key, "origin_version"));
    }
    json_array_foreach(json_object_get(compared, "unsound"), i, key) {
        printf("%s of %s: %s is not what was written\n", name, unit, json_string_value(key));
    }
    if (json_is_false(json_object_get(compared, "same_list")))
        printf(
            "%s of %s: it does not list as many keys as the origin: its agent mends that within one digest interval\n",
            name, unit);
    if (fleet_number(compared, "not_compared") > 0)
        printf("%s of %s: %llu buckets were not compared: the log does not reach from one reading to the other\n", name,
               unit, (unsigned long long)fleet_number(compared, "not_compared"));
}

static void print_all(const struct verification *verification)
{
    struct grid grid;
    size_t i, j;
    json_t *collection, *copy;
    grid_begin(&grid, "COLLECTION|UNIT|ROLE|VERDICT|>KEYS|>AT SEQUENCE|DIGEST|>KEYS DIFFER|>BAD BUCKETS");
    json_array_foreach(verification->collections, i, collection) {
        add_row(&grid, collection, json_object_get(collection, "origin"), "origin");
        json_array_foreach(json_object_get(collection, "copies"), j, copy) {
            add_row(&grid, collection, copy, "copy");
        }
    }
    grid_print(&grid);
    json_array_foreach(verification->collections, i, collection) {
        print_compared(collection, json_object_get(collection, "origin"));
        json_array_foreach(json_object_get(collection, "copies"), j, copy) {
            print_compared(collection, copy);
        }
    }
}

/* --- the verb ----------------------------------------------------------------------------------------------------- */

static enum ctl_exit exit_of(enum zonec_verdict worst)
{
    static const enum ctl_exit codes[] = {
        [ZONEC_SAME] = CTL_DONE,
        [ZONEC_DIFFERENT] = CTL_FAILED,
        [ZONEC_BEHIND] = CTL_NOT_CONVERGED,
        [ZONEC_UNREACHABLE] = CTL_UNREACHABLE,
    };
    return codes[worst];
}

/* The names of the collections, by whoever answers. */
static json_t *names_of(struct verification *verification)
{
    struct zonec zonec;
    json_t *names = json_array(), *item;
    size_t j;
    zonec_find(&zonec, verification->fleet, verification->deployment, verification->unit, NULL);
    if (zonec.count == 0 || zonec.sites[0].items == NULL)
        verification->failed = fail_without_origin(&zonec, "collections");
    for (size_t i = 0; i < zonec.count && json_array_size(names) == 0; i++)
        json_array_foreach(zonec.sites[i].items, j, item) {
            json_array_append(names, json_object_get(item, "collection"));
        }
    zonec_free(&zonec);
    return names;
}

static void tell(const struct ctl *ctl, const struct verification *verification)
{
    bool same = verification->worst == ZONEC_SAME && verification->failed == CTL_DONE;
    if (ctl->json)
        ctl_print_json(json_pack("{s:b,s:O}", "same", same, "collections", verification->collections));
    else if (json_array_size(verification->collections) > 0)
        print_all(verification);
}

static enum ctl_exit run(const struct ctl *ctl, struct fleet *fleet, struct deployment *deployment)
{
    struct verification verification = {.fleet = fleet,
                                        .deployment = deployment,
                                        .unit = args_value(&ctl->args, "--unit"),
                                        .most_keys = KEYS_PRESET,
                                        .timeout_s = TIMEOUT_PRESET_S,
                                        .repair = args_value(&ctl->args, "--repair") != NULL,
                                        .quiet = ctl->json};
    struct error err;
    if (args_number(&ctl->args, "--keys", 0, 1000000, &verification.most_keys, &err) != 0 ||
        args_number(&ctl->args, "--timeout", 0, 86400, &verification.timeout_s, &err) != 0)
        return ctl_misused(&err);
    if (zonec_check_unit(fleet, verification.unit, &err) != 0)
        return ctl_fail(&err);
    const char *one = args_word(&ctl->args, 0);
    json_t *names = one != NULL ? json_pack("[s]", one) : names_of(&verification);
    verification.collections = json_array();
    for (size_t i = 0; i < json_array_size(names); i++)
        verify(&verification, json_string_value(json_array_get(names, i)));
    tell(ctl, &verification);
    json_decref(names);
    json_decref(verification.collections);
    enum ctl_exit result = exit_of(verification.worst);
    return result == CTL_DONE || verification.failed == CTL_FAILED ? verification.failed : result;
}

enum ctl_exit verb_zonec_verify(const struct ctl *ctl)
{
    return fleet_run(ctl, run);
}
