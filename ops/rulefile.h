/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules with their text and the table that they compile to. The caller lends the struct and frees what it holds.
 */
#ifndef OPS_RULEFILE_H
#define OPS_RULEFILE_H

#include "common/diag.h"
#include "ops/ctl.h"
#include "rules/rules.h"

struct rulefile {
    const char *name;    /* what the operator calls it; borrowed */
    struct buf text;     /* as it was written */
    struct table *table; /* NULL where the text is faulty */
    struct diag_list diags;
};

/* Reads and compiles the file at PATH. Returns -1 with *err where it cannot be read; a faulty text is no error here:
 * then `table` is NULL. */
int rulefile_read(struct rulefile *file, const char *path, struct error *err) MUST_CHECK;

/* The same with a text that is there already; copied. */
void rulefile_compile(struct rulefile *file, const char *name, struct str text, uint64_t epoch);
void rulefile_free(struct rulefile *file);

/* Tells what is wrong with FILE: text to standard error, or JSON {"file","valid","diagnostics"} to standard output.
 * CTL_FAILED where there is an error among it. */
enum ctl_exit rulefile_report(const struct ctl *ctl, struct rulefile *file);

/* For verbs that need sound rules: reads PATH, and tells what is wrong where it is not CTL_DONE. Warnings are told in
 * text form only. */
enum ctl_exit rulefile_need(const struct ctl *ctl, struct rulefile *file, const char *path);

#endif
