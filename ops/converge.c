/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/converge.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/store_json.h"
#include "ops/fleet.h"
#include "ops/poll.h"

#define EACH_MS     1000
#define INTERVAL_MS 10
#define ROUND_MS    1500 /* after which the store is asked whether those who still do not follow live */

struct waiting {
    struct converge *converge;
    struct converge_member **open; /* those who have not followed yet */
    size_t open_count;
    uint64_t epoch, started_us;
    bool aloud, refused;
};

int converge_enlist(struct converge *converge, struct deployment *deployment, struct error *err)
{
    *converge = (struct converge){0};
    json_t *answer = deployment_get(deployment, "/v1/members", err);
    if (answer == NULL)
        return -1;
    const json_t *list = json_object_get(answer, "members");
    converge->members = mem_calloc(json_array_size(list) + 1, sizeof(*converge->members));
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct converge_member *member = &converge->members[converge->count];
        if (store_member_from_json(json_array_get(list, i), &member->member))
            converge->count++;
    }
    json_decref(answer);
    return 0;
}

static bool is_listed(const struct converge *now, const struct store_member *member)
{
    for (size_t i = 0; i < now->count; i++)
        if (strcmp(now->members[i].member.name, member->name) == 0 &&
            strcmp(now->members[i].member.role, member->role) == 0)
            return true;
    return false;
}

static void drop_gone(struct waiting *waiting, struct deployment *deployment)
{
    struct converge now;
    struct error ignored;
    if (converge_enlist(&now, deployment, &ignored) != 0)
        return;
    for (size_t i = 0; i < waiting->open_count; i++)
        waiting->open[i]->gone = !is_listed(&now, &waiting->open[i]->member);
    free(now.members);
}

static void keep_fault(struct converge_member *member, const char *fault)
{
    snprintf(member->fault, sizeof(member->fault), "%s", fault);
}

static bool read_refusal(struct converge_member *member, const json_t *status, uint64_t epoch)
{
    struct buf why = {0};
    bool refuses = fleet_refusal(status, &why) == epoch;
    if (refuses)
        snprintf(member->fault, sizeof(member->fault), "refuses the rules%s", why.base ? why.base : "");
    buf_free(&why);
    return refuses;
}

static void tell_followed(const struct converge_member *member)
{
    printf("  %-16s %-8s %-8s epoch %llu after %llu ms\n", member->member.name, member->member.role,
           *member->member.unit ? member->member.unit : "-", (unsigned long long)member->epoch,
           (unsigned long long)member->ms);
    fflush(stdout);
}

static enum poll_next on_status(void *arg, const struct poll_answer *answer)
{
    struct waiting *waiting = arg;
    struct converge_member *member = waiting->open[answer->index];
    if (answer->json == NULL) {
        keep_fault(member, answer->fault);
        return POLL_AGAIN;
    }
    member->epoch = (uint64_t)json_integer_value(json_object_get(answer->json, "epoch"));
    if (member->epoch >= waiting->epoch) {
        member->followed = true;
        member->fault[0] = '\0';
        member->ms = (clock_monotonic_us() - waiting->started_us) / 1000;
        if (waiting->aloud)
            tell_followed(member);
        return POLL_ENOUGH;
    }
    member->refused = read_refusal(member, answer->json, waiting->epoch);
    if (member->refused) {
        waiting->refused = true;
        return POLL_STOP;
    }
    snprintf(member->fault, sizeof(member->fault), "still serves epoch %llu", (unsigned long long)member->epoch);
    return POLL_AGAIN;
}

/* Asks those who have not followed, for ROUND_MS at most. */
static void run_round(struct waiting *waiting, const struct deployment *deployment, int64_t left_ms)
{
    const char **urls = mem_calloc(waiting->open_count, sizeof(*urls));
    for (size_t i = 0; i < waiting->open_count; i++)
        urls[i] = waiting->open[i]->member.admin;
    struct poll_question question = {.urls = urls,
                                     .url_count = waiting->open_count,
                                     .path = "/v1/status",
                                     .token = deployment->token,
                                     .each_ms = EACH_MS < left_ms ? EACH_MS : left_ms,
                                     .interval_ms = INTERVAL_MS,
                                     .deadline_ms = ROUND_MS < left_ms ? ROUND_MS : left_ms};
    poll_all(&question, on_status, waiting);
    free(urls);
}

static size_t list_open(struct waiting *waiting)
{
    waiting->open_count = 0;
    for (size_t i = 0; i < waiting->converge->count; i++) {
        struct converge_member *member = &waiting->converge->members[i];
        if (!member->followed && !member->gone)
            waiting->open[waiting->open_count++] = member;
    }
    return waiting->open_count;
}

bool converge_wait(struct converge *converge, struct deployment *deployment, uint64_t epoch, int64_t timeout_ms,
                   bool aloud)
{
    struct waiting waiting = {.converge = converge, .epoch = epoch, .started_us = clock_monotonic_us(), .aloud = aloud};
    waiting.open = mem_calloc(converge->count + 1, sizeof(*waiting.open));
    for (size_t i = 0; i < converge->count; i++) {
        converge->members[i].followed = converge->members[i].refused = false;
        keep_fault(&converge->members[i], "has not answered");
    }
    while (list_open(&waiting) > 0 && !waiting.refused) {
        int64_t left_ms = timeout_ms - (int64_t)(clock_monotonic_us() - waiting.started_us) / 1000;
        if (left_ms <= 0)
            break;
        run_round(&waiting, deployment, left_ms);
        if (list_open(&waiting) > 0)
            drop_gone(&waiting, deployment);
    }
    bool all = list_open(&waiting) == 0;
    free(waiting.open);
    return all;
}

json_t *converge_json(const struct converge *converge)
{
    json_t *list = json_array();
    for (size_t i = 0; i < converge->count; i++) {
        const struct converge_member *member = &converge->members[i];
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:s,s:I,s:b,s:b,s:o,s:s}", "name", member->member.name, "role",
                                        member->member.role, "unit", member->member.unit, "epoch",
                                        (json_int_t)member->epoch, "followed", member->followed, "gone", member->gone,
                                        "ms", member->followed ? json_integer((json_int_t)member->ms) : json_null(),
                                        "fault", member->fault));
    }
    return list;
}

void converge_blame(const struct converge *converge)
{
    for (size_t i = 0; i < converge->count; i++) {
        const struct converge_member *member = &converge->members[i];
        if (!member->followed)
            fprintf(stderr, "  %s (%s%s%s) %s: %s\n", member->member.name, member->member.role,
                    *member->member.unit ? " of " : "", member->member.unit,
                    member->gone ? "ended meanwhile and is passed over" : "did not follow", member->fault);
    }
}
