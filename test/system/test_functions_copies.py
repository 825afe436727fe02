#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copies of a collection, on a broker: filled while the origin is written, kept up by its log, compared and repaired."""
import contextlib
import random
import threading
import time
import unittest

import collections_fixture
import harness
from collections_fixture import BUCKETS, OWNER, Site, bucket_of, pack, pairs, unpack


class Copies(collections_fixture.Sites):
    def setUp(self):
        super().setUp()
        self.random = random.Random(20261121)

    def change(self, keys=200):
        """One random change of the origin."""
        key = b"key-%d" % self.random.randrange(keys)
        if self.random.random() < 0.3:
            return self.origin.delete(key)
        return self.origin.put(key, b"x" * self.random.randrange(200) + b"%d" % self.random.randrange(10**9))

    def digest(self):
        """Follows up to a digest; the buckets that differ then."""
        self.origin.function("digest", 0)
        bad = self.copy.follow(self.origin)[2]
        return [int(bucket) for bucket in bad.split(",") if bucket]

    def flip(self, key, at=-1):
        """One bit of a value in the copy, as nobody should."""
        name, field = f"{self.copy.at}b/{bucket_of(key)}", key
        packed = bytearray(self.call("HGET", name, field))
        packed[at] ^= 1
        self.call("HSET", name, field, bytes(packed))

    def test_a_copy_follows_the_log(self):
        copy, origin = self.copy, self.origin
        copy.bootstrap(origin)
        for n in range(300):
            self.change()
            if n % 7 == 0:
                self.assertEqual(copy.follow(origin), (origin.seq, "live", ""))
        copy.follow(origin)
        self.assert_same()
        self.assertEqual(self.digest(), [])
        self.assertEqual((copy.meta("digest_seq"), copy.meta("digest_ok")), (str(origin.seq), "1"))

    def test_its_log_holds_the_changes_alone(self):
        copy, origin = self.copy, self.origin
        copy.bootstrap(origin)
        origin.put(b"a", b"1")
        origin.function("beat", 0)
        origin.put(b"a", b"2")
        self.digest()
        self.assertEqual([id for id, _ in copy.log()], ["1-0", "2-0"])
        self.assertEqual(copy.log()[1], origin.log()[2])
        self.assertEqual(copy.meta("beat_us").encode(), origin.log()[-1][1][b"us"])

    def test_a_gap_is_refused_and_nothing_of_the_batch_is_applied(self):
        copy, origin = self.copy, self.origin
        copy.bootstrap(origin)
        for n in range(5):
            origin.put(b"%d" % n, b"x")
        log = origin.log()
        with self.refused("LDC_GAP 0"):
            copy.apply(log[1:])
        with self.refused("LDC_GAP 0"):
            copy.apply([log[0], log[2]])
        self.assertEqual((copy.seq, copy.values()), (0, {}))
        self.assertEqual(copy.apply(log[:3]), (3, "live", ""))
        self.assertEqual(copy.apply(log[1:4]), (4, "live", ""), "what is applied is passed over")
        self.assertEqual(copy.apply(log), (5, "live", ""))
        origin.put(b"z", b"x")
        origin.function("beat", 0)
        with self.refused("LDC_GAP 5"):
            copy.apply(origin.log()[-1:])
        copy.follow(origin)
        self.assert_same()

    def test_malformed_entries_are_refused(self):
        self.copy.bootstrap(self.origin)
        for words in ((1, "put", "k", 5, 0, 1, b"short"), (1, "del", "k", 5, 0, 1, pack(b"k", b"v")),
                      (1, "put", "k", 1024, 0, 1, pack(b"k", b"v")), (1, "put", "k", "x", 0, 1, pack(b"k", b"v"))):
            with self.refused("LDC_VALUE 1"):
                self.copy.own("apply", *words)
        for words in ((1, "put", "k"), ("x", "put", "k", 5, 0, 1, pack(b"k", b"v"))):
            with self.refused("LDC_GAP 0"):
                self.copy.own("apply", *words)
        self.assertEqual(self.copy.values(), {})

    def test_a_copy_that_is_made_while_writes_go_on_equals_the_origin(self):
        copy, origin = self.copy, self.origin
        for _ in range(300):
            self.change()
        start = origin.seq
        copy.own("wipe", start)
        for bucket in range(BUCKETS):
            if self.random.random() < 0.3:
                self.change()
            copy.fill(origin, bucket)
        if copy.seq < origin.seq:
            with self.refused("LDC_STATE copying"):
                copy.own("open", copy.seq)
        until = int(copy.meta("copy_until"))
        self.assertGreater(until, start)
        for entry in origin.log(f"{start}-1"):
            seq, state, _ = copy.apply([entry])
            self.assertEqual(state, "live" if seq >= until else "copying")
        self.assert_same()
        self.assertEqual(self.digest(), [])

    def bootstrap_is_overtaken(self):
        """Whether anything was written meanwhile."""
        start = self.origin.seq
        self.copy.bootstrap(self.origin)
        return int(self.copy.meta("copy_until")) > start

    def test_a_copy_that_is_made_beside_a_writer_equals_the_origin(self):
        copy, origin, stop, errors = self.copy, self.origin, threading.Event(), []

        def write():
            with contextlib.closing(harness.BrokerConnection(self.broker.port)) as connection:
                site, n = Site(connection, "CORE"), 0
                while not stop.is_set():
                    key, value = b"key-%d" % (n * 7919 % 500), None if n % 4 == 0 else b"%d" % n
                    try:
                        site.put(key, value)
                    except RuntimeError as error:
                        errors.append(error)
                    n += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            harness.wait_until(lambda: origin.seq > 100, what="writes")
            harness.wait_until(self.bootstrap_is_overtaken, what="writes while a copy is made")
            for _ in range(20):
                copy.follow(origin)
        finally:
            stop.set()
            writer.join()
        self.assertEqual(errors, [])
        copy.follow(origin)
        self.assert_same()
        self.assertEqual(self.digest(), [])

    def test_a_bucket_of_many_keys_keeps_an_exact_sum(self):
        """A sum of fifty shares is more than a double holds exactly."""
        copy, origin = self.copy, self.origin
        words = [("FCALL", "ldc1_c_put", 1, origin.at, 0, f"k{n}", 5, "", pack(b"k%d" % n, b"x"), "") for n in range(1000)]
        origin.connection.pipeline(words)
        copy.bootstrap(origin)
        self.assert_same()
        copy.call("HDEL", f"{copy.at}b/5", "k7")
        self.assertEqual(copy.repair(origin, 5), 1)
        self.assert_same()
        self.assertEqual(self.digest(), [])

    def test_making_a_copy_goes_on_where_it_ended(self):
        copy, origin = self.copy, self.origin
        for _ in range(300):
            self.change()
        gone = next(key for key in (b"%d" % n for n in range(100000)) if bucket_of(key) == 500)
        origin.put(gone, b"x")
        copy.own("wipe", origin.seq)
        for bucket in range(500):
            copy.fill(origin, bucket)
        seq, _, flat = origin.function("bucket", 500)
        copy.own("fill", 500, seq, "first", *flat)
        origin.delete(gone)
        for _ in range(300):
            self.change()
        with self.refused("LDC_STATE copying"):
            copy.follow(origin)
        for wrong in (499, 501):
            with self.refused("LDC_STATE copying 500"):
                copy.fill(origin, wrong)
        for bucket in range(int(copy.meta("copy_bucket")), BUCKETS):
            copy.fill(origin, bucket)
        self.assertEqual(copy.follow(origin)[1], "live")
        self.assert_same()

    def test_a_large_bucket_comes_in_parts(self):
        copy, origin = self.copy, self.origin
        origin.connection.pipeline([("FCALL", "ldc1_c_put", 1, origin.at, 0, f"k{n}", 0, "", pack(b"k%d" % n, b"x"), "")
                                    for n in range(700)])
        copy.own("wipe", origin.seq)
        seq, _, flat = origin.function("bucket", 0)
        for first, part in ((0, "first"), (512, "next"), (1024, "last")):
            self.assertEqual(copy.meta("copy_bucket"), "0")
            copy.own("fill", 0, seq, part, *flat[first:first + 512])
        for bucket in range(1, BUCKETS):
            copy.fill(origin, bucket)
        self.assert_same()

    def test_a_copy_is_made_anew(self):
        copy, origin = self.copy, self.origin
        for _ in range(100):
            self.change()
        copy.bootstrap(origin)
        copy.own("open", origin.seq)
        copy.call("HSET", f"{copy.at}b/7", "foreign", "x")
        copy.own("wipe", origin.seq)
        self.assertEqual((copy.log(), copy.meta("epoch"), copy.meta("state")), ([], None, "copying"))
        for bucket in range(BUCKETS):
            copy.fill(origin, bucket)
        self.assertEqual(copy.meta("state"), "live", "nothing happened meanwhile")
        self.assert_same()

    def test_only_the_owner_and_only_of_the_right_epoch_writes(self):
        copy = self.copy
        copy.bootstrap(self.origin)
        for name, args in (("wipe", [0]), ("fill", [0, 0, "whole"]), ("apply", []), ("repair", [0, 0]), ("open", [0])):
            with self.subTest(name), self.refused("LDC_LEASE " + OWNER):
                copy.function(name, 0, "agent-b/1", *args)
        self.call("SET", copy.unit + "epoch", 3)
        for name, args in (("wipe", [0]), ("fill", [0, 0, "whole"]), ("apply", []), ("repair", [0, 0]), ("open", [0])):
            with self.subTest(name), self.refused("LDC_EPOCH 3"):
                copy.own(name, *args)

    def test_a_copy_opens_for_an_epoch_when_it_has_what_the_origin_had(self):
        copy, origin = self.copy, self.origin
        copy.bootstrap(origin)
        origin.put(b"a", b"1")
        with self.refused("LDC_GAP 0"):
            copy.own("open", origin.seq)
        copy.follow(origin)
        self.assertEqual(copy.own("open", origin.seq), b"OK")
        self.assertEqual(copy.meta("epoch"), "0")

    def test_sums_hold_after_changes_of_all_kinds(self):
        copy, origin = self.copy, self.origin
        copy.bootstrap(origin)
        for _ in range(5):
            for _ in range(60):
                self.change(60)
            copy.follow(origin)
            for key in self.random.sample(sorted(copy.values()), 3):
                self.flip(key)
                copy.repair(origin, bucket_of(key))
            self.assert_same()

    def test_a_flipped_value_and_a_deleted_key_show_in_the_sums_and_are_repaired(self):
        copy, origin = self.copy, self.origin
        for n in range(50):
            origin.put(b"%d" % n, b"value")
        copy.bootstrap(origin)
        for at in (-1, 1, 20, 26):  # value, version, check, length of the type
            self.flip(b"7", at)
            whole = unpack(copy.values()[b"7"])
            if at in (1, 20):
                self.assertEqual(copy.wrong_sums(), [bucket_of(b"7")])
            else:  # a check by the whole value shows it
                self.assertNotEqual(pack(b"7", whole[3], whole[2], whole[0], whole[1]), copy.values()[b"7"])
            self.assertEqual(copy.repair(origin, bucket_of(b"7")), 1)
            self.assert_same()
        copy.call("HDEL", f"{copy.at}b/{bucket_of(b'9')}", "9")
        self.assertEqual(copy.wrong_sums(), [bucket_of(b"9")])
        self.assertEqual(copy.repair(origin, bucket_of(b"9")), 1)
        self.assert_same()
        self.assertEqual(copy.repair(origin, bucket_of(b"9")), 0)

    def test_repairs_stand_in_the_log_for_those_who_watch(self):
        copy, origin = self.copy, self.origin
        origin.put(b"a", b"1")
        copy.bootstrap(origin)
        origin.put(b"b", b"2")
        copy.follow(origin)
        self.flip(b"a")
        copy.repair(origin, bucket_of(b"a"))
        self.assertEqual([(id, fields[b"op"], fields[b"key"]) for id, fields in copy.log()],
                         [("2-0", b"put", b"b"), ("2-1", b"repair", b"a")])
        origin.put(b"c", b"3")
        self.assertEqual(copy.follow(origin)[0], 3)

    def test_a_digest_shows_the_very_buckets_that_differ(self):
        copy, origin = self.copy, self.origin
        for n in range(100):
            origin.put(b"%d" % n, b"x")
        copy.bootstrap(origin)
        copy.set_sum(bucket_of(b"5"), copy.sum(bucket_of(b"5")) ^ 1)
        self.assertEqual(self.digest(), [bucket_of(b"5")])
        self.assertEqual((copy.meta("digest_ok"), copy.meta("bad")), ("0", str(bucket_of(b"5"))))
        self.assertEqual(copy.repair(origin, bucket_of(b"5")), 0)
        self.assertEqual(copy.meta("bad"), "")
        self.assertEqual(self.digest(), [])
        self.assertEqual(copy.meta("digest_ok"), "1")

    def test_doubted_buckets_wait_for_their_repair_whatever_digests_say(self):
        copy, origin = self.copy, self.origin
        with self.refused("LDC_STATE"):
            copy.function("doubt", 0, "7")
        origin.put(b"a", b"1")
        copy.bootstrap(origin)
        bucket = bucket_of(b"a")
        self.flip(b"a")
        self.assertEqual(copy.function("doubt", 0, f"{bucket},7,7,1024,x"), b",".join(b"%d" % n for n in sorted({7, bucket})))
        self.assertEqual(sorted(self.digest()), sorted({7, bucket}), "the kept sums are equal, and the doubt stays")
        self.assertEqual(copy.meta("digest_ok"), "1")
        self.assertEqual(copy.repair(origin, bucket), 1)
        self.assertEqual((copy.repair(origin, 7), copy.meta("bad"), copy.meta("repaired")), (0, "", "1"))
        self.call("SET", copy.unit + "epoch", 3)
        with self.refused("LDC_EPOCH 3"):
            copy.function("doubt", 0, "7")

    def test_one_look_tells_meta_sums_and_sizes(self):
        copy, origin = self.copy, self.origin
        self.assertEqual(copy.function("look")[1:4], [bytes(6 * BUCKETS), 0, 0])
        origin.put(b"a", b"1")
        copy.bootstrap(origin)
        origin.put(b"b", b"2")
        copy.follow(origin)
        (meta, sums, keys, log, us), known = copy.function("look"), origin.function("look")
        self.assertEqual((pairs(meta)[b"seq"], pairs(meta)[b"state"], keys, log), (b"2", b"live", 2, 1))
        self.assertEqual((sums, known[2:4]), (known[1], [2, 2]))
        self.assertAlmostEqual(int(us) / 1e6, time.time(), delta=5)

    def test_a_digest_is_compared_at_its_own_sequence_alone(self):
        copy, origin = self.copy, self.origin
        copy.bootstrap(origin)
        origin.put(b"a", b"1")
        origin.function("digest", 0)
        origin.put(b"a", b"2")
        put, digest, later = origin.log()
        copy.apply([put])
        self.assertIsNone(copy.meta("digest_seq"))
        copy.apply([digest])
        self.assertEqual((copy.meta("digest_seq"), copy.meta("digest_ok")), ("1", "1"))
        copy.apply([later, digest])
        self.assertEqual((copy.seq, copy.meta("digest_seq"), copy.meta("bad")), (2, "1", ""))

    def test_a_repair_leaves_alone_what_was_changed_since_the_bucket_was_read(self):
        copy, origin = self.copy, self.origin
        keys = [key for key in (b"%d" % n for n in range(20000)) if bucket_of(key) == 1][:6]
        for key in keys[:4]:
            origin.put(key, b"old")
        copy.bootstrap(origin)
        seq, _, flat = origin.function("bucket", 1)
        origin.put(keys[0], b"new")
        origin.delete(keys[1])
        origin.put(keys[4], b"added")
        copy.follow(origin)
        self.flip(keys[2])
        copy.call("HDEL", f"{copy.at}b/1", keys[3])
        copy.call("HSET", f"{copy.at}b/1", keys[5], "foreign")
        self.assertEqual(copy.own("repair", 1, seq, *flat), 3)
        self.assert_same()
        self.assertEqual(self.digest(), [])

    def test_a_bucket_that_is_ahead_of_the_copy_or_too_far_behind_is_to_be_read_again(self):
        copy, origin = self.copy, self.origin
        copy.bootstrap(origin)
        origin.put(b"a", b"1")
        with self.refused("LDC_AGAIN 0"):
            copy.repair(origin, 1)
        copy.follow(origin)
        for n in range(1100):
            origin.put(b"a", b"%d" % n)
        for _ in range(3):
            copy.apply(origin.log(f"{copy.seq}-1")[:500])
        with self.refused("LDC_AGAIN 1101"):
            copy.own("repair", 1, 1)
        copy.call("XTRIM", copy.at + "log", "MAXLEN", 1)
        with self.refused("LDC_AGAIN 1101"):
            copy.own("repair", 1, 1099)
        self.assertEqual(copy.repair(origin, 1), 0)
        self.assert_same()

    def test_keys_that_the_list_lacks_are_listed_again(self):
        copy, origin = self.copy, self.origin
        origin.put(b"a", b"1")
        copy.bootstrap(origin)
        copy.call("ZREM", copy.at + "keys", "a")
        copy.repair(origin, bucket_of(b"a"))
        self.assert_same()

    def test_keys_that_do_not_stand_in_the_order_of_their_bytes_are_set_right(self):
        self.copy.bootstrap(self.origin)
        for n in range(10):
            self.origin.put(b"key-%d" % n, b"x")
        self.copy.follow(self.origin)
        self.call("ZADD", self.copy.at + "keys", 5, b"key-3")
        words = [word for n in range(10) for word in (b"key-%d" % n, bucket_of(b"key-%d" % n))]
        self.assertEqual(self.copy.function("relist", 0, *words), 1)
        self.assert_same()

    def test_a_repair_counts_anew_where_the_count_is_none(self):
        self.copy.bootstrap(self.origin)
        self.origin.put(b"a", b"1")
        self.copy.follow(self.origin)
        self.call("HSET", self.copy.at + "meta", "repaired", "by hand")
        for count in (1, 2):
            self.flip(b"a")
            self.assertEqual(self.copy.repair(self.origin, bucket_of(b"a")), 1)
            self.assertEqual(self.copy.meta("repaired"), str(count))

    def test_a_copy_that_is_said_not_to_be_whole_is_live_again_with_the_next_beat(self):
        self.copy.bootstrap(self.origin)
        self.origin.put(b"a", b"1")
        self.copy.follow(self.origin)
        self.call("HSET", self.copy.at + "meta", "state", "copying")
        self.origin.function("beat", 0)
        self.assertEqual(self.copy.follow(self.origin), (1, "live", ""))
        self.assertEqual(self.copy.meta("state"), "live")

    def test_a_sum_is_made_anew(self):
        origin = self.origin
        origin.put(b"a", b"1")
        origin.set_sum(bucket_of(b"a"), 17)
        self.assertEqual(origin.wrong_sums(), [bucket_of(b"a")])
        origin.function("resum", 0, bucket_of(b"a"))
        self.assert_whole(origin)


if __name__ == "__main__":
    unittest.main()
