/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/warden.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/broker_event.h"
#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "common/url.h"
#include "unit-agent/warden_decide.h"
#include "unit-agent/warden_probe.h"

#define REDIAL_MOST_MS 20
#define ACCURACY_US    500
#define HELD_MS        1     /* from look to look while requests wait for what they show */
#define SEEN_US        30000 /* after its last answer the primary is not seen any more */

/* A broker that is guarded. */
struct ward {
    struct warden *warden;
    struct warden_probe *probe;
    struct warden_broker facts;
    struct broker_record record; /* of its unit, in force; without members: there is none */
    bool record_known;           /* the store has answered, or a record was heard of */
    struct warden_probe *other;  /* to the primary, where the record names another broker; it is only looked at */
    char other_url[BROKER_URL_SIZE];
    uint64_t other_seen_us;
    uint64_t due_us; /* of the next look, while requests wait for other brokers */
    char why[WARDEN_WHY];
};

struct warden {
    sd_event *loop;
    struct warden_config config;
    struct broker_loop broker_loop;
    struct store *store; /* NULL until the first sync */
    sd_event_source *tick;
    struct ward *wards[WARDEN_BROKERS_MOST];
    struct warden_broker facts[WARDEN_BROKERS_MOST];
    unsigned count;
    uint64_t rules_epoch; /* of the table in force */
};

/* --- acting ------------------------------------------------------------------------------------------------------- */

static void set_why(struct ward *ward, const char *why)
{
    if (strcmp(ward->why, why) == 0)
        return;
    snprintf(ward->why, sizeof(ward->why), "%s", why);
    if (why[0] != '\0')
        log_info("broker.rests", "%s: %s", ward->facts.url, why);
}

static void promote(struct ward *ward, const struct warden_look *look)
{
    if (!warden_probe_promote(ward->probe, &ward->record))
        return;
    stat_add(&ward->warden->config.stats->agent_promotions_total, 1);
    log_warning("broker.promoted", "%s serves %s at epoch %" PRIu64 ", after epoch %" PRIu64 ": %s", ward->facts.url,
                ward->facts.unit, ward->record.version, look->stamp, ward->record.why);
}

static void follow(struct ward *ward, const struct warden_look *look)
{
    if (!warden_probe_follow(ward->probe, &ward->record))
        return;
    stat_add(&ward->warden->config.stats->agent_demotions_total, look->is_primary);
    log_warning("broker.follows", "%s, which %s%s, follows %s from epoch %" PRIu64 " on", ward->facts.url,
                look->is_primary ? "was a primary" : "followed ", look->is_primary ? "" : look->follows,
                ward->record.primary, ward->record.version);
}

