# SPDX-License-Identifier: Apache-2.0
"""What operators see of collections, and do: ldcctl zonec status, and zonec verify, which believes no agent."""
import contextlib
import itertools
import json
import signal
import threading
import unittest

import harness
from collections_fixture import Site, bucket_of, pack
from copies_fixture import CORE, CopiesTest
from harness import wait_until

UNITS = ("RZ01", "RZ02")
HOUR = {"digest": "1h"}  # nothing repairs by itself


class Zonec(CopiesTest):
    def begin(self, collections=None, units=UNITS, keys=300, **options):
        self.start(units, collections or {"rates": HOUR}, **options)
        self.gateway = self.stack.gateway()
        self.write(keys)
        for unit in units:
            self.wait_open(unit)
            self.wait_applied(self.origin.seq, unit)

    def ctl(self, *words, code=0):
        done = self.stack.ctl("zonec", *words, "-o", "json", gateway=self.gateway)
        self.assertEqual(done.returncode, code, f"{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}

    def status(self, *words):
        """The answer, and its items by unit."""
        answer = self.ctl("status", *words)
        return answer, {item["unit"]: item for item in answer["items"] if item["collection"] == "rates"}

    def verify(self, *words, code=0):
        """What was found of `rates`, by unit; the origin's too."""
        answer = self.ctl("verify", "rates", *words, code=code)
        self.assertEqual(answer["same"], code == 0)
        one, = answer["collections"]
        return {item["unit"]: item for item in [one["origin"], *one["copies"]]}

    def bucket(self, unit, key):
        site = self.site(unit)
        return site, f"{site.at}b/{bucket_of(key)}"

    def flip(self, unit, key):
        site, bucket = self.bucket(unit, key)
        value = bytearray(site.call("HGET", bucket, key))
        value[-1] ^= 1
        site.call("HSET", bucket, key, bytes(value))

    def damage(self, unit):
        """A flipped value, a deleted key, and one that nobody wrote."""
        self.flip(unit, b"key-1")
        site, bucket = self.bucket(unit, b"key-2")
        site.call("HDEL", bucket, b"key-2")
        site, bucket = self.bucket(unit, b"caf\xc3\xa9 %")
        site.call("HSET", bucket, b"caf\xc3\xa9 %", pack(b"caf\xc3\xa9 %", b"x", version=7))


class Status(Zonec):
    def test_status_shows_how_far_each_copy_is_and_what_is_wrong_with_it(self):
        self.begin({"rates": HOUR, "catalogue": {"replication": "snapshot", "interval": "1h", "staleness": "1h"}})
        answer, items = self.status()
        origin = items[CORE]
        self.assertEqual(set(items), {CORE, *UNITS})
        self.assertEqual((origin["role"], origin["state"], origin["seq"], origin["keys"]), ("origin", "origin", 300, 300))
        for unit in UNITS:
            item = items[unit]
            self.assertEqual((item["role"], item["state"], item["open"], item["seq"]), ("copy", "live", True, 300))
            self.assertEqual((item["seq_lag"], item["same_digest"], item["digest"]), (0, True, origin["digest"]))
            self.assertEqual((item["keys"], item["bad"], item["repaired"]), (300, [], 0))
            self.assertTrue(item["owner"].startswith(f"agent-{unit}/"), item["owner"])
            self.assertLess(item["time_lag_ms"], 10000)
        self.check_snapshot()
        self.check_faults()

    def check_snapshot(self):
        """It is behind until its next time; verify brings both to one sequence by the log."""
        for unit in UNITS:
            self.wait_open(unit, "catalogue")
        self.write(5, origin=self.site(CORE, "catalogue"))
        item, = [item for item in self.ctl("status", "catalogue", "--unit", "RZ01")["items"] if item["unit"] == "RZ01"]
        self.assertEqual((item["seq"], item["seq_lag"], item["same_digest"]), (0, 5, None))
        answer = self.ctl("verify", "catalogue")
        self.assertEqual([copy["verdict"] for copy in answer["collections"][0]["copies"]], ["same", "same"])

    def check_faults(self):
        wait_until(self.is_seen_closed, what="a closed copy in the status")
        self.units["RZ01"].agent.signal(signal.SIGSTOP)
        self.addCleanup(self.units["RZ01"].agent.signal, signal.SIGCONT)
        done = self.stack.ctl("zonec", "status", gateway=self.gateway)
        self.assertEqual(done.returncode, 3)
        self.assertIn("RZ01 cannot be looked at", done.stdout)
        verified = self.stack.ctl("zonec", "verify", "rates", "--timeout", "1", gateway=self.gateway)
        self.assertEqual(verified.returncode, 3, verified.stdout)

    def test_a_unit_whose_broker_is_down_was_asked_in_vain(self):
        self.begin()
        self.units["RZ01"].brokers[0].kill()
        answer = wait_until(self.status_in_vain, what="a status that says so")
        self.assertEqual({item["unit"] for item in answer["items"]}, {CORE, "RZ02"})
        self.assertIn("RZ01 cannot be looked at", "".join(answer["faults"]))
        found = self.verify(code=3)
        self.assertEqual([found[unit]["verdict"] for unit in (CORE, *UNITS)], ["same", "unreachable", "same"])
        self.units[CORE].brokers[0].kill()
        wait_until(lambda: self.stack.ctl("zonec", "verify", gateway=self.gateway).returncode == 3, what="an origin that is away")

    def status_in_vain(self):
        done = self.stack.ctl("zonec", "status", "-o", "json", gateway=self.gateway)
        return json.loads(done.stdout) if done.returncode == 3 else None

    def is_seen_closed(self):
        """Its agent opens it again within a second."""
        copy = self.copy("RZ02")
        copy.call("HSET", copy.at + "meta", "epoch", "999")
        return "nobody reads its copy of rates" in self.stack.ctl("zonec", "status", gateway=self.gateway).stdout


class Verify(Zonec):
    def test_what_differs_is_found_key_by_key_and_repaired_when_asked(self):
        self.begin(keys=2000)
        found = self.verify()
        self.assertEqual([found[unit]["entries"] for unit in (CORE, *UNITS)], [2000] * 3)
        self.assertEqual([found[unit]["same_digest"] for unit in UNITS], [True, True])
        self.damage("RZ02")
        found = self.verify("--unit", "RZ02", code=1)
        wrong = found["RZ02"]
        self.assertEqual(found.keys(), {CORE, "RZ02"})
        self.assertEqual({key["key"]: key["fault"] for key in wrong["keys"]},
                         {"key-1": "value", "key-2": "missing", "caf%C3%A9%20%25": "extra"})
        self.assertEqual((wrong["different"], len(wrong["buckets"]), wrong["unsound"]), (3, 3, ["key-1"]))
        self.verify("--repair")
        self.assert_same("RZ02")
        self.assertEqual(self.status()[1]["RZ02"]["repaired"], 3)
        self.check_sums()
        self.check_origin()

    def check_sums(self):
        """The values are right, and the sum that is kept for them is not."""
        copy = self.copy("RZ01")
        copy.set_sum(7, copy.sum(7) ^ 1)
        found = self.verify(code=1)["RZ01"]
        self.assertEqual((found["different"], found["buckets"], found["same_digest"]), (0, [7], False))
        self.verify("--repair")
        copy.call("ZREM", copy.at + "keys", "key-7")
        found = self.verify(code=1)["RZ01"]
        self.assertEqual((found["different"], found["same_digest"], found["same_list"]), (0, True, False))
        copy.call("ZADD", copy.at + "keys", "0", "key-7")

    def check_origin(self):
        """No repair makes up what was written."""
        self.flip(CORE, b"key-5")
        self.flip(CORE, b"key-6")
        found = self.verify("--repair", "--keys", "1", code=1)
        self.assertEqual([len(found[unit]["keys"]) for unit in UNITS], [1, 1])
        self.assertEqual((found[CORE]["verdict"], sorted(found[CORE]["unsound"])), ("different", ["key-5", "key-6"]))

    def test_it_tells_the_truth_while_writers_go_on(self):
        """Nothing differs that does not; and what does is found in the midst of it."""
        self.begin(keys=500)
        with self.writer() as written:
            for _ in range(2):
                before = len(written)
                found = self.verify()
                self.assertEqual([found[unit]["verdict"] for unit in UNITS], ["same", "same"])
                wait_until(lambda: len(written) > before, what="a write")
            self.flip("RZ01", b"key-499")  # one that the writer leaves alone
            found = self.verify(code=1)
        self.assertEqual([key["key"] for key in found["RZ01"]["keys"]], ["key-499"])
        self.assertEqual(found["RZ02"]["verdict"], "same")
        print(f"{len(written)} changes meanwhile")

    @contextlib.contextmanager
    def writer(self):
        """Changes and deletes some hundred keys, again and again."""
        written, end = [], threading.Event()
        port, stamp = self.units[CORE].primary().port, self.origin.epoch

        def write():
            connection = harness.BrokerConnection(port)
            site = Site(connection, CORE, stamp)
            for n in itertools.takewhile(lambda _: not end.is_set(), itertools.count()):
                site.put(b"key-%d" % (n % 300), None if n % 7 == 0 else b"%d" % n)
                written.append(n)
            connection.close()
        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield written
        finally:
            end.set()
            thread.join()

    def test_a_copy_that_is_not_whole_or_not_there_is_not_called_the_same(self):
        self.begin(units=("RZ01",))
        copy = self.copy()
        self.units["RZ01"].agent.signal(signal.SIGSTOP)
        copy.call("HSET", copy.at + "meta", "state", "copying", "copy_bucket", "3")
        self.units["RZ01"].agent.signal(signal.SIGCONT)
        found = self.stack.ctl("zonec", "verify", "rates", gateway=self.gateway)
        self.assertIn(found.returncode, (0, 4), found.stdout)  # 0: made anew already
        self.assertFalse(self.ctl("verify", "nothing", code=1)["same"])
        for words, code, text in ((("verify", "nothing"), 1, "nothing"), (("verify", "--unit", "RZ77"), 1, "RZ77"),
                                  (("status", "--unit", "RZ77"), 1, "RZ77")):
            done = self.stack.ctl("zonec", *words, gateway=self.gateway)
            self.assertEqual((done.returncode, text in done.stdout + done.stderr), (code, True), done.stderr)

    def test_a_copy_whose_meta_is_deleted_is_made_anew(self):
        self.begin(units=("RZ01",))
        copy = self.copy()
        copy.call("HDEL", f"{copy.at}b/{bucket_of(b'key-1')}", "key-1")
        copy.call("DEL", copy.at + "meta")
        self.wait_open("RZ01")
        self.assertEqual(self.verify()["RZ01"]["verdict"], "same")


class Admin(Zonec):
    def test_agents_refuse_what_makes_no_sense(self):
        self.begin(units=("RZ01",))
        agent = self.units["RZ01"].agent
        for path, status in (("/v1/collections?name=none", 404), ("/v1/collections?unit=RZ77", 404),
                             ("/v1/collections/entries", 404), ("/v1/collections/entries?name=rates&from=1024", 400),
                             ("/v1/collections/entries?name=rates&count=0", 400),
                             ("/v1/collections/entries?name=rates&count=17&keys=1", 400),
                             ("/v1/collections/entries?name=rates&count=1024", 200),
                             ("/v1/collections/changes?name=rates&from=x", 400),
                             ("/v1/collections/changes?name=rates", 200)):
            self.assertEqual(agent.get(path).status, status, path)
        all_of_them = "%2C".join(map(str, range(1024)))
        for query, status in (("name=rates", 400), ("name=rates&buckets=1,x", 400),
                              (f"name=rates&buckets={all_of_them}", 200)):
            self.assertEqual(agent.get(f"/v1/collections/repair?{query}", "POST").status, status, query)
        last = json.loads(agent.get("/v1/collections/entries?name=rates&from=1020&count=16&keys=1").body)["items"]
        self.assertEqual([one["bucket"] for one in last], [1020, 1021, 1022, 1023])
        for one in last:
            self.assertEqual((one["sum"], len(one["keys"])), (one["made"], one["entries"]))


if __name__ == "__main__":
    unittest.main()
