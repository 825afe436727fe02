/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "common/file.h"
#include "unit-agent/config.h"

static const char *const unit_given[] = {"unit=RZ01", NULL};

static int load(const char *path, const char *const *overrides, struct agent_config *config, struct buf *faults)
{
    struct diag_list diags = {.file = path ? path : "options"};
    *config = (struct agent_config){0};
    int result = agent_config_load(path, overrides, config, &diags);
    diag_print(&diags, faults);
    diag_free(&diags);
    return result;
}

static void free_config(struct agent_config *config)
{
    options_free(agent_options, agent_option_count, config);
}

static void the_example_shows_the_presets(void **state)
{
    (void)state;
    struct agent_config presets, example;
    struct buf faults = {0}, a = {0}, b = {0};
    assert_int_equal(load(NULL, unit_given, &presets, &faults), 0);
    if (load("conf/agent.yaml", NULL, &example, &faults) != 0)
        fail_msg("%s", faults.base);
    options_show(agent_options, agent_option_count, &presets, &a);
    options_show(agent_options, agent_option_count, &example, &b);
    assert_string_equal(a.base, b.base);
    buf_free(&faults);
    buf_free(&a);
    buf_free(&b);
    free_config(&presets);
    free_config(&example);
}

static void each_option_stands_in_the_example(void **state)
{
    (void)state;
    struct buf text = {0};
    struct error err;
    assert_int_equal(file_read("conf/agent.yaml", 1 << 20, &text, &err), 0);
    for (size_t i = 0; i < agent_option_count; i++) {
        const char *dot = strrchr(agent_options[i].name, '.');
        char key[80];
        snprintf(key, sizeof(key), "\n%s%s: ", dot ? "  " : "", dot ? dot + 1 : agent_options[i].name);
        if (strstr(text.base, key) == NULL)
            fail_msg("%s does not stand in conf/agent.yaml", agent_options[i].name);
    }
    buf_free(&text);
}

static void what_no_single_row_can_check_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *overrides[4], *fault;
    } rows[] = {
        {{NULL}, "unit"},
        {{"unit="}, "unit"},
        {{"unit=a/b"}, "unit"},
        {{"unit=RZ01", "name=a b"}, "name and datacenter"},
        {{"unit=RZ01", "datacenter=x\r\ny"}, "name and datacenter"},
        {{"unit=RZ01", "log.level=loud"}, "log.level"},
        {{"unit=RZ01", "admin.listen="}, "admin.listen"},
        {{"unit=RZ01", "admin.listen=10.0.0.1:9180"}, "admin.listen: 10.0.0.1:9180 is not a loopback address"},
        {{"unit=RZ01", "pulse.listen=9181"}, "pulse.listen: \"9181\" is no address"},
        {{"unit=RZ01", "store.location=nonsense"}, "store.location: "},
        {{"unit=RZ01", "health.path=healthz"}, "health.path"},
        {{"unit=RZ01", "health.path=/a b"}, "health.path"},
        {{"unit=RZ01", "delivery.backoff_min=2s", "delivery.backoff_max=1s"}, "backoff_min"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct agent_config config;
        struct buf faults = {0};
        assert_int_equal(load(NULL, rows[i].overrides, &config, &faults), -1);
        if (strstr(faults.base, rows[i].fault) == NULL)
            fail_msg("%zu: %s", i, faults.base);
        buf_free(&faults);
        free_config(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_shows_the_presets),
        cmocka_unit_test(each_option_stands_in_the_example),
        cmocka_unit_test(what_no_single_row_can_check_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
