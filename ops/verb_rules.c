/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl rules: the verbs that only look.
 */
#include <stdio.h>

#include "ops/ctl.h"
#include "ops/grid.h"
#include "ops/rulefile.h"
#include "ops/rules_change.h"

enum ctl_exit verb_rules_validate(const struct ctl *ctl)
{
    struct rulefile file;
    struct error err = {0};
    if (rulefile_read(&file, args_word(&ctl->args, 0), &err) != 0) {
        rulefile_free(&file);
        return ctl_fail(&err);
    }
    enum ctl_exit result = rulefile_report(ctl, &file);
    if (result == CTL_DONE && !ctl->json)
        printf("%s is sound: %u units, %u slots, %u routes, %u sources of identity\n", file.name,
               file.table->unit_count, file.table->hash.slots, file.table->route_count, file.table->source_count);
    rulefile_free(&file);
    return result;
}

enum ctl_exit verb_rules_reference(const struct ctl *ctl)
{
    struct buf text = {NULL, 0, 0};
    (void)ctl;
    rules_document(&text);
    fwrite(text.base, 1, text.len, stdout);
    buf_free(&text);
    return CTL_DONE;
}

static enum ctl_exit diff_files(const struct ctl *ctl, const char *before_path, const char *after_path)
{
    struct rulefile before = {0}, after = {0};
    enum ctl_exit result = rulefile_need(ctl, &before, before_path);
    if (result == CTL_DONE)
        result = rulefile_need(ctl, &after, after_path);
    if (result == CTL_DONE) {
        struct weigh weigh;
        weigh_rules(&weigh, before.table, after.table, NULL);
        if (ctl->json)
            ctl_print_json(weigh_json(&weigh));
        else
            weigh_print(&weigh);
        weigh_free(&weigh);
    }
    rulefile_free(&before);
    rulefile_free(&after);
    return result;
}

static enum ctl_exit diff_live(const struct ctl *ctl, const char *path)
{
    struct rules_change change;
    struct error err = {0};
    enum ctl_exit result = rules_change_begin(&change, ctl, path);
    if (result == CTL_DONE && rules_change_weigh(&change, &err) != 0)
        result = ctl_fail(&err);
    else if (result == CTL_DONE && ctl->json)
        ctl_print_json(weigh_json(&change.weigh));
    else if (result == CTL_DONE && change.before.table == NULL)
        puts("no rules are in force yet: everything is new");
    else if (result == CTL_DONE)
        weigh_print(&change.weigh);
    rules_change_end(&change);
    return result;
}

enum ctl_exit verb_rules_diff(const struct ctl *ctl)
{
    const char *against = args_value(&ctl->args, "--against"), *path = args_word(&ctl->args, 0);
    return against != NULL ? diff_files(ctl, against, path) : diff_live(ctl, path);
}

static enum ctl_exit ask_and(const struct ctl *ctl, const char *target, void (*print)(const json_t *answer))
{
    struct deployment deployment;
    struct error err = {0};
    json_t *answer = NULL;
    if (deployment_find(&ctl->args, &deployment, &err) == 0)
        answer = deployment_get(&deployment, target, &err);
    deployment_free(&deployment);
    if (answer == NULL)
        return ctl_fail(&err);
    if (ctl->json) {
        ctl_print_json(answer);
        return CTL_DONE;
    }
    print(answer);
    json_decref(answer);
    return CTL_DONE;
}

static void print_rules(const json_t *answer)
{
    fputs(ctl_text(answer, "rules"), stdout);
}

enum ctl_exit verb_rules_show(const struct ctl *ctl)
{
    struct buf target = {0};
    struct error err = {0};
    int64_t version;
    if (args_number(&ctl->args, "--version", 1, INT64_MAX, &version, &err) != 0)
        return ctl_misused(&err);
    buf_printf(&target, "/v1/rules");
    deployment_add_query(&target, "version", args_value(&ctl->args, "--version"));
    enum ctl_exit result = ask_and(ctl, target.base, print_rules);
    buf_free(&target);
    return result;
}

static void print_history(const json_t *answer)
{
    const json_t *list = json_object_get(answer, "history");
    struct grid grid;
    grid_begin(&grid, ">EPOCH|>VERSION|AT|BY|SHA-256|NOTE");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *record = json_array_get(list, i);
        grid_add(&grid, "%lld", (long long)json_integer_value(json_object_get(record, "epoch")));
        grid_add(&grid, "%lld", (long long)json_integer_value(json_object_get(record, "version")));
        grid_add(&grid, "%.19sZ", ctl_text(record, "at"));
        grid_add(&grid, "%s", ctl_text(record, "by"));
        grid_add(&grid, "%.12s", ctl_text(record, "sha256"));
        grid_add(&grid, "%s", ctl_text(record, "note"));
    }
    grid_print(&grid);
}

enum ctl_exit verb_rules_history(const struct ctl *ctl)
{
    return ask_and(ctl, "/v1/rules/history", print_history);
}
