/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/protocol.h"

#define LATE_US       50000 /* a timer that is later than this was not late by chance */
#define EARLY_BEAT_US 20000 /* while it does not know yet who of those that it found will stay */

struct member {
    char *name;
    uint64_t hash; /* of the name */
};

struct roster {
    struct roster_config config;
    struct broker *broker;
    sd_event_source *beat, *lapse;
    struct member *members; /* who lives and stays */
    size_t count;
    uint64_t generation, digest;
    bool present;      /* this agent is one of them */
    bool first;        /* by name */
    bool held;         /* the last beat did not run out yet, as far as was looked */
    uint64_t until_us; /* monotonic: when it does */
    uint64_t early_us; /* monotonic: until then others may be about to leave, or gone */
    bool leaving;
    uint64_t sent_us[4]; /* of the beats under way, oldest first */
    size_t under_way;
    char agents_key[PROTOCOL_KEY_MAX];
    char fault[160];
    void (*left)(void *arg);
    void *left_arg;
};

/* --- who lives --------------------------------------------------------------------------------------------------- */

static void forget_members(struct roster *roster)
{
    for (size_t i = 0; i < roster->count; i++)
        free(roster->members[i].name);
    free(roster->members);
    roster->members = NULL;
    roster->count = 0;
}

static void note_members(struct roster *roster, const redisReply *reply)
{
    struct str self = roster->config.name;
    uint64_t digest = reply->elements;
    forget_members(roster);
    roster->members = mem_calloc(reply->elements / 2 + 1, sizeof(*roster->members));
    roster->present = false;
    roster->first = true;
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const redisReply *name = reply->element[i];
        if (name->type != REDIS_REPLY_STRING)
            continue;
        uint64_t hash = XXH3_64bits(name->str, (size_t)name->len);
        roster->members[roster->count++] = (struct member){str_dup((struct str){name->str, (size_t)name->len}), hash};
        digest += hash * 0x9e3779b97f4a7c15u; /* their order says nothing */
        bool is_self = str_equal((struct str){name->str, (size_t)name->len}, self);
        roster->present |= is_self;
        roster->first &= is_self || strcmp(roster->members[roster->count - 1].name, self.base) > 0;
    }
    if (digest == roster->digest)
        return;
    roster->digest = digest;
    roster->generation++;
    log_info("agents.changed", "%zu agents of %.*s live", roster->count, STR_ARG(roster->config.unit));
}

static uint64_t mix(uint64_t member, uint64_t hash)
{
    const uint64_t both[2] = {member, hash};
    return XXH3_64bits(both, sizeof(both));
}

bool roster_chooses(const struct roster *roster, uint64_t hash)
{
    uint64_t highest = 0;
    const struct member *chosen = NULL;
    for (size_t i = 0; i < roster->count; i++) {
        uint64_t weight = mix(roster->members[i].hash, hash);
        if (chosen == NULL || weight > highest) {
            chosen = &roster->members[i];
            highest = weight;
        }
    }
    return chosen != NULL && str_equal(str_of(chosen->name), roster->config.name);
}

bool roster_is_keeper(const struct roster *roster)
{
    return roster->present && roster->first && roster_holds(roster);
}

uint64_t roster_generation(const struct roster *roster)
{
    return roster->generation;
}

/* --- beats ------------------------------------------------------------------------------------------------------- */

bool roster_holds(const struct roster *roster)
{
    return roster->held && clock_monotonic_us() < roster->until_us;
}

static void lapse(struct roster *roster)
{
    bool late = clock_monotonic_us() > roster->until_us + LATE_US;
    roster->held = false;
    stat_add(&roster->config.stats->agent_lapses_total, 1);
    log_warning("agent.lapsed", "the broker confirmed no beat for %ld ms%s; nothing is delivered until it does",
                (long)roster->config.options->lease.ttl, late ? ", while this process stood still" : "");
    roster->config.lapsed(roster->config.arg, late);
}

static int on_lapse(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct roster *roster = arg;
    if (roster->held && !roster_holds(roster))
        lapse(roster);
    return 0;
}

static void extend(struct roster *roster, uint64_t sent_us)
{
    uint64_t until_us = sent_us + (uint64_t)roster->config.options->lease.ttl * 1000;
    if (roster->held && !roster_holds(roster))
        lapse(roster);
    if (until_us <= clock_monotonic_us())
        return;
    roster->held = true;
    roster->until_us = until_us;
    roster->fault[0] = '\0';
    sd_event_source_set_time(roster->lapse, until_us);
    loop_wake(roster->lapse);
    roster->config.beaten(roster->config.arg);
}

