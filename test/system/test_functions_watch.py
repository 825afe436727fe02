#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the change feed reads of a log, on a broker: changes without their values, and how the copy stands."""
import unittest

import collections_fixture

WORDS = ("id", "op", "key", "version", "was", "us")


class Look:
    def __init__(self, answer):
        self.seq = answer[0]
        self.last, self.state, self.epoch, self.copy_from, self.beat_us, *words = [word.decode() for word in answer[1:]]
        self.changes = [dict(zip(WORDS, words[i:i + 6])) for i in range(0, len(words), 6)]

    def told(self):
        return [(change["id"], change["op"], change["key"], change["version"], change["was"]) for change in self.changes]


class Changes(collections_fixture.Sites):
    def look(self, behind="0-0", most=100):
        return Look(self.copy.function("changes", behind, most))

    def look_at_origin(self, behind="0-0", most=100):
        return Look(self.origin.function("origin_changes", 0, behind, most))

    def test_changes_come_in_order_without_values(self):
        self.copy.bootstrap(self.origin)
        self.origin.put(b"a", b"secret" * 1000)
        self.origin.put(b"a", b"other")
        self.origin.delete(b"a")
        self.copy.follow(self.origin)
        look = self.look()
        self.assertEqual((look.seq, look.state, look.epoch, look.copy_from, look.last), (3, "live", "", "0", "3-0"))
        self.assertEqual(look.told(), [("1-0", "put", "a", "1", "0"), ("2-0", "put", "a", "2", "1"),
                                       ("3-0", "del", "a", "3", "2")])
        self.assertEqual(look.changes[2]["us"].encode(), self.origin.log()[2][1][b"us"])
        self.assertEqual(look.beat_us, look.changes[2]["us"])
        self.assertEqual(self.look("2-0").told(), [("3-0", "del", "a", "3", "2")])
        self.assertEqual((self.look("3-0").told(), self.look("3-0").last), ([], "3-0"))

    def test_it_says_for_which_epoch_the_copy_is_open_and_what_nobody_wrote(self):
        self.assertEqual(vars(self.look()), {"seq": 0, "last": "0-0", "state": "", "epoch": "", "copy_from": "",
                                             "beat_us": "", "changes": []})
        self.copy.bootstrap(self.origin)
        self.copy.own("open", 0)
        self.assertEqual(self.look().epoch, "0")

    def test_a_repair_is_told_with_the_version_that_stands_there_now(self):
        for n in range(3):
            self.origin.put(b"key-%d" % n, b"value")
        self.copy.bootstrap(self.origin)
        self.assertEqual(self.look("3-0").changes, [])
        bucket = collections_fixture.bucket_of(b"key-1")
        self.call("HDEL", f"{self.copy.at}b/{bucket}", "key-1")
        self.call("HSET", f"{self.copy.at}b/{bucket}", "intruder", b"x")
        self.copy.repair(self.origin, bucket)
        told = sorted(self.look("3-0").told(), key=lambda change: change[2])
        self.assertEqual([change[1:] for change in told], [("repair", "intruder", "0", "0"), ("repair", "key-1", "2", "0")])
        self.assertTrue(all(change[0] in ("3-1", "3-2") for change in told))

    def test_of_large_values_fewer_entries_are_looked_at(self):
        self.copy.bootstrap(self.origin)
        for n in range(40):
            self.origin.put(b"key-%d" % n, b"x" * 100_000)
        self.copy.follow(self.origin)
        first = self.look()
        self.assertEqual((len(first.changes), first.last, first.seq), (16, "16-0", 40))
        self.assertEqual(len(self.look(most=3).changes), 3)
        self.assertEqual(len(self.look(first.last).changes), 16)

    def test_the_origin_passes_beats_and_digests_over_and_counts_the_look(self):
        self.origin.put(b"a", b"1")
        self.origin.function("digest", 0)
        self.origin.function("beat", 0)
        counted = int(self.call("GET", self.origin.unit + "writes"))
        look = self.look_at_origin()
        self.assertEqual((look.seq, look.state, look.last), (1, "origin", "1-2"))
        self.assertEqual(look.told(), [("1-0", "put", "a", "1", "0")])
        self.assertEqual(int(self.call("GET", self.origin.unit + "writes")), counted + 1)
        with self.refused("LDC_EPOCH"):
            self.origin.function("origin_changes", 7, "0-0", 1)


if __name__ == "__main__":
    unittest.main()
