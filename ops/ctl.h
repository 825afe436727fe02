/* SPDX-License-Identifier: Apache-2.0
 *
 * What every verb of ldcctl gets and gives: its command line, the form of its output, and an exit code. One row of
 * main.c's table is one verb; --help and docs/LDCCTL.md come from that table.
 */
#ifndef OPS_CTL_H
#define OPS_CTL_H

#include <jansson.h>
#include <stdbool.h>

#include "common/error.h"
#include "ops/args.h"

enum ctl_exit {
    CTL_DONE = 0,
    CTL_FAILED,        /* refused or failed */
    CTL_USAGE,         /* the command line is wrong */
    CTL_UNREACHABLE,   /* nothing answers */
    CTL_NOT_CONVERGED, /* not everybody followed in time */
};

/* Borrowed by the verb for its one call. */
struct ctl {
    struct args args;
    bool json; /* -o json */
    bool html; /* -o html, for verbs whose usage names it */
};

typedef enum ctl_exit (*ctl_verb_fn)(const struct ctl *ctl);

struct ctl_verb {
    const char *name;  /* "rules apply" */
    const char *usage; /* its grammar: args.h */
    const char *doc;   /* a sentence or a few */
    ctl_verb_fn run;
};

/* Prints ERR to standard error; returns the exit code that fits it. */
enum ctl_exit ctl_fail(const struct error *err);
/* The same for a command line that makes no sense. */
enum ctl_exit ctl_misused(const struct error *err);

/* Prints DOCUMENT, with its keys in the order in which they were added, and releases it. */
void ctl_print_json(json_t *document);

/* The text at KEY of the object OBJECT, "" where there is none; borrowed. */
const char *ctl_text(const json_t *object, const char *key);

/* The first of ITEMS whose KEY is TEXT, borrowed; NULL where there is none. */
json_t *ctl_find(const json_t *items, const char *key, const char *text);

/* The lines of TEXT as an array: a new reference. */
json_t *ctl_lines(struct str text);

enum ctl_exit verb_rules_validate(const struct ctl *ctl);
enum ctl_exit verb_rules_diff(const struct ctl *ctl);
enum ctl_exit verb_rules_apply(const struct ctl *ctl);
enum ctl_exit verb_rules_reference(const struct ctl *ctl);
enum ctl_exit verb_rules_show(const struct ctl *ctl);
enum ctl_exit verb_rules_history(const struct ctl *ctl);
enum ctl_exit verb_rules_rollback(const struct ctl *ctl);
enum ctl_exit verb_rules_arrivals(const struct ctl *ctl);
enum ctl_exit verb_explain(const struct ctl *ctl);
enum ctl_exit verb_status(const struct ctl *ctl);
enum ctl_exit verb_top(const struct ctl *ctl);
enum ctl_exit verb_queue_lag(const struct ctl *ctl);
enum ctl_exit verb_queue_dead_list(const struct ctl *ctl);
enum ctl_exit verb_queue_dead_show(const struct ctl *ctl);
enum ctl_exit verb_queue_dead_redrive(const struct ctl *ctl);
enum ctl_exit verb_queue_dead_purge(const struct ctl *ctl);
enum ctl_exit verb_queue_trace(const struct ctl *ctl);
enum ctl_exit verb_queue_reset(const struct ctl *ctl);
enum ctl_exit verb_queue_pause(const struct ctl *ctl);
enum ctl_exit verb_queue_resume(const struct ctl *ctl);
enum ctl_exit verb_queue_throttle(const struct ctl *ctl);
enum ctl_exit verb_queue_transactions_list(const struct ctl *ctl);
enum ctl_exit verb_queue_transactions_commit(const struct ctl *ctl);
enum ctl_exit verb_queue_transactions_rollback(const struct ctl *ctl);
enum ctl_exit verb_zonec_status(const struct ctl *ctl);
enum ctl_exit verb_zonec_verify(const struct ctl *ctl);
enum ctl_exit verb_color_show(const struct ctl *ctl);
enum ctl_exit verb_color_set(const struct ctl *ctl);
enum ctl_exit verb_color_reset(const struct ctl *ctl);
enum ctl_exit verb_color_ramp(const struct ctl *ctl);
enum ctl_exit verb_color_rollback(const struct ctl *ctl);
enum ctl_exit verb_drill_list(const struct ctl *ctl);
enum ctl_exit verb_drill_run(const struct ctl *ctl);
enum ctl_exit verb_drill_abort(const struct ctl *ctl);
enum ctl_exit verb_drill_report(const struct ctl *ctl);
enum ctl_exit verb_unit_drain(const struct ctl *ctl);
enum ctl_exit verb_unit_ready(const struct ctl *ctl);
enum ctl_exit verb_unit_failback(const struct ctl *ctl);
enum ctl_exit verb_unit_fail(const struct ctl *ctl);
enum ctl_exit verb_config_show(const struct ctl *ctl);
enum ctl_exit verb_config_options(const struct ctl *ctl);
enum ctl_exit verb_playground_up(const struct ctl *ctl);
enum ctl_exit verb_playground_down(const struct ctl *ctl);
enum ctl_exit verb_playground_status(const struct ctl *ctl);
enum ctl_exit verb_fault_kill(const struct ctl *ctl);
enum ctl_exit verb_fault_freeze(const struct ctl *ctl);
enum ctl_exit verb_fault_restart(const struct ctl *ctl);
enum ctl_exit verb_fault_drop(const struct ctl *ctl);
enum ctl_exit verb_fault_loss(const struct ctl *ctl);
enum ctl_exit verb_fault_keep(const struct ctl *ctl);
enum ctl_exit verb_fault_heal(const struct ctl *ctl);

#endif
