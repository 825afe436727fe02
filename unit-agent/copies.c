/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copies.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/loop.h"
#include "unit-agent/copy_report.h"

#define TICK_US 20000

/* --- what has to be looked at ------------------------------------------------------------------------------------- */

static void look_at_all(struct copies *copies)
{
    for (struct copy *copy = copies->first; copy != NULL; copy = copy->next)
        copy_look_again(copy);
}

static void on_source(void *arg)
{
    look_at_all(arg);
}

static void on_local(void *arg, struct broker *broker, enum broker_state state)
{
    struct copies *copies = arg;
    (void)broker;
    for (struct copy *copy = copies->first; copy != NULL && state != BROKER_GREETING; copy = copy->next)
        copy_lose(copy);
}

static bool is_time_for_snapshot(const struct copy *copy, uint64_t now_us)
{
    return copy->phase == COPY_FOLLOWS && copy->rests && now_us >= copy->look_us && copy_queue_count(&copy->queue) == 0;
}

void copies_listen(struct copies *copies)
{
    copy_pace_ask(&copies->pace.origin, copies->source.primary.broker);
    copy_pace_ask(&copies->pace.local, copies->local.broker);
}

/* What is usual for the brokers is known when a copy has to be made. */
static void prepare_reports(struct copies *copies, uint64_t now_us)
{
    copies->report_us = now_us + COPY_REPORT_US;
    stat_set(&copies->config.stats->agent_copy_share_percent, copy_pace_percent(&copies->pace));
    copies_listen(copies);
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct copies *copies = arg;
    uint64_t now_us = clock_monotonic_us();
    bool report = now_us >= copies->report_us;
    if (report)
        prepare_reports(copies, now_us);
    for (struct copy *copy = copies->first; copy != NULL; copy = copy->next) {
        if (is_time_for_snapshot(copy, now_us))
            copy_look_again(copy);
        else
            copy_step(copy);
        if (report)
            copy_report(copy);
    }
    return copies->first != NULL ? loop_wake_in(source, TICK_US) : 0;
}

/* --- rules and records -------------------------------------------------------------------------------------------- */

static struct copy *get(struct copies *copies, struct str name)
{
    struct copy **slot = &copies->first;
    while (*slot != NULL && !str_equal((*slot)->rules.name, name))
        slot = &(*slot)->next;
    if (*slot == NULL)
        *slot = copy_create(copies, name);
    return *slot;
}

static void adopt_rules(struct copies *copies, const struct table *table)
{
    struct str core = table->core_unit != NO_UNIT ? table->units[table->core_unit].name : STR_LIT("");
    bool copied = core.len > 0 && !str_equal(core, str_of(copies->config.options->unit));
    for (uint32_t i = 0; i < table->collection_count && copied; i++)
        copy_adopt(get(copies, table->collections[i].name), &table->collections[i], core);
    for (struct copy *copy = copies->first; copy != NULL; copy = copy->next)
        if (!copied || table_collection(table, copy->rules.name) == NULL)
            copy_adopt(copy, NULL, core);
    if (copies->first != NULL)
        loop_wake_in(copies->tick, 0);
}

static void adopt_source(struct copies *copies)
{
    const struct primary *primary = &copies->source.primary;
    copy_reader_adopt(&copies->reader, primary->url != NULL ? str_of(primary->url) : STR_LIT(""));
}

void copies_adopt(struct copies *copies, const struct table *table, struct str primary)
{
    uint64_t version = copies->config.record(copies->config.arg)->version;
    bool changed = version != copies->version;
    copies->version = version;
    adopt_rules(copies, table);
    copy_source_adopt(&copies->source, primary.len > 0 && copies->first != NULL ? table : NULL);
    adopt_source(copies);
    primary_adopt(&copies->local, copies->first != NULL ? primary : STR_LIT(""));
    if (!primary_is_ready(&copies->local))
        for (struct copy *copy = copies->first; copy != NULL; copy = copy->next)
            copy_lose(copy);
    else if (changed)
        look_at_all(copies);
}

void copies_sync(struct copies *copies, struct store *store)
{
    copy_source_sync(&copies->source, store);
    adopt_source(copies);
}

void copies_heard(struct copies *copies, const char *unit, const struct broker_record *record)
{
    copy_source_heard(&copies->source, unit, record);
    adopt_source(copies);
}

void copies_count(const struct copies *copies, unsigned *owned, unsigned *open)
{
    *owned = *open = 0;
    for (const struct copy *copy = copies->first; copy != NULL; copy = copy->next) {
        *owned += copy->owned;
        *open += copy->owned && copy_is_open(copy);
    }
}

/* --- life --------------------------------------------------------------------------------------------------------- */

void copies_stop(struct copies *copies)
{
    copies->stopped = true;
    for (struct copy *copy = copies->first; copy != NULL; copy = copy->next)
        copy_step(copy);
}

struct copies *copies_create(sd_event *loop, const struct copies_config *config)
{
    struct copies *copies = mem_calloc(1, sizeof(*copies));
    copies->loop = loop;
    copies->config = *config;
    copy_pace_init(&copies->pace);
    copies->tick = loop_timer(loop, on_tick, copies);
    primary_init(&copies->local, loop, config->options, config->password, on_local, copies);
    copy_source_init(&copies->source, loop, config->options, config->password, on_source, copies);
    copy_reader_init(&copies->reader, copies);
    return copies;
}

void copies_destroy(struct copies **slot)
{
    struct copies *copies = *slot;
    if (copies == NULL)
        return;
    *slot = NULL;
    copies->stopped = true;
    primary_close(&copies->local);
    copy_source_close(&copies->source); /* ends claims, the reader's too */
    copy_reader_close(&copies->reader);
    for (struct copy *copy; (copy = copies->first) != NULL;) {
        copies->first = copy->next;
        copy_destroy(&copy);
    }
    sd_event_source_disable_unref(copies->tick);
    buf_free(&copies->wire);
    free(copies);
}
