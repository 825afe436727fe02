/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/arrivals.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "rules/rules.h"
#include "unit-agent/origin.h"

#define LOOK_SOON_US 10000 /* between two looks at an origin, */
#define LOOK_LATE_US 200000
#define LOOK_EACH_US 100     /* for each of its partitions: looks cost it something */
#define SOON_US      2000000 /* from when on they are rarer */
#define PARK_US      300000  /* what has waited so long gives way to others */
#define BELIEVE_US   5000000 /* a message of an epoch that never comes: it may be anybody's */

struct arrivals {
    sd_event *loop;
    struct arrivals_config config;
    struct store *store; /* NULL until the first sync */
    char document[96];
    struct arrival_record record;
    struct origin *origins;
    uint64_t since_us; /* monotonic: the newest of them */
    bool missed;       /* of one the store did not give the rules: it is asked again */
    uint64_t known;    /* epoch of the rules by which `record` was read */
    uint64_t met;      /* the newest epoch that a message came with, */
    uint64_t met_us;   /* and since when it is beyond `known`; 0: it is not */
    sd_event_source *tell, *look, *park, *believe;
    char fault[160]; /* as the log told it last */
};

/* --- who may go on ------------------------------------------------------------------------------------------------ */

/* Many partitions open at once, and each of them is looked at. */
static void tell_changed(void *arg)
{
    loop_wake(((struct arrivals *)arg)->tell);
}

static int on_tell(sd_event_source *source, void *arg)
{
    (void)source;
    struct arrivals *arrivals = arg;
    arrivals->config.changed(arrivals->config.arg);
    return 0;
}

static void meet(struct arrivals *arrivals, uint64_t epoch)
{
    arrivals->met = epoch > arrivals->met ? epoch : arrivals->met;
    if (arrivals->met_us != 0)
        return;
    arrivals->met_us = clock_monotonic_us();
    loop_wake_in(arrivals->believe, BELIEVE_US);
    arrivals->config.behind(arrivals->config.arg);
}

bool arrivals_admit(void *arg, const struct partition *partition, const struct message *message)
{
    struct arrivals *arrivals = arg;
    uint64_t epoch = 0;
    (void)str_to_u64(message->envelope.fields[ENVELOPE_EPOCH], &epoch);
    if (partition->broadcast)
        return true;
    if (epoch > arrivals->known) {
        meet(arrivals, epoch);
        return false;
    }
    for (const struct origin *origin = arrivals->origins; origin != NULL; origin = origin->next)
        if (epoch > origin->arrival.epoch && origin_keeps_back(origin, partition, message))
            return false;
    return true;
}

static void know(struct arrivals *arrivals, uint64_t epoch)
{
    if (epoch <= arrivals->known)
        return;
    arrivals->known = epoch;
    if (arrivals->met <= epoch)
        arrivals->met_us = 0;
}

/* Nobody waits for ever on account of a message that names rules which the store does not have. */
static int on_believe(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct arrivals *arrivals = arg;
    if (arrivals->met_us == 0)
        return 0;
    log_warning("arrivals.unknown",
                "a message was routed by rules of epoch %llu, and epoch %llu is the newest that this agent can read: "
                "the order of users who moved in between is not assured",
                (unsigned long long)arrivals->met, (unsigned long long)arrivals->known);
    know(arrivals, arrivals->met);
    tell_changed(arrivals);
    return 0;
}

/* --- the record --------------------------------------------------------------------------------------------------- */

static void set_fault(struct arrivals *arrivals, const char *fault)
{
    if (fault[0] != '\0' && strcmp(fault, arrivals->fault) != 0)
        log_warning("arrivals.kept", "%s", fault);
    snprintf(arrivals->fault, sizeof(arrivals->fault), "%s", fault);
}

static int read_record(struct arrivals *arrivals, struct arrival_record *record)
{
    struct buf text = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    uint64_t version = 0;
    *record = (struct arrival_record){0};
    int failed =
        document_cache_get(arrivals->config.documents, arrivals->store, arrivals->document, &text, &version, &err);
    if (failed != 0 && arrivals->known == 0) {
        document_cache_recall(arrivals->config.documents, arrivals->document, &text, &version);
        failed = version > 0 ? 0 : -1;
    }
    if (failed == 0 && version > 0)
        failed = arrival_record_parse(buf_str(&text), record, &err);
    record->version = version;
    if (failed != 0 || !arrivals->missed)
        set_fault(arrivals, err.text);
    buf_free(&text);
    return failed;
}

