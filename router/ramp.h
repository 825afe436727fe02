/* SPDX-License-Identifier: Apache-2.0
 *
 * The decision of a ramp: whether a colour that takes over a unit's users step by step may go on, must wait or must
 * give back what it has. Pure: figures in, verdict out. Who counts and who writes it down is the gateway's business.
 */
#ifndef ROUTER_RAMP_H
#define ROUTER_RAMP_H

#include <stdbool.h>
#include <stdint.h>

/* Rates are judged as if at least so many requests had been answered: one failure among the first few is no rate. */
#define RAMP_RATE_LEAST 50
/* Latencies are compared where both colours have answered so many, and count only if they are apart by more than the
 * slack: on a fast network half as much again is noise. */
#define RAMP_LATENCY_LEAST    50
#define RAMP_LATENCY_SLACK_US 5000

struct ramp_policy {
    uint32_t step_count;
    uint64_t dwell_us;     /* the least time of a step */
    uint64_t min_requests; /* that the colour must have answered in a step */
    double abort_errors;   /* share of failed requests, 0..1, that it must not exceed; 0: do not look */
    double abort_latency;  /* times the other colour's latency; 0: do not look */
};

struct ramp_figures {
    uint64_t requests, failed;  /* answered or delivered, and of these failed */
    uint64_t timed, latency_us; /* those whose latency is known, and its 90th percentile */
};

struct ramp_sight {
    uint32_t step;                  /* in force, from 0 */
    uint64_t elapsed_us;            /* since it came into force */
    uint64_t answered;              /* by the colour since then */
    struct ramp_figures own, other; /* of the last seconds: the colour that takes over, and the other one */
    bool away;                      /* all nodes of the colour are down */
};

enum ramp_verdict {
    RAMP_WAIT = 0,
    RAMP_ADVANCE, /* to the next step */
    RAMP_FINISH,  /* the last step has held */
    RAMP_ABORT,   /* back to what was before */
};

enum ramp_reason {
    RAMP_STEP_HELD = 0, /* its time is over and enough requests were answered; or, while it waits, not yet */
    RAMP_NODES_AWAY,
    RAMP_FAILURES,
    RAMP_LATENCY,
};

/* *REASON says why. Failures count against the colour only where the other one fails less: a broken database behind
 * both is no reason to prefer either. */
enum ramp_verdict ramp_decide(const struct ramp_policy *policy, const struct ramp_sight *sight,
                              enum ramp_reason *reason);

/* The share of requests that failed; 0 where there were none. */
double ramp_failure_rate(const struct ramp_figures *figures);

#endif
