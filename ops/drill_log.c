/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/measure.h"
#include "ops/drill_parts.h"
#include "ops/poll.h"

#define ASK_TIMEOUT_MS 1500

/* What a gateway's transition is called here; what is not in the list is left out. */
static const struct {
    const char *theirs, *ours;
} kinds[] = {
    {"suspected", "suspect"}, {"voted", "vote"},        {"proposed", "decide"}, {"won", "note"},
    {"record", "record"},     {"promoted", "promoted"}, {"alarm", "alarm"},     {"calm", "calm"},
    {"cleared", "note"},      {"lost", "note"},         {"unknown", "note"},
};

static int64_t since_fault(const struct drill_run *run, uint64_t at_us)
{
    const struct drill_round *round = run->round;
    uint64_t zero_us = round == NULL ? run->began_us : round->fault_us != 0 ? round->fault_us : round->began_us;
    return (int64_t)(at_us - zero_us);
}

static json_t *event_json(const struct drill_event *event, const char *text)
{
    return json_pack("{s:I,s:s,s:s,s:s,s:I,s:s}", "at_us", (json_int_t)event->at_us, "kind", event->kind, "gateway",
                     event->gateway, "unit", event->unit, "epoch", (json_int_t)event->epoch, "text", text);
}

static void write_line(struct drill_run *run, const struct drill_event *event, const char *text)
{
    json_t *line = event_json(event, text);
    json_object_set_new(line, "wall_us",
                        json_integer((json_int_t)(event->at_us + clock_wall_us() - clock_monotonic_us())));
    json_object_set_new(line, "round", json_integer(run->round != NULL ? run->round->number : 0));
    char *json = json_dumps(line, JSON_COMPACT);
    fprintf(run->events, "%s\n", json);
    fflush(run->events);
    free(json);
    json_decref(line);
}

static void show(const struct drill_run *run, const struct drill_event *event, const char *text)
{
    drill_say(run, "%+10.1f ms  %-13s %s%s%s", (double)since_fault(run, event->at_us) / 1000, event->kind,
              event->gateway, *event->gateway ? ": " : "", text);
}

void drill_log(struct drill_run *run, const struct drill_event *event, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    write_line(run, event, text);
    show(run, event, text);
    if (run->round != NULL)
        json_array_append_new(run->round->events, event_json(event, text));
}

void drill_note(struct drill_run *run, const char *kind, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    drill_log(run, &(struct drill_event){clock_monotonic_us(), kind, "", "", 0}, "%s", text);
}

void drill_say(const struct drill_run *run, const char *format, ...)
{
    if (run->quiet)
        return;
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* --- what gateways say -------------------------------------------------------------------------------------------- */

struct collecting {
    struct drill_run *run;
    uint64_t from_us, to_us;
};

static const char *kind_of(const json_t *transition)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(kinds[i].theirs, ctl_text(transition, "event")) == 0)
            return kinds[i].ours;
    return NULL;
}

static void take(struct collecting *collecting, const char *gateway, const json_t *transition)
{
    const char *kind = kind_of(transition);
    uint64_t wall_us = fleet_number(transition, "at_us"), offset_us = clock_wall_us() - clock_monotonic_us();
    struct drill_event event = {wall_us - offset_us, kind, gateway, ctl_text(transition, "unit"),
                                fleet_number(transition, "epoch")};
    if (kind == NULL || event.at_us < collecting->from_us || event.at_us >= collecting->to_us)
        return;
    write_line(collecting->run, &event, ctl_text(transition, "text"));
    json_array_append_new(collecting->run->round->events, event_json(&event, ctl_text(transition, "text")));
}

static enum poll_next on_answer(void *arg, const struct poll_answer *answer)
{
    const json_t *list = json_object_get(answer->json, "transitions");
    for (size_t i = json_array_size(list); i > 0; i--)
        take(arg, ctl_text(answer->json, "gateway"), json_array_get(list, i - 1));
    return POLL_ENOUGH;
}

static int by_time(const void *left, const void *right)
{
    uint64_t a = fleet_number(*(json_t *const *)left, "at_us"), b = fleet_number(*(json_t *const *)right, "at_us");
    return (a > b) - (a < b);
}

static void sort(json_t *events)
{
    size_t count = json_array_size(events);
    json_t **order = mem_calloc(count + 1, sizeof(*order));
    for (size_t i = 0; i < count; i++)
        order[i] = json_incref(json_array_get(events, i));
    qsort(order, count, sizeof(*order), by_time);
    json_array_clear(events);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(events, order[i]);
    free(order);
}

void drill_log_collect(struct drill_run *run)
{
    struct drill_round *round = run->round;
    uint64_t from_us = round->collected_us > round->fault_us ? round->collected_us : round->fault_us;
    struct collecting collecting = {run, from_us, clock_monotonic_us()};
    struct poll_question question = {.urls = (const char *const *)run->deployment.urls,
                                     .url_count = run->deployment.url_count,
                                     .path = "/v1/transitions?most=512",
                                     .token = run->deployment.token,
                                     .each_ms = ASK_TIMEOUT_MS,
                                     .deadline_ms = ASK_TIMEOUT_MS + 100};
    if (round->fault_us != 0)
        poll_all(&question, on_answer, &collecting);
    round->collected_us = collecting.to_us;
    sort(round->events);
}
