/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ops/ctl.h"
#include "ops/grid.h"
#include "ops/weigh.h"

static void add_share(struct grid *grid, double share)
{
    if (share < 0)
        grid_add(grid, "?");
    else
        grid_add(grid, "%.1f %%", share * 100);
}

static void add_rate(struct grid *grid, double rps)
{
    if (rps < 0)
        grid_add(grid, "?");
    else
        grid_add(grid, "%.*f/s", rps < 100 ? 1 : 0, rps);
}

static double headroom(const struct weigh_gain *gain)
{
    return gain->capacity_rps < 0 || gain->rps_after < 0 ? -1 : gain->capacity_rps - gain->rps_after;
}

static void print_shares(const struct weigh *weigh)
{
    const struct rules_diff *diff = &weigh->diff;
    const struct traffic_seen *seen = &weigh->traffic;
    printf("%s moving: %.1f %%\n", diff->resharded ? "users (another hash, slot count or salt)" : "slots",
           diff->slot_share * 100);
    if (diff->user_share >= 0)
        printf("observed users moving: %.1f %% (of %zu sampled)\n", diff->user_share * 100, seen->user_count);
    if (diff->request_share >= 0)
        printf("live requests moving: %.1f %% (of %llu in the last minutes, %.1f/s)\n", diff->request_share * 100,
               (unsigned long long)seen->total, seen->rps);
    else
        puts("live requests moving: not known, for no traffic was seen");
    if (seen->silent > 0)
        printf("%zu of %zu gateways did not tell what they see\n", seen->silent, seen->gateway_count);
}

static void print_moves(const struct weigh *weigh)
{
    struct grid grid;
    grid_begin(&grid, "SLOTS|FROM|TO");
    for (size_t i = 0; i < weigh->diff.move_count; i++) {
        const struct rules_move *move = &weigh->diff.moves[i];
        if (move->slot_first == move->slot_last)
            grid_add(&grid, "%u", move->slot_first);
        else
            grid_add(&grid, "%u-%u", move->slot_first, move->slot_last);
        grid_add(&grid, "%.*s", STR_ARG(weigh->before->units[move->from].name));
        grid_add(&grid, "%.*s", STR_ARG(weigh->after->units[move->to].name));
    }
    puts("");
    grid_print(&grid);
}

static void print_gains(const struct weigh *weigh)
{
    struct grid grid;
    grid_begin(&grid, "TO|>SLOTS|>USERS|>REQUESTS|>RATE|>THEN|>CAPACITY|>HEADROOM");
    for (size_t i = 0; i < weigh->gain_count; i++) {
        const struct weigh_gain *gain = &weigh->gains[i];
        grid_add(&grid, "%.*s", STR_ARG(gain->unit));
        add_share(&grid, gain->slots);
        add_share(&grid, gain->users);
        add_share(&grid, gain->requests);
        add_rate(&grid, gain->rps_before);
        add_rate(&grid, gain->rps_after);
        add_rate(&grid, gain->capacity_rps);
        if (headroom(gain) < 0 && gain->capacity_rps >= 0 && gain->rps_after >= 0)
            grid_add(&grid, "none: %.0f/s too many", -headroom(gain));
        else
            add_rate(&grid, headroom(gain));
    }
    puts("");
    grid_print(&grid);
}

void weigh_print(const struct weigh *weigh)
{
    const struct rules_diff *diff = &weigh->diff;
    if (diff->slot_share == 0 && diff->gain_count == 0 && diff->text.len == 0) {
        puts("nothing changes");
        return;
    }
    print_shares(weigh);
    if (diff->move_count > 0)
        print_moves(weigh);
    if (weigh->gain_count > 0)
        print_gains(weigh);
    if (diff->text.len > 0)
        printf("\n%s", diff->text.base);
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static json_t *known(double value)
{
    return value < 0 ? json_null() : json_real(value);
}

static json_t *name_of(const struct table_unit *unit)
{
    return json_stringn(unit->name.base, unit->name.len);
}

static json_t *moves_of(const struct weigh *weigh)
{
    json_t *list = json_array();
    for (size_t i = 0; i < weigh->diff.move_count; i++) {
        const struct rules_move *move = &weigh->diff.moves[i];
        json_array_append_new(list, json_pack("{s:i,s:i,s:o,s:o}", "first", (int)move->slot_first, "last",
                                              (int)move->slot_last, "from", name_of(&weigh->before->units[move->from]),
                                              "to", name_of(&weigh->after->units[move->to])));
    }
    return list;
}

static json_t *gains_of(const struct weigh *weigh)
{
    json_t *list = json_array();
    for (size_t i = 0; i < weigh->gain_count; i++) {
        const struct weigh_gain *gain = &weigh->gains[i];
        json_t *headroom_rps = gain->capacity_rps < 0 || gain->rps_after < 0 ? json_null() : json_real(headroom(gain));
        json_array_append_new(
            list, json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "unit", json_stringn(gain->unit.base, gain->unit.len),
                            "slots", known(gain->slots), "users", known(gain->users), "requests", known(gain->requests),
                            "rps_before", known(gain->rps_before), "rps_after", known(gain->rps_after), "capacity_rps",
                            known(gain->capacity_rps), "headroom_rps", headroom_rps));
    }
    return list;
}

json_t *weigh_json(const struct weigh *weigh)
{
    const struct rules_diff *diff = &weigh->diff;
    const struct traffic_seen *seen = &weigh->traffic;
    json_t *traffic =
        json_pack("{s:I,s:f,s:i,s:i,s:i}", "requests", (json_int_t)seen->total, "rps", seen->rps, "sampled_users",
                  (int)seen->user_count, "gateways", (int)seen->gateway_count, "silent", (int)seen->silent);
    return json_pack("{s:o,s:b,s:o,s:o,s:o,s:o,s:o,s:o}", "moves", moves_of(weigh), "resharded", diff->resharded,
                     "slots", known(diff->slot_share), "users", known(diff->user_share), "requests",
                     known(diff->request_share), "gains", gains_of(weigh), "changes", ctl_lines(buf_str(&diff->text)),
                     "traffic", traffic);
}
