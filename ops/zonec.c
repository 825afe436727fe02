/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/zonec.h"

#include <stdio.h>
#include <stdlib.h>

#include "ops/poll.h"
#include "ops/unit_call.h"

#define LOOK_TIMEOUT_MS 2000
#define PACE_MS         5

static void append_target(struct buf *target, const struct zonec_site *site, const char *collection)
{
    buf_printf(target, "/v1/collections");
    deployment_add_query(target, "unit", site->unit);
    deployment_add_query(target, "name", collection);
}

/* An agent without its broker has nobody to ask. */
static bool says_unreachable(const json_t *problem)
{
    return strcmp(ctl_text(problem, "type"), "urn:ldcgate:problem:broker-unavailable") == 0;
}

json_t *zonec_ask(struct zonec_site *site, const char *method, const char *target, struct error *err)
{
    struct buf whole = {0};
    json_t *answer = NULL, *items = NULL;
    *err = (struct error){ERROR_UNREACHABLE, ""};
    snprintf(err->text, sizeof(err->text), "the store lists no agent of %s", site->unit);
    buf_printf(&whole, "%s", target);
    deployment_add_query(&whole, "unit", site->unit);
    if (deployment_ask(&site->agents, method, whole.base, STR_LIT(""), &answer, err) == 0)
        items = json_incref(json_object_get(answer, "items"));
    else if (says_unreachable(answer))
        err->code = ERROR_UNREACHABLE;
    json_decref(answer);
    buf_free(&whole);
    return items;
}

static void look(struct zonec_site *site, const char *collection)
{
    struct buf target = {0};
    buf_printf(&target, "/v1/collections");
    deployment_add_query(&target, "name", collection);
    site->items = zonec_ask(site, "GET", target.base, &site->err);
    buf_free(&target);
}

/* By a gateway's view of the rules. */
static bool is_core(const struct fleet *fleet, const char *unit)
{
    const json_t *item = ctl_find(json_object_get(fleet->view, "units"), "name", unit);
    return strcmp(ctl_text(item, "kind"), "core") == 0;
}

static void add_sites(struct zonec *zonec, const struct fleet *fleet, const struct deployment *deployment,
                      const json_t *names, const char *unit, bool core)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (is_core(fleet, name) != core || (!core && unit != NULL && strcmp(unit, name) != 0))
            continue;
        struct zonec_site *site = &zonec->sites[zonec->count++];
        snprintf(site->unit, sizeof(site->unit), "%s", name);
        site->agents = unit_agents(fleet, deployment, name);
    }
}

int zonec_check_unit(const struct fleet *fleet, const char *unit, struct error *err)
{
    if (unit == NULL || ctl_find(json_object_get(fleet->view, "units"), "name", unit) != NULL)
        return 0;
    return error_set(err, ERROR_REFUSED, "the rules in force name no unit %s; `ldcctl status` lists them", unit);
}

void zonec_find(struct zonec *zonec, const struct fleet *fleet, const struct deployment *deployment, const char *unit,
                const char *collection)
{
    json_t *names = unit_names(fleet, NULL);
    *zonec = (struct zonec){.sites = mem_calloc(json_array_size(names), sizeof(*zonec->sites))};
    add_sites(zonec, fleet, deployment, names, unit, true);
    add_sites(zonec, fleet, deployment, names, unit, false);
    json_decref(names);
    for (size_t i = 0; i < zonec->count; i++)
        look(&zonec->sites[i], collection);
}

void zonec_free(struct zonec *zonec)
{
    for (size_t i = 0; i < zonec->count; i++)
        json_decref(zonec->sites[i].items);
    free(zonec->sites);
    *zonec = (struct zonec){0};
}

const json_t *zonec_item(const struct zonec_site *site, const char *collection)
{
    return ctl_find(site->items, "collection", collection);
}

struct zonec_site *zonec_origin(const struct zonec *zonec, const char *collection)
{
    for (size_t i = 0; i < zonec->count; i++)
        if (strcmp(ctl_text(zonec_item(&zonec->sites[i], collection), "role"), "origin") == 0)
            return &zonec->sites[i];
    return NULL;
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

struct wait {
    zonec_done_fn done;
    void *arg;
    bool is_done;
};

static enum poll_next on_look(void *arg, const struct poll_answer *answer)
{
    struct wait *wait = arg;
    const json_t *item = json_array_get(json_object_get(answer->json, "items"), 0);
    wait->is_done = item != NULL && wait->done(wait->arg, item);
    return wait->is_done ? POLL_ENOUGH : POLL_AGAIN;
}

bool zonec_wait(const struct zonec_site *site, const char *collection, int64_t patience_ms, zonec_done_fn done,
                void *arg)
{
    struct wait wait = {.done = done, .arg = arg};
    struct buf target = {0};
    append_target(&target, site, collection);
    const char *urls[] = {site->agents.urls[site->agents.first]};
    struct poll_question question = {.urls = urls,
                                     .url_count = site->agents.url_count > 0 ? 1 : 0,
                                     .path = target.base,
                                     .token = site->agents.token,
                                     .each_ms = LOOK_TIMEOUT_MS,
                                     .interval_ms = PACE_MS,
                                     .deadline_ms = patience_ms};
    poll_all(&question, on_look, &wait);
    buf_free(&target);
    return wait.is_done;
}
