/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "unit-agent/copy_source.h"

struct scene {
    sd_event *loop;
    struct agent_config options;
    struct copy_source source;
    struct copy_claim claim;
    unsigned ended, covered;
};

static void on_claim(void *arg, bool covered)
{
    struct scene *scene = arg;
    scene->ended++;
    scene->covered += covered;
}

static void on_changed(void *arg)
{
    (void)arg;
}

static int setup(void **state)
{
    static struct scene scene;
    scene = (struct scene){.options.broker.timeout = 1000};
    scene.claim = (struct copy_claim){.done = on_claim, .arg = &scene};
    assert_true(sd_event_new(&scene.loop) >= 0);
    copy_source_init(&scene.source, scene.loop, &scene.options, NULL, on_changed, &scene);
    snprintf(scene.source.unit, sizeof(scene.source.unit), "CORE");
    *state = &scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    copy_source_close(&scene->source);
    sd_event_unref(scene->loop);
    return 0;
}

/* Nothing connects: the loop does not run. */
static void hear(struct scene *scene, uint64_t version, const char *primary)
{
    struct broker_record record = {.version = version, .member_count = 2, .wait = 1};
    snprintf(record.primary, sizeof(record.primary), "%s", primary);
    copy_source_heard(&scene->source, "CORE", &record);
}

/* However alike they are called, and wherever their names lie in memory. */
static void another_primary_does_not_confirm_what_the_last_one_told(void **state)
{
    struct scene *scene = *state;
    hear(scene, 1, "redis://one-of-the-core-unit.brokers.example:6001");
    for (unsigned i = 0; i < 10; i++) {
        copy_source_claim(&scene->source, &scene->claim);
        hear(scene, 3 * i + 2, scene->source.record.primary);
        assert_int_equal(scene->ended, i);
        hear(scene, 3 * i + 3,
             i % 2 == 0 ? "redis://one-of-the-core-unit.brokers.example:6002"
                        : "redis://one-of-the-core-unit.brokers.example:6001");
        assert_int_equal(scene->ended, i + 1);
    }
    assert_int_equal(scene->covered, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(another_primary_does_not_confirm_what_the_last_one_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
