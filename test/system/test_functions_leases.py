#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The functions by which agents share a unit's partitions, and write how far they got."""
import functions_fixture
import harness
import unittest

AGENTS, LISTENERS = "ldc:{RZ01}:agents", "ldc:{RZ01}:listeners"


class Leases(functions_fixture.Functions):
    def beat(self, name, incarnation, ttl_ms=60000, leaving=""):
        told = self.function("beat", [AGENTS], name, incarnation, ttl_ms, leaving)
        return dict(zip(told[::2], told[1::2]))

    def take(self, owner, *partitions):
        return self.function("take", [AGENTS, *[self.key("state", partition) for partition in partitions]], owner)

    def commit(self, owner, watermark="5-0", passed=1, others=(), subscription="default"):
        keys = [self.key(f"cursor:{subscription}"), self.key("state"), *[self.key(f"cursor:{name}") for name in others]]
        return self.function("commit", keys, owner, watermark, "", passed, 0)

    def test_a_beat_tells_who_lives(self):
        self.assertEqual(self.beat("a", "1"), {b"a": b"1"})
        self.assertEqual(self.beat("b", "2", ttl_ms=1), {b"a": b"1", b"b": b"2"})
        harness.wait_until(lambda: self.beat("a", "1") == {b"a": b"1"}, what="b to be dead")
        self.assertEqual(self.beat("c", "3", leaving="leaving"), {b"a": b"1"})

    def test_a_name_that_lives_is_not_given_to_another(self):
        self.beat("a", "1")
        with self.refused("LDC_LEASE"):
            self.beat("a", "2")
        self.function("leave", [AGENTS], "a", "9")
        with self.refused("LDC_LEASE"):
            self.beat("a", "2")
        self.function("leave", [AGENTS], "a", "1")
        self.beat("a", "2")

    def test_what_a_living_agent_owns_is_not_taken(self):
        self.beat("a", "1")
        self.beat("b", "2")
        self.assertEqual(self.take("a/1", 0, 1), [1, 1])
        self.assertEqual(self.take("b/2", 0, 1, 2), [0, 0, 1])
        self.assertEqual(self.take("a/1", 0), [1])
        self.function("release", [self.key("state", 0), self.key("state", 2)], "a/1")
        self.assertEqual(self.take("b/2", 0, 1, 2), [1, 0, 1])
        self.function("leave", [AGENTS], "a", "1")
        self.assertEqual(self.take("b/2", 1), [1])

    def test_an_agent_that_started_anew_is_another_one(self):
        self.beat("a", "1")
        self.take("a/1", 0)
        self.function("leave", [AGENTS], "a", "1")
        self.beat("a", "2")
        self.beat("b", "3")
        self.assertEqual(self.take("b/3", 0), [1])

    def test_who_has_no_beat_takes_nothing(self):
        with self.refused("LDC_LEASE"):
            self.take("a/1", 0)
        self.assertEqual(self.call("EXISTS", self.key("state", 0)), 0)

    def test_only_the_owner_commits(self):
        self.beat("a", "1")
        self.beat("b", "2")
        self.take("a/1", functions_fixture.PARTITION)
        self.commit("a/1")
        with self.refused("LDC_LEASE"):
            self.commit("b/2", watermark="9-0")
        self.assertEqual(self.call("HGET", self.key("cursor:default"), "watermark"), b"5-0")
        self.function("commit", [self.key("cursor:news@b")], "b/2", "7-0", "", 3, 0)  # a broadcast's, which has no owner

    def test_the_floor_is_what_all_shared_subscriptions_have_passed(self):
        self.commit("", passed=7, others=["mail"])
        self.assertEqual(self.call("HGET", self.key("state"), "floor"), b"0")
        self.commit("", passed=3, others=["default"], subscription="mail")
        self.assertEqual(self.call("HGET", self.key("state"), "floor"), b"3")
        self.commit("", passed=9, others=["default"], subscription="mail")
        self.assertEqual(self.call("HGET", self.key("state"), "floor"), b"7")


class Trimming(functions_fixture.Functions):
    def setUp(self):
        super().setUp()
        self.call("CONFIG", "SET", "stream-node-max-entries", "1")  # exact trimming
        self.entries = [self.enqueue() for _ in range(6)]

    def trim(self, *shared, before="99999999999999-0"):
        keys = [self.key("stream"), LISTENERS, *[self.key(f"cursor:{name}") for name in shared]]
        self.function("trim", keys, before, 10000)
        return self.call("XLEN", self.key("stream"))

    def passed(self, cursor, i):
        self.call("HSET", self.key(f"cursor:{cursor}"), "watermark", self.entries[i])

    def test_only_what_every_cursor_has_passed_goes(self):
        self.passed("default", 4)
        self.assertEqual(self.trim("default", "mail"), 6)  # mail has no cursor: it has passed nothing
        self.passed("mail", 2)
        self.assertEqual(self.trim("default", "mail"), 4)
        self.assertEqual(self.trim("default", before=self.entries[3]), 3)

    def test_a_broadcasts_cursor_holds_entries_as_long_as_it_is_listed(self):
        self.passed("default", 5)
        self.passed("news@a2", 1)
        self.function("listen", [LISTENERS], "payments/news@a2", "other/news@a2", "payments/news@new")
        self.assertEqual(self.trim("default"), 5)
        self.call("HDEL", LISTENERS, "payments/news@a2")
        self.assertEqual(self.trim("default"), 1)

    def test_listeners_are_told_with_the_time_since_they_said_something(self):
        self.call("HSET", LISTENERS, "payments/news@old", 1000)
        told = self.function("listen", [LISTENERS], "payments/news@a1")
        told = dict(zip(told[::2], told[1::2]))
        self.assertLess(told[b"payments/news@a1"], 1000)
        self.assertGreater(told[b"payments/news@old"], 10 ** 12)


class Survey(functions_fixture.Functions):
    def test_it_counts_what_ever_was_also_after_deletions(self):
        entries = [self.enqueue() for _ in range(4)]
        self.call("XDEL", self.key("stream"), entries[0], entries[3])
        keys = [self.key("stream"), self.key("state"), self.key("stream", 7), self.key("state", 7)]
        self.assertEqual(self.function("survey", keys), [[entries[1], entries[2], entries[3], 4, b""],
                                                        [b"", b"", b"0-0", 0, b""]])

    def test_a_broker_without_memory_still_answers_and_takes_cursors(self):
        self.enqueue()
        self.addCleanup(self.call, "CONFIG", "SET", "maxmemory", "0")
        self.call("CONFIG", "SET", "maxmemory", "1")
        with self.refused("OOM"):
            self.enqueue()
        self.function("survey", [self.key("stream"), self.key("state")])
        self.function("commit", [self.key("cursor:default"), self.key("state")], "", "1-0", "", 1, 0)
        self.function("trim", [self.key("stream"), LISTENERS, self.key("cursor:default")], "1-0", 100)
        self.function("beat", [AGENTS], "a", "1", 1000, "")
        self.function("take", [AGENTS, self.key("state")], "a/1")
        self.function("release", [self.key("state")], "a/1")
        self.function("listen", [LISTENERS], "payments/news@a1")


if __name__ == "__main__":
    unittest.main()
