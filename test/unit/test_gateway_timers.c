/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define DELAYS 9 /* more than there are lists before empty ones are taken again */

static struct timers timers;
static h2o_timeout_entry_t entries[DELAYS];
static unsigned fired;

static void on_time(h2o_timeout_entry_t *entry)
{
    (void)entry;
    fired++;
}

/* Asks for a delay that nobody has yet. */
static void on_first(h2o_timeout_entry_t *entry)
{
    fired++;
    if (fired < 1000) /* where it turns in a circle, the test still ends */
        timers_arm(&timers, entry, 60000);
}

static void a_timer_that_is_asked_for_while_others_run_waits_for_its_time(void **state)
{
    (void)state;
    timers.loop = h2o_evloop_create();
    for (unsigned i = 1; i < DELAYS; i++) {
        entries[i].cb = on_time;
        timers_arm(&timers, &entries[i], i);
        timers_disarm(&entries[i]);
    }
    entries[0].cb = on_first;
    timers_arm(&timers, &entries[0], 0);
    while (fired == 0)
        h2o_evloop_run(timers.loop, 10);
    assert_int_equal(fired, 1);
    timers_disarm(&entries[0]);
    timers_dispose(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timer_that_is_asked_for_while_others_run_waits_for_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
