/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "gateway/admin.h"
#include "gateway/colors.h"
#include "gateway/ramps.h"

#define TRIES         3
#define MOST_DWELL_MS ((uint64_t)7 * 24 * 3600 * 1000)
#define MOST_REQUESTS 1000000000

/* --- reading ------------------------------------------------------------------------------------------------------ */

static json_t *weights_json(uint32_t blue, uint32_t green)
{
    return json_pack("{s:i,s:i}", "blue", (int)blue, "green", (int)green);
}

static json_t *away_of(const struct color_facts *colors)
{
    json_t *away = json_array();
    for (int color = 0; color < COLOR_COUNT; color++)
        if (colors->health[color].away || colors->held_back[color])
            json_array_append_new(away, json_string(color_name((enum color)color)));
    return away;
}

/* What the record says, with its own keys. */
static json_t *record_of(const struct color_record *record)
{
    struct buf text = {NULL, 0, 0};
    color_record_format(record, &text);
    json_t *json = json_loadb(text.base, text.len, 0, NULL);
    buf_free(&text);
    return json;
}

static json_t *at_of(const struct color_record *record)
{
    char at[CLOCK_UTC_SIZE];
    clock_format_utc(record->at_us, at);
    return record->version > 0 ? json_string(at) : json_null();
}

static json_t *colors_of(struct control *control, const struct view *view, uint32_t i)
{
    struct unit *unit = view->units[i].unit;
    const uint32_t *weights = view->splits[i].weights, *rules = view->table->units[i].weights;
    const struct color_record *record = &unit->colors.record;
    json_t *stored = record_of(record);
    json_t *json = json_pack(
        "{s:s,s:I,s:o,s:o,s:o,s:O,s:s,s:o,s:O,s:s,s:s,s:o,s:s}", "unit", unit->name, "version",
        (json_int_t)record->version, "weights", weights_json(weights[COLOR_BLUE], weights[COLOR_GREEN]), "rules",
        weights_json(rules[COLOR_BLUE], rules[COLOR_GREEN]), "override",
        weights_json(record->weights.blue, record->weights.green), "before", json_object_get(stored, "before"), "salt",
        record->salt, "away", away_of(&unit->colors), "ramp", json_object_get(stored, "ramp"), "by", record->by, "why",
        record->why, "at", at_of(record), "fault", unit->colors.fault);
    json_decref(stored);
    json_object_set_new(json, "seen", ramps_seen(control->ramps, unit));
    return json;
}

void admin_get_colors(struct httpd_request *request, void *context)
{
    struct control *control = context;
    const struct view *view = control->rollout.view;
    json_t *list = json_array();
    for (uint32_t i = 0; view != NULL && i < view->table->unit_count; i++)
        json_array_append_new(list, colors_of(control, view, i));
    httpd_admin_respond(request, 200, json_pack("{s:o}", "colors", list));
}

/* --- changing ----------------------------------------------------------------------------------------------------- */

/* What is asked for, and of which unit of the view in force. Its texts are freed by asked_free. */
struct asked {
    struct control *control;
    struct httpd_request *request;
    uint32_t at; /* index of the unit */
    uint64_t blue, green;
    bool salted;
    struct buf unit, salt, by, to;
    struct color_ramp ramp;
};

static void asked_free(struct asked *asked)
{
    buf_free(&asked->unit);
    buf_free(&asked->salt);
    buf_free(&asked->by);
    buf_free(&asked->to);
}

static struct unit *unit_of(const struct asked *asked)
{
    return asked->control->rollout.view->units[asked->at].unit;
}

static const struct table_unit *rules_of(const struct asked *asked)
{
    return &asked->control->rollout.view->table->units[asked->at];
}

static bool find_unit(struct asked *asked)
{
    httpd_request_query(asked->request, "by", &asked->by);
    asked->at = admin_query_unit(asked->control, asked->request, &asked->unit);
    return asked->at != NO_UNIT;
}

