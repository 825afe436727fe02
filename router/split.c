/* SPDX-License-Identifier: Apache-2.0 */
#include "router/split.h"

#include "router/hash.h"

/* A colour that the rules give no nodes is as good as away, unless none has any: then the unit has a queue alone. */
static bool serves(const struct table_unit *unit, const struct split_override *override, enum color color)
{
    enum color other = color == COLOR_BLUE ? COLOR_GREEN : COLOR_BLUE;
    return !override->away[color] && (unit->nodes[color].count > 0 || unit->nodes[other].count == 0);
}

struct split split_make(const struct table_unit *unit, const struct split_override *override)
{
    bool overridden = override->weights[COLOR_BLUE] + override->weights[COLOR_GREEN] > 0;
    const uint32_t *weights = overridden ? override->weights : unit->weights;
    struct split split = {{weights[COLOR_BLUE], weights[COLOR_GREEN]}, unit->color_seed};
    if (override->salt.len > 0)
        split.seed = hash_xxh3(override->salt, unit->color_seed);
    bool blue = weights[COLOR_BLUE] > 0 && serves(unit, override, COLOR_BLUE);
    bool green = weights[COLOR_GREEN] > 0 && serves(unit, override, COLOR_GREEN);
    if (blue != green) /* else both serve, or none does and nothing is gained */
        split.weights[blue ? COLOR_GREEN : COLOR_BLUE] = 0;
    return split;
}

enum color split_color(const struct split *split, struct str user)
{
    uint64_t blue = split->weights[COLOR_BLUE], green = split->weights[COLOR_GREEN];
    if (green == 0 || blue == 0 || user.len == 0)
        return green > blue ? COLOR_GREEN : COLOR_BLUE;
    /* floor(hash * all / 2^64) < green is the same as hash < green / all * 2^64: a user is green above a share of its
     * own, whatever the weights add up to. */
    uint64_t hash = hash_xxh3(user, split->seed);
    uint64_t place = (uint64_t)((unsigned __int128)hash * (blue + green) >> 64);
    return place < green ? COLOR_GREEN : COLOR_BLUE;
}

bool color_health_note(struct color_health *health, bool down, uint64_t now_us)
{
    bool before = health->away;
    if (down) {
        *health = (struct color_health){.away = true};
    } else if (health->away) {
        if (health->clean_since_us == 0)
            health->clean_since_us = now_us;
        health->away = now_us < health->clean_since_us + SPLIT_CLEAN_US;
    }
    return health->away != before;
}
