/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/failover_log.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/log.h"

static const struct {
    const char *name, *event; /* for scripts; in the program's log */
    enum log_level level;
} kinds[] = {
    [FAILOVER_SUSPECTED] = {"suspected", "unit.suspected", LOG_LEVEL_WARNING},
    [FAILOVER_CLEARED] = {"cleared", "unit.cleared", LOG_LEVEL_INFO},
    [FAILOVER_VOTED] = {"voted", "unit.voted", LOG_LEVEL_WARNING},
    [FAILOVER_PROPOSED] = {"proposed", "unit.proposed", LOG_LEVEL_WARNING},
    [FAILOVER_WON] = {"won", "unit.won", LOG_LEVEL_WARNING},
    [FAILOVER_LOST] = {"lost", "unit.lost", LOG_LEVEL_INFO},
    [FAILOVER_UNKNOWN] = {"unknown", "unit.unknown", LOG_LEVEL_WARNING},
    [FAILOVER_RECORD] = {"record", "unit.record", LOG_LEVEL_INFO},
    [FAILOVER_PLANNED] = {"planned", "unit.planned", LOG_LEVEL_INFO},
    [FAILOVER_PROMOTED] = {"promoted", "unit.promoted", LOG_LEVEL_INFO},
    [FAILOVER_ALARM] = {"alarm", "unit.alarm", LOG_LEVEL_ERROR},
    [FAILOVER_CALM] = {"calm", "unit.calm", LOG_LEVEL_INFO},
};

void failover_log_add(struct failover_log *log, enum failover_event event, const char *unit, uint64_t epoch,
                      struct str text)
{
    struct failover_entry *entry = &log->entries[log->count++ % FAILOVER_LOG_MOST];
    *entry = (struct failover_entry){.at_us = clock_wall_us(), .epoch = epoch, .event = event};
    snprintf(entry->unit, sizeof(entry->unit), "%s", unit);
    snprintf(entry->text, sizeof(entry->text), "%.*s", STR_ARG(text));
    log_event(kinds[event].level, kinds[event].event, "%s, epoch %llu: %s", entry->unit, (unsigned long long)epoch,
              entry->text);
}

static json_t *entry_json(const struct failover_entry *entry)
{
    char at[CLOCK_UTC_SIZE];
    clock_format_utc(entry->at_us, at);
    return json_pack("{s:s,s:I,s:s,s:s,s:I,s:s}", "at", at, "at_us", (json_int_t)entry->at_us, "unit", entry->unit,
                     "event", kinds[entry->event].name, "epoch", (json_int_t)entry->epoch, "text", entry->text);
}

json_t *failover_log_json(const struct failover_log *log, size_t most)
{
    json_t *list = json_array();
    uint64_t kept = log->count < FAILOVER_LOG_MOST ? log->count : FAILOVER_LOG_MOST;
    for (uint64_t i = 0; i < kept && i < most; i++)
        json_array_append_new(list, entry_json(&log->entries[(log->count - 1 - i) % FAILOVER_LOG_MOST]));
    return list;
}
