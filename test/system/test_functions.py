#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The functions that run inside a broker, called as the gateways call them."""
import functions_fixture
import unittest


class Enqueue(functions_fixture.Functions):
    def test_a_message_gets_all_its_fields_in_order_and_a_number(self):
        first, second = self.enqueue(user="7", body=b"one"), self.enqueue(user="8", body=b"two")
        (at, fields), (then, more) = self.call("XRANGE", self.key("stream"), "-", "+")
        self.assertEqual((at, then), (first, second))
        self.assertEqual(fields[0::2], [b"id", b"user", b"slot", b"epoch", b"in_us", b"color", b"method", b"path",
                                        b"headers", b"body", b"n", b"st_us", b"reply"])
        self.assertEqual(dict(zip(fields[0::2], fields[1::2]))[b"n"], b"1")
        self.assertEqual(dict(zip(more[0::2], more[1::2]))[b"n"], b"2")
        stored_us = int(dict(zip(fields[0::2], fields[1::2]))[b"st_us"])
        self.assertEqual(stored_us // 1000, int(first.split(b"-")[0]))

    def test_a_repeat_is_answered_with_the_first_id(self):
        self.enqueue(id="a", idempotency="k", fingerprint="1" * 32)
        self.assertEqual(self.enqueue(id="b", idempotency="k", fingerprint="1" * 32), [b"replay", b"a"])
        with self.refused("LDC_CONFLICT"):
            self.enqueue(id="c", idempotency="k", fingerprint="2" * 32)
        self.assertEqual(self.call("XLEN", self.key("stream")), 1)
        self.assertLessEqual(self.call("PTTL", self.key("idem:k")), 300000)

    def test_another_epoch_is_refused_and_named(self):
        self.call("SET", "ldc:{RZ01}:epoch", "5")
        with self.refused("LDC_EPOCH 5"):
            self.enqueue(broker_epoch=4)
        self.enqueue(broker_epoch=5)

    def test_a_full_backlog_refuses_what_is_new_and_knows_what_is_not(self):
        for i in range(3):
            self.enqueue(id=f"m{i}", max_backlog=3, idempotency=f"k{i}")
        with self.refused("LDC_BACKLOG"):
            self.enqueue(id="m3", max_backlog=3, idempotency="k3")
        self.assertEqual(self.enqueue(id="m4", max_backlog=3, idempotency="k1"), [b"replay", b"m1"])
        self.call("HSET", self.key("state"), "floor", 1)
        self.enqueue(id="m5", max_backlog=3)

    def test_a_refusal_writes_nothing(self):
        before = self.call("DBSIZE")
        with self.refused("LDC_EPOCH"):
            self.enqueue(broker_epoch=9, idempotency="k")
        self.assertEqual(self.call("DBSIZE"), before)


class Stamp(functions_fixture.Functions):
    EPOCH = "ldc:{RZ01}:epoch"

    def test_a_stamp_rises_and_never_falls(self):
        self.assertEqual([self.function("stamp", [self.EPOCH], epoch) for epoch in (4, 3, 10)], [b"4", b"4", b"10"])
        self.assertEqual(self.call("GET", self.EPOCH), b"10")

    def test_data_of_another_name_are_not_stamped(self):
        names = [self.EPOCH, "ldc:{RZ01}:dataset"]
        with self.refused("LDC_DATA"):
            self.function("stamp", names, 4, "a")
        self.call("SET", names[1], "a")
        self.assertEqual(self.function("stamp", names, 4, "a"), b"4")
        with self.refused("LDC_DATA"):
            self.function("stamp", names, 5, "b")
        self.assertEqual(self.call("GET", self.EPOCH), b"4")

    def test_whoever_does_not_know_the_stamp_ends_nothing(self):
        self.function("stamp", [self.EPOCH], 7)
        for name, argument in (("tx_end", "commit"), ("cancel", 1000)):
            with self.refused("LDC_EPOCH 7"):
                self.function(name, ["ldc:{RZ01}:"], "id1", argument, 6)
            with self.refused("LDC_UNKNOWN"):
                self.function(name, ["ldc:{RZ01}:"], "id1", argument, 7)

    def test_what_is_acknowledged_is_counted(self):
        self.enqueue()
        with self.refused("LDC_EPOCH"):
            self.enqueue(broker_epoch=9)
        self.enqueue()
        self.assertEqual(self.call("GET", "ldc:{RZ01}:writes"), b"2")


if __name__ == "__main__":
    unittest.main()
