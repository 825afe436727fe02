/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl drill: rehearses what may happen, on a playground under load, and puts everything back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"
#include "ops/ctl.h"
#include "ops/drill_report.h"
#include "ops/drill_run.h"
#include "ops/grid.h"

#define MOST_FILE   (1024 * 1024)
#define MOST_ROUNDS 1000
#define MOST_RATE   20000

/* --- which drill -------------------------------------------------------------------------------------------------- */

static enum ctl_exit tell_faults(struct diag_list *diags)
{
    struct buf text = {0};
    diag_print(diags, &text);
    fputs(text.base ? text.base : "", stderr);
    buf_free(&text);
    return CTL_FAILED;
}

/* FILE: what it is called, for free(). */
static int find_text(const struct ctl *ctl, struct buf *text, char **file, struct error *err)
{
    const char *name = args_word(&ctl->args, 0), *path = args_value(&ctl->args, "--file");
    struct str shipped, content, names[64];
    size_t count = 0;
    if (path != NULL) {
        *file = str_dup(str_of(path));
        return file_read(path, MOST_FILE, text, err);
    }
    if (name == NULL)
        return error_set(err, ERROR_INPUT, "which drill? Give its name (`ldcctl drill list`) or --file FILE");
    for (; count < 64 && drill_shipped(count, &shipped, &content); count++) {
        names[count] = (struct str){shipped.base, shipped.len - strlen(".yaml")};
        if (!str_equal(names[count], str_of(name)))
            continue;
        *file = str_dup(shipped);
        buf_append_str(text, content);
        return 0;
    }
    struct str nearest = args_nearest(str_of(name), names, count);
    return error_set(err, ERROR_INPUT, "there is no drill '%s'%s%.*s; `ldcctl drill list` lists them", name,
                     nearest.base != NULL ? "; did you mean " : "", STR_ARG(nearest));
}

/* --- list --------------------------------------------------------------------------------------------------------- */

static void add_row(struct grid *grid, json_t *list, const struct drill *drill)
{
    grid_add(grid, "%.*s", STR_ARG(drill->name.value));
    grid_add(grid, "%.*s", STR_ARG(drill->parameters.unit.value));
    grid_add(grid, "%.*s", STR_ARG(drill->title.value));
    json_array_append_new(
        list, json_pack("{s:s%,s:s%,s:s%,s:s%}", "name", drill->name.value.base, drill->name.value.len, "title",
                        drill->title.value.base, drill->title.value.len, "teaches",
                        drill->teaches.value.base ? drill->teaches.value.base : "", drill->teaches.value.len, "unit",
                        drill->parameters.unit.value.base, drill->parameters.unit.value.len));
}

enum ctl_exit verb_drill_list(const struct ctl *ctl)
{
    struct grid grid;
    struct buf table = {0};
    struct str file, text;
    json_t *list = json_array();
    grid_begin(&grid, "NAME|UNIT|WHAT HAPPENS");
    for (size_t i = 0; drill_shipped(i, &file, &text); i++) {
        struct drill drill;
        struct diag_list diags = {.file = "a drill of this program"};
        if (drill_read(&drill, text, &(struct drill_given){0}, &diags))
            add_row(&grid, list, &drill);
        else
            tell_faults(&diags);
        diag_free(&diags);
        drill_free(&drill);
    }
    grid_end(&grid, &table);
    if (ctl->json)
        ctl_print_json(json_pack("{s:o}", "drills", list));
    else {
        fputs(table.base, stdout);
        json_decref(list);
    }
    buf_free(&table);
    return CTL_DONE;
}

/* --- run ---------------------------------------------------------------------------------------------------------- */

static bool is_confirmed(const struct ctl *ctl, const struct drill *drill)
{
    char answer[16] = "";
    if (args_value(&ctl->args, "--yes") != NULL)
        return true;
    if (!isatty(STDIN_FILENO)) {
        fputs("ldcctl: a drill does harm on purpose: say --yes\n", stderr);
        return false;
    }
    printf("%.*s, on %.*s. Everything is put back afterwards. Go on (yes/no)? ", STR_ARG(drill->title.value),
           STR_ARG(drill->parameters.unit.value));
    fflush(stdout);
    return fgets(answer, sizeof(answer), stdin) != NULL && strcmp(answer, "yes\n") == 0;
}

static enum ctl_exit tell(const struct ctl *ctl, json_t *report)
{
    bool passed = strcmp(ctl_text(report, "outcome"), "passed") == 0;
    struct buf table = {0};
    if (ctl->json) {
        ctl_print_json(json_incref(report));
        return passed ? CTL_DONE : CTL_FAILED;
    }
    drill_report_table(report, &table);
    fputs(table.base, stdout);
    buf_free(&table);
    return passed ? CTL_DONE : CTL_FAILED;
}

static enum ctl_exit run_drill(const struct ctl *ctl, const struct drill *drill)
{
    struct error err = {0};
    json_t *report = NULL;
    enum ctl_exit result = CTL_FAILED;
    if (!is_confirmed(ctl, drill))
        return result;
    int saved = drill_run(drill, &ctl->args, ctl->json, &report, &err);
    if (report != NULL)
        result = tell(ctl, report);
    if (saved != 0)
        result = ctl_fail(&err);
    json_decref(report);
    return result;
}

enum ctl_exit verb_drill_run(const struct ctl *ctl)
{
    struct drill_given given = {.unit = args_value(&ctl->args, "--unit"), .fault = args_value(&ctl->args, "--fault")};
    struct error err = {0};
    struct buf text = {0};
    struct diag_list diags = {0};
    struct drill drill = {0};
    char *file = NULL;
    enum ctl_exit result;
    if (args_number(&ctl->args, "--rounds", 1, MOST_ROUNDS, &given.rounds, &err) != 0 ||
        args_number(&ctl->args, "--rate", 10, MOST_RATE, &given.rate, &err) != 0)
        return ctl_misused(&err);
    if (find_text(ctl, &text, &file, &err) != 0)
        result = err.code == ERROR_INPUT ? ctl_misused(&err) : ctl_fail(&err);
    else {
        diags.file = file;
        result = drill_read(&drill, buf_str(&text), &given, &diags) ? run_drill(ctl, &drill) : tell_faults(&diags);
    }
    drill_free(&drill);
    diag_free(&diags);
    buf_free(&text);
    free(file);
    return result;
}

/* --- abort -------------------------------------------------------------------------------------------------------- */

enum ctl_exit verb_drill_abort(const struct ctl *ctl)
{
    struct error err = {0};
    const char *what = "";
    char *folder = deployment_folder(&ctl->args);
    int result = access(folder, F_OK) == 0 ? drill_abort(folder, &what, &err)
                                           : error_set(&err, ERROR_UNREACHABLE, "there is no playground in %s", folder);
    free(folder);
    if (result != 0)
        return ctl_fail(&err);
    if (ctl->json)
        ctl_print_json(json_pack("{s:s}", "done", what));
    else
        puts(what);
    return CTL_DONE;
}
