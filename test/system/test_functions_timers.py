#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The functions behind timers, on a broker."""
import time
import unittest

import functions_fixture
import harness

HOUR_MS = 3600000
DAY_MS = 24 * HOUR_MS


class Timers(functions_fixture.Functions):
    def now_us(self):
        seconds, us = self.call("TIME")
        return int(seconds) * 1000000 + int(us)

    def now_ms(self):
        return self.now_us() // 1000

    def schedule(self, number, due, near_ms=HOUR_MS, idempotency=None, broker_epoch=0, **fields):
        keys = [self.key("stream"), self.key("state"), self.unit + "epoch", self.unit]
        keys += [self.key("idem:" + idempotency)] if idempotency else []
        return self.function("schedule", keys, broker_epoch, 0, 300000, "0" * 32,
                             *self.envelope(id=self.id(number), **fields), due, near_ms, 60000)

    def due(self, near_ms=HOUR_MS):
        return self.function("due", [self.unit], near_ms)

    def find(self, number):
        found = self.function("find", [self.unit], self.id(number))
        return found and [found[0].decode(), int(found[1]), found[2]]

    def cancel(self, number):
        return self.function("cancel", [self.unit], self.id(number), 60000, 0)

    def waiting(self):
        return self.function("waiting", [self.unit])

    def stored(self):
        return [dict(zip(fields[0::2], fields[1::2])) for _, fields in self.call("XRANGE", self.key("stream"), "-", "+")]

    def drain(self, near_ms=HOUR_MS):
        """Until nothing is to be done at once."""
        calls = 1
        while self.due(near_ms)[1] == 0:
            calls += 1
        return calls

    def wait_stored(self):
        """As a keeper would."""
        def due():
            self.due()
            return self.stored()
        harness.wait_until(due, what="the timer", every=0)

    def test_a_timer_is_stored_when_it_is_due_and_not_before(self):
        due_us = self.now_us() + 500000
        self.assertEqual(int(self.schedule(1, due_us, user="7", body=b"\0\xff")), -(-due_us // 1000))
        self.assertEqual(self.call("XLEN", self.key("stream")), 0)
        while True:
            stored, wait_ms = self.due()
            if stored:
                break
            self.assertTrue(0 <= wait_ms <= 501)  # whole milliseconds: the clock's are cut, the timer's rounded up
        [message] = self.stored()
        self.assertGreaterEqual(int(message[b"st_us"]), due_us)
        self.assertEqual((message[b"user"], message[b"body"], message[b"n"]), (b"7", b"\0\xff", b"1"))
        self.assertEqual(message[b"in_us"], b"1795243875155000")
        self.assertEqual(self.due(), [0, -1])
        self.assertEqual(self.left(), [(self.unit + "ended:" + self.id(1)).encode()])

    def test_a_delay_counts_by_the_brokers_clock(self):
        before = self.now_us()
        due_ms = int(self.schedule(1, "+5000000"))
        self.assertTrue(before // 1000 + 5000 <= due_ms <= self.now_ms() + 5001)

    def test_what_is_past_is_stored_at_once(self):
        entry = self.schedule(1, self.now_us() - 1)
        self.assertEqual(self.call("XRANGE", self.key("stream"), "-", "+")[0][0], entry)
        self.assertEqual(self.waiting(), [0, 0, 0, 0])

    def test_one_call_moves_at_most_32_and_asks_to_be_called_again(self):
        due_us = self.now_us() + 2000000
        for i in range(100):
            self.schedule(i, due_us)
        while self.now_us() < due_us + 1000:
            self.assertLessEqual(self.due()[0], 32)
        self.assertLessEqual(self.drain(), 5)
        self.assertEqual(len({m[b"id"] for m in self.stored()}), 100)
        self.assertEqual([int(m[b"n"]) for m in self.stored()], list(range(1, 101)))

    def test_timers_leave_in_the_order_in_which_they_are_due(self):
        now_us = self.now_us()
        for i in (3, 1, 2):
            self.schedule(i, now_us + 500000 + i * 1000)
        harness.wait_until(lambda: self.due()[1] == -1, what="all three", every=0)
        self.assertEqual([m[b"id"].decode() for m in self.stored()], [self.id(1), self.id(2), self.id(3)])

    def test_an_hour_that_nobody_opened_in_time_leaves_in_the_order_in_which_it_was_due(self):
        due_us = self.now_us() + 200000
        for number in range(100):  # of one user; no agent lived for hours
            self.schedule(number, due_us + number * 1000, near_ms=-2 * HOUR_MS)
        harness.wait_until(lambda: self.now_us() > due_us + 101000, what="all to be due", every=0)
        self.drain()
        self.assertEqual([message[b"id"].decode() for message in self.stored()], [self.id(number) for number in range(100)])

    def test_later_hours_wait_apart_and_come_near_in_steps(self):
        now_us = self.now_us()
        for i in range(200):
            self.schedule(i, now_us + (10 + i % 3) * HOUR_MS * 1000)
        self.assertEqual(self.waiting(), [0, 200, 0, 0])
        self.assertEqual(self.call("ZCARD", self.unit + "hours"), 3)
        stored, wait_ms = self.due()
        self.assertEqual(stored, 0)
        self.assertTrue(8 * HOUR_MS <= wait_ms <= 9 * HOUR_MS)
        self.due(near_ms=11 * HOUR_MS)
        self.assertEqual(self.waiting()[:2], [32, 168])
        self.drain(near_ms=100 * HOUR_MS)
        self.assertEqual(self.waiting(), [200, 0, 0, 0])
        self.assertEqual(self.call("KEYS", self.unit + "later:*"), [])
        due_ms = -(-(now_us + 10 * HOUR_MS * 1000) // 1000)
        self.assertEqual(self.find(0), ["scheduled", due_ms, 0])
        self.assertEqual(self.stored(), [])

    def test_a_later_timer_keeps_its_message_and_its_millisecond(self):
        due_us = self.now_us() + 300000
        self.schedule(1, due_us, near_ms=-HOUR_MS, body=b"\r\n\0")
        self.assertEqual(self.waiting()[:2], [0, 1])
        self.wait_stored()
        [message] = self.stored()
        self.assertEqual(message[b"body"], b"\r\n\0")
        self.assertGreaterEqual(int(message[b"st_us"]), due_us)

    def test_forty_days_are_one_hash_for_each_hour(self):
        now_us = self.now_us()
        for hour in range(2, 960):
            self.schedule(hour, now_us + hour * HOUR_MS * 1000)
        self.assertGreaterEqual(self.waiting()[1], 957)
        began = time.monotonic()
        self.assertEqual(self.find(959)[0], "scheduled")
        self.assertEqual(self.cancel(959), b"cancelled")
        self.assertLess(time.monotonic() - began, 0.5)
        self.assertIsNone(self.call("ZSCORE", self.unit + "hours", (now_us // 1000 + 959 * HOUR_MS) // HOUR_MS))

    def test_a_cancelled_timer_is_gone_and_cancelling_again_says_the_same(self):
        now_us = self.now_us()
        self.schedule(1, now_us + 1000000)
        self.schedule(2, now_us + 30 * DAY_MS * 1000)
        for number in (1, 2, 1, 2):
            self.assertEqual(self.cancel(number), b"cancelled")
        self.assertEqual(self.find(1), ["cancelled", 0, 0])
        while self.now_us() < now_us + 1010000:
            self.assertEqual(self.due(), [0, -1])
        self.assertEqual(self.stored(), [])

    def test_a_timer_that_left_cannot_be_cancelled(self):
        self.schedule(1, self.now_us() + 50000)
        self.wait_stored()
        self.assertEqual(self.cancel(1), b"stored")
        entry_ms = int(self.call("XRANGE", self.key("stream"), "-", "+")[0][0].split(b"-")[0])
        self.assertEqual(self.find(1), ["stored", entry_ms, 0])
        self.assertTrue(0 < self.call("PTTL", self.unit + "ended:" + self.id(1)) <= 60000)
        with self.refused("LDC_UNKNOWN"):
            self.cancel(2)
        self.assertIsNone(self.find(2))

    def test_a_repeat_is_answered_with_the_first_id(self):
        due_us = self.now_us() + 60000000
        self.schedule(1, due_us, idempotency="k")
        self.assertEqual(self.schedule(2, due_us, idempotency="k"), [b"replay", self.id(1).encode()])
        self.assertEqual(self.waiting(), [1, 0, 0, 0])

    def test_a_refusal_writes_nothing(self):
        with self.refused("LDC_EPOCH"):
            self.schedule(1, "+1000000", broker_epoch=7, idempotency="k")
        with self.refused("LDC_ID"):
            self.function("schedule", [self.key("stream", 4), self.key("state", 4), self.unit + "epoch", self.unit], 0, 0,
                          300000, "0" * 32, *self.envelope(id=self.id(1)), "+1000000", HOUR_MS, 60000)
        self.assertEqual(self.call("DBSIZE"), 0)

    def test_a_full_broker_still_lets_timers_leave_and_be_cancelled(self):
        now_us = self.now_us()
        self.schedule(1, now_us + 100000)
        self.schedule(2, "+60000000")
        self.call("CONFIG", "SET", "maxmemory", 1)
        self.addCleanup(self.call, "CONFIG", "SET", "maxmemory", 0)
        with self.refused("OOM"):
            self.schedule(3, "+60000000")
        self.wait_stored()
        self.assertEqual(self.cancel(2), b"cancelled")


if __name__ == "__main__":
    unittest.main()
