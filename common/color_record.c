/* SPDX-License-Identifier: Apache-2.0 */
#include "common/color_record.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/measure.h"

static const char *const state_names[] = {"none", "running", "done", "rolled-back", "stopped"};

#define STATE_COUNT COUNT_OF(state_names)

void color_record_name(char *name, size_t size, struct str unit)
{
    snprintf(name, size, "colors/%.*s", STR_ARG(unit));
}

/* --- from JSON ---------------------------------------------------------------------------------------------------- */

static bool take_number(const json_t *json, const char *key, uint64_t most, uint64_t *out)
{
    const json_t *number = json_object_get(json, key);
    *out = (uint64_t)json_integer_value(number);
    return json_is_integer(number) && json_integer_value(number) >= 0 && *out <= most;
}

static bool take_real(const json_t *json, const char *key, double *out)
{
    const json_t *number = json_object_get(json, key);
    *out = json_number_value(number);
    return json_is_number(number) && *out >= 0 && isfinite(*out);
}

static bool take_text(const json_t *json, const char *key, char *out, size_t size)
{
    const json_t *text = json_object_get(json, key);
    if (!json_is_string(text) || json_string_length(text) >= size)
        return false;
    memcpy(out, json_string_value(text), json_string_length(text) + 1);
    return true;
}

static bool take_weights(const json_t *json, struct color_weights *weights)
{
    uint64_t blue, green;
    if (!take_number(json, "blue", COLOR_WEIGHT_MOST, &blue) || !take_number(json, "green", COLOR_WEIGHT_MOST, &green))
        return false;
    *weights = (struct color_weights){(uint32_t)blue, (uint32_t)green};
    return true;
}

static bool steps_rise(const struct color_ramp *ramp)
{
    for (unsigned i = 0; i < ramp->step_count; i++)
        if (ramp->steps[i] > 100 || ramp->steps[i] <= (i > 0 ? ramp->steps[i - 1] : 0))
            return false;
    return ramp->step_count > 0;
}

static bool take_steps(const json_t *list, struct color_ramp *ramp)
{
    size_t count = json_array_size(list);
    if (count > COLOR_STEPS_MOST)
        return false;
    for (size_t i = 0; i < count; i++) {
        json_int_t step = json_integer_value(json_array_get(list, i));
        ramp->steps[ramp->step_count++] = step > 0 && step <= 100 ? (uint32_t)step : 0;
    }
    return steps_rise(ramp);
}

static bool take_state(const json_t *json, enum color_ramp_state *state)
{
    const char *name = json_string_value(json_object_get(json, "state"));
    size_t i = COLOR_RAMP_RUNNING;
    while (i < STATE_COUNT && (name == NULL || strcmp(name, state_names[i]) != 0))
        i++;
    *state = i < STATE_COUNT ? (enum color_ramp_state)i : COLOR_RAMP_NONE;
    return i < STATE_COUNT;
}

static bool take_ramp(const json_t *json, struct color_ramp *ramp)
{
    uint64_t step;
    char to[8];
    if (json_is_null(json))
        return true;
    if (!take_state(json, &ramp->state) || !take_text(json, "to", to, sizeof(to)) ||
        !take_steps(json_object_get(json, "steps"), ramp) || !take_number(json, "step", ramp->step_count - 1, &step) ||
        !take_number(json, "dwell_ms", UINT32_MAX, &ramp->dwell_ms) ||
        !take_number(json, "min_requests", UINT32_MAX, &ramp->min_requests) ||
        !take_real(json, "abort_errors", &ramp->abort_errors) ||
        !take_real(json, "abort_latency", &ramp->abort_latency) ||
        !take_text(json, "carrier", ramp->carrier, sizeof(ramp->carrier)))
        return false;
    ramp->step = (unsigned)step;
    ramp->to_green = strcmp(to, "green") == 0;
    return ramp->to_green || strcmp(to, "blue") == 0;
}

int color_record_parse(struct str text, struct color_record *record, struct error *err)
{
    *record = (struct color_record){0};
    json_t *json = json_loadb(text.base ? text.base : "", text.len, JSON_REJECT_DUPLICATES, NULL);
    bool taken = json != NULL && take_weights(json, &record->weights) &&
                 take_text(json, "salt", record->salt, sizeof(record->salt)) &&
                 take_weights(json_object_get(json, "before"), &record->before) &&
                 take_ramp(json_object_get(json, "ramp"), &record->ramp) &&
                 take_number(json, "at_us", INT64_MAX, &record->at_us) &&
                 take_text(json, "by", record->by, sizeof(record->by)) &&
                 take_text(json, "why", record->why, sizeof(record->why));
    json_decref(json);
    if (taken)
        return 0;
    *record = (struct color_record){0};
    return error_set(err, ERROR_SYSTEM, "the colour record is garbled");
}

/* --- to JSON ------------------------------------------------------------------------------------------------------ */

static json_t *weights_to_json(const struct color_weights *weights)
{
    return json_pack("{s:i,s:i}", "blue", (int)weights->blue, "green", (int)weights->green);
}

