/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl queue transactions: prepared messages whose senders stay silent, and what operators decide.
 */
#include <stdio.h>

#include "common/protocol.h"
#include "ops/unit_call.h"

static void show_list(const json_t *items)
{
    struct grid grid;
    grid_begin(&grid, "ID|STATE|PREPARED|>CHECKS|PARKED / NEXT CHECK|CHECK URL");
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        const char *parked = ctl_text(item, "parked");
        grid_add(&grid, "%s", ctl_text(item, "id"));
        grid_add(&grid, "%s", ctl_text(item, "state"));
        grid_add(&grid, "%s", ctl_text(item, "prepared"));
        fleet_add_count(&grid, item, "checks");
        grid_add(&grid, "%s", *parked ? parked : ctl_text(item, "next_check"));
        grid_add(&grid, "%s", ctl_text(item, "url"));
    }
    grid_print(&grid);
    printf("%zu transactions\n", json_array_size(items));
}

static void show_state(const json_t *items)
{
    for (size_t i = 0; i < json_array_size(items); i++)
        printf("%s is %s\n", ctl_text(json_array_get(items, i), "id"), ctl_text(json_array_get(items, i), "state"));
}

enum ctl_exit verb_queue_transactions_list(const struct ctl *ctl)
{
    struct buf target = {0};
    buf_printf(&target, "/v1/queue/transactions");
    deployment_add_query(&target, "state", args_value(&ctl->args, "--state"));
    deployment_add_query(&target, "limit", args_value(&ctl->args, "--limit"));
    return unit_call_show(ctl, args_value(&ctl->args, "--unit"), "GET", &target, show_list);
}

static enum ctl_exit end(const struct ctl *ctl, const char *verb)
{
    const char *id = args_word(&ctl->args, 0);
    char unit[PROTOCOL_NAME_MAX + 1];
    struct protocol_id parts;
    struct buf target = {0};
    struct error err;
    if (!protocol_id_parse(str_of(id), &parts)) {
        error_set(&err, ERROR_REFUSED, "\"%s\" is no message id", id);
        return ctl_misused(&err);
    }
    snprintf(unit, sizeof(unit), "%.*s", STR_ARG(parts.unit));
    buf_printf(&target, "/v1/queue/transactions");
    deployment_add_query(&target, "verb", verb);
    deployment_add_query(&target, "id", id);
    return unit_call_show(ctl, unit, "POST", &target, show_state);
}

enum ctl_exit verb_queue_transactions_commit(const struct ctl *ctl)
{
    return end(ctl, "commit");
}

enum ctl_exit verb_queue_transactions_rollback(const struct ctl *ctl)
{
    return end(ctl, "rollback");
}
