/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/colors.h"

#include <stdio.h>

#include "common/log.h"

/* --- records ------------------------------------------------------------------------------------------------------ */

static void adopt(struct unit *unit, const struct color_record *record)
{
    struct color_facts *colors = &unit->colors;
    colors->record = *record;
    colors->held_back[COLOR_BLUE] = colors->held_back[COLOR_GREEN] = false;
    log_info("color.followed", "%s: blue %u, green %u, by %s: %s", unit->name, record->weights.blue,
             record->weights.green, record->by, record->why);
}

/* Where one sync has got to. */
struct syncing {
    struct store *store;
    struct document_cache *cache;
    bool changed;
};

static void follow(struct unit *unit, void *arg)
{
    struct syncing *syncing = arg;
    struct color_facts *colors = &unit->colors;
    struct color_record record = {0};
    struct buf text = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    char name[96];
    uint64_t version;
    color_record_name(name, sizeof(name), str_of(unit->name));
    int failed = document_cache_get(syncing->cache, syncing->store, name, &text, &version, &err);
    bool other = failed == 0 && version > colors->record.version; /* a store that is behind tells of the past */
    if (other)
        failed = color_record_parse(buf_str(&text), &record, &err);
    record.version = version;
    if (other && failed == 0) {
        adopt(unit, &record);
        syncing->changed = true;
    }
    if (failed != 0 && strcmp(err.text, colors->fault) != 0)
        log_warning("color.kept", "%s: %s; the last weights stay in force", unit->name, err.text);
    snprintf(colors->fault, sizeof(colors->fault), "%s", err.text);
    buf_free(&text);
}

bool colors_sync(struct registry *registry, struct store *store, struct document_cache *cache)
{
    struct syncing syncing = {.store = store, .cache = cache};
    registry_each_unit(registry, follow, &syncing);
    return syncing.changed;
}

static void restore(struct unit *unit, void *arg)
{
    const struct syncing *syncing = arg;
    struct color_record record;
    struct buf text = {NULL, 0, 0};
    struct error ignored;
    char name[96];
    uint64_t version;
    color_record_name(name, sizeof(name), str_of(unit->name));
    document_cache_recall(syncing->cache, name, &text, &version);
    if (version > 0 && color_record_parse(buf_str(&text), &record, &ignored) == 0) {
        record.version = version;
        adopt(unit, &record);
    }
    buf_free(&text);
}

void colors_restore(struct registry *registry, const struct document_cache *cache)
{
    registry_each_unit(registry, restore, &(struct syncing){.cache = (struct document_cache *)cache});
}

int colors_put(struct unit *unit, struct store *store, const struct color_record *record, struct error *err)
{
    struct color_record put = *record;
    struct buf text = {NULL, 0, 0};
    char name[96];
    color_record_name(name, sizeof(name), str_of(unit->name));
    color_record_format(&put, &text);
    int failed = store_document_put(store, name, record->version, buf_str(&text), &put.version, err);
    buf_free(&text);
    if (failed == 0)
        adopt(unit, &put);
    return failed;
}

/* --- health ------------------------------------------------------------------------------------------------------- */

static bool all_down(const struct view *view, uint32_t at, enum color color)
{
    uint32_t count = view->table->units[at].nodes[color].count;
    for (uint32_t i = 0; i < count; i++)
        if (node_usable(view->units[at].nodes[color][i]))
            return false;
    return count > 0;
}

bool colors_check(struct view *view, uint64_t now_us)
{
    bool changed = false;
    for (uint32_t i = 0; view != NULL && i < view->table->unit_count; i++) {
        struct unit *unit = view->units[i].unit;
        for (int color = 0; color < COLOR_COUNT; color++) {
            struct color_health *health = &unit->colors.health[color];
            if (!color_health_note(health, all_down(view, i, (enum color)color), now_us))
                continue;
            changed = true;
            log_info(health->away ? "color.away" : "color.back", "%s %s: %s", unit->name, color_name((enum color)color),
                     health->away ? "none of its nodes is well" : "its nodes have been well for a while");
        }
    }
    return changed;
}

/* --- counts ------------------------------------------------------------------------------------------------------- */

void colors_count(struct unit *unit, enum color color, bool failed, uint64_t us)
{
    struct color_tally *tally = &unit->tallies[color];
    atomic_fetch_add_explicit(&tally->latency.buckets[stat_bucket(us)], 1, memory_order_relaxed);
    if (failed)
        atomic_fetch_add_explicit(&tally->failed, 1, memory_order_relaxed);
}

void colors_count_broken(struct unit *unit, enum color color)
{
    atomic_fetch_add_explicit(&unit->tallies[color].failed, 1, memory_order_relaxed);
}