static void refuse(struct roster *roster, const char *why)
{
    if (strcmp(roster->fault, why) != 0)
        log_warning("agent.refused", "%.*s: %s", STR_ARG(roster->config.name), why);
    snprintf(roster->fault, sizeof(roster->fault), "%s", why);
}

static void on_beaten(void *arg, const redisReply *reply)
{
    struct roster *roster = arg;
    uint64_t sent_us = roster->sent_us[0];
    memmove(roster->sent_us, roster->sent_us + 1, sizeof(roster->sent_us) - sizeof(roster->sent_us[0]));
    roster->under_way--;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        refuse(roster, reply->str);
    } else if (reply->type == REDIS_REPLY_ARRAY) {
        note_members(roster, reply);
        extend(roster, sent_us);
    }
}

static void beat(struct roster *roster)
{
    char ttl[24];
    if (roster->left != NULL || roster->under_way == sizeof(roster->sent_us) / sizeof(roster->sent_us[0]))
        return;
    snprintf(ttl, sizeof(ttl), "%ld", (long)roster->config.options->lease.ttl);
    const char *const argv[] = {"FCALL",
                                "ldc1_beat",
                                "1",
                                roster->agents_key,
                                roster->config.name.base,
                                roster->config.incarnation.base,
                                ttl,
                                roster->leaving ? "leaving" : ""};
    roster->sent_us[roster->under_way++] = clock_monotonic_us();
    if (!broker_command(roster->broker, on_beaten, roster, 8, argv, NULL))
        roster->under_way--;
}

/* Whose unit has just moved finds the agents of before, and waits for their leaving, or their end. */
static uint64_t beat_us(const struct roster *roster)
{
    uint64_t usual_us = (uint64_t)roster->config.options->lease.beat * 1000;
    bool early = clock_monotonic_us() < roster->early_us && !(roster->present && roster->count == 1);
    return early && EARLY_BEAT_US < usual_us ? EARLY_BEAT_US : usual_us;
}

static int on_beat(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct roster *roster = arg;
    beat(roster);
    return loop_wake_in(source, beat_us(roster));
}

/* --- leaving ----------------------------------------------------------------------------------------------------- */

void roster_begin_leaving(struct roster *roster)
{
    roster->leaving = true;
    beat(roster);
}

static void on_left(void *arg, const redisReply *reply)
{
    struct roster *roster = arg;
    (void)reply;
    roster->left(roster->left_arg);
}

void roster_leave(struct roster *roster, void (*done)(void *arg), void *arg)
{
    const char *const argv[] = {
        "FCALL", "ldc1_leave", "1", roster->agents_key, roster->config.name.base, roster->config.incarnation.base};
    roster->left = done;
    roster->left_arg = arg;
    roster->held = false;
    if (!broker_command(roster->broker, on_left, roster, 6, argv, NULL))
        done(arg);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct roster *roster = arg;
    if (roster->broker == NULL) /* told from within broker_create */
        roster->broker = broker;
    if (state == BROKER_READY)
        beat(roster);
}

struct broker *roster_broker(const struct roster *roster)
{
    return roster->broker;
}

const char *roster_fault(const struct roster *roster)
{
    if (roster_holds(roster))
        return NULL;
    return roster->fault[0] != '\0' ? roster->fault : "the broker confirms no beat";
}

struct roster *roster_create(sd_event *loop, const struct roster_config *config)
{
    struct roster *roster = mem_calloc(1, sizeof(*roster));
    roster->config = *config;
    roster->early_us = clock_monotonic_us() + (uint64_t)config->options->lease.ttl * 1000;
    protocol_unit_key(roster->agents_key, config->unit, "agents");
    roster->lapse = loop_timer(loop, on_lapse, roster);
    /* A process that wakes up after having been stopped learns this before it does anything else. */
    INVARIANT(sd_event_source_set_priority(roster->lapse, SD_EVENT_PRIORITY_IMPORTANT) >= 0);
    INVARIANT(sd_event_add_time_relative(loop, &roster->beat, CLOCK_MONOTONIC, 0, 1000, on_beat, roster) >= 0);
    roster->broker = broker_create(config->broker_loop, config->broker, on_state, roster);
    return roster;
}

void roster_destroy(struct roster **roster_p)
{
    struct roster *roster = *roster_p;
    if (roster == NULL)
        return;
    *roster_p = NULL;
    broker_destroy(&roster->broker);
    sd_event_source_disable_unref(roster->beat);
    sd_event_source_disable_unref(roster->lapse);
    forget_members(roster);
    free(roster);
}