/* A colour without nodes can take a queue's messages, where the unit has no nodes at all. */
static int check_nodes(const struct asked *asked, enum color color, struct error *err)
{
    const struct table_unit *rules = rules_of(asked);
    if (rules->nodes[color].count > 0 || rules->nodes[COLOR_BLUE].count + rules->nodes[COLOR_GREEN].count == 0)
        return 0;
    return error_set(err, ERROR_INPUT, "the rules give %.*s no %s nodes", STR_ARG(rules->name), color_name(color));
}

typedef int (*change_fn)(const struct asked *asked, struct color_record *record, struct error *err);

/* A ramp may have gone on between reading and putting: then the change is made again from what is there now. */
static int try_change(const struct asked *asked, change_fn change, struct error *err)
{
    struct control *control = asked->control;
    for (int i = 0; i < TRIES; i++) {
        struct color_record record = unit_of(asked)->colors.record;
        if (change(asked, &record, err) != 0)
            return -1;
        if (colors_put(unit_of(asked), control->rollout.store, &record, err) == 0) {
            control_recolor(control);
            return 0;
        }
        if (err->code != ERROR_CONFLICT)
            return -1;
        colors_sync(control->gateway->registry, control->rollout.store, control->documents);
    }
    return -1;
}

static void make(const struct asked *asked, change_fn change)
{
    struct error err = {ERROR_NONE, ""};
    if (try_change(asked, change, &err) == 0)
        httpd_admin_respond(asked->request, 200, colors_of(asked->control, asked->control->rollout.view, asked->at));
    else
        admin_respond_error(asked->request, &err);
}

static struct color_change signed_by(const struct asked *asked, const char *why)
{
    return (struct color_change){clock_wall_us(), asked->by.base ? asked->by.base : asked->control->gateway->name, why};
}

/* --- set ---------------------------------------------------------------------------------------------------------- */

static int set(const struct asked *asked, struct color_record *record, struct error *err)
{
    struct color_change change = signed_by(asked, asked->blue + asked->green > 0 ? "set" : "given back to the rules");
    if ((asked->blue > 0 && check_nodes(asked, COLOR_BLUE, err) != 0) ||
        (asked->green > 0 && check_nodes(asked, COLOR_GREEN, err) != 0))
        return -1;
    if (asked->blue > COLOR_WEIGHT_MOST || asked->green > COLOR_WEIGHT_MOST)
        return error_set(err, ERROR_INPUT, "a weight is at most %d", COLOR_WEIGHT_MOST);
    return color_record_set(record, (struct color_weights){(uint32_t)asked->blue, (uint32_t)asked->green},
                            asked->salted ? asked->salt.base ? asked->salt.base : "" : NULL, &change, err);
}

void admin_set_colors(struct httpd_request *request, void *context)
{
    struct asked asked = {.control = context, .request = request, .blue = UINT64_MAX, .green = UINT64_MAX};
    if (find_unit(&asked) && admin_query_number(request, "blue", &asked.blue) &&
        admin_query_number(request, "green", &asked.green)) {
        asked.salted = httpd_request_query(request, "salt", &asked.salt);
        make(&asked, set);
    }
    asked_free(&asked);
}

/* --- ramp --------------------------------------------------------------------------------------------------------- */

static int read_steps(struct httpd_request *request, struct color_ramp *ramp, struct error *err)
{
    struct buf text = {NULL, 0, 0};
    bool good = httpd_request_query(request, "steps", &text);
    struct str rest = buf_str(&text), part;
    uint64_t step;
    while (good && str_next(&rest, ',', &part)) {
        good = ramp->step_count < COLOR_STEPS_MOST && str_to_u64(part, &step) && step >= 1 && step <= 100;
        if (good)
            ramp->steps[ramp->step_count++] = (uint32_t)step;
    }
    buf_free(&text);
    return good ? 0
                : error_set(err, ERROR_INPUT, "steps must be given: up to %d numbers from 1 to 100, with commas",
                            COLOR_STEPS_MOST);
}

