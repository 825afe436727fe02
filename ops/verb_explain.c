/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl explain: where a request goes, and why.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ops/ctl.h"
#include "ops/deployment.h"
#include "ops/rulefile.h"

/* Who is asked: a file, or a deployment. */
struct explaining {
    struct rulefile *file; /* NULL: ask the deployment */
    struct deployment deployment;
    const char *path, *method; /* NULL: not given */
};

/* Appends one JSON object for USER to OUT. *FOUND: whether its request would be routed. */
static int explain_user(struct explaining *explaining, const char *user, json_t **answer, struct error *err)
{
    struct buf text = {0};
    if (explaining->file == NULL) {
        buf_printf(&text, "/v1/explain");
        deployment_add_query(&text, "user", user);
        deployment_add_query(&text, "path", explaining->path);
        deployment_add_query(&text, "method", explaining->method);
        *answer = deployment_get(&explaining->deployment, text.base, err);
    } else {
        rules_explain(explaining->file->table, explaining->file->name, str_of(user), str_of(explaining->method),
                      str_of(explaining->path), &text);
        *answer = json_loadb(text.base, text.len, 0, NULL);
        if (*answer == NULL)
            error_set(err, ERROR_INPUT, "the user is no well-formed UTF-8");
    }
    buf_free(&text);
    return *answer != NULL ? 0 : -1;
}

static bool is_routed(const json_t *answer)
{
    const char *verdict = ctl_text(answer, "verdict");
    return !*verdict || strcmp(verdict, "ok") == 0;
}

static void print_value(const char *key, const json_t *value)
{
    char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *shown = json_is_null(value) ? "-" : text ? text : json_string_value(value);
    printf("%-9s %s\n", key, shown);
    free(text);
}

/* A gateway of another version may know verdicts that this program does not. */
static void print_meaning(const char *name)
{
    for (enum verdict verdict = 0; verdict < VERDICT_COUNT; verdict++)
        if (strcmp(verdict_info(verdict)->name, name) == 0)
            printf("%-9s %s\n", "meaning", verdict_info(verdict)->title);
}

static enum ctl_exit explain_one(const struct ctl *ctl, struct explaining *explaining, const char *user)
{
    struct error err = {0};
    json_t *answer;
    if (explain_user(explaining, user, &answer, &err) != 0)
        return ctl_fail(&err);
    bool routed = is_routed(answer);
    if (ctl->json) {
        ctl_print_json(answer);
        return routed ? CTL_DONE : CTL_FAILED;
    }
    for (void *at = json_object_iter(answer); at != NULL; at = json_object_iter_next(answer, at))
        print_value(json_object_iter_key(at), json_object_iter_value(at));
    if (!routed)
        print_meaning(ctl_text(answer, "verdict"));
    json_decref(answer);
    return routed ? CTL_DONE : CTL_FAILED;
}

static enum ctl_exit explain_all(struct explaining *explaining)
{
    enum ctl_exit result = CTL_DONE;
    struct error err = {0};
    char *line = NULL;
    size_t room = 0;
    for (ssize_t len; (len = getline(&line, &room, stdin)) >= 0;) {
        json_t *answer;
        line[strcspn(line, "\r\n")] = '\0';
        if (explain_user(explaining, line, &answer, &err) != 0) {
            result = ctl_fail(&err);
            break;
        }
        if (!is_routed(answer))
            result = CTL_FAILED;
        char *text = json_dumps(answer, JSON_COMPACT);
        puts(text);
        free(text);
        json_decref(answer);
    }
    free(line);
    return result;
}

enum ctl_exit verb_explain(const struct ctl *ctl)
{
    const char *user = args_value(&ctl->args, "--user"), *rules = args_value(&ctl->args, "--rules");
    struct explaining explaining = {.path = args_value(&ctl->args, "--path"),
                                    .method = args_value(&ctl->args, "--method")};
    struct rulefile file = {0};
    struct error err = {0};
    enum ctl_exit result = CTL_DONE;
    if (rules != NULL && (result = rulefile_need(ctl, &file, rules)) == CTL_DONE)
        explaining.file = &file;
    else if (rules == NULL && deployment_find(&ctl->args, &explaining.deployment, &err) != 0)
        result = ctl_fail(&err);
    if (result == CTL_DONE)
        result = strcmp(user, "-") == 0 ? explain_all(&explaining) : explain_one(ctl, &explaining, user);
    rulefile_free(&file);
    deployment_free(&explaining.deployment);
    return result;
}
