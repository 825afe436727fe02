#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes of collections, pushed to an app: in order, each at least once, and never in the way of the copies."""
import unittest

from collections_fixture import bucket_of
from copies_fixture import CORE, CopiesTest
from harness import wait_until
from push_fixture import PATH, Listener


class Push(CopiesTest):
    def setUp(self):
        super().setUp()
        self.app = Listener()
        self.addCleanup(self.app.end)

    def begin(self, **options):
        """Until the app has heard that there is something to listen to."""
        self.start(collections={"rates": {"push": self.app.url + PATH, "feed": 1000}}, **options)
        for unit in self.units:
            wait_until(lambda: "reset" in self.app.kinds(unit), what=f"the first word of {unit}")

    def wait_told(self, seq, unit="RZ01"):
        wait_until(lambda: seq in self.app.sequences(unit), what=f"{unit} to tell of {seq}")

    def test_each_change_is_told_in_its_order_in_every_unit(self):
        self.begin(lease__ttl="20s")  # whose agent is held up for less tells nothing twice
        origin = self.origin
        first, _ = origin.put(b"a key \xc3\xa4", b"1")
        second, _ = origin.put(b"a key \xc3\xa4", b"2")
        third, _ = origin.delete(b"a key \xc3\xa4")
        seq = self.write(400)
        for unit in ("RZ01", CORE):
            self.wait_told(seq, unit)
            self.assertEqual(self.app.sequences(unit), list(range(1, seq + 1)))
            self.assertEqual(self.app.kinds(unit)[:4], ["reset", "put", "put", "del"])
            told = self.app.of(unit, "put", "del")
            self.assertEqual(told[1], {"collection": "rates", "sequence": second, "key": "a key ä", "version": second,
                                       "was": first})
            self.assertEqual((told[2]["was"], told[2]["sequence"]), (second, third))
        copy = self.copy()
        copy.call("HDEL", f"{copy.at}b/{bucket_of(b'key-7')}", "key-7")
        copy.call("FCALL", "ldc1_c_doubt", 1, copy.at, copy.epoch, bucket_of(b"key-7"))
        wait_until(lambda: self.app.of("RZ01", "repair"), what="the repair to be told of")
        self.assertEqual([(data["key"], data["version"]) for data in self.app.of("RZ01", "repair")], [("key-7", 3 + 8)])

    def test_an_app_that_refuses_is_left_alone_and_holds_up_nothing(self):
        self.begin(lease__ttl="20s")
        self.app.refuses = 503, {"Retry-After": "1"}, b""
        seq = self.write(100)
        self.wait_applied(seq)
        wait_until(lambda: len(self.app.asked) >= 6, what="three tries of each unit")
        tries = sorted(self.app.asked[-4:])
        self.assertGreater(tries[-1] - tries[0], 0.9)
        agent = self.units["RZ01"].agent
        self.assertGreaterEqual(agent.metric("agent_push_failures_total"), 2)
        self.app.refuses = 400, {}, b""
        time_refused = len(self.app.asked)
        wait_until(lambda: len(self.app.asked) >= time_refused + 4, what="the app to be asked on")
        self.app.refuses = None
        self.wait_told(seq)
        self.assertEqual(self.app.sequences("RZ01"), list(range(1, seq + 1)))
        self.assertEqual(self.app.kinds("RZ01").count("reset"), 1)

    def test_an_agent_that_is_killed_leaves_no_gap(self):
        self.begin()
        agent, written = self.units["RZ01"].agent, []
        for n in range(5):
            written.append(self.write(100, first=100 * n))
            wait_until(lambda: len(self.app.sequences("RZ01")) > 40 * n, what="some of it to be told")
            agent.kill()
            agent.restart()
        self.wait_told(written[-1])
        told = self.app.assert_no_gap(self, "RZ01", written[-1])
        self.assertEqual(told[0], 1)
        print(f"{len(told)} events for {written[-1]} changes under five kills")

    def test_another_app_is_told_to_read_anew(self):
        self.begin()
        self.wait_told(self.write(20))
        other = Listener()
        self.addCleanup(other.end)
        self.collections["rates"]["push"] = other.url + PATH
        self.write_rules()
        wait_until(lambda: other.of("RZ01", "reset"), what="the first word to the other app")
        self.assertEqual(other.of("RZ01", "reset")[0]["sequence"], 20)
        seq = self.write(1)
        wait_until(lambda: other.sequences("RZ01") == [seq], what="the change")
        copy = self.copy()
        copy.call("DEL", copy.at + "pushed")
        copy.call("RPUSH", copy.at + "pushed", "not what it was")
        self.units["RZ01"].agent.kill()
        self.units["RZ01"].agent.restart()
        wait_until(lambda: len(other.of("RZ01", "reset")) == 2, what="the first word anew")

    def test_what_the_log_has_no_more_is_told_as_a_reset(self):
        self.begin()
        agent = self.units["RZ01"].agent
        self.wait_told(self.write(50))
        self.app.refuses = 500, {}, b""
        seq = self.write(1500)
        self.wait_applied(seq)
        wait_until(lambda: self.copy().call("XLEN", self.copy().at + "log") < 1200, what="the log to be trimmed")
        self.app.refuses = None
        wait_until(lambda: self.app.of("RZ01", "reset")[-1]["sequence"] == seq, what="the reset")
        self.wait_told(self.write(1))
        copy = self.copy()
        agent.kill()
        copy.call("DEL", copy.at + "meta")
        agent.restart()
        wait_until(lambda: len(self.app.of("RZ01", "reset")) == 3, what="the reset of a copy that was made anew")
        seq = self.write(1)
        self.wait_told(seq)
        self.assertEqual(self.app.sequences("RZ01")[-1], seq)


if __name__ == "__main__":
    unittest.main()
