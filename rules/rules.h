/* SPDX-License-Identifier: Apache-2.0
 *
 * A rule file's way from text to table: YAML -> model (every value knows its line and column) -> all diagnostics at
 * once -> compiled table. Nothing half-made ever comes out: a table, or the list of faults.
 */
#ifndef RULES_RULES_H
#define RULES_RULES_H

#include "common/diag.h"
#include "common/error.h"
#include "common/str.h"
#include "router/table.h"

/* Compiles TEXT. NULL with errors in DIAGS; warnings may stand there either way. The caller holds the one reference.
 * EPOCH is stamped into the table. */
struct table *rules_load(struct str text, uint64_t epoch, struct diag_list *diags) MUST_CHECK;

/* The schema as Markdown: one row a key, from the same table that drives the loader. For docs/RULES.md. */
void rules_document(struct buf *out);

/* What a change would move. Shares are 0..1; -1: not known. */
struct rules_move {
    uint32_t slot_first, slot_last; /* of the new rules' slots; inclusive */
    uint32_t from, to;              /* unit indexes, in the old and in the new table */
};

/* A user of the live traffic, as gateways sample it: `requests` of the sample's requests were this user's. */
struct rules_sample {
    struct str user;
    uint64_t requests;
};

struct rules_diff {
    struct rules_move *moves; /* runs of slots with the same from and to; empty where hash or slots changed */
    size_t move_count;
    bool resharded;       /* another hash, slot count or salt: compared by sampling */
    double slot_share;    /* of all slots (resharded: of 100,003 probe users) */
    double user_share;    /* of the sampled distinct users, or -1 */
    double request_share; /* of the sampled requests, or -1 */
    struct {
        uint32_t unit; /* in the new table */
        double user_gain,
            request_gain; /* share of all that arrives here and was elsewhere; -1 where there is no sample */
        double slot_gain;
    } * gains;
    size_t gain_count;
    struct buf text; /* other differences, one a line: units added or gone, routes, weights, topics */
};

/* USERS: distinct users, each counts once; REQUESTS: drawn by request, weighted by `requests`. Either may be empty. */
void rules_compare(const struct table *before, const struct table *after, const struct rules_sample *users,
                   size_t user_count, const struct rules_sample *requests, size_t request_count,
                   struct rules_diff *diff);
void rules_diff_free(struct rules_diff *diff);

/* Explains a decision, with the stable keys of `ldcctl explain`:
 * {"user","source","hash","slot","unit","zone","color","rule","override","epoch","target"}, and "verdict" where it is
 * not ok. FILE names the rules in "rule" and "override" as FILE:LINE. PATH and METHOD may have base NULL: then zone A
 * is explained without a route. Appends one JSON object to OUT; returns the verdict. */
enum verdict rules_explain(const struct table *table, const char *file, struct str user, struct str method,
                           struct str path, struct buf *out);

/* The same with the colours of SPLITS, one of each unit, in place of the rules' weights (NULL: those). */
enum verdict rules_explain_split(const struct table *table, const struct split *splits, const char *file,
                                 struct str user, struct str method, struct str path, struct buf *out);

#endif
