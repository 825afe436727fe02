#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is changed behind the functions' back, in a unit's copy and at the origin, and who finds and mends it."""
import re
import time
import unittest

import harness
from collections_fixture import bucket_of, pack, unpack
from copies_fixture import CORE, CopiesTest
from harness import wait_until

DIGEST = 1.0
RATES = {"rates": {"digest": f"{DIGEST:.0f}s", "feed": 1000}}


class Scrub(CopiesTest):
    def assert_whole(self, site):
        values, wrong = site.look()
        self.assertEqual(wrong, [])
        self.assertEqual(site.call("ZRANGE", site.at + "keys", 0, -1), sorted(values))
        return values

    def agent(self, unit):
        return self.units[unit].agent

    def bucket(self, site, key):
        return f"{site.at}b/{bucket_of(key)}"

    def value(self, site, key):
        return site.call("HGET", self.bucket(site, key), key)

    def replace(self, site, key, *words):
        """By a key of another type."""
        site.connection.pipeline([("DEL", site.at + key), words or ("SET", site.at + key, "not what it was")])

    def wait_round(self, unit):
        """All has been looked through once from now on."""
        seen = self.agent(unit).metric("agent_scrubs_total")
        wait_until(lambda: self.agent(unit).metric("agent_scrubs_total") >= seen + 2, what=f"{unit} to look at all")


