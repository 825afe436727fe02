/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl queue dead, reset, pause, resume and throttle: what operators do to the units' queues.
 */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/measure.h"
#include "common/options.h"
#include "common/protocol.h"
#include "ops/unit_call.h"

/* The selection's part of the target; the flags are those of the usages. */
static void add_selection(const struct ctl *ctl, struct buf *target)
{
    static const char *const names[] = {"topic", "subscription", "partition", "limit", "id"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char flag[24];
        snprintf(flag, sizeof(flag), "--%s", names[i]);
        deployment_add_query(target, names[i], args_value(&ctl->args, flag));
    }
}

/* The unit that is meant: the flag's, or the one that a message id names, as text in NAME. NULL: all. */
static const char *unit_of(const struct ctl *ctl, const char *id, char name[PROTOCOL_NAME_MAX + 1])
{
    struct protocol_id parts;
    if (id == NULL || !protocol_id_parse(str_of(id), &parts))
        return args_value(&ctl->args, "--unit");
    snprintf(name, PROTOCOL_NAME_MAX + 1, "%.*s", STR_ARG(parts.unit));
    return name;
}

static void add_where(struct grid *grid, const json_t *item)
{
    grid_add(grid, "%s", ctl_text(item, "unit"));
    grid_add(grid, "%s", ctl_text(item, "topic"));
    grid_add(grid, "%s", ctl_text(item, "subscription"));
}

static enum ctl_exit run(const struct ctl *ctl, const char *method, struct buf *target, const char *id,
                         void (*show)(const json_t *items))
{
    char name[PROTOCOL_NAME_MAX + 1];
    return unit_call_show(ctl, unit_of(ctl, id, name), method, target, show);
}

/* --- dead letters ------------------------------------------------------------------------------------------------- */

static void show_dead(const json_t *items)
{
    struct grid grid;
    grid_begin(&grid, "ID|SUBSCRIPTION|USER|METHOD|PATH|>STATUS|>ATTEMPTS|DIED|REASON");
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        grid_add(&grid, "%s", ctl_text(item, "id"));
        grid_add(&grid, "%s", ctl_text(item, "subscription"));
        grid_add(&grid, "%s", ctl_text(item, "user"));
        grid_add(&grid, "%s", ctl_text(item, "method"));
        grid_add(&grid, "%s", ctl_text(item, "path"));
        fleet_add_count(&grid, item, "status");
        fleet_add_count(&grid, item, "attempts");
        grid_add(&grid, "%s", ctl_text(item, "died"));
        grid_add(&grid, "%s", ctl_text(item, "reason"));
    }
    grid_print(&grid);
    printf("%zu dead letters\n", json_array_size(items));
}

enum ctl_exit verb_queue_dead_list(const struct ctl *ctl)
{
    struct buf target = {0};
    buf_printf(&target, "/v1/queue/dead");
    add_selection(ctl, &target);
    return run(ctl, "GET", &target, NULL, show_dead);
}

static void show_whole(const json_t *items)
{
    static const char *const lines[] = {"id",   "unit",  "topic",    "subscription", "user",  "method",
                                        "path", "color", "received", "died",         "reason"};
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        for (size_t j = 0; j < COUNT_OF(lines); j++)
            printf("%-13s %s\n", lines[j], ctl_text(item, lines[j]));
        printf("%-13s %llu\n%-13s %llu\n\n%s\n\n", "status", (unsigned long long)fleet_number(item, "status"),
               "attempts", (unsigned long long)fleet_number(item, "attempts"), ctl_text(item, "headers"));
        const char *encoded = ctl_text(item, "body_base64");
        printf("%s%s\n", *encoded ? "(base64) " : "", *encoded ? encoded : ctl_text(item, "body"));
    }
    if (json_array_size(items) == 0)
        printf("it is no dead letter\n");
}

enum ctl_exit verb_queue_dead_show(const struct ctl *ctl)
{
    struct buf target = {0};
    const char *id = args_word(&ctl->args, 0);
    buf_printf(&target, "/v1/queue/dead");
    deployment_add_query(&target, "id", id);
    return run(ctl, "GET", &target, id, show_whole);
}

static void show_counts(const json_t *items)
{
    struct grid grid;
    uint64_t total = 0;
    grid_begin(&grid, "UNIT|TOPIC|SUBSCRIPTION|>PARTITION|>MESSAGES");
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        add_where(&grid, item);
        fleet_add_count(&grid, item, "partition");
        fleet_add_count(&grid, item, "count");
        total += fleet_number(item, "count");
    }
    grid_print(&grid);
    printf("%llu messages\n", (unsigned long long)total);
}

