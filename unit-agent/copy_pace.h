/* SPDX-License-Identifier: Apache-2.0
 *
 * How much of its time the making and the catching up of copies may take, so that live writes come first. Both brokers
 * that this takes time of are asked for a sign of life in each rest, when they have no other work of it: an answer
 * leaves a broker behind all that came with the question. Where that takes longer than it did lately, some process on
 * the way is wanted by others: the share falls to half, again and again, down to a sixteenth; where it does not, it
 * rises slowly, up to a quarter (additive increase, multiplicative decrease by delay, as RFC 6817 does it on a
 * network). Nothing of this is to be tuned. Embedded in the copies.
 */
#ifndef AGENT_COPY_PACE_H
#define AGENT_COPY_PACE_H

#include "common/broker.h"

#define COPY_PACE_ANSWERS 9 /* of these the median counts: now and then one is late whoever is there */

struct copy_pace;

/* A broker that is asked. */
struct copy_pace_side {
    struct copy_pace *pace;
    bool asking;
    uint64_t asked_us;                    /* monotonic, as all here */
    uint64_t waits_us[COPY_PACE_ANSWERS]; /* until it answered the last times, by turns */
    unsigned heard;                       /* so many answers, in all */
    uint64_t lowest_us[2];                /* of their medians: in this window, and in the one before */
    uint64_t window_us;                   /* when this one began */
};

struct copy_pace {
    struct copy_pace_side origin, local;
    unsigned share;     /* of 1,024 parts of the time */
    uint64_t steady_us; /* it does not fall again before */
};

/* What a copy that follows lacks, where it has just applied something. */
struct copy_pace_lag {
    uint64_t left;   /* changes behind the newest one */
    uint64_t age_us; /* since what it applied was written */
    bool is_new;     /* it was never open: nobody reads it yet */
};

void copy_pace_init(struct copy_pace *pace);

/* Asks BROKER for a sign of life, unless that is under way or it is not READY. */
void copy_pace_ask(struct copy_pace_side *side, struct broker *broker);

/* It took so long, at NOW_US. */
void copy_pace_hear(struct copy_pace_side *side, uint64_t took_us, uint64_t now_us);

/* For how long whoever has worked for BUSY_US is to rest. HURRIES: for half of the time, whatever others want. */
uint64_t copy_pace_rest_us(const struct copy_pace *pace, uint64_t busy_us, bool hurries);

/* The same for who has just applied COUNT changes: however much others want, it goes some times as fast as they were
 * written; a new copy has less to hurry for. */
uint64_t copy_pace_catch_up_us(const struct copy_pace *pace, uint64_t busy_us, uint64_t count,
                               const struct copy_pace_lag *lag);

/* Its share of the time. */
unsigned copy_pace_percent(const struct copy_pace *pace);

#endif
