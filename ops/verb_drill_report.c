/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl drill report: what a run found. A run is a folder of the playground's drills/, named by its id; ids sort by
 * time.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"
#include "ops/answer.h"
#include "ops/ctl.h"
#include "ops/deployment.h"
#include "ops/drill_report.h"

#define REPORT_MOST ((size_t)256 << 20)

static char *report_path(const char *folder, const char *id)
{
    struct buf path = {0};
    buf_printf(&path, "%s/drills/%s/report.json", folder, id);
    return path.base;
}

static bool has_report(const char *folder, const char *id)
{
    char *path = report_path(folder, id);
    bool found = id[0] != '.' && access(path, F_OK) == 0;
    free(path);
    return found;
}

/* The id of the newest run that has a report, for free(); NULL where there is none. */
static char *newest_run(const char *folder)
{
    struct buf drills = {0};
    char *newest = NULL;
    buf_printf(&drills, "%s/drills", folder);
    DIR *open_folder = opendir(drills.base);
    for (const struct dirent *entry; open_folder != NULL && (entry = readdir(open_folder)) != NULL;) {
        if (!has_report(folder, entry->d_name) || (newest != NULL && strcmp(entry->d_name, newest) < 0))
            continue;
        free(newest);
        newest = str_dup(str_of(entry->d_name));
    }
    if (open_folder != NULL)
        closedir(open_folder);
    buf_free(&drills);
    return newest;
}

/* The report of the run ID (NULL: the newest), a new reference, or NULL with *err. */
static json_t *load_report(const char *folder, const char *id, struct error *err)
{
    char *newest = id == NULL ? newest_run(folder) : NULL, *path = NULL;
    struct buf text = {0};
    json_t *report = NULL;
    if (id != NULL && (strchr(id, '/') != NULL || !has_report(folder, id)))
        error_set(err, ERROR_INPUT, "there is no report of a run '%s' in %s/drills", id, folder);
    else if (id == NULL && newest == NULL)
        error_set(err, ERROR_INPUT, "no drill was run in %s", folder);
    else if (file_read(path = report_path(folder, id ? id : newest), REPORT_MOST, &text, err) == 0) {
        report = answer_parse(buf_str(&text));
        if (!json_is_object(report))
            error_set(err, ERROR_INPUT, "%s is no report", path);
    }
    buf_free(&text);
    free(path);
    free(newest);
    return report;
}

static void form_report(const struct ctl *ctl, const json_t *report, struct buf *out)
{
    if (ctl->html)
        drill_report_html(report, out);
    else if (ctl->json) {
        char *text = json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        buf_printf(out, "%s\n", text);
        free(text);
    } else
        drill_report_table(report, out);
}

enum ctl_exit verb_drill_report(const struct ctl *ctl)
{
    const char *output = args_value(&ctl->args, "--output");
    char *folder = deployment_folder(&ctl->args);
    struct error err = {0};
    struct buf text = {0};
    int result = -1;
    json_t *report = load_report(folder, args_word(&ctl->args, 0), &err);
    if (json_is_object(report)) {
        form_report(ctl, report, &text);
        result = output != NULL ? file_replace(output, buf_str(&text), 0644, &err) : 0;
        if (output == NULL)
            fwrite(text.base, 1, text.len, stdout);
    }
    buf_free(&text);
    json_decref(report);
    free(folder);
    return result == 0 ? CTL_DONE : ctl_fail(&err);
}