/* NULL, and told of, where this agent cannot make anything of them. */
static struct table *load(const struct arrival *arrival, struct str text)
{
    struct buf faults = {NULL, 0, 0};
    struct diag_list diags = {.file = "rules"};
    struct table *table = rules_load(text, arrival->epoch, &diags);
    diag_print(&diags, &faults);
    if (table == NULL)
        log_error("arrivals.lost",
                  "who came from %s is not known, and nobody waits for it: the rules of version %llu: %s",
                  arrival->unit, (unsigned long long)arrival->version, faults.base ? faults.base : "");
    buf_free(&faults);
    diag_free(&diags);
    return table;
}

/* The rules by which they were there, in the cache. */
static void name_rules(char *name, size_t size, const struct arrival *arrival)
{
    snprintf(name, size, "rules/%llu/%s", (unsigned long long)arrival->version, arrival->unit);
}

/* A store that does not give them may do so the next time: until then nothing that was routed since is handed out. */
static struct table *read_rules(struct arrivals *arrivals, const struct arrival *arrival)
{
    char name[160];
    struct buf text = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    struct table *table = NULL;
    uint64_t version = arrival->version;
    name_rules(name, sizeof(name), arrival);
    if (store_rules(arrivals->store, version, &text, &err) == 0)
        document_cache_keep(arrivals->config.documents, name, buf_str(&text), version);
    else
        document_cache_recall(arrivals->config.documents, name, &text, &version);
    if (version > 0) {
        table = load(arrival, buf_str(&text));
    } else {
        arrivals->missed = true;
        set_fault(arrivals, err.text);
    }
    buf_free(&text);
    return table;
}

static struct origin *find(const struct arrivals *arrivals, const struct arrival *arrival)
{
    struct origin *origin = arrivals->origins;
    while (origin != NULL &&
           (origin->arrival.epoch != arrival->epoch || strcmp(origin->arrival.unit, arrival->unit) != 0))
        origin = origin->next;
    return origin;
}

static void add(struct arrivals *arrivals, const struct arrival *arrival, enum zone zone)
{
    struct table *table = read_rules(arrivals, arrival);
    if (table == NULL)
        return;
    struct origin *origin = origin_create(arrivals->loop, arrivals->config.options, arrivals->config.password, arrival,
                                          table, zone, tell_changed, arrivals);
    origin->listed = true;
    origin->next = arrivals->origins;
    arrivals->origins = origin;
    arrivals->since_us = clock_monotonic_us();
    loop_wake_in(arrivals->look, 0);
    loop_wake_in(arrivals->park, PARK_US);
    log_info("arrivals.expected", "users come from %s: what it has of them goes before", arrival->unit);
}

static void drop_unlisted(struct arrivals *arrivals)
{
    for (struct origin **slot = &arrivals->origins, *origin; (origin = *slot) != NULL;) {
        if (origin->listed) {
            slot = &origin->next;
            continue;
        }
        char name[160];
        *slot = origin->next;
        name_rules(name, sizeof(name), &origin->arrival);
        document_cache_keep(arrivals->config.documents, name, STR_LIT(""), 0);
        log_info("arrivals.over", "%s has nothing left of the users who came from there", origin->arrival.unit);
        origin_destroy(&origin);
    }
}

static void adopt(struct arrivals *arrivals, const struct arrival_record *record, enum zone zone)
{
    arrivals->missed = false;
    for (struct origin *origin = arrivals->origins; origin != NULL; origin = origin->next)
        origin->listed = false;
    for (unsigned i = 0; i < record->count; i++) {
        struct origin *origin = find(arrivals, &record->from[i]);
        if (origin != NULL)
            origin->listed = true;
        else
            add(arrivals, &record->from[i], zone);
    }
    drop_unlisted(arrivals);
    arrivals->record = *record;
    document_cache_save(arrivals->config.documents);
}

void arrivals_sync(struct arrivals *arrivals, struct store *store, const struct table *table)
{
    struct arrival_record record;
    uint32_t unit = table_unit_index(table, str_of(arrivals->config.options->unit));
    enum zone zone = unit != NO_UNIT && table->units[unit].kind == ZONE_B ? ZONE_B : ZONE_A;
    uint64_t known = arrivals->known;
    arrivals->store = store;
    bool read = read_record(arrivals, &record) == 0;
    bool changed = read && (record.version != arrivals->record.version || arrivals->missed);
    if (changed)
        adopt(arrivals, &record, zone);
    if (!arrivals->missed && (read || known == 0))
        know(arrivals, table->epoch);
    for (struct origin *origin = arrivals->origins; origin != NULL; origin = origin->next)
        origin_follow(origin, store, arrivals->config.documents, table);
    if (changed || arrivals->known != known)
        tell_changed(arrivals);
}