class Copy(Scrub):
    def setUp(self):
        super().setUp()
        self.start(collections=RATES)
        self.seq = self.write(500)
        self.wait_open()
        self.wait_applied(self.seq)
        self.rates = self.copy()

    def found(self):
        return self.agent("RZ01").metric("agent_buckets_divergent_total")

    def check_mended(self, damages, buckets, values):
        """Each of DAMAGES is repaired; prints how long that took in all."""
        for damage in damages:
            damage()
        began = time.monotonic()
        wait_until(lambda: self.found() >= buckets and self.agent("RZ01").metric("agent_buckets_wrong") == 0,
                   what="the damage to be found and repaired")
        print(f"{len(damages)} damages found and repaired within {time.monotonic() - began:.2f} s, digest {DIGEST} s")
        self.assert_same()
        self.assert_whole(self.rates)
        self.assertEqual(self.found(), buckets)
        self.assertEqual(self.agent("RZ01").metric("agent_values_repaired_total"), values)
        self.assertEqual(self.rates.meta("bad"), "")
        told = self.agent("RZ01").get("/metrics").body.decode()
        for name, value in (("sequence", self.rates.seq), ("behind", 0), ("open", 1), ("wrong", 0), ("untold", 0)):
            self.assertIn(f'ldcgate_agent_copy_{name}{{unit="RZ01",collection="rates"}} {value}\n', told)

    def test_values_keys_and_sums_that_were_changed_by_hand_are_repaired(self):
        call = self.rates.call

        def flip():
            packed = self.value(self.rates, b"key-1")
            call("HSET", self.bucket(self.rates, b"key-1"), b"key-1", packed[:-1] + bytes([packed[-1] ^ 1]))

        def delete():
            call("HDEL", self.bucket(self.rates, b"key-2"), "key-2")

        def add():
            call("HSET", self.bucket(self.rates, b"stray"), "stray", pack(b"stray", b"x", version=3))

        def change_type():
            packed = self.value(self.rates, b"key-3")
            call("HSET", self.bucket(self.rates, b"key-3"), b"key-3", packed.replace(b"text/plain", b"text/plaid"))

        def break_off():
            call("HSET", self.bucket(self.rates, b"key-4"), b"key-4", b"x")

        def set_back():
            call("HSET", self.bucket(self.rates, b"key-5"), b"key-5", pack(b"key-5", b"old", version=1))

        def change_sum():
            self.rates.set_sum(bucket_of(b"key-6"), self.rates.sum(bucket_of(b"key-6")) + 1)

        def replace():
            call("SET", self.bucket(self.rates, b"key-7"), "not a hash")

        keys = [b"key-1", b"key-2", b"stray", b"key-3", b"key-4", b"key-5", b"key-6", b"key-7"]
        lost = sum(bucket_of(b"key-%d" % n) == bucket_of(b"key-7") for n in range(500))
        self.check_mended([flip, delete, add, change_type, break_off, set_back, change_sum, replace],
                          len({bucket_of(key) for key in keys}), 6 + lost)
        told = [fields[b"key"] for _, fields in self.rates.log() if fields[b"op"] == b"repair"]
        self.assertEqual((len(told), told.count(b"key-2")), (6 + lost, 1))
        call("ZREM", self.rates.at + "keys", "key-1", "key-2")
        wait_until(lambda: call("ZCARD", self.rates.at + "keys") == 500, what="the whole list")
        call("ZADD", self.rates.at + "keys", 0, "ghost", 0, "key-9999")
        wait_until(lambda: call("ZCARD", self.rates.at + "keys") == 500, what="the list to lose strange keys")
        call("ZADD", self.rates.at + "keys", 7, "key-8")
        wait_until(lambda: call("ZSCORE", self.rates.at + "keys", "key-8") == b"0", 40, what="the list in its order")
        self.assertGreaterEqual(self.agent("RZ01").metric("agent_keys_relisted_total"), 4)
        self.assert_whole(self.rates)

    def test_what_a_digest_or_an_operator_doubts_is_repaired(self):
        """A change that was applied in another way: values and sum agree with each other, not with the origin."""
        self.rates.call("FCALL", "ldc1_c_resum", 1, self.rates.at, self.rates.epoch, bucket_of(b"key-9"))
        self.rates.call("HDEL", self.bucket(self.rates, b"key-9"), "key-9")
        self.rates.call("FCALL", "ldc1_c_resum", 1, self.rates.at, self.rates.epoch, bucket_of(b"key-9"))
        wait_until(lambda: self.value(self.rates, b"key-9"), what="the key that the digest missed")
        self.assert_same()
        found = self.found()
        self.rates.call("FCALL", "ldc1_c_doubt", 1, self.rates.at, self.rates.epoch, "5,700")
        wait_until(lambda: self.found() == found + 2 and self.rates.meta("bad") == "", what="what an operator doubts")

    def test_what_stands_in_the_place_of_sums_list_and_log_gives_way(self):
        self.replace(self.rates, "sums", "RPUSH", self.rates.at + "sums", "x")
        self.replace(self.rates, "keys")
        self.replace(self.rates, "log")
        self.write(20)
        wait_until(lambda: self.found() > 0 and self.agent("RZ01").metric("agent_buckets_wrong") == 0, what="the sums")
        wait_until(lambda: self.rates.call("ZCARD", self.rates.at + "keys") == 500, what="the list")
        self.assert_same()
        self.assert_whole(self.rates)
        self.assertEqual(self.agent("RZ01").metric("agent_copy_bootstraps_total"), 1)

    def test_a_copy_that_cannot_go_on_is_made_anew(self):
        """Its log is beyond its sequence, or nobody knows what it is."""
        call, at = self.rates.call, self.rates.at
        damages = [("XADD", at + "log", "999999-0", "op", "put"), ("HSET", at + "meta", "seq", 3),
                   ("HSET", at + "meta", "seq", "many"), ("HSET", at + "meta", "state", "odd"),
                   ("HSET", at + "meta", "state", "copying", "copy_until", "999999"),
                   ("HSET", at + "meta", "state", "copying", "copy_bucket", "5000"), ()]
        for made, damage in enumerate(damages, 1):
            if damage:
                call(*damage)
            else:
                self.replace(self.rates, "meta")
            self.write(5)
            wait_until(lambda: self.agent("RZ01").metric("agent_copy_bootstraps_total") > made, what=f"another copy: {damage}")
            self.wait_open()
            self.assert_same()
            self.assert_whole(self.rates)
        call("HSET", at + "meta", "epoch", "odd")
        self.wait_open()

    def test_only_what_is_wrong_is_found_while_much_is_written(self):
        seen = self.agent("RZ01").metric("agent_scrubs_total")
        while self.agent("RZ01").metric("agent_scrubs_total") < seen + 2:
            self.write(200)
        self.assertEqual((self.found(), self.agent("RZ01").metric("agent_keys_relisted_total")), (0, 0))
        for n in range(20):
            self.rates.call("HDEL", self.bucket(self.rates, b"key-%d" % n), "key-%d" % n)
            self.write(200, first=n * 20)
        wait_until(lambda: self.found() > 0 and self.agent("RZ01").metric("agent_buckets_wrong") == 0, what="all repaired")
        self.wait_round("RZ01")
        self.assert_same()
        wait_until(lambda: self.rates.call("XLEN", self.rates.at + "log") < 1200, what="the log to be trimmed")


