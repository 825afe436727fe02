#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Messages that are sent to a broker again, for nobody knows whether it has them."""
import time
import unittest

import functions_fixture

UNIT = "ldc:{RZ01}:"


class Replay(functions_fixture.Functions):
    def call_with(self, name, id, epoch=0, keys=(), behind=(), idempotency=None, in_us=None):
        id = f"RZ01.payments.3.{id:>024}"
        envelope = self.envelope(id=id)
        if in_us is not None:
            envelope[4] = in_us
        keys = [self.key("stream"), self.key("state"), UNIT + "epoch", *keys]
        if idempotency:
            keys.append(self.key("idem:" + idempotency))
        return self.function(name, keys, epoch, 0, 300000, "0" * 32, *envelope, *behind)

    def replay(self, id, **options):
        return self.call_with("replay", id, **options)

    def schedule(self, name, id, due):
        return self.call_with(name, id, keys=[UNIT], behind=[due, 3600000, 60000])

    def prepare(self, name, id):
        return self.call_with(name, id, keys=[UNIT], behind=["http://x/", 6000, 60000])

    def test_what_is_there_is_found_and_what_is_not_is_stored(self):
        stored = {n: self.call_with("enqueue", n) for n in range(40)}
        self.assertEqual({n: self.replay(n) for n in stored}, stored)
        new = {n: self.replay(n) for n in range(40, 80)}
        self.assertEqual({n: self.replay(n) for n in range(80)}, {**stored, **new})
        self.assertEqual(self.call("XLEN", self.key("stream")), 80)

    def test_only_the_newest_entries_are_looked_through(self):
        old = self.call_with("enqueue", 1)
        after = (int(old.split(b"-")[0]) + 1002) * 1000
        self.assertNotEqual(self.replay(1, in_us=after), old)

    def test_an_earlier_message_is_found_after_a_later_one(self):
        first = self.call_with("enqueue", 1)
        self.replay(2, in_us=(int(first.split(b"-")[0]) + 5000) * 1000)
        self.assertEqual(self.replay(1), first)

    def test_what_was_read_of_other_data_does_not_count(self):
        self.call_with("enqueue", 1)
        self.replay(2)
        self.call("FLUSHALL")
        entry = self.replay(2)
        self.assertEqual(self.call("XLEN", self.key("stream")), 1)
        self.assertEqual(self.replay(2), entry)

    def test_another_epoch_is_refused_though_the_message_is_there(self):
        self.call_with("enqueue", 1)
        self.call("SET", UNIT + "epoch", "5")
        with self.refused("LDC_EPOCH 5"):
            self.replay(1, epoch=4)

    def test_a_key_that_the_message_itself_has_set_is_told_by_its_id(self):
        self.call_with("enqueue", 1, idempotency="k")
        self.call("XTRIM", self.key("stream"), "MAXLEN", 0)
        self.assertEqual(self.replay(1, idempotency="k"), [b"replay", b"RZ01.payments.3." + b"1".rjust(24, b"0")])

    def test_a_timer_is_set_once(self):
        for n, due in enumerate(("+60000000", "+90000000000")):
            due_ms = self.schedule("schedule", n, due)
            self.assertEqual(self.schedule("replay_schedule", n, due), due_ms)
        self.assertEqual(self.call("ZCARD", UNIT + "timers"), 1)
        self.assertEqual(len(self.call("KEYS", UNIT + "later:*")), 1)
        self.schedule("replay_schedule", 2, "+60000000")
        self.assertEqual(self.call("ZCARD", UNIT + "timers"), 2)

    def test_a_timer_that_is_over_is_not_set_again(self):
        self.schedule("schedule", 1, int(time.time() * 1000000) + 1000)
        while self.call("XLEN", self.key("stream")) == 0:
            self.function("due", [UNIT], 3600000)
        entry = self.call("XRANGE", self.key("stream"), "-", "+")[0][0]
        self.assertEqual(self.schedule("replay_schedule", 1, "+1000"), entry)
        self.assertEqual(self.call("XLEN", self.key("stream")), 1)

    def test_a_transaction_is_prepared_once(self):
        self.prepare("prepare", 1)
        self.assertEqual(self.prepare("replay_prepare", 1), b"prepared")
        self.assertEqual(self.prepare("replay_prepare", 2), b"prepared")
        self.assertEqual(self.call("HLEN", UNIT + "tx"), 2)
        self.function("tx_end", [UNIT], "RZ01.payments.3." + "1".rjust(24, "0"), "rollback", 0)
        self.assertEqual(self.prepare("replay_prepare", 1), b"prepared")
        self.assertEqual(self.call("HLEN", UNIT + "tx"), 1)


if __name__ == "__main__":
    unittest.main()
