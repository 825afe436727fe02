/* SPDX-License-Identifier: Apache-2.0 */
#include "router/unit.h"

#include "router/split.h"

enum color table_color(const struct table_unit *unit, struct str user)
{
    struct split split = {{unit->weights[COLOR_BLUE], unit->weights[COLOR_GREEN]}, unit->color_seed};
    return split_color(&split, user);
}

unsigned table_unit_majority(const struct table_unit *unit)
{
    return unit->broker_count / 2 + 1;
}

bool table_unit_by_quorum(const struct table_unit *unit)
{
    return unit->kind == ZONE_CORE && unit->broker_count >= 3;
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
