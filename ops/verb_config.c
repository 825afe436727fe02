/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl config: what a gateway runs with, and what could be set.
 */
#include <stdlib.h>

#include "ops/ctl.h"
#include "ops/deployment.h"
#include "ops/grid.h"

/* Turns DEPLOYMENT into one of the gateway called NAME alone. */
static int narrow(struct deployment *deployment, const char *name, struct error *err)
{
    json_t *answer = deployment_get(deployment, "/v1/members", err);
    const json_t *list = json_object_get(answer, "members"), *found = NULL;
    if (answer == NULL)
        return -1;
    for (size_t i = 0; i < json_array_size(list) && found == NULL; i++)
        if (strcmp(ctl_text(json_array_get(list, i), "name"), name) == 0 &&
            strcmp(ctl_text(json_array_get(list, i), "role"), "gateway") == 0)
            found = json_array_get(list, i);
    if (found != NULL) {
        for (size_t i = 0; i < deployment->url_count; i++)
            free(deployment->urls[i]);
        deployment->urls[0] = str_dup(str_of(ctl_text(found, "admin")));
        deployment->url_count = 1;
        deployment->first = 0;
    }
    json_decref(answer);
    return found ? 0 : error_set(err, ERROR_REFUSED, "no gateway is called '%s'; `ldcctl status` lists them", name);
}

static enum ctl_exit ask_and(const struct ctl *ctl, const char *gateway, void (*print)(const json_t *options))
{
    struct deployment deployment;
    struct error err = {0};
    json_t *answer = NULL;
    if (deployment_find(&ctl->args, &deployment, &err) == 0 &&
        (gateway == NULL || narrow(&deployment, gateway, &err) == 0))
        answer = deployment_get(&deployment, "/v1/config", &err);
    deployment_free(&deployment);
    if (answer == NULL)
        return ctl_fail(&err);
    if (ctl->json) {
        ctl_print_json(answer);
        return CTL_DONE;
    }
    print(json_object_get(answer, "options"));
    json_decref(answer);
    return CTL_DONE;
}

static void print_values(const json_t *options)
{
    struct grid grid;
    grid_begin(&grid, "OPTION|VALUE");
    for (size_t i = 0; i < json_array_size(options); i++) {
        const json_t *option = json_array_get(options, i);
        bool preset = strcmp(ctl_text(option, "value"), ctl_text(option, "default")) == 0;
        grid_add(&grid, "%s", ctl_text(option, "name"));
        grid_add(&grid, "%s%s", *ctl_text(option, "value") ? ctl_text(option, "value") : "-", preset ? "" : "   (set)");
    }
    grid_print(&grid);
}

static void print_documents(const json_t *options)
{
    struct grid grid;
    grid_begin(&grid, "OPTION|PRESET|RELOAD|WHAT IT DOES");
    for (size_t i = 0; i < json_array_size(options); i++) {
        const json_t *option = json_array_get(options, i);
        grid_add(&grid, "%s", ctl_text(option, "name"));
        grid_add(&grid, "%s", *ctl_text(option, "default") ? ctl_text(option, "default") : "-");
        grid_add(&grid, "%s", json_is_true(json_object_get(option, "reloadable")) ? "yes" : "no");
        grid_add(&grid, "%s", ctl_text(option, "doc"));
    }
    grid_print(&grid);
}

enum ctl_exit verb_config_show(const struct ctl *ctl)
{
    return ask_and(ctl, args_word(&ctl->args, 0), print_values);
}

enum ctl_exit verb_config_options(const struct ctl *ctl)
{
    return ask_and(ctl, NULL, print_documents);
}
