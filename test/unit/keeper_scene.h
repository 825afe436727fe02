/* SPDX-License-Identifier: Apache-2.0
 *
 * What a keeper sees while all is well: a primary and its replicas. Tests change one fact of it.
 */
#ifndef TEST_KEEPER_SCENE_H
#define TEST_KEEPER_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "unit-agent/keeper_decide.h"

#define MS      1000ULL
#define NOW     (1000000 * MS)
#define TIMEOUT (1000 * MS)
#define OFFSET  5000

static const char primary_run[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                  data[] = "0123456789abcdef0123456789abcdef";

/* --- a scene: a primary, and replicas on ports 1, 2, ... attached from 127.0.0.1:101, 102, ... ---------------------
 */

static const char *url_of(unsigned i)
{
    static char text[4][32];
    snprintf(text[i], sizeof(text[i]), "redis://127.0.0.1:%u", i);
    return text[i];
}

static struct keeper_look sound(uint64_t began_us, const char *run_id)
{
    struct keeper_look look = {.began_us = began_us,
                               .ended_us = began_us + MS,
                               .offset = OFFSET,
                               .epoch = 7,
                               .writes = 100,
                               .aof_on = true,
                               .aof_sound = true,
                               .rewrite_sound = true,
                               .fsync_always = true};
    strcpy(look.run_id, run_id);
    strcpy(look.dataset, data);
    return look;
}

static struct keeper_look primary_look(uint64_t began_us, unsigned replicas)
{
    struct keeper_look look = sound(began_us, primary_run);
    look.is_primary = true;
    look.sync_full = replicas;
    look.link_count = look.progress_count = look.online = replicas;
    for (unsigned i = 0; i < replicas; i++) {
        look.links[i].id = 10 + i;
        snprintf(look.links[i].at, sizeof(look.links[i].at), "127.0.0.1:%u", 101 + i);
        look.progress[i] = (struct keeper_progress){.ip = "127.0.0.1", .port = i + 1, .offset = OFFSET, .online = true};
    }
    return look;
}

static struct keeper_look replica_look(uint64_t began_us, unsigned i)
{
    char run_id[BROKER_RUN_ID_SIZE];
    snprintf(run_id, sizeof(run_id), "run of replica %u", i + 1);
    struct keeper_look look = sound(began_us, run_id);
    look.link_up = true;
    snprintf(look.link_at, sizeof(look.link_at), "127.0.0.1:%u", 101 + i);
    return look;
}

static struct broker_record record_of(unsigned members)
{
    struct broker_record record = {
        .version = 7, .sync_full = members - 1, .wait = members - 1, .member_count = members};
    strcpy(record.dataset, data);
    strcpy(record.primary, url_of(0));
    strcpy(record.run_id, primary_run);
    for (unsigned i = 0; i < members; i++) {
        strcpy(record.members[i].url, url_of(i));
        strcpy(record.members[i].run_id, primary_run);
        if (i > 0)
            snprintf(record.members[i].run_id, sizeof(record.members[i].run_id), "run of replica %u", i);
    }
    return record;
}

/* What the keeper sees in 100 ms. */
static void look_round(struct keeper_state *state, uint64_t at_us)
{
    struct keeper_look look = primary_look(at_us, state->replica_count);
    keeper_saw_primary(state, &look);
    for (unsigned i = 0; i < state->replica_count; i++) {
        look = replica_look(at_us + 10 * MS, i);
        keeper_saw_replica(state, i, &look);
    }
}

/* Everything is in sync and on record, and has been looked at for two seconds until NOW. */
static struct keeper_state calm(unsigned replicas)
{
    struct keeper_state state = {.record_known = true, .replica_count = replicas, .timeout_us = TIMEOUT};
    strcpy(state.url, url_of(0));
    state.record = record_of(replicas + 1);
    for (unsigned i = 0; i < replicas; i++) {
        strcpy(state.replicas[i].url, url_of(i + 1));
        state.replicas[i].port = i + 1;
    }
    for (uint64_t at_us = NOW - 2000 * MS; at_us < NOW - 50 * MS; at_us += 100 * MS)
        look_round(&state, at_us);
    struct keeper_look last = primary_look(NOW - 5 * MS, replicas);
    keeper_saw_primary(&state, &last);
    return state;
}

#endif
