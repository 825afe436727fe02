/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/color_window.h"

static void read_tally(const struct unit *unit, enum color color, struct color_totals *totals)
{
    const struct color_tally *tally = &unit->tallies[color];
    totals->failed = stat_get(&tally->failed);
    totals->delivered = stat_get(&tally->delivered);
    totals->undelivered = stat_get(&tally->undelivered);
    for (unsigned i = 0; i < STAT_BUCKETS; i++)
        totals->buckets[i] = stat_get(&tally->latency.buckets[i]);
}

void color_window_reset(struct color_window *window, const struct unit *unit, uint64_t now_us)
{
    for (int color = 0; color < COLOR_COUNT; color++)
        read_tally(unit, (enum color)color, &window->begin[color]);
    memcpy(window->panes[0], window->begin, sizeof(window->begin));
    window->newest = 0;
    window->count = 1;
    window->sampled_us = now_us;
}

void color_window_sample(struct color_window *window, const struct unit *unit, uint64_t now_us)
{
    if (now_us < window->sampled_us + COLOR_WINDOW_PANE_US)
        return;
    window->newest = (window->newest + 1) % (COLOR_WINDOW_PANES + 1);
    window->count += window->count <= COLOR_WINDOW_PANES;
    window->sampled_us = now_us;
    for (int color = 0; color < COLOR_COUNT; color++)
        read_tally(unit, (enum color)color, &window->panes[window->newest][color]);
}

void color_window_recent(const struct color_window *window, const struct unit *unit, enum color color,
                         struct color_totals *totals)
{
    unsigned oldest = (window->newest + COLOR_WINDOW_PANES + 2 - window->count) % (COLOR_WINDOW_PANES + 1);
    const struct color_totals *then = &window->panes[oldest][color];
    struct color_totals now;
    read_tally(unit, color, &now);
    totals->failed += now.failed - then->failed;
    totals->delivered += now.delivered - then->delivered;
    totals->undelivered += now.undelivered - then->undelivered;
    for (unsigned i = 0; i < STAT_BUCKETS; i++)
        totals->buckets[i] += now.buckets[i] - then->buckets[i];
}

static uint64_t requests_of(const struct color_totals *totals)
{
    uint64_t requests = 0;
    for (unsigned i = 0; i < STAT_BUCKETS; i++)
        requests += totals->buckets[i];
    return requests;
}

uint64_t color_window_answered(const struct color_window *window, const struct unit *unit, enum color color)
{
    struct color_totals now;
    read_tally(unit, color, &now);
    return requests_of(&now) - requests_of(&window->begin[color]);
}

uint64_t color_window_delivered(const struct color_window *window, const struct unit *unit, enum color color)
{
    return stat_get(&unit->tallies[color].delivered) - window->begin[color].delivered;
}

struct ramp_figures color_totals_figures(const struct color_totals *totals)
{
    struct stat_histogram latency = {0};
    const struct stat_histogram *of[] = {&latency};
    for (unsigned i = 0; i < STAT_BUCKETS; i++)
        stat_set(&latency.buckets[i], totals->buckets[i]);
    uint64_t timed = requests_of(totals);
    return (struct ramp_figures){timed + totals->delivered, totals->failed + totals->undelivered, timed,
                                 stat_quantile_us(of, 1, 0.9)};
}

/* --- between gateways --------------------------------------------------------------------------------------------- */

json_t *color_totals_to_json(const struct color_totals *totals)
{
    double p90_ms = (double)color_totals_figures(totals).latency_us / 1000;
    json_t *buckets = json_array();
    for (unsigned i = 0; i < STAT_BUCKETS; i++)
        if (totals->buckets[i] > 0)
            json_array_append_new(buckets, json_pack("[i,I]", (int)i, (json_int_t)totals->buckets[i]));
    return json_pack("{s:I,s:I,s:f,s:I,s:I,s:o}", "requests", (json_int_t)requests_of(totals), "failed",
                     (json_int_t)totals->failed, "p90_ms", p90_ms, "deliveries", (json_int_t)totals->delivered,
                     "deliveries_failed", (json_int_t)totals->undelivered, "buckets", buckets);
}

static uint64_t count_of(const json_t *number)
{
    json_int_t value = json_integer_value(number);
    return value > 0 ? (uint64_t)value : 0;
}

void color_totals_add_json(struct color_totals *totals, const json_t *json)
{
    size_t i;
    json_t *pair;
    totals->failed += count_of(json_object_get(json, "failed"));
    json_array_foreach(json_object_get(json, "buckets"), i, pair) {
        const json_t *bucket = json_array_get(pair, 0);
        if (json_is_integer(bucket) && json_integer_value(bucket) >= 0 && json_integer_value(bucket) < STAT_BUCKETS)
            totals->buckets[json_integer_value(bucket)] += count_of(json_array_get(pair, 1));
    }
}
