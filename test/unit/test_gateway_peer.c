/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/peer.h"

static bool is_in(const char *network, const char *address)
{
    struct peer_networks networks = {NULL, 0};
    struct error err;
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    assert_int_equal(peer_network_parse(&networks, network, &err), 0);
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    if (!is_v4)
        assert_int_equal(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
    bool result = peer_in_networks(&networks, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6);
    free(networks.items);
    return result;
}

static void a_network_holds_its_addresses_and_no_others(void **state)
{
    (void)state;
    assert_true(is_in("10.0.0.0/8", "10.255.1.2"));
    assert_false(is_in("10.0.0.0/8", "11.0.0.1"));
    assert_true(is_in("192.168.4.0/22", "192.168.7.255"));
    assert_false(is_in("192.168.4.0/22", "192.168.8.0"));
    assert_true(is_in("127.0.0.1", "127.0.0.1"));
    assert_false(is_in("127.0.0.1", "127.0.0.2"));
    assert_true(is_in("0.0.0.0/0", "8.8.8.8"));
    assert_false(is_in("0.0.0.0/0", "2001:db8::1"));
    assert_true(is_in("fd00::/8", "fdab::1"));
    assert_false(is_in("fd00::/8", "fe80::1"));
}

static void an_ipv4_client_on_an_ipv6_socket_is_the_same_client(void **state)
{
    (void)state;
    assert_true(is_in("10.0.0.0/8", "::ffff:10.1.1.1"));
    assert_false(is_in("10.0.0.0/8", "::ffff:11.1.1.1"));
}

static void what_is_no_network_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {"", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "host", "::1/129", "10.0.0.0/-1", "1.2.3.4/8/8"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct peer_networks networks = {NULL, 0};
        struct error err = {0};
        assert_int_equal(peer_network_parse(&networks, bad[i], &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
        assert_null(networks.items);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_holds_its_addresses_and_no_others),
        cmocka_unit_test(an_ipv4_client_on_an_ipv6_socket_is_the_same_client),
        cmocka_unit_test(what_is_no_network_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
