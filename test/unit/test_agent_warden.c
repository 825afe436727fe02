/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/warden_decide.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const char first[] = "redis://10.0.0.1:6379", second[] = "redis://10.0.0.2";

/* Version 7: the first broker serves, and the second is in sync. */
static struct broker_record sound(void)
{
    struct broker_record record = {.version = 7, .dataset = "data", .wait = 1, .member_count = 2};
    strcpy(record.primary, first);
    strcpy(record.run_id, "run 1");
    strcpy(record.members[0].url, first);
    strcpy(record.members[0].run_id, "run 1");
    strcpy(record.members[1].url, second);
    strcpy(record.members[1].run_id, "run 2");
    return record;
}

/* The second one alone. */
static struct broker_record moved(void)
{
    struct broker_record record = {.version = 8, .dataset = "data", .member_count = 1};
    strcpy(record.primary, second);
    strcpy(record.run_id, "run 2");
    strcpy(record.members[0].url, second);
    strcpy(record.members[0].run_id, "run 2");
    return record;
}

static struct broker_record none(void)
{
    return (struct broker_record){.version = 0};
}

struct scene {
    const char *name;
    struct broker_record (*record)(void);
    const char *url, *run_id, *follows; /* follows NULL: it is a primary */
    bool link_up;
    uint64_t stamp;
    enum warden_verdict verdict;
    bool fits;
    const char *why; /* a part of it */
};

#define FENCED "127.0.0.1:1"
#define FIRST  "10.0.0.1:6379"
#define SECOND "10.0.0.2:6379"

static const struct scene scenes[] = {
    {"nothing is known", none, first, "run 1", FENCED, false, 0, WARDEN_REST, false, "no broker record"},
    {"a primary without record is left alone", none, first, "run 1", NULL, false, 0, WARDEN_REST, false, "no broker"},

    {"the primary serves", sound, first, "run 1", NULL, false, 7, WARDEN_REST, true, ""},
    {"it has an older stamp", sound, first, "run 1", NULL, false, 6, WARDEN_STAMP, true, ""},
    {"it was stamped ahead", sound, first, "run 1", NULL, false, 8, WARDEN_REST, true, "epoch 8"},
    {"it boots for the first time", sound, first, "run 1", FENCED, false, 0, WARDEN_PROMOTE, false, ""},
    {"it boots again", sound, first, "run 1b", FENCED, false, 7, WARDEN_REST, false, "started anew"},
    {"it boots again, empty", sound, first, "run 1b", FENCED, false, 0, WARDEN_REST, false, "started anew"},
    {"it boots again as a primary", sound, first, "run 1b", NULL, false, 0, WARDEN_REST, false, "started anew"},
    {"it was emptied", sound, first, "run 1", NULL, false, 0, WARDEN_REST, true, "its data"},
    {"somebody made it a replica", sound, first, "run 1", SECOND, true, 7, WARDEN_REST, false, "a replica"},

    {"the replica follows", sound, second, "run 2", FIRST, true, 7, WARDEN_REST, true, ""},
    {"its link is down", sound, second, "run 2", FIRST, false, 7, WARDEN_REST, false, ""},
    {"it boots", sound, second, "run 2b", FENCED, false, 6, WARDEN_FOLLOW, false, ""},
    {"it follows another", sound, second, "run 2", "10.0.0.3:6379", true, 7, WARDEN_FOLLOW, false, ""},
    {"it follows another port", sound, second, "run 2", "10.0.0.1:6380", true, 7, WARDEN_FOLLOW, false, ""},
    {"it calls itself a primary", sound, second, "run 2", NULL, false, 6, WARDEN_FOLLOW, false, ""},
    {"it was promoted by a newer record", sound, second, "run 2", NULL, false, 8, WARDEN_REST, false, "epoch 8"},

    {"the standby takes over", moved, second, "run 2", FIRST, true, 7, WARDEN_PROMOTE, false, ""},
    {"it took over", moved, second, "run 2", NULL, false, 8, WARDEN_REST, true, ""},
    {"it was started anew before it could", moved, second, "run 2b", FENCED, false, 7, WARDEN_REST, false, "anew"},
    {"the deposed primary returns", moved, first, "run 1b", FENCED, false, 7, WARDEN_FOLLOW, false, ""},
    {"the deposed primary was never away", moved, first, "run 1", NULL, false, 7, WARDEN_FOLLOW, false, ""},
    {"it was about to take another in", moved, first, "run 1", NULL, false, 8, WARDEN_FOLLOW, false, ""},
    {"it follows", moved, first, "run 1", SECOND, true, 8, WARDEN_REST, true, ""},
};

static void every_scene_ends_as_it_should(void **state)
{
    (void)state;
    for (const struct scene *scene = scenes; scene < scenes + sizeof(scenes) / sizeof(*scenes); scene++) {
        struct broker_record record = scene->record();
        struct warden_look look = {
            .is_primary = scene->follows == NULL, .link_up = scene->link_up, .stamp = scene->stamp};
        struct warden_action action;
        snprintf(look.dataset, sizeof(look.dataset), "%s", scene->stamp > 0 ? "data" : "");
        snprintf(look.run_id, sizeof(look.run_id), "%s", scene->run_id);
        snprintf(look.follows, sizeof(look.follows), "%s", scene->follows ? scene->follows : "");
        warden_decide(&record, scene->url, &look, &action);
        if (action.verdict != scene->verdict || action.fits != scene->fits || strstr(action.why, scene->why) == NULL)
            fail_msg("%s: verdict %d, %s, why \"%s\"", scene->name, action.verdict,
                     action.fits ? "fits" : "does not fit", action.why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scene_ends_as_it_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