static int read_real(struct httpd_request *request, const char *name, double most, double *out, struct error *err)
{
    struct buf text = {NULL, 0, 0};
    char *end = NULL;
    double value = *out;
    bool good = true;
    if (httpd_request_query(request, name, &text)) {
        value = text.base ? strtod(text.base, &end) : NAN;
        good = end != NULL && end != text.base && *end == '\0' && isfinite(value) && value >= 0 && value <= most;
    }
    buf_free(&text);
    *out = value;
    return good ? 0 : error_set(err, ERROR_INPUT, "%s must be a number from 0 to %g", name, most);
}

/* 0 and answered where a parameter is wrong. */
static bool read_ramp(struct asked *asked)
{
    struct color_ramp *ramp = &asked->ramp;
    struct error err = {ERROR_NONE, ""};
    httpd_request_query(asked->request, "to", &asked->to);
    ramp->to_green = str_equal(buf_str(&asked->to), STR_LIT("green"));
    if (!admin_query_number(asked->request, "dwell_ms", &ramp->dwell_ms) ||
        !admin_query_number(asked->request, "min_requests", &ramp->min_requests))
        return false;
    int failed = read_steps(asked->request, ramp, &err);
    if (failed == 0)
        failed = read_real(asked->request, "abort_errors", 100, &ramp->abort_errors, &err);
    if (failed == 0)
        failed = read_real(asked->request, "abort_latency", 1000, &ramp->abort_latency, &err);
    if (failed == 0 && !ramp->to_green && !str_equal(buf_str(&asked->to), STR_LIT("blue")))
        failed = error_set(&err, ERROR_INPUT, "to must be blue or green");
    if (failed == 0 && (ramp->dwell_ms > MOST_DWELL_MS || ramp->min_requests > MOST_REQUESTS))
        failed = error_set(&err, ERROR_INPUT, "a step dwells for a week at most, and waits for 10^9 requests at most");
    if (failed != 0)
        admin_respond_error(asked->request, &err);
    return failed == 0;
}

static uint32_t share_of(const struct asked *asked, const struct color_record *record, enum color color)
{
    struct split_override override = {{record->weights.blue, record->weights.green}, {NULL, 0}, {false, false}};
    struct split split = split_make(rules_of(asked), &override);
    uint32_t all = split.weights[COLOR_BLUE] + split.weights[COLOR_GREEN];
    return all > 0 ? (uint32_t)(((uint64_t)split.weights[color] * 100 + all - 1) / all) : 0;
}

static int ramp_up(const struct asked *asked, struct color_record *record, struct error *err)
{
    enum color to = asked->ramp.to_green ? COLOR_GREEN : COLOR_BLUE;
    struct color_ramp ramp = asked->ramp;
    char why[80];
    snprintf(ramp.carrier, sizeof(ramp.carrier), "%s", asked->control->gateway->name);
    snprintf(why, sizeof(why), "ramp to %s begun", color_name(to));
    struct color_change change = signed_by(asked, why);
    if (check_nodes(asked, to, err) != 0)
        return -1;
    if (unit_of(asked)->colors.health[to].away)
        return error_set(err, ERROR_CONFLICT, "none of the %s nodes is well", color_name(to));
    return color_record_begin(record, &ramp, share_of(asked, record, to), &change, err);
}

void admin_ramp_colors(struct httpd_request *request, void *context)
{
    struct asked asked = {.control = context, .request = request};
    if (find_unit(&asked) && read_ramp(&asked))
        make(&asked, ramp_up);
    asked_free(&asked);
}

/* --- rollback ----------------------------------------------------------------------------------------------------- */

static int roll_back(const struct asked *asked, struct color_record *record, struct error *err)
{
    struct color_change change = signed_by(asked, "rolled back by hand");
    return color_record_roll_back(record, &change, err);
}

void admin_roll_back_colors(struct httpd_request *request, void *context)
{
    struct asked asked = {.control = context, .request = request};
    if (find_unit(&asked))
        make(&asked, roll_back);
    asked_free(&asked);
}
