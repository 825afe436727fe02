#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The origin of a collection, on a broker: what is written, refused, replayed, trimmed, and what its log says of it."""
import time
import unittest

import collections_fixture
import harness
from collections_fixture import bucket_of, pack, share, unpack


class Origin(collections_fixture.Sites):
    def get(self, key):
        seq, packed = self.origin.function("get", self.origin.epoch, key, bucket_of(key))
        return seq, packed and unpack(packed)

    def test_versions_are_the_sequence_of_all_changes(self):
        origin, before = self.origin, time.time() * 1000000
        self.assertEqual(origin.put(b"a", b"1"), [1, 1])
        self.assertEqual(origin.put(b"b", b"2"), [2, 1])
        self.assertEqual(origin.put(b"a", b"1"), [3, 0], "the same again is a new version")
        self.assertEqual(origin.delete(b"b"), [4, 0])
        self.assertEqual(origin.delete(b"b"), ["absent", 4])
        seq, (version, us, type, value) = self.get(b"a")
        self.assertEqual((seq, version, type, value), (4, 3, b"text/plain", b"1"))
        self.assertLess(abs(us - before), 60000000)
        self.assertEqual(self.get(b"b"), (4, b""))
        self.assert_whole(origin)

    def test_the_log_holds_what_was_written(self):
        origin = self.origin
        origin.put(b"a", b"1")
        origin.put(b"a", b"2")
        origin.delete(b"a")
        log = origin.log()
        self.assertEqual([id for id, _ in log], ["1-0", "2-0", "3-0"])
        self.assertEqual([(fields[b"op"], fields[b"key"], fields[b"was"]) for _, fields in log],
                         [(b"put", b"a", b"0"), (b"put", b"a", b"1"), (b"del", b"a", b"2")])
        self.assertEqual(log[2][1][b"value"], b"")
        self.assertEqual(log[1][1][b"bucket"], str(bucket_of(b"a")).encode())
        version, us, _, value = unpack(log[1][1][b"value"])
        self.assertEqual((version, value, str(us).encode()), (2, b"2", log[1][1][b"us"]))

    def test_conditions(self):
        origin = self.origin
        self.assertEqual(origin.put(b"a", b"1", "present"), ["conflict", 0])
        self.assertEqual(origin.put(b"a", b"1", "match 1"), ["conflict", 0])
        self.assertEqual(origin.delete(b"a", "match 1"), ["conflict", 0])
        self.assertEqual(origin.put(b"a", b"1", "absent"), [1, 1])
        self.assertEqual(origin.put(b"a", b"2", "absent"), ["conflict", 1])
        self.assertEqual(origin.put(b"a", b"2", "match 7"), ["conflict", 1])
        self.assertEqual(origin.put(b"a", b"2", "match oops"), ["conflict", 1])
        self.assertEqual(origin.put(b"a", b"2", "match 1"), [2, 0])
        self.assertEqual(origin.put(b"a", b"3", "present"), [3, 0])
        self.assertEqual(origin.delete(b"a", "match 3"), [4, 0])
        self.assertEqual(len(origin.log()), 4)

    def test_conditions_name_many_versions(self):
        origin = self.origin
        for version, (condition, holds) in enumerate((("none 3 0", False), ("match 3 0", True), ("match 7 1", True),
                                                      ("match", False), ("none 7 2", False), ("none 0 1 7", True), ("none", True))):
            with self.subTest(condition):
                seq = origin.seq
                answer = origin.put(b"a", b"1", condition)
                self.assertEqual(answer, [seq + 1, int(seq == 0)] if holds else ["conflict", seq])

    def test_any_bytes_are_kept(self):
        for n, key in enumerate((b"", b"s", b"\0\xff\r\n", b"k" * 1024)):
            value = bytes(range(256)) * (n * 100)
            self.origin.put(key, value)
            self.assertEqual(self.get(key)[1][3], value)
        self.assert_whole(self.origin)

    def test_writers_of_another_epoch_are_refused(self):
        origin = self.origin
        origin.put(b"a", b"1")
        self.call("SET", origin.unit + "epoch", 5)
        for name, args in (("put", [b"a", 1, "", pack(b"a", b"2"), ""]), ("get", [b"a", 1]), ("beat", []), ("digest", []),
                           ("replay", [b"a", 1, "", pack(b"a", b"2"), ""]), ("trim", [1, 1]), ("resum", [1])):
            with self.subTest(name), self.refused("LDC_EPOCH 5"):
                origin.function(name, 4, *args)
        self.assertEqual(origin.seq, 1)
        origin.epoch = 5
        self.assertEqual(origin.put(b"a", b"2"), [2, 0])

    def test_all_that_is_told_counts_as_a_write(self):
        """So that WAIT covers it: also what was only seen."""
        origin = self.origin
        for call in (lambda: origin.put(b"a", b"1", id="r"), lambda: origin.put(b"a", b"1", "absent"), lambda: self.get(b"a"),
                     lambda: origin.delete(b"x"), lambda: self.replay(b"a", b"1", "r")):
            before = int(self.call("GET", origin.unit + "writes") or 0)
            call()
            self.assertEqual(int(self.call("GET", origin.unit + "writes")), before + 1)

    def test_a_copy_is_not_written_like_an_origin_nor_an_origin_like_a_copy(self):
        self.copy.bootstrap(self.origin)
        with self.refused("LDC_STATE live"):
            self.copy.put(b"a", b"1")
        self.origin.put(b"a", b"1")
        self.origin.take()
        for name, args in (("wipe", [0]), ("fill", [0, 0, "whole"]), ("apply", []), ("repair", [0, 0]), ("open", [0])):
            with self.subTest(name), self.refused("LDC_STATE origin"):
                self.origin.own(name, *args)
        self.assert_whole(self.origin)

    def test_what_is_no_packed_value_is_refused(self):
        with self.refused("LDC_VALUE 5 1"):
            self.origin.function("put", 0, b"a", 1, "", b"short", "")
        for bucket in (1024, -1, "x"):
            with self.refused(f"LDC_VALUE .* {bucket}"):
                self.origin.function("put", 0, b"a", bucket, "", pack(b"a", b"1"), "")
        self.assertEqual(self.origin.seq, 0)

    # --- replay

    def replay(self, key, value, id, condition=""):
        return self.origin.put(key, value, condition, id, "replay")

    def test_what_is_there_is_found_and_what_is_not_is_done(self):
        origin = self.origin
        self.assertEqual(origin.put(b"a", b"1", "absent", id="r1"), [1, 1])
        self.assertEqual(origin.put(b"a", b"2", id="r2"), [2, 0])
        self.assertEqual(origin.delete(b"a", id="r3"), [3, 0])
        for _ in range(2):
            self.assertEqual(self.replay(b"a", b"1", "r1", "absent"), [1, 1, 1])
            self.assertEqual(self.replay(b"a", b"2", "r2"), [2, 0, 1])
            self.assertEqual(self.replay(b"a", None, "r3"), [3, 0, 1])
            self.assertEqual(self.replay(b"b", b"9", "r4")[:2], [4, 1])
            self.assertEqual(self.replay(b"b", b"8", "r5", "absent"), ["conflict", 4])
        self.assertEqual(origin.seq, 4)
        self.assert_whole(origin)

    def test_an_id_stands_for_one_request(self):
        origin, words = self.origin, [b"a", bucket_of(b"a"), "", pack(b"a", b"1"), "id"]
        self.assertEqual(origin.function("replay", 0, *words, "print"), [1, 1])
        self.assertEqual(origin.function("replay", 0, *words, "print"), [1, 1, 1])
        for another in (["other"], []):
            with self.refused("LDC_CONFLICT 1"):
                origin.function("replay", 0, *words, *another)
        self.assertEqual(origin.seq, 1)

    def test_the_last_requests_are_remembered_and_no_others(self):
        origin = self.origin
        for seq in (0, 65535, 131071, 196607, 262142):
            self.call("HSET", origin.at + "meta", "seq", seq)
            self.assertEqual(origin.put(b"a", b"%d" % seq, id=f"r{seq}")[0], seq + 1)
        self.assertEqual(self.replay(b"a", b"0", "r0"), [1, 1, 1])
        self.assertEqual(self.replay(b"a", b"65535", "r65535"), [65536, 0, 1])
        self.assertEqual(origin.put(b"a", b"262143", id="r262143"), [262144, 0])
        self.assertEqual(self.replay(b"a", b"65535", "r65535"), [65536, 0, 1])
        self.assertEqual(self.replay(b"a", b"0", "r0"), [262145, 0], "forgotten")

    def test_requests_without_an_id_are_not_remembered(self):
        self.assertEqual(self.origin.put(b"a", b"1"), [1, 1])
        self.assertEqual(self.replay(b"a", b"1", ""), [2, 0])

    def test_what_is_no_change_is_not_told(self):
        origin = self.origin
        origin.put(b"a", b"1")
        self.call("XADD", origin.at + "log", "1-1", "op", "put", "key", "a")
        self.call("XADD", origin.at + "log", "1-2", "op", "repair", "value", "x")
        origin.put(b"b", b"1")
        told = origin.function("changes", "0-0", 100)[6:]
        self.assertEqual([word for word in told[0::6]], [b"1-0", b"2-0"])

    # --- beats, digests, trimming

    def test_beats_take_no_number_and_only_the_last_stays(self):
        origin = self.origin
        self.assertEqual([origin.function("beat", 0) for _ in range(3)], [[b"0-1"], [b"0-2"], [b"0-3"]])
        origin.put(b"a", b"1")
        self.assertEqual(origin.function("beat", 0), [b"1-1"])
        self.assertEqual([id for id, _ in origin.log()], ["1-0", "1-1"])
        self.assertEqual(origin.meta("beat_us").encode(), origin.log()[1][1][b"us"])

    def test_a_beat_sets_right_what_the_origin_is(self):
        origin = self.origin
        origin.function("beat", 0)
        self.assertIsNone(origin.meta("state"), "nothing was written yet")
        origin.put(b"a", b"1")
        for state in ("live", "copying", "by hand"):
            self.call("HSET", origin.at + "meta", "state", state)
            origin.function("beat", 0)
            self.assertEqual(origin.meta("state"), "origin")
        self.assertEqual(origin.put(b"a", b"2"), [2, 0])
        self.copy.bootstrap(origin)
        self.copy.function("beat", 0)
        self.assertEqual(self.copy.meta("state"), "live", "a copy is none by that")

    def test_a_digest_holds_all_sums(self):
        origin = self.origin
        for n in range(100):
            origin.put(b"%d" % n, b"x")
        self.assertEqual(origin.function("digest", 0), b"100-1")
        sums = origin.log()[-1][1][b"value"]
        self.assertEqual(len(sums), 6 * 1024)
        expected = [0] * 1024
        for key, packed in origin.values().items():
            expected[bucket_of(key)] = (expected[bucket_of(key)] + share(packed)) % 2**48
        self.assertEqual([int.from_bytes(sums[6 * n:6 * n + 6], "little") for n in range(1024)], expected)

    def test_the_last_64_digests_stay(self):
        origin = self.origin
        origin.put(b"a", b"1")
        ids = [origin.function("digest", 0).decode() for _ in range(70)]
        self.assertEqual([id for id, _ in origin.log()], ["1-0", *ids[6:]])

    def age(self, count, us):
        """COUNT changes that are US old, in place of as many that anybody made."""
        origin, at = self.origin, int(time.time() * 1000000) - us
        self.origin.connection.pipeline([("XADD", origin.at + "log", f"{n}-0", "op", "del", "key", "a", "bucket", 1,
                                          "was", 1, "us", at, "value", "") for n in range(origin.seq + 1, origin.seq + count + 1)])
        self.call("HSET", origin.at + "meta", "seq", origin.seq + count, "state", "origin")

    def trim(self, feed, keep_s=3600):
        self.origin.function("trim", 0, feed, keep_s * 1000)
        return int(self.origin.log()[0][0].split("-")[0])

    def report(self, unit, seq, ago_s=0):
        self.call("HSET", self.origin.at + "units", unit,
                  '{"seq": %d, "at_us": %d}' % (seq, (time.time() - ago_s) * 1000000))

    def test_the_log_is_trimmed_behind_the_slowest_unit_and_the_feed(self):
        self.age(2000, 100 * 1000000)
        self.report("RZ01", 1500)
        self.report("RZ02", 700)
        self.report("RZ03", 100, ago_s=4000)  # gone for longer than changes are kept
        self.assertAlmostEqual(self.trim(feed=500), 701, delta=100)
        self.report("RZ02", 1900)
        self.assertAlmostEqual(self.trim(feed=1000), 1001, delta=100)
        self.assertLessEqual(self.trim(feed=500), 1501)
        self.assertEqual(self.origin.log()[-1][0], "2000-0")

    def test_what_is_too_old_goes_though_a_unit_lacks_it(self):
        self.age(1000, 7200 * 1000000)
        self.age(1000, 100 * 1000000)
        self.report("RZ01", 5)
        self.assertAlmostEqual(self.trim(feed=100000), 1001, delta=100)

    def end_shortage(self):
        self.call("CONFIG", "SET", "maxmemory", 0)
        second = self.call("TIME")[0]
        harness.wait_until(lambda: self.call("TIME")[0] != second, what="the broker's next look at its memory")

    def test_a_tenth_of_the_feed_is_kept_where_memory_is_short(self):
        self.age(3000, 100 * 1000000)
        self.assertEqual(self.trim(feed=3000), 1)
        self.addCleanup(self.end_shortage)
        self.set_memory(0.67)
        harness.wait_until(lambda: self.trim(feed=3000) > 2500, what="the trimming; memory is looked at once a second")

    def set_memory(self, share):
        """So that what is used is about SHARE of the most."""
        used = int(self.call("INFO", "memory").split(b"used_memory:")[1].split()[0])
        self.call("CONFIG", "SET", "maxmemory", int(used / share))

    def test_a_unit_that_is_away_is_not_waited_for_where_writers_need_the_room(self):
        self.age(3000, 100 * 1000000)
        self.report("RZ01", 5)
        self.addCleanup(self.end_shortage)
        self.set_memory(0.7)
        second = self.call("TIME")[0]
        harness.wait_until(lambda: self.call("TIME")[0] != second, what="the broker's next look at its memory")
        self.assertLess(self.trim(feed=1000), 100)
        self.set_memory(0.9)
        harness.wait_until(lambda: self.trim(feed=1000) > 2500, what="the trimming")

    def test_what_is_no_report_keeps_nothing(self):
        self.age(2000, 100 * 1000000)
        for n, text in enumerate(("1", "true", "null", "[]", "{", '"x"', '{"seq": null, "at_us": {}}', '{"at_us": "x"}',
                                  '{"at_us": %d}' % (time.time() * 1000000))):
            self.call("HSET", self.origin.at + "units", f"RZ1{n}", text)
        self.report("RZ01", 1500)
        self.assertAlmostEqual(self.trim(feed=500), 1501, delta=100)

    def test_an_empty_log_is_trimmed_to_nothing(self):
        self.assertEqual(self.origin.function("trim", 0, 10, 1000), 0)


if __name__ == "__main__":
    unittest.main()
