/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenes in which one fact is different from what all is like while it is well, and what the keeper does then.
 */
#ifndef TEST_KEEPER_PLAY_H
#define TEST_KEEPER_PLAY_H

#include "keeper_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void no_record(struct keeper_state *state)
{
    state->record = (struct broker_record){0};
}

static void primary_restarted(struct keeper_state *state)
{
    strcpy(state->record.run_id, "before");
    strcpy(state->record.members[0].run_id, "before");
}

struct scene {
    const char *name;
    void (*differs)(struct keeper_state *state);
    enum keeper_verdict verdict;
    unsigned members; /* of what is to be written */
    const char *why;  /* a part of it */
    unsigned detached;
};

static void play_scenes(const struct scene *scenes, size_t count)
{
    for (const struct scene *scene = scenes; scene < scenes + count; scene++) {
        struct keeper_state seen = calm(1);
        struct keeper_action action;
        scene->differs(&seen);
        keeper_decide(&seen, NOW + 5 * MS, &action);
        if (action.verdict != scene->verdict || strstr(action.why, scene->why) == NULL ||
            (action.verdict == KEEPER_WRITE && action.record.member_count != scene->members) ||
            action.detach_count != scene->detached)
            fail_msg("%s: verdict %d, %u members, %u detached, why \"%s\"", scene->name, action.verdict,
                     action.record.member_count, action.detach_count, action.why);
        if (action.verdict == KEEPER_WRITE && seen.primary.is_primary)
            assert_int_equal(action.record.wait, seen.primary.online);
        if (action.verdict == KEEPER_STAMP)
            assert_int_equal(action.stamp, seen.record.version + 1);
    }
}

#endif
