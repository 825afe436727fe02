/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl rules arrivals: which units wait for the messages that users left behind elsewhere.
 */
#include <stdio.h>

#include "ops/ctl.h"
#include "ops/deployment.h"

static void print(const json_t *list, const char *waits)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        printf("%s %s for what %s has of the users who came from there\n", ctl_text(one, "unit"), waits,
               ctl_text(one, "from"));
    }
}

static void tell(const struct ctl *ctl, json_t *answer)
{
    if (ctl->json) {
        ctl_print_json(json_incref(answer));
        return;
    }
    const json_t *waiting = json_object_get(answer, "arrivals"), *ended = json_object_get(answer, "ended");
    if (json_array_size(waiting) + json_array_size(ended) == 0)
        puts("no unit waits for another one");
    print(waiting, "waits");
    print(ended, "no longer waits");
}

enum ctl_exit verb_rules_arrivals(const struct ctl *ctl)
{
    struct deployment deployment = {.url_count = 0};
    struct error err = {0};
    struct buf target = {0};
    json_t *answer = NULL;
    const char *unit = args_value(&ctl->args, "--open");
    enum ctl_exit result = CTL_DONE;
    buf_printf(&target, "%s", unit != NULL ? "/v1/arrivals/open" : "/v1/arrivals");
    deployment_add_query(&target, "unit", unit);
    if (deployment_find(&ctl->args, &deployment, &err) != 0 ||
        deployment_ask(&deployment, unit != NULL ? "POST" : "GET", target.base, STR_LIT(""), &answer, &err) != 0)
        result = ctl_fail(&err);
    else
        tell(ctl, answer);
    json_decref(answer);
    buf_free(&target);
    deployment_free(&deployment);
    return result;
}
