/* SPDX-License-Identifier: Apache-2.0 */
#include "router/ramp.h"

static double rate_of(const struct ramp_figures *figures, uint64_t least)
{
    uint64_t requests = figures->requests > least ? figures->requests : least;
    return requests > 0 ? (double)figures->failed / (double)requests : 0;
}

double ramp_failure_rate(const struct ramp_figures *figures)
{
    return rate_of(figures, 0);
}

static bool fails_too_much(const struct ramp_policy *policy, const struct ramp_sight *sight)
{
    uint64_t least = policy->min_requests > RAMP_RATE_LEAST ? policy->min_requests : RAMP_RATE_LEAST;
    return policy->abort_errors > 0 && rate_of(&sight->own, least) > policy->abort_errors &&
           ramp_failure_rate(&sight->own) > ramp_failure_rate(&sight->other);
}

static bool is_too_slow(const struct ramp_policy *policy, const struct ramp_sight *sight)
{
    const struct ramp_figures *own = &sight->own, *other = &sight->other;
    if (policy->abort_latency <= 0 || own->timed < RAMP_LATENCY_LEAST || own->timed < policy->min_requests ||
        other->timed < RAMP_LATENCY_LEAST)
        return false;
    return own->latency_us > other->latency_us + RAMP_LATENCY_SLACK_US &&
           (double)own->latency_us > policy->abort_latency * (double)other->latency_us;
}

enum ramp_verdict ramp_decide(const struct ramp_policy *policy, const struct ramp_sight *sight,
                              enum ramp_reason *reason)
{
    *reason = sight->away                     ? RAMP_NODES_AWAY
              : fails_too_much(policy, sight) ? RAMP_FAILURES
              : is_too_slow(policy, sight)    ? RAMP_LATENCY
                                              : RAMP_STEP_HELD;
    if (*reason != RAMP_STEP_HELD)
        return RAMP_ABORT;
    if (sight->elapsed_us < policy->dwell_us || sight->answered < policy->min_requests)
        return RAMP_WAIT;
    return sight->step + 1 < policy->step_count ? RAMP_ADVANCE : RAMP_FINISH;
}
