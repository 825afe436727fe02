/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/file.h"

static int load(const char *path, const char *const *overrides, struct gateway_config *config, struct buf *faults)
{
    struct diag_list diags = {.file = path};
    *config = (struct gateway_config){0};
    int result = gateway_config_load(path, overrides, config, &diags);
    diag_print(&diags, faults);
    diag_free(&diags);
    return result;
}

static void free_config(struct gateway_config *config)
{
    options_free(gateway_options, gateway_option_count, config);
}

static void the_example_shows_the_presets(void **state)
{
    (void)state;
    struct gateway_config presets, example;
    struct buf faults = {NULL, 0, 0}, a = {NULL, 0, 0}, b = {NULL, 0, 0};
    assert_int_equal(load(NULL, NULL, &presets, &faults), 0);
    if (load("conf/gateway.yaml", NULL, &example, &faults) == -1)
        fail_msg("%s", faults.base);
    options_show(gateway_options, gateway_option_count, &presets, &a);
    options_show(gateway_options, gateway_option_count, &example, &b);
    assert_string_equal(a.base, b.base);
    buf_free(&a);
    buf_free(&b);
    free_config(&presets);
    free_config(&example);
}

static void each_option_stands_in_the_example(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0};
    struct error err;
    assert_int_equal(file_read("conf/gateway.yaml", 1 << 20, &text, &err), 0);
    for (size_t i = 0; i < gateway_option_count; i++) {
        const char *dot = strrchr(gateway_options[i].name, '.');
        char key[80];
        snprintf(key, sizeof(key), "\n%s%s: ", dot ? "  " : "", dot ? dot + 1 : gateway_options[i].name);
        if (strstr(text.base, key) == NULL)
            fail_msg("%s does not stand in conf/gateway.yaml", gateway_options[i].name);
    }
    buf_free(&text);
}

static void a_missing_file_is_a_fault(void **state)
{
    (void)state;
    struct gateway_config config;
    struct buf faults = {NULL, 0, 0};
    assert_int_equal(load("conf/missing.yaml", NULL, &config, &faults), -1);
    assert_string_equal(faults.base, "cannot open conf/missing.yaml: No such file or directory\n");
    buf_free(&faults);
    free_config(&config);
}

static void what_no_single_row_can_check_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *overrides[4], *fault;
    } rows[] = {
        {{"name=a b"}, "name and datacenter"},
        {{"datacenter=x\r\ny"}, "name and datacenter"},
        {{"log.level=loud"}, "log.level"},
        {{"ingress.tls_listen=127.0.0.1:0"}, "ingress.tls_certificate"},
        {{"ingress.listen="}, "both empty"},
        {{"admin.listen="}, "admin.listen"},
        {{"limits.uri=32KiB"}, "limits.uri"},
        {{"ingress.listen=127.0.0.1:80,8080"}, "ingress.listen: \"8080\" is no address"},
        {{"ingress.tls_listen=8443", "ingress.tls_certificate=a", "ingress.tls_key=b"}, "ingress.tls_listen: \"8443\""},
        {{"ingress.trusted_peers=ten"}, "ingress.trusted_peers: \"ten\" is no network"},
        {{"admin.listen=9080"}, "admin.listen: \"9080\" is no address"},
        {{"admin.listen=10.0.0.1:9080"}, "admin.listen: 10.0.0.1:9080 is not a loopback address"},
        {{"pulse.listen=0.0.0.0:9081"}, "pulse.listen: 0.0.0.0:9081 is not a loopback address"},
        {{"store.location=etdc:http://10.0.0.1:2379"}, "store.location: "},
        {{"store.location=etcd:10.0.0.1:2379"}, "store.location: "},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct gateway_config config;
        struct buf faults = {NULL, 0, 0};
        assert_int_equal(load(NULL, rows[i].overrides, &config, &faults), -1);
        if (strstr(faults.base, rows[i].fault) == NULL)
            fail_msg("%s: %s", rows[i].overrides[0], faults.base);
        buf_free(&faults);
        free_config(&config);
    }
}

static void what_wants_a_secret_is_sound_with_one(void **state)
{
    (void)state;
    static const char *const sets[][4] = {
        {"admin.listen=10.0.0.1:9080", "admin.token_file=/t", "pulse.listen=10.0.0.1:9081"},
        {"admin.listen=unix:/run/admin", "pulse.listen=10.0.0.1:9081", "pulse.key_file=/k"},
        {"ingress.listen=gateway.example:80,[::1]:81", "store.location=etcd:https://10.0.0.1:2379/x"},
    };
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        struct gateway_config config;
        struct buf faults = {NULL, 0, 0};
        if (load(NULL, sets[i], &config, &faults) != 0)
            fail_msg("%s: %s", sets[i][0], faults.base);
        buf_free(&faults);
        free_config(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_shows_the_presets),
        cmocka_unit_test(each_option_stands_in_the_example),
        cmocka_unit_test(a_missing_file_is_a_fault),
        cmocka_unit_test(what_no_single_row_can_check_is_checked),
        cmocka_unit_test(what_wants_a_secret_is_sound_with_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
