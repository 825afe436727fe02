#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The functions behind transactional messages, on a broker."""
import functions_fixture
import itertools
import unittest


class Transactions(functions_fixture.Functions):
    def prepare(self, number, first_ms=6000, keep_ms=60000, idempotency=None, url="http://127.0.0.1:1/check", **fields):
        keys = [self.key("stream"), self.key("state"), self.unit + "epoch", self.unit]
        keys += [self.key("idem:" + idempotency)] if idempotency else []
        return self.function("prepare", keys, 0, 0, 300000, "0" * 32, *self.envelope(id=self.id(number), **fields), url,
                             first_ms, keep_ms)

    def end(self, number, verb):
        return self.function("tx_end", [self.unit], self.id(number), verb, 0).decode()

    def state(self, number):
        found = self.function("find", [self.unit], self.id(number))
        return found and found[0].decode()

    def due(self, checks=15, most_ms=3600000, most=32):
        parked, asked = self.function("tx_due", [self.unit], checks, most_ms, most)
        return parked, [(id.decode(), url.decode(), number) for id, url, number in asked]

    def stored(self):
        return [dict(zip(fields[0::2], fields[1::2])) for _, fields in self.call("XRANGE", self.key("stream"), "-", "+")]

    def test_a_prepared_message_is_invisible_until_it_is_committed(self):
        self.assertEqual(self.prepare(1, user="7", body=b"\0x"), b"prepared")
        self.assertEqual((self.stored(), self.state(1)), ([], "prepared"))
        self.assertEqual(self.end(1, "commit"), "committed")
        [message] = self.stored()
        self.assertEqual((message[b"id"].decode(), message[b"user"], message[b"body"], message[b"n"]),
                         (self.id(1), b"7", b"\0x", b"1"))
        self.assertEqual(message[b"in_us"], b"1795243875155000")

    def test_a_message_that_is_rolled_back_never_appears(self):
        self.prepare(1)
        self.assertEqual(self.end(1, "rollback"), "rolled-back")
        self.assertEqual((self.stored(), self.state(1)), ([], "rolled-back"))

    def test_every_order_of_ends_leaves_the_first_one(self):
        ends = {"commit": "committed", "rollback": "rolled-back"}
        for number, order in enumerate(itertools.product(ends, repeat=3)):
            self.prepare(number)
            for verb in order:
                self.assertEqual(self.end(number, verb), ends[order[0]])
            self.assertEqual(self.state(number), ends[order[0]])
        self.assertEqual(len(self.stored()), 4)

    def test_an_end_is_remembered_for_its_window_alone(self):
        self.prepare(1, keep_ms=60000)
        self.end(1, "commit")
        ttl = self.call("PTTL", self.unit + "ended:" + self.id(1))
        self.assertTrue(0 < ttl <= 60000)
        self.call("DEL", self.unit + "ended:" + self.id(1))
        with self.refused("LDC_UNKNOWN"):
            self.end(1, "commit")
        self.assertEqual(self.left(), [])

    def test_nobody_is_asked_before_the_first_check_is_due(self):
        self.prepare(1, first_ms=60000)
        self.assertEqual(self.due(), (0, []))

    def test_checks_are_counted_put_off_and_end_in_the_parking_queue(self):
        self.prepare(1, first_ms=1, url="http://app/x")
        for number in range(1, 4):
            parked, asked = 0, []
            while not asked:
                parked, asked = self.due(checks=3, most_ms=5)
                self.assertEqual(parked, 0)
            self.assertEqual(asked, [(self.id(1), "http://app/x", number)])
            self.assertEqual(self.state(1), "prepared")
        while self.due(checks=3, most_ms=5)[0] == 0:
            pass
        self.assertEqual(self.state(1), "parked")
        self.assertEqual(self.due(checks=3), (0, []))
        [[id, prepared_ms, since_ms, checks, url]] = self.function("tx_list", [self.unit], "parked", 10)
        self.assertEqual((id.decode(), checks, url), (self.id(1), 3, b"http://app/x"))
        self.assertLessEqual(prepared_ms, since_ms)
        self.assertEqual(self.function("waiting", [self.unit]), [0, 0, 0, 1])
        self.assertEqual(self.end(1, "commit"), "committed")
        self.assertEqual(len(self.stored()), 1)
        self.assertEqual(self.function("waiting", [self.unit]), [0, 0, 0, 0])

    def test_pauses_between_checks_double_up_to_the_longest(self):
        self.prepare(1, first_ms=100)
        pauses = []
        for _ in range(6):
            self.call("ZADD", self.unit + "tx_due", 1, self.id(1))
            now = self.call("TIME")
            self.due(most_ms=2000)
            pauses.append(int(self.call("ZSCORE", self.unit + "tx_due", self.id(1))) - int(now[0]) * 1000 - int(now[1]) // 1000)
        for pause, expected in zip(pauses, (200, 400, 800, 1600, 2000, 2000)):
            self.assertTrue(expected <= pause < expected + 100, pauses)

    def test_one_call_asks_about_as_many_as_are_wanted(self):
        for number in range(50):
            self.prepare(number)
            self.call("ZADD", self.unit + "tx_due", 1, self.id(number))
        self.assertEqual(len(self.due(most=5)[1]), 5)
        self.assertEqual(len(self.due(most=1000)[1]), 32)
        self.assertEqual(len(self.due(most=1000)[1]), 13)

    def test_an_ended_transaction_is_not_asked_about(self):
        self.prepare(1, first_ms=0)
        self.prepare(2, first_ms=0)
        self.end(1, "commit")
        self.assertEqual([id for id, _, _ in self.due()[1]], [self.id(2)])

    def test_a_timer_is_no_transaction_nor_the_reverse(self):
        self.prepare(1)
        self.assertEqual(self.function("cancel", [self.unit], self.id(1), 60000, 0), b"prepared")
        self.function("schedule", [self.key("stream"), self.key("state"), self.unit + "epoch", self.unit], 0, 0, 300000,
                      "0" * 32, *self.envelope(id=self.id(2)), "+60000000", 3600000, 60000)
        self.assertEqual(self.end(2, "commit"), "scheduled")
        with self.refused("LDC_VERB"):
            self.end(1, "explode")
        self.assertEqual(self.function("tx_list", [self.unit], "prepared", 10)[0][0].decode(), self.id(1))

    def test_a_repeat_is_answered_with_the_first_id(self):
        self.prepare(1, idempotency="k")
        self.assertEqual(self.prepare(2, idempotency="k"), [b"replay", self.id(1).encode()])
        self.end(1, "commit")
        self.assertEqual(self.prepare(3, idempotency="k"), [b"replay", self.id(1).encode()])
        self.assertEqual(len(self.stored()), 1)

    def test_a_full_broker_still_lets_transactions_end(self):
        self.prepare(1)
        self.prepare(2)
        self.call("CONFIG", "SET", "maxmemory", 1)
        self.addCleanup(self.call, "CONFIG", "SET", "maxmemory", 0)
        with self.refused("OOM"):
            self.prepare(3)
        self.assertEqual(self.end(1, "commit"), "committed")
        self.assertEqual(self.end(2, "rollback"), "rolled-back")


if __name__ == "__main__":
    unittest.main()
