/* SPDX-License-Identifier: Apache-2.0 */
#include "router/unit.h"

#include "router/hash.h"

enum color table_color(const struct table_unit *unit, struct str user)
{
    uint64_t blue = unit->weights[COLOR_BLUE], green = unit->weights[COLOR_GREEN];
    if (green == 0 || blue == 0 || user.len == 0)
        return green > blue ? COLOR_GREEN : COLOR_BLUE;
    /* floor(hash * all / 2^64) < green is the same as hash < green / all * 2^64: a user is green above a share of its
     * own, whatever the weights add up to. */
    uint64_t hash = hash_xxh3(user, unit->color_seed);
    uint64_t place = (uint64_t)((unsigned __int128)hash * (blue + green) >> 64);
    return place < green ? COLOR_GREEN : COLOR_BLUE;
}

const char *zone_name(enum zone zone)
{
    static const char *const names[] = {[ZONE_A] = "A", [ZONE_B] = "B", [ZONE_C] = "C", [ZONE_CORE] = "core"};
    return names[zone];
}

const char *color_name(enum color color)
{
    return color == COLOR_GREEN ? "green" : "blue";
}
