/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/zonec_changes.h"

#include <inttypes.h>

void zonec_changes_init(struct zonec_changes *changes, struct zonec_site *origin, const char *collection)
{
    *changes = (struct zonec_changes){.origin = origin, .collection = collection, .first = 1, .last = 0};
}

void zonec_changes_free(struct zonec_changes *changes)
{
    for (size_t i = 0; i < ZONEC_BUCKETS; i++)
        json_decref(changes->of_bucket[i]);
    zonec_changes_init(changes, changes->origin, changes->collection);
}

/* The next ones, up to TO. False where the very next one is not in the log. */
static bool read_page(struct zonec_changes *changes, uint64_t to)
{
    struct buf target = {0};
    struct error err;
    uint64_t before = changes->last;
    buf_printf(&target, "/v1/collections/changes?from=%" PRIu64 "&to=%" PRIu64, before + 1, to);
    deployment_add_query(&target, "name", changes->collection);
    json_t *page = zonec_ask(changes->origin, "GET", target.base, &err), *change;
    size_t i;
    json_array_foreach(page, i, change) {
        uint64_t bucket = fleet_number(change, "bucket");
        if (fleet_number(change, "seq") != changes->last + 1 || bucket >= ZONEC_BUCKETS)
            break;
        if (changes->of_bucket[bucket] == NULL)
            changes->of_bucket[bucket] = json_array();
        json_array_append(changes->of_bucket[bucket], change);
        changes->last++;
    }
    json_decref(page);
    buf_free(&target);
    return changes->last > before;
}

/* Has FIRST to LAST, or says that the log has not. */
static bool read_all(struct zonec_changes *changes, uint64_t first, uint64_t last)
{
    if (changes->last < changes->first || first < changes->first || first > changes->last + 1) {
        zonec_changes_free(changes);
        changes->first = first;
        changes->last = first - 1;
    }
    while (changes->last < last)
        if (!read_page(changes, last))
            return false;
    return true;
}

bool zonec_changes_apply(struct zonec_changes *changes, unsigned bucket, uint64_t from, uint64_t to, json_t *keys)
{
    size_t i;
    json_t *change;
    if (from < to && !read_all(changes, from + 1, to))
        return false;
    json_array_foreach(changes->of_bucket[bucket], i, change) {
        uint64_t seq = fleet_number(change, "seq");
        if (seq <= from || seq > to)
            continue;
        if (strcmp(ctl_text(change, "op"), "put") == 0)
            json_object_set_new(keys, ctl_text(change, "key"),
                                json_pack("[I,s]", (json_int_t)seq, ctl_text(change, "fingerprint")));
        else
            json_object_del(keys, ctl_text(change, "key"));
    }
    return true;
}
