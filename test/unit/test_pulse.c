/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/pulse.h"

static struct pulse_key *key;

static int create_key(void **state)
{
    (void)state;
    key = pulse_key_create(STR_LIT("a key of the tests"));
    return 0;
}

static int destroy_key(void **state)
{
    (void)state;
    pulse_key_destroy(&key);
    return 0;
}

/* The largest of KIND, each field with a value of its own. */
static struct pulse filled(enum pulse_kind kind)
{
    struct pulse pulse = {.kind = kind, .name = "one", .place = "RZ01", .incarnation = 1ULL << 50, .seq = 7};
    pulse.sent_us = 1795243875155000;
    pulse.loop_lag_us = 1234;
    pulse.by_agent = kind == PULSE_AGENT;
    if (kind == PULSE_AGENT) {
        pulse.agent.epoch = 12;
        pulse.agent.nodes[0] = (struct pulse_nodes){2, 3};
        pulse.agent.nodes[1] = (struct pulse_nodes){0, 65535};
        pulse.agent.broker_count = PULSE_BROKERS_MOST;
        for (unsigned i = 0; i < PULSE_BROKERS_MOST; i++)
            pulse.agent.brokers[i] =
                (struct pulse_broker){i + 1,        ~0ULL - i,    i * i,        i,     1ULL << 40, 99 * i, (i & 1) != 0,
                                      (i & 2) != 0, (i & 4) != 0, (i & 8) != 0, i == 5};
    } else if (kind == PULSE_GATEWAY) {
        pulse.gateway.vote_count = PULSE_VOTES_MOST;
        for (unsigned i = 0; i < PULSE_VOTES_MOST; i++)
            pulse.gateway.votes[i] = (struct pulse_vote){i + 1, i * 3, {i % 6, 5 - i % 6}, (i & 1) != 0, (i & 2) != 0};
    } else {
        strcpy(pulse.record.unit, "RZ01");
        pulse.record.version = 77;
        pulse.record.text_len = PULSE_RECORD_MOST;
        memset(pulse.record.text, '{', PULSE_RECORD_MOST);
    }
    return pulse;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        uint8_t bytes[PULSE_MOST];
        struct pulse pulse = filled((enum pulse_kind)kind), read;
        size_t len = pulse_encode(key, &pulse, bytes);
        assert_in_range(len, 100, PULSE_MOST);
        assert_int_equal(pulse_decode(key, bytes, len, &read), PULSE_FINE);
        assert_memory_equal(&pulse, &read, sizeof(pulse));
    }
}

static void each_byte_counts(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        uint8_t bytes[PULSE_MOST];
        struct pulse pulse = filled((enum pulse_kind)kind), read;
        size_t len = pulse_encode(key, &pulse, bytes);
        for (size_t i = 0; i < len; i++) {
            bytes[i] ^= 0x10;
            assert_int_equal(pulse_decode(key, bytes, len, &read), i < 5 ? PULSE_FOREIGN : PULSE_FORGED);
            bytes[i] ^= 0x10;
            assert_int_not_equal(pulse_decode(key, bytes, i, &read), PULSE_FINE);
        }
    }
}

static void another_key_opens_nothing(void **state)
{
    (void)state;
    uint8_t bytes[PULSE_MOST];
    struct pulse pulse = filled(PULSE_AGENT), read;
    struct pulse_key *other = pulse_key_create(STR_LIT("another key")), *none = pulse_key_create(STR_LIT(""));
    size_t len = pulse_encode(key, &pulse, bytes);
    assert_int_equal(pulse_decode(other, bytes, len, &read), PULSE_FORGED);
    assert_int_equal(pulse_decode(none, bytes, len, &read), PULSE_FORGED);
    pulse_key_destroy(&other);
    pulse_key_destroy(&none);
}

/* Only who has the key can make them, which does not make them harmless. */
static void authentic_nonsense_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[PULSE_MOST];
    struct pulse pulse = {.kind = PULSE_AGENT, .name = "a name"}, read;
    size_t len = pulse_encode(key, &pulse, bytes);
    assert_int_equal(pulse_decode(key, bytes, len, &read), PULSE_MALFORMED); /* a blank in a name */
    pulse = (struct pulse){.kind = PULSE_AGENT, .name = "one", .agent.nodes = {{2, 1}}};
    len = pulse_encode(key, &pulse, bytes);
    assert_int_equal(pulse_decode(key, bytes, len, &read), PULSE_MALFORMED); /* more nodes up than there are */
}

static void a_datagram_is_taken_once(void **state)
{
    (void)state;
    struct pulse_window window = {0};
    assert_true(pulse_window_take(&window, 5, 10));
    assert_false(pulse_window_take(&window, 5, 10));
    assert_true(pulse_window_take(&window, 5, 12));
    assert_true(pulse_window_take(&window, 5, 11));
    assert_false(pulse_window_take(&window, 5, 11));
    assert_true(pulse_window_take(&window, 5, 12 + 63));
    assert_false(pulse_window_take(&window, 5, 12));
    assert_true(pulse_window_take(&window, 5, 13));
    assert_false(pulse_window_take(&window, 5, 11)); /* fell out of the window */
    assert_true(pulse_window_take(&window, 5, 1000000));
    assert_true(pulse_window_take(&window, 5, 1000000 - 63));
    assert_false(pulse_window_take(&window, 5, 1000000 - 64));
}

static void a_former_life_is_over(void **state)
{
    (void)state;
    struct pulse_window window = {0};
    assert_true(pulse_window_take(&window, 5, 1000));
    assert_true(pulse_window_take(&window, 6, 1));
    assert_false(pulse_window_take(&window, 5, 1001));
    assert_false(pulse_window_take(&window, 6, 1));
    assert_true(pulse_window_take(&window, 6, 2));
}

static void no_text_has_no_hash(void **state)
{
    (void)state;
    assert_int_equal(pulse_hash(STR_LIT("")), 0);
    assert_int_not_equal(pulse_hash(STR_LIT("RZ01")), 0);
    assert_int_not_equal(pulse_hash(STR_LIT("RZ01")), pulse_hash(STR_LIT("RZ02")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),   cmocka_unit_test(each_byte_counts),
        cmocka_unit_test(another_key_opens_nothing), cmocka_unit_test(authentic_nonsense_is_refused),
        cmocka_unit_test(a_datagram_is_taken_once),  cmocka_unit_test(a_former_life_is_over),
        cmocka_unit_test(no_text_has_no_hash),
    };
    return cmocka_run_group_tests(tests, create_key, destroy_key);
}