class Origin(Scrub):
    def setUp(self):
        super().setUp()
        self.start(units=("RZ01",), collections=RATES)

    def test_beats_digests_and_trims_go_by_the_clock(self):
        origin = self.origin
        wait_until(lambda: origin.meta("beat"), what="a beat before anything was written")
        self.write(1500)
        seen = int(origin.meta("beat_us"))
        wait_until(lambda: int(origin.meta("beat_us")) > seen, what="a beat behind the writes")

        def digests():
            return origin.call("LLEN", origin.at + "digests")
        had = digests()
        wait_until(lambda: digests() >= had + 2, what="two digests")
        wait_until(lambda: origin.call("XLEN", origin.at + "log") < 1300, what="the log to be trimmed")
        self.assertEqual(origin.log()[-1][0].split("-")[0], "1500")

    def test_the_list_of_keys_is_made_whole(self):
        self.write(100)
        origin = self.origin
        origin.call("ZREM", origin.at + "keys", "key-7", "key-8")
        wait_until(lambda: origin.call("ZCARD", origin.at + "keys") == 100, what="the whole list")
        self.assertEqual(self.agent(CORE).metric("agent_keys_relisted_total"), 2)
        self.write(15900, first=100)  # more than are looked for at once
        origin.call("DEL", origin.at + "keys")
        wait_until(lambda: origin.call("ZCARD", origin.at + "keys") == 16000, what="the whole list again")

    def metric(self, name):
        return self.agent(CORE).metric(name)

    def damage(self):
        """A value, a deleted and a strange key, and a sum."""
        origin = self.origin
        packed = self.value(origin, b"key-1")
        origin.call("HSET", self.bucket(origin, b"key-1"), b"key-1", packed[:-1] + bytes([packed[-1] ^ 1]))
        origin.call("HDEL", self.bucket(origin, b"key-2"), "key-2")
        origin.call("HSET", self.bucket(origin, b"stray"), "stray", pack(b"stray", b"x", version=3))
        origin.set_sum(bucket_of(b"key-4"), origin.sum(bucket_of(b"key-4")) + 1)

    def test_what_a_copy_proves_is_written_again(self):
        seq = self.write(100)
        self.wait_applied(seq)
        before = self.origin.values()
        self.damage()
        wait_until(lambda: self.metric("agent_buckets_divergent_total") == 4, what="the findings")
        wait_until(lambda: self.metric("agent_origin_buckets_wrong") == 0, what="the origin to be mended")
        values = self.assert_whole(self.origin)
        self.assertEqual({key: unpack(packed)[2:] for key, packed in values.items()},
                         {key: unpack(packed)[2:] for key, packed in before.items()})
        self.assertEqual(self.metric("agent_origin_values_mended_total"), 3)
        self.assertEqual(self.origin.seq, seq + 3)
        self.assert_same()
        self.wait_round("RZ01")
        self.assertEqual(self.agent("RZ01").metric("agent_buckets_wrong"), 0)
        self.assertEqual(self.agent("RZ01").metric("agent_values_repaired_total"), 0)

    def test_what_stands_in_the_place_of_an_origins_keys_gives_way(self):
        """Writers go on behind the last version that there was, whatever `meta` says."""
        self.wait_applied(self.write(100))
        origin, last = self.origin, 100
        damages = [("DEL", origin.at + "meta"), ("HSET", origin.at + "meta", "seq", 3),
                   ("XADD", origin.at + "log", "200-0", "op", "put"),
                   ("HSET", origin.at + "meta", "state", "live"), *("meta", "keys", "log", "digests", "units", "sums")]
        for damage in damages:
            if isinstance(damage, tuple):
                origin.call(*damage)
            else:
                self.replace(origin, damage)
            version = wait_until(lambda: self.try_put(b"key-1"), what=f"a write after {damage}")
            self.assertGreater(version, last, damage)
            last = version
            self.wait_open()
            wait_until(lambda: self.copy().seq == origin.seq, what=f"the copy after {damage}")
        self.assertGreaterEqual(self.agent(CORE).log_text().count("collection.recalled"), 4)
        wait_until(lambda: self.metric("agent_origin_buckets_wrong") == 0 and not self.origin.wrong_sums(), what="the sums")
        wait_until(lambda: origin.call("ZCARD", origin.at + "keys") == 100, what="the list")
        self.assert_same()

    def test_an_entry_that_no_function_wrote_keeps_no_copy_from_going_on(self):
        self.wait_applied(self.write(100))
        origin = self.origin
        origin.call("XADD", origin.at + "log", "101-0", "op", "put", "key", "x", "bucket", 5, "value", "short")
        wait_until(lambda: self.try_put(b"key-1"), what="a write behind it")
        wait_until(lambda: self.copy().seq == origin.seq, what="the copy")
        self.wait_open()
        self.assert_same()

    def try_put(self, key):
        """Its version; None: it was refused."""
        try:
            return self.origin.put(key, b"another")[0]
        except RuntimeError:
            return None

    def test_large_values_are_looked_at_few_at_a_time(self):
        self.write(1000, size=32000)
        broker = harness.BrokerConnection(self.units[CORE].primary().port)
        self.addCleanup(broker.close)
        self.wait_round(CORE)
        broker.call("CONFIG", "RESETSTAT")
        self.wait_round(CORE)
        calls = dict(re.findall(r"cmdstat_(\w+):calls=(\d+)", broker.call("INFO", "commandstats").decode()))
        self.assertLess(int(calls["hgetall"]) / int(calls["exec"]), 16, "buckets of 32 kB each in one answer")

    def test_what_nobody_proves_is_told_of_and_left_alone(self):
        """The copy is sound in itself, but another one than the origin was."""
        self.wait_applied(self.write(100))
        copy = self.copy()
        self.agent("RZ01").kill()
        self.origin.call("HDEL", self.bucket(self.origin, b"key-2"), "key-2")
        copy.call("HSET", self.bucket(copy, b"key-2"), b"key-2", pack(b"key-2", b"other", version=1))
        copy.call("FCALL", "ldc1_c_resum", 1, copy.at, copy.epoch, bucket_of(b"key-2"))
        wait_until(lambda: "collection.unmended" in self.agent(CORE).log_text(), what="the alarm")
        self.assertEqual(self.metric("agent_origin_buckets_wrong"), 1)
        self.assertIsNone(self.value(self.origin, b"key-2"))
        self.assertEqual(self.origin.seq, 100)
        self.origin.put(b"key-2", b"written again by its owner")
        self.origin.function("resum", self.origin.epoch, bucket_of(b"key-2"))
        wait_until(lambda: self.metric("agent_origin_buckets_wrong") == 0, what="the end of the alarm")


if __name__ == "__main__":
    unittest.main()
