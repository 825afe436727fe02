/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/rulefile.h"

#include <stdio.h>

#include "common/diag_json.h"
#include "common/file.h"

#define MOST_RULES (64 * 1024 * 1024)

int rulefile_read(struct rulefile *file, const char *path, struct error *err)
{
    *file = (struct rulefile){.name = path, .diags.file = path};
    if (file_read(path, MOST_RULES, &file->text, err) != 0)
        return -1;
    file->table = rules_load(buf_str(&file->text), 0, &file->diags);
    return 0;
}

void rulefile_compile(struct rulefile *file, const char *name, struct str text, uint64_t epoch)
{
    *file = (struct rulefile){.name = name, .diags.file = name};
    buf_append_str(&file->text, text);
    file->table = rules_load(buf_str(&file->text), epoch, &file->diags);
}

void rulefile_free(struct rulefile *file)
{
    table_unref(&file->table);
    diag_free(&file->diags);
    buf_free(&file->text);
}

enum ctl_exit rulefile_report(const struct ctl *ctl, struct rulefile *file)
{
    struct buf text = {0};
    diag_print(&file->diags, &text);
    if (ctl->json)
        ctl_print_json(json_pack("{s:s,s:b,s:o}", "file", file->name, "valid", file->table != NULL, "diagnostics",
                                 diag_to_json(&file->diags)));
    else
        fwrite(text.base ? text.base : "", 1, text.len, stderr);
    buf_free(&text);
    return file->table != NULL ? CTL_DONE : CTL_FAILED;
}

enum ctl_exit rulefile_need(const struct ctl *ctl, struct rulefile *file, const char *path)
{
    struct error err = {0};
    if (rulefile_read(file, path, &err) != 0)
        return ctl_fail(&err);
    return file->table != NULL && ctl->json ? CTL_DONE : rulefile_report(ctl, file);
}