static void act(struct ward *ward, const struct warden_look *look)
{
    struct warden_action action;
    warden_decide(&ward->record, ward->facts.url, look, &action);
    set_why(ward, action.why);
    ward->facts.fits = action.fits;
    if (action.verdict == WARDEN_PROMOTE)
        promote(ward, look);
    else if (action.verdict == WARDEN_FOLLOW)
        follow(ward, look);
    else if (action.verdict == WARDEN_STAMP)
        (void)!warden_probe_stamp(ward->probe, &ward->record); /* the next look tells */
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

static void on_look(void *arg, const struct warden_look *look)
{
    struct ward *ward = arg;
    struct warden_broker *facts = &ward->facts;
    memcpy(facts->run_id, look->run_id, sizeof(facts->run_id));
    facts->is_primary = look->is_primary;
    facts->link_up = look->link_up;
    facts->stamp = look->stamp;
    facts->offset = look->offset;
    facts->writes = look->writes;
    memcpy(facts->dataset, look->dataset, sizeof(facts->dataset));
    facts->heard_us = clock_monotonic_us();
    if (ward->record_known)
        act(ward, look);
    ward->warden->config.looked(ward->warden->config.arg);
}

/* Requests wait for what the record says: for a switch, or for rules that are yet to come. */
static bool is_waited_for(const struct warden *warden, const struct broker_record *record)
{
    return record->hold || (record->moving.rules != 0 && record->moving.rules >= warden->rules_epoch);
}

static void look_when_due(struct ward *ward, uint64_t now_us, uint64_t interval_us)
{
    if (now_us + ACCURACY_US < ward->due_us)
        return;
    ward->due_us = now_us + interval_us;
    warden_probe_look(ward->probe);
    if (ward->other != NULL)
        warden_probe_look(ward->other);
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct warden *warden = arg;
    uint64_t now_us = clock_monotonic_us(), calm_us = (uint64_t)warden->config.options->guard.interval * 1000;
    uint64_t next_us = calm_us;
    for (unsigned i = 0; i < warden->count; i++) {
        struct ward *ward = warden->wards[i];
        bool waited_for = is_waited_for(warden, &ward->record);
        next_us = waited_for ? HELD_MS * 1000 : next_us;
        look_when_due(ward, now_us, waited_for ? HELD_MS * 1000 : calm_us);
    }
    sd_event_source_set_time_relative(source, next_us);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static struct warden_probe *probe(struct ward *ward, const char *url, warden_look_fn looked)
{
    const struct warden *warden = ward->warden;
    const struct agent_config *options = warden->config.options;
    struct broker_config broker = {.url = url,
                                   .user = options->broker.user,
                                   .password = warden->config.password,
                                   .command_timeout_ms = options->broker.timeout,
                                   .redial_most_ms = REDIAL_MOST_MS};
    return warden_probe_create(&warden->broker_loop, &broker, str_of(ward->facts.unit), looked, ward);
}

/* One that was started anew answers too, and is the primary no more. */
static void on_other(void *arg, const struct warden_look *look)
{
    struct ward *ward = arg;
    if (look->is_primary && strcmp(look->run_id, ward->record.run_id) == 0)
        ward->other_seen_us = clock_monotonic_us();
}

static void look_at_primary(struct ward *ward)
{
    struct url parts;
    struct error err;
    bool elsewhere = strcmp(ward->record.primary, ward->facts.url) != 0 &&
                     url_parse(str_of(ward->record.primary), 6379, &parts, &err) == 0;
    const char *url = elsewhere ? ward->record.primary : "";
    if (strcmp(url, ward->other_url) == 0)
        return;
    warden_probe_destroy(&ward->other);
    ward->other_seen_us = 0;
    memcpy(ward->other_url, url, strlen(url) + 1);
    if (url[0] != '\0')
        ward->other = probe(ward, url, on_other);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

/* Users wait for it: what was seen last stands still, or the transaction does nothing and the next look judges anew. */
static void promote_at_once(struct ward *ward)
{
    const struct warden_look *look = warden_probe_standing(ward->probe);
    struct warden_action action;
    if (look == NULL)
        return;
    warden_decide(&ward->record, ward->facts.url, look, &action);
    if (action.verdict == WARDEN_PROMOTE)
        promote(ward, look);
}

static void take_record(struct ward *ward, const struct broker_record *record)
{
    ward->record = *record;
    ward->record_known = true;
    look_at_primary(ward);
    promote_at_once(ward);
    warden_probe_look(ward->probe);
    if (!is_waited_for(ward->warden, record))
        return;
    ward->due_us = 0;
    sd_event_source_set_time_relative(ward->warden->tick, HELD_MS * 1000);
}

void warden_heard(struct warden *warden, const char *unit, const struct broker_record *record)
{
    for (unsigned i = 0; i < warden->count; i++) {
        struct ward *ward = warden->wards[i];
        if (strcmp(ward->facts.unit, unit) == 0 && record->version > ward->record.version)
            take_record(ward, record);
    }
}

/* No record at all, where there was one: an operator removed it, to begin anew. */
static void read_record(struct ward *ward)
{
    char name[96];
    struct broker_record record = {0};
    struct buf text = {0};
    struct error err;
    uint64_t version = 0;
    broker_record_name(name, sizeof(name), str_of(ward->facts.unit));
    bool read = store_document_get(ward->warden->store, name, &text, &version, &err) == 0 &&
                (version == 0 || broker_record_parse(buf_str(&text), &record, &err) == 0);
    record.version = version;
    if (read && (version > ward->record.version || version == 0 || !ward->record_known))
        take_record(ward, &record);
    buf_free(&text);
}

void warden_sync(struct warden *warden, struct store *store)
{
    warden->store = store;
    for (unsigned i = 0; i < warden->count; i++)
        read_record(warden->wards[i]);
}

/* --- who is guarded ----------------------------------------------------------------------------------------------- */

static void ward_destroy(struct ward *ward)
{
    warden_probe_destroy(&ward->probe);
    warden_probe_destroy(&ward->other);
    free(ward);
}

static struct ward *ward_create(struct warden *warden, struct str unit, const char *url)
{
    struct ward *ward = mem_calloc(1, sizeof(*ward));
    ward->warden = warden;
    snprintf(ward->facts.unit, sizeof(ward->facts.unit), "%.*s", STR_ARG(unit));
    snprintf(ward->facts.url, sizeof(ward->facts.url), "%s", url);
    ward->probe = probe(ward, url, on_look);
    if (warden->store != NULL)
        read_record(ward);
    return ward;
}

static bool is_listed(const struct warden *warden, const char *url)
{
    const struct option_strings *listed = &warden->config.options->guard.brokers;
    for (size_t i = 0; i < listed->count; i++)
        if (strcmp(listed->items[i], url) == 0)
            return true;
    return false;
}

static bool guards(const struct warden *warden, const struct table *table, const struct table_unit *unit,
                   uint32_t broker, const char *url)
{
    uint32_t own = table_unit_index(table, str_of(warden->config.options->unit));
    if (warden->config.options->guard.brokers.count > 0)
        return is_listed(warden, url);
    bool stands_by = broker > 0 && unit->standby != NO_UNIT;
    return own != NO_UNIT && own == (stands_by ? unit->standby : (uint32_t)(unit - table->units));
}

static struct ward *take_ward(struct ward **wards, unsigned count, struct str unit, const char *url)
{
    for (unsigned i = 0; i < count; i++) {
        struct ward *ward = wards[i];
        if (ward != NULL && strcmp(ward->facts.url, url) == 0 && str_equal(str_of(ward->facts.unit), unit)) {
            wards[i] = NULL;
            return ward;
        }
    }
    return NULL;
}

static void adopt_unit(struct warden *warden, const struct table *table, const struct table_unit *unit,
                       struct ward **before, unsigned count)
{
    for (uint32_t i = 0; i < unit->broker_count && warden->count < WARDEN_BROKERS_MOST; i++) {
        char url[BROKER_URL_SIZE];
        snprintf(url, sizeof(url), "%.*s", STR_ARG(unit->brokers[i]));
        if (!guards(warden, table, unit, i, url))
            continue;
        struct ward *ward = take_ward(before, count, unit->name, url);
        warden->wards[warden->count++] = ward != NULL ? ward : ward_create(warden, unit->name, url);
    }
}

void warden_adopt(struct warden *warden, const struct table *table)
{
    struct ward *before[WARDEN_BROKERS_MOST];
    unsigned count = warden->count;
    memcpy(before, warden->wards, sizeof(before));
    warden->count = 0;
    warden->rules_epoch = table->epoch;
    for (uint32_t i = 0; i < table->unit_count; i++)
        adopt_unit(warden, table, &table->units[i], before, count);
    for (unsigned i = 0; i < count; i++)
        if (before[i] != NULL)
            ward_destroy(before[i]);
}

/* --- outside ------------------------------------------------------------------------------------------------------ */

const struct warden_broker *warden_brokers(struct warden *warden, uint64_t late_us, unsigned *count)
{
    for (unsigned i = 0; i < warden->count; i++) {
        const struct ward *ward = warden->wards[i];
        struct warden_broker *facts = &warden->facts[i];
        *facts = ward->facts;
        facts->healthy = warden_probe_fault(ward->probe) == NULL;
        facts->gone = warden_probe_gone(ward->probe);
        facts->sees_primary = ward->other_seen_us > 0 && warden_probe_fault(ward->other) == NULL &&
                              clock_monotonic_us() < ward->other_seen_us + SEEN_US + late_us;
    }
    *count = warden->count;
    return warden->facts;
}

bool warden_sees_fenced(const struct warden *warden, const char *url)
{
    for (unsigned i = 0; i < warden->count; i++) {
        const struct ward *ward = warden->wards[i];
        if (strcmp(ward->facts.url, url) == 0)
            return ward->facts.heard_us > 0 && !ward->facts.is_primary && warden_probe_fault(ward->probe) == NULL;
    }
    return false;
}

static const char *data_of(const struct ward *ward)
{
    if (ward->facts.dataset[0] == '\0')
        return "none";
    return strcmp(ward->facts.dataset, ward->record.dataset) == 0 ? "same" : "other";
}

static json_t *report_ward(const struct ward *ward)
{
    const struct warden_broker *facts = &ward->facts;
    const char *fault = warden_probe_fault(ward->probe);
    uint64_t age_us = facts->heard_us > 0 ? clock_monotonic_us() - facts->heard_us : 0;
    return json_pack("{s:s,s:s,s:s,s:I,s:s,s:I,s:I,s:s,s:I,s:s}", "unit", facts->unit, "broker", facts->url, "role",
                     fault != NULL       ? "away"
                     : facts->is_primary ? "primary"
                     : facts->link_up    ? "replica"
                                         : "detached",
                     "epoch", (json_int_t)facts->stamp, "run_id", facts->run_id, "offset", (json_int_t)facts->offset,
                     "writes", (json_int_t)facts->writes, "data", data_of(ward), "heard_ms",
                     (json_int_t)(age_us / 1000), "why", fault != NULL ? fault : ward->why);
}

json_t *warden_report(struct warden *warden)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < warden->count; i++)
        json_array_append_new(list, report_ward(warden->wards[i]));
    return list;
}

struct warden *warden_create(sd_event *loop, const struct warden_config *config)
{
    struct warden *warden = mem_calloc(1, sizeof(*warden));
    warden->loop = loop;
    warden->config = *config;
    warden->broker_loop = broker_loop_first(loop);
    INVARIANT(sd_event_add_time_relative(loop, &warden->tick, CLOCK_MONOTONIC,
                                         (uint64_t)config->options->guard.interval * 1000, ACCURACY_US, on_tick,
                                         warden) >= 0 &&
              sd_event_source_set_priority(warden->tick, SD_EVENT_PRIORITY_IMPORTANT) >= 0);
    return warden;
}

void warden_destroy(struct warden **warden_p)
{
    struct warden *warden = *warden_p;
    if (warden == NULL)
        return;
    *warden_p = NULL;
    for (unsigned i = 0; i < warden->count; i++)
        ward_destroy(warden->wards[i]);
    sd_event_source_disable_unref(warden->tick);
    free(warden);
}