static json_t *ramp_to_json(const struct color_ramp *ramp)
{
    json_t *steps = json_array();
    for (unsigned i = 0; i < ramp->step_count; i++)
        json_array_append_new(steps, json_integer(ramp->steps[i]));
    return json_pack("{s:s,s:s,s:o,s:i,s:I,s:I,s:f,s:f,s:s}", "state", state_names[ramp->state], "to",
                     ramp->to_green ? "green" : "blue", "steps", steps, "step", (int)ramp->step, "dwell_ms",
                     (json_int_t)ramp->dwell_ms, "min_requests", (json_int_t)ramp->min_requests, "abort_errors",
                     ramp->abort_errors, "abort_latency", ramp->abort_latency, "carrier", ramp->carrier);
}

void color_record_format(const struct color_record *record, struct buf *out)
{
    json_t *json = weights_to_json(&record->weights);
    json_object_set_new(json, "salt", json_string(record->salt));
    json_object_set_new(json, "before", weights_to_json(&record->before));
    json_object_set_new(json, "ramp",
                        record->ramp.state != COLOR_RAMP_NONE ? ramp_to_json(&record->ramp) : json_null());
    json_object_set_new(json, "at_us", json_integer((json_int_t)record->at_us));
    json_object_set_new(json, "by", json_string(record->by));
    json_object_set_new(json, "why", json_string(record->why));
    char *text = json_dumps(json, JSON_COMPACT);
    buf_append_str(out, str_of(text));
    free(text);
    json_decref(json);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

/* Text that is cut, or comes as it likes, must stay UTF-8: a record that cannot be written stops the ramp. */
static void put_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
    size_t len = strlen(out);
    while (len > 0 && !str_is_utf8((struct str){out, len}))
        out[--len] = '\0';
}

static void sign(struct color_record *record, const struct color_change *change)
{
    record->at_us = change->at_us;
    put_text(record->by, sizeof(record->by), change->by);
    put_text(record->why, sizeof(record->why), change->why);
}

int color_record_set(struct color_record *record, struct color_weights weights, const char *salt,
                     const struct color_change *change, struct error *err)
{
    if (weights.blue > COLOR_WEIGHT_MOST || weights.green > COLOR_WEIGHT_MOST)
        return error_set(err, ERROR_INPUT, "a weight is at most %d", COLOR_WEIGHT_MOST);
    if (salt != NULL && (strlen(salt) >= sizeof(record->salt) || !str_is_utf8(str_of(salt))))
        return error_set(err, ERROR_INPUT, "a salt is at most %zu bytes of UTF-8", sizeof(record->salt) - 1);
    if (record->ramp.state == COLOR_RAMP_RUNNING)
        record->ramp.state = COLOR_RAMP_STOPPED;
    else
        record->before = record->weights;
    if (salt != NULL)
        put_text(record->salt, sizeof(record->salt), salt);
    record->weights = weights;
    sign(record, change);
    return 0;
}

static void put_step(struct color_record *record)
{
    uint32_t share = record->ramp.steps[record->ramp.step];
    record->weights =
        record->ramp.to_green ? (struct color_weights){100 - share, share} : (struct color_weights){share, 100 - share};
}

int color_record_begin(struct color_record *record, const struct color_ramp *ramp, uint32_t share,
                       const struct color_change *change, struct error *err)
{
    if (record->ramp.state == COLOR_RAMP_RUNNING)
        return error_set(err, ERROR_CONFLICT, "a ramp to %s runs already: roll it back first, or set weights",
                         record->ramp.to_green ? "green" : "blue");
    if (!steps_rise(ramp))
        return error_set(err, ERROR_INPUT, "the steps must rise, from 1 to at most 100 per cent");
    if (ramp->steps[0] < share)
        return error_set(err, ERROR_INPUT,
                         "the first step is %u %%, and the colour has %u %% already: a ramp only adds", ramp->steps[0],
                         share);
    record->before = record->weights;
    record->ramp = *ramp;
    record->ramp.state = COLOR_RAMP_RUNNING;
    record->ramp.step = 0;
    put_step(record);
    sign(record, change);
    return 0;
}

void color_record_advance(struct color_record *record, const struct color_change *change)
{
    struct color_ramp *ramp = &record->ramp;
    if (ramp->step + 1 < ramp->step_count) {
        ramp->step++;
        put_step(record);
    } else {
        ramp->state = COLOR_RAMP_DONE;
    }
    color_record_carry(record, change);
}

void color_record_carry(struct color_record *record, const struct color_change *change)
{
    put_text(record->ramp.carrier, sizeof(record->ramp.carrier), change->by);
    sign(record, change);
}

int color_record_roll_back(struct color_record *record, const struct color_change *change, struct error *err)
{
    bool same = record->weights.blue == record->before.blue && record->weights.green == record->before.green;
    if (same && record->ramp.state != COLOR_RAMP_RUNNING)
        return error_set(err, ERROR_CONFLICT, "there is nothing to go back from");
    if (record->ramp.state != COLOR_RAMP_NONE)
        record->ramp.state = COLOR_RAMP_ROLLED_BACK;
    record->weights = record->before;
    sign(record, change);
    return 0;
}
