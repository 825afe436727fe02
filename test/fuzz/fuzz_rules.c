/* SPDX-License-Identifier: Apache-2.0
 *
 * The rule loader: any bytes give a table that routes without surprises, or at least one fault.
 */
#include <stdlib.h>

#include "common/invariant.h"
#include "rules/rules.h"
#include "test/fuzz/replay.h"

static const char *const users[] = {NULL, "", "0", "1001", "99999999999999999999999999", "vip-7", "{a}b", "\xc3\xa4"};

static void check_slots(const struct table *table)
{
    for (uint32_t slot = 0; slot < table->hash.slots; slot++) {
        const struct table_slots *a = &table->slots[ZONE_A], *b = &table->slots[ZONE_B];
        INVARIANT(table->units[a->units[slot]].kind == ZONE_A && a->lines[slot] > 0);
        INVARIANT(b->units == NULL || (table->units[b->units[slot]].kind == ZONE_B && b->lines[slot] > 0));
    }
}

static void check_route(const struct table *table, uint32_t route, struct str user)
{
    struct routing routing = {.route = route, .user = user, .color = STR_LIT("green"), .datacenter = STR_LIT("hz1")};
    routing.participant_count = table->routes[route].participant_count;
    for (uint32_t i = 0; i < routing.participant_count; i++)
        routing.participants[i] = STR_LIT("1002");
    struct decision once, again;
    enum verdict verdict = table_route(table, &routing, &once);
    INVARIANT(verdict == table_route(table, &routing, &again));
    if (verdict != VERDICT_OK)
        return;
    INVARIANT(once.unit == again.unit && once.color == again.color && once.slot == again.slot);
    INVARIANT(once.unit < table->unit_count && (once.slot == UINT32_MAX || once.slot < table->hash.slots));
    if (table->routes[route].action == ACTION_QUEUE) {
        const struct table_topic *topic = &table->topics[table->routes[route].topic];
        INVARIANT(table_partition(topic, once.slot, user) < topic->partitions);
    }
}

static void check_table(struct table *table)
{
    check_slots(table);
    for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
        struct buf json = {NULL, 0, 0};
        for (uint32_t route = 0; route < table->route_count; route++)
            check_route(table, route, str_of(users[i]));
        rules_explain(table, "input", str_of(users[i]), STR_LIT("POST"), STR_LIT("/pay/1"), &json);
        INVARIANT(json.len > 0);
        buf_free(&json);
    }
    struct rules_sample sample = {STR_LIT("1001"), 3};
    struct rules_diff diff;
    rules_compare(table, table, &sample, 1, &sample, 1, &diff);
    INVARIANT(diff.move_count == 0 && diff.slot_share == 0 && diff.user_share == 0 && diff.text.len == 0);
    rules_diff_free(&diff);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diag_list diags = {.file = "input"};
    struct buf text = {NULL, 0, 0};
    struct table *table = rules_load((struct str){(const char *)data, size}, 1, &diags);
    INVARIANT((table == NULL) == (diags.errors > 0));
    diag_print(&diags, &text);
    if (table != NULL)
        check_table(table);
    table_unref(&table);
    diag_free(&diags);
    buf_free(&text);
    return 0;
}
