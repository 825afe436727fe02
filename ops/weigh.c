/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/weigh.h"

#include <stdlib.h>

#include "ops/poll.h"

#define TRAFFIC_TIMEOUT_MS 2000
#define UNKNOWN            (-1.0)

/* --- traffic ------------------------------------------------------------------------------------------------------ */

static enum poll_next on_traffic(void *arg, const struct poll_answer *answer)
{
    struct traffic_seen *seen = arg;
    if (answer->json == NULL) {
        seen->silent++;
        return POLL_ENOUGH;
    }
    double window_s = json_number_value(json_object_get(answer->json, "window_s"));
    json_int_t requests = json_integer_value(json_object_get(answer->json, "requests"));
    seen->total += (uint64_t)requests;
    seen->rps += window_s > 0 ? (double)requests / window_s : 0;
    json_array_append(seen->answers, (json_t *)answer->json);
    return POLL_ENOUGH;
}

static int by_user(const void *left, const void *right)
{
    const struct rules_sample *a = left, *b = right;
    size_t len = a->user.len < b->user.len ? a->user.len : b->user.len;
    int order = memcmp(a->user.base, b->user.base, len);
    return order != 0 ? order : (a->user.len > b->user.len) - (a->user.len < b->user.len);
}

/* The lists at KEY of all answers in one, each user once. */
static struct rules_sample *join_lists(const json_t *answers, const char *key, size_t *count)
{
    size_t room = 0, kept = 0;
    for (size_t i = 0; i < json_array_size(answers); i++)
        room += json_array_size(json_object_get(json_array_get(answers, i), key));
    struct rules_sample *all = mem_calloc(room + 1, sizeof(*all));
    for (size_t i = 0; i < json_array_size(answers); i++) {
        const json_t *list = json_object_get(json_array_get(answers, i), key);
        for (size_t j = 0; j < json_array_size(list); j++) {
            const json_t *user = json_object_get(json_array_get(list, j), "user");
            all[kept].user = (struct str){json_string_value(user), json_string_length(user)};
            all[kept].requests = (uint64_t)json_integer_value(json_object_get(json_array_get(list, j), "requests"));
            kept += all[kept].user.base != NULL;
        }
    }
    qsort(all, kept, sizeof(*all), by_user);
    *count = 0;
    for (size_t i = 0; i < kept; i++)
        if (*count > 0 && str_equal(all[*count - 1].user, all[i].user))
            all[*count - 1].requests += all[i].requests;
        else
            all[(*count)++] = all[i];
    return all;
}

static void see_traffic(struct traffic_seen *seen, const struct deployment *deployment)
{
    struct poll_question question = {.urls = (const char *const *)deployment->urls,
                                     .url_count = deployment->url_count,
                                     .path = "/v1/traffic",
                                     .token = deployment->token,
                                     .each_ms = TRAFFIC_TIMEOUT_MS,
                                     .deadline_ms = TRAFFIC_TIMEOUT_MS};
    seen->gateway_count = deployment->url_count;
    poll_all(&question, on_traffic, seen);
}

/* --- shares and rates --------------------------------------------------------------------------------------------- */

/* The share of the sampled requests that UNIT of TABLE owns. */
static double owned_share(const struct traffic_seen *seen, const struct table *table, uint32_t unit)
{
    uint64_t all = 0, owned = 0;
    for (size_t i = 0; i < seen->request_count; i++) {
        struct decision decision;
        bool routed = table_owner(table, seen->requests[i].user, &decision) == VERDICT_OK;
        all += seen->requests[i].requests;
        owned += routed && decision.unit == unit ? seen->requests[i].requests : 0;
    }
    return all > 0 ? (double)owned / (double)all : UNKNOWN;
}

static double rate_of(const struct weigh *weigh, const struct table *table, struct str name)
{
    uint32_t unit = table_unit_index(table, name);
    double share = unit == NO_UNIT ? 0 : owned_share(&weigh->traffic, table, unit);
    return share < 0 || weigh->traffic.rps <= 0 ? UNKNOWN : share * weigh->traffic.rps;
}

static void weigh_gains(struct weigh *weigh)
{
    weigh->gain_count = weigh->diff.gain_count;
    weigh->gains = mem_calloc(weigh->gain_count + 1, sizeof(*weigh->gains));
    for (size_t i = 0; i < weigh->gain_count; i++) {
        const struct table_unit *unit = &weigh->after->units[weigh->diff.gains[i].unit];
        weigh->gains[i] = (struct weigh_gain){
            .unit = unit->name,
            .slots = weigh->diff.gains[i].slot_gain,
            .users = weigh->diff.gains[i].user_gain,
            .requests = weigh->diff.gains[i].request_gain,
            .rps_before = rate_of(weigh, weigh->before, unit->name),
            .rps_after = rate_of(weigh, weigh->after, unit->name),
            .capacity_rps = unit->capacity_rps > 0 ? unit->capacity_rps : UNKNOWN,
        };
    }
}

void weigh_rules(struct weigh *weigh, const struct table *before, const struct table *after,
                 const struct deployment *deployment)
{
    struct traffic_seen *seen = &weigh->traffic;
    *weigh = (struct weigh){.before = before, .after = after, .traffic.answers = json_array()};
    if (deployment != NULL)
        see_traffic(seen, deployment);
    seen->users = join_lists(seen->answers, "users", &seen->user_count);
    seen->requests = join_lists(seen->answers, "sample", &seen->request_count);
    rules_compare(before, after, seen->users, seen->user_count, seen->requests, seen->request_count, &weigh->diff);
    weigh_gains(weigh);
}

void weigh_free(struct weigh *weigh)
{
    rules_diff_free(&weigh->diff);
    free(weigh->gains);
    free(weigh->traffic.users);
    free(weigh->traffic.requests);
    json_decref(weigh->traffic.answers);
    *weigh = (struct weigh){0};
}

double weigh_share(const struct weigh *weigh)
{
    const struct rules_diff *diff = &weigh->diff;
    return diff->request_share > diff->slot_share ? diff->request_share : diff->slot_share;
}