/* Everything at once only for who says so. */
static enum ctl_exit change_dead(const struct ctl *ctl, const char *path)
{
    const char *id = args_value(&ctl->args, "--id");
    struct buf target = {0};
    struct error err;
    if ((id != NULL) == (args_value(&ctl->args, "--all") != NULL)) {
        error_set(&err, ERROR_REFUSED, "say which: --id ID, or --all of what --unit, --topic and so on select");
        return ctl_misused(&err);
    }
    buf_printf(&target, "%s", path);
    add_selection(ctl, &target);
    return run(ctl, "POST", &target, id, show_counts);
}

enum ctl_exit verb_queue_dead_redrive(const struct ctl *ctl)
{
    return change_dead(ctl, "/v1/queue/redrive");
}

enum ctl_exit verb_queue_dead_purge(const struct ctl *ctl)
{
    return change_dead(ctl, "/v1/queue/purge");
}

/* --- cursors ------------------------------------------------------------------------------------------------------ */

/* "10m" ago, a time of RFC 3339, or milliseconds since 1970. */
static bool parse_time(const char *text, char *ms, size_t size)
{
    uint64_t us, number;
    int64_t ago_ms;
    if (clock_parse_utc(str_of(text), &us))
        number = us / 1000;
    else if (option_parse_duration(str_of(text), &ago_ms) && strspn(text, "0123456789") != strlen(text))
        number = clock_wall_us() / 1000 - (uint64_t)ago_ms;
    else if (!str_to_u64(str_of(text), &number))
        return false;
    snprintf(ms, size, "%llu", (unsigned long long)number);
    return true;
}

static int parse_goal(const struct ctl *ctl, char *to, size_t size, struct error *err)
{
    const char *time = args_value(&ctl->args, "--to-time"), *id = args_value(&ctl->args, "--to-id");
    bool end = args_value(&ctl->args, "--to-end") != NULL;
    if ((time != NULL) + (id != NULL) + end != 1)
        return error_set(err, ERROR_REFUSED, "one of --to-time, --to-id and --to-end is wanted");
    if (time != NULL && !parse_time(time, to, size))
        return error_set(err, ERROR_REFUSED,
                         "--to-time: a time such as 2026-01-31T13:37:00Z, or 10m for ten minutes ago");
    if (time == NULL)
        snprintf(to, size, "%s", end ? "end" : id);
    return 0;
}

static void show_cursors(const json_t *items)
{
    struct grid grid;
    grid_begin(&grid, "UNIT|TOPIC|SUBSCRIPTION|>PARTITION|WATERMARK|>PASSED");
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        add_where(&grid, item);
        fleet_add_count(&grid, item, "partition");
        grid_add(&grid, "%s", ctl_text(item, "watermark"));
        fleet_add_count(&grid, item, "passed");
    }
    grid_print(&grid);
}

enum ctl_exit verb_queue_reset(const struct ctl *ctl)
{
    char to[64];
    struct buf target = {0};
    struct error err;
    if (parse_goal(ctl, to, sizeof(to), &err) != 0)
        return ctl_misused(&err);
    buf_printf(&target, "/v1/queue/reset");
    deployment_add_query(&target, "to", to);
    deployment_add_query(&target, "topic", args_word(&ctl->args, 0));
    add_selection(ctl, &target);
    return run(ctl, "POST", &target, NULL, show_cursors);
}

/* --- flow --------------------------------------------------------------------------------------------------------- */

static void show_flow(const json_t *items)
{
    struct grid grid;
    grid_begin(&grid, "UNIT|TOPIC|SUBSCRIPTION|RATE");
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        add_where(&grid, item);
        grid_add(&grid, "%s", ctl_text(item, "rate"));
    }
    grid_print(&grid);
}

static enum ctl_exit set_flow(const struct ctl *ctl, const char *rate)
{
    struct buf target = {0};
    buf_printf(&target, "/v1/queue/flow");
    deployment_add_query(&target, "rate", rate);
    deployment_add_query(&target, "topic", args_word(&ctl->args, 0));
    add_selection(ctl, &target);
    return run(ctl, "POST", &target, NULL, show_flow);
}

enum ctl_exit verb_queue_pause(const struct ctl *ctl)
{
    return set_flow(ctl, "paused");
}

enum ctl_exit verb_queue_resume(const struct ctl *ctl)
{
    return set_flow(ctl, "open");
}

enum ctl_exit verb_queue_throttle(const struct ctl *ctl)
{
    return set_flow(ctl, args_word(&ctl->args, 1));
}
