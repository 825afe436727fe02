/* SPDX-License-Identifier: Apache-2.0 */
#include "common/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static void assert_str(struct str actual, const char *expected)
{
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.base, expected, actual.len);
}

static void urls_come_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned preset;
        const char *scheme, *host, *path;
        unsigned port;
    } rows[] = {
        {"http://10.0.1.10:8080", 0, "http", "10.0.1.10", "", 8080},
        {"redis://broker-1.example", 6379, "redis", "broker-1.example", "", 6379},
        {"http://[::1]:80/", 0, "http", "::1", "/", 80},
        {"http://[fe80::1%eth0]:1/a/b?c=d", 0, "http", "fe80::1%eth0", "/a/b?c=d", 1},
        {"http://app_1:65535/x", 80, "http", "app_1", "/x", 65535},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct url url;
        struct error err;
        assert_int_equal(url_parse(str_of(rows[i].text), rows[i].preset, &url, &err), 0);
        assert_str(url.scheme, rows[i].scheme);
        assert_str(url.host, rows[i].host);
        assert_str(url.path, rows[i].path);
        assert_int_equal(url.port, rows[i].port);
    }
}

static void a_host_is_no_longer_than_a_name_can_be(void **state)
{
    (void)state;
    char text[300] = "http://";
    struct url url;
    struct error err;
    memset(text + 7, 'a', 256);
    strcpy(text + 7 + 255, ":1");
    assert_int_equal(url_parse(str_of(text), 0, &url, &err), 0);
    strcpy(text + 7 + 255, "a:1");
    assert_int_equal(url_parse(str_of(text), 0, &url, &err), -1);
    assert_non_null(strstr(err.text, "255"));
}

static void malformed_urls_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "such as http://host:port"},
        {"10.0.0.1:80", "such as http://host:port"},
        {"http:/x", "such as"},
        {"HTTP://x:1", "such as"},
        {"http://:80", "host is missing"},
        {"http://x", "port is missing"},
        {"http://x:", "from 1 to 65535"},
        {"http://x:0", "from 1 to 65535"},
        {"http://x:65536", "from 1 to 65535"},
        {"http://x:+1", "from 1 to 65535"},
        {"http://x:000080", "from 1 to 65535"},
        {"http://[::1:80", "brackets"},
        {"http://[abc]:80", "brackets"},
        {"http://::1:80", "host is missing"},
        {"http://x:80abc", "does not belong"},
        {"http://x:80/a b", "must not hold"},
        {"http://x:80/a\r\nb", "must not hold"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct url url;
        struct error err = {ERROR_NONE, ""};
        assert_int_equal(url_parse(str_of(rows[i].text), 0, &url, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
        if (strstr(err.text, rows[i].why) == NULL)
            fail_msg("%s: %s", rows[i].text, err.text);
    }
}

static void a_password_is_refused_and_never_shown(void **state)
{
    (void)state;
    struct url url;
    struct error err;
    assert_int_equal(url_parse(str_of("redis://user:hunter2@host:1"), 0, &url, &err), -1);
    assert_null(strstr(err.text, "hunter2"));
    assert_int_equal(url_parse(str_of("user:hunter2@host:1"), 0, &url, &err), -1);
    assert_null(strstr(err.text, "hunter2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_come_apart),
        cmocka_unit_test(a_host_is_no_longer_than_a_name_can_be),
        cmocka_unit_test(malformed_urls_are_refused_with_a_reason),
        cmocka_unit_test(a_password_is_refused_and_never_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
