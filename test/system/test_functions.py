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


class Replay(functions_fixture.Functions):
    def replay(self, back_to=0, epoch=0, idempotency=None, **fields):
        keys = [self.key("stream"), self.key("state"), "ldc:{RZ01}:epoch"]
        keys += [self.key("idem:" + idempotency)] if idempotency else []
        return self.function("replay", keys, epoch, 0, 300000, "0" * 32, *self.envelope(**fields), back_to)

    def ids(self):
        return [entry[1][1].decode() for entry in self.call("XRANGE", self.key("stream"), "-", "+")]

    def test_a_message_that_came_across_is_found_and_another_is_stored(self):
        entry = self.enqueue(id="across")
        self.assertEqual([self.replay(id="across"), self.replay(id="lost") != entry], [entry, True])
        self.assertEqual(self.replay(id="lost"), self.replay(id="lost"))
        self.assertEqual(self.ids(), ["across", "lost"])

    def test_with_its_idempotency_key_it_is_still_one_message(self):
        entry = self.enqueue(id="a", idempotency="k")
        self.assertEqual(self.replay(id="a", idempotency="k"), entry)
        self.replay(id="b", idempotency="l")
        self.assertEqual(self.enqueue(id="c", idempotency="l"), [b"replay", b"b"])
        self.assertEqual(self.ids(), ["a", "b"])

    def test_entries_of_before_are_not_looked_at(self):
        old, new = self.enqueue(id="old"), self.enqueue(id="new")
        at, last = (int(entry.split(b"-")[0]) for entry in (old, new))
        self.assertNotEqual(self.replay(id="old", back_to=last + 1000), old)
        self.assertEqual(self.replay(id="new", back_to=at), new)

    def test_many_pages_are_looked_through(self):
        entries = [self.enqueue(id=f"m{i}") for i in range(600)]
        self.assertEqual([self.replay(id=f"m{i}") for i in (0, 255, 256, 599)], [entries[i] for i in (0, 255, 256, 599)])

    def test_what_is_remembered_but_gone_is_stored_again(self):
        self.enqueue(id="a")
        first = self.replay(id="a")
        self.call("FLUSHDB")
        self.assertNotEqual(self.replay(id="a"), first)
        self.assertEqual(self.ids(), ["a"])

    def test_another_epoch_is_refused_also_where_the_message_is_there(self):
        self.enqueue(id="a")
        self.function("stamp", ["ldc:{RZ01}:epoch"], 2)
        with self.refused("LDC_EPOCH 2"):
            self.replay(id="a", epoch=1)
        self.replay(id="a", epoch=2)


if __name__ == "__main__":
    unittest.main()