/* Others may have changed it: then the next look does what is left to do. */
static void strike(struct arrivals *arrivals, const struct arrival *arrival)
{
    struct arrival_record record = arrivals->record;
    struct buf text = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    uint64_t version;
    arrival_record_remove(&record, arrival);
    arrival_record_format(&record, &text);
    if (store_document_put(arrivals->store, arrivals->document, record.version, buf_str(&text), &version, &err) == 0) {
        record.version = version;
        adopt(arrivals, &record, ZONE_A); /* adds none */
    } else if (err.code != ERROR_CONFLICT) {
        set_fault(arrivals, err.text);
    }
    buf_free(&text);
}

/* --- the clock ---------------------------------------------------------------------------------------------------- */

static int on_look(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct arrivals *arrivals = arg;
    const struct origin *over = NULL;
    size_t partitions = 0;
    for (struct origin *origin = arrivals->origins; origin != NULL; origin = origin->next) {
        partitions += origin->crossing_count;
        if (arrivals->known <= origin->arrival.epoch)
            continue; /* its fence is not known to be passed */
        if (origin_is_over(origin))
            over = origin;
        else
            origin_look(origin);
    }
    if (over != NULL && !arrivals->missed && arrivals->config.is_keeper(arrivals->config.arg))
        strike(arrivals, &over->arrival);
    if (arrivals->origins == NULL)
        return 0;
    uint64_t wait_us = clock_monotonic_us() < arrivals->since_us + SOON_US ? LOOK_SOON_US : LOOK_LATE_US;
    return loop_wake_in(source, wait_us + partitions * LOOK_EACH_US);
}

static int on_park(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct arrivals *arrivals = arg;
    arrivals->config.waited(arrivals->config.arg);
    return arrivals->origins != NULL ? loop_wake_in(source, PARK_US) : 0;
}

/* --- for people --------------------------------------------------------------------------------------------------- */

static json_t *report(const struct origin *origin)
{
    size_t closed = 0, parked = 0;
    for (size_t i = 0; i < origin->crossing_count; i++) {
        const struct crossing *crossing = &origin->crossings[i];
        closed += !crossing->passed;
        for (size_t k = 0; k < crossing->users_len; k++)
            parked += crossing->users[k] == '\0';
    }
    return json_pack("{s:s,s:I,s:I,s:I,s:I}", "unit", origin->arrival.unit, "epoch", (json_int_t)origin->arrival.epoch,
                     "partitions", (json_int_t)origin->crossing_count, "closed", (json_int_t)closed, "parked",
                     (json_int_t)parked);
}

json_t *arrivals_report(const struct arrivals *arrivals)
{
    json_t *list = json_array();
    for (const struct origin *origin = arrivals->origins; origin != NULL; origin = origin->next)
        json_array_append_new(list, report(origin));
    return list;
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

struct arrivals *arrivals_create(sd_event *loop, const struct arrivals_config *config)
{
    struct arrivals *arrivals = mem_calloc(1, sizeof(*arrivals));
    arrivals->loop = loop;
    arrivals->config = *config;
    arrival_record_name(arrivals->document, sizeof(arrivals->document), str_of(config->options->unit));
    arrivals->tell = loop_later(loop, on_tell, arrivals);
    arrivals->look = loop_timer(loop, on_look, arrivals);
    arrivals->park = loop_timer(loop, on_park, arrivals);
    arrivals->believe = loop_timer(loop, on_believe, arrivals);
    return arrivals;
}

void arrivals_destroy(struct arrivals **slot)
{
    struct arrivals *arrivals = *slot;
    *slot = NULL;
    if (arrivals == NULL)
        return;
    while (arrivals->origins != NULL) {
        struct origin *origin = arrivals->origins;
        arrivals->origins = origin->next;
        origin_destroy(&origin);
    }
    sd_event_source_disable_unref(arrivals->tell);
    sd_event_source_disable_unref(arrivals->look);
    sd_event_source_disable_unref(arrivals->park);
    sd_event_source_disable_unref(arrivals->believe);
    free(arrivals);
}
