/* SPDX-License-Identifier: Apache-2.0
 *
 * How the users of a unit share its colours, while that is not what the rules say: set by operators and by ramps. It
 * stands in the control store as the document "colors/UNIT", in JSON:
 *   {"blue": 75, "green": 25, "salt": "", "before": {"blue": 0, "green": 0},
 *    "ramp": {"state": "running", "to": "green", "steps": [5, 25, 100], "step": 1, "dwell_ms": 30000,
 *             "abort_errors": 2.0, "abort_latency": 1.5, "min_requests": 20, "carrier": GATEWAY},
 *    "at_us": 1795243875155000, "by": WHO, "why": SENTENCE}
 * Weights that are both 0 stand for the rules' own. A plain value, without pointers: copied freely. The changes below
 * are pure; who makes one puts it by compare-and-set at the version that it was made from.
 */
#ifndef COMMON_COLOR_RECORD_H
#define COMMON_COLOR_RECORD_H

#include <stdint.h>

#include "common/error.h"
#include "common/str.h"

#define COLOR_STEPS_MOST  16
#define COLOR_WEIGHT_MOST 10000
#define COLOR_SALT_SIZE   65

enum color_ramp_state {
    COLOR_RAMP_NONE = 0,
    COLOR_RAMP_RUNNING,
    COLOR_RAMP_DONE,        /* its last step has held */
    COLOR_RAMP_ROLLED_BACK, /* by itself, or by an operator */
    COLOR_RAMP_STOPPED,     /* somebody set weights while it ran */
};

struct color_weights {
    uint32_t blue, green;
};

struct color_ramp {
    enum color_ramp_state state;
    bool to_green; /* which colour takes over */
    uint32_t steps[COLOR_STEPS_MOST];
    unsigned step_count, step; /* per cent of the users, rising; the one in force */
    uint64_t dwell_ms, min_requests;
    double abort_errors;  /* per cent; 0: failures do not count */
    double abort_latency; /* times the other colour's; 0: latency does not count */
    char carrier[64];     /* the gateway that goes from step to step */
};

struct color_record {
    uint64_t version; /* of the document; 0: there is none. Not in the JSON */
    struct color_weights weights, before;
    char salt[COLOR_SALT_SIZE];
    struct color_ramp ramp;
    uint64_t at_us; /* wall */
    char by[64];
    char why[240];
};

/* "colors/UNIT" into NAME, which has room for SIZE bytes. */
void color_record_name(char *name, size_t size, struct str unit);

/* Takes the JSON apart; unknown keys are passed over. On failure *RECORD is zeroed. */
int color_record_parse(struct str text, struct color_record *record, struct error *err) MUST_CHECK;
void color_record_format(const struct color_record *record, struct buf *out);

/* Who changes the record, when (wall) and why. */
struct color_change {
    uint64_t at_us;
    const char *by, *why;
};

/* WEIGHTS hold from now on (both 0: the rules'); a ramp that runs is stopped. SALT NULL: as it was. */
int color_record_set(struct color_record *record, struct color_weights weights, const char *salt,
                     const struct color_change *change, struct error *err) MUST_CHECK;

/* Begins RAMP at its first step. SHARE: what the colour has now, in per cent, which no step may be below. Refused where
 * one runs already, or the steps do not rise to at most 100. */
int color_record_begin(struct color_record *record, const struct color_ramp *ramp, uint32_t share,
                       const struct color_change *change, struct error *err) MUST_CHECK;

/* The ramp's next step; or, behind the last one, that it is done. */
void color_record_advance(struct color_record *record, const struct color_change *change);

/* Another gateway goes on with the ramp. */
void color_record_carry(struct color_record *record, const struct color_change *change);

/* The weights before the ramp, or before the last change. Refused where there is nothing to go back from. */
int color_record_roll_back(struct color_record *record, const struct color_change *change,
                           struct error *err) MUST_CHECK;

#endif
