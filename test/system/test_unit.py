#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ldcctl unit: a unit is drained, made ready and brought home while users pay and visit: no request fails, each user's
order stays. How long requests waited is printed, and judged loosely."""
import json
import signal
import unittest

import harness
import switch_fixture
import unit_fixture
from harness import wait_until

RUNS_ALONE = "what a busy machine holds up for 40 ms looks dead"


class UnitVerbs(unit_fixture.UnitTest):
    def ask(self, verb, *flags):
        """None where a standby is not in sync: on a busy machine one may be struck off for a while."""
        done = self.playground.ctl("unit", verb, "RZ01", "-o", "json", *flags)
        return None if "in sync" in done.stderr else done

    def work(self, verb, *flags):
        done = wait_until(lambda: self.ask(verb, *flags), 60, f"{verb} to be possible")
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        said = json.loads(done.stdout)
        print(f"\n{verb}: {said['held']['requests']} waited, the longest for {said['held']['longest_ms']:.1f} ms; " +
              ", ".join(f"{step['text'].split(',')[0]} {step['ms']:+.1f}" for step in said["steps"]), end=" ")
        return said

    def refused(self, verb, *flags):
        done = self.playground.ctl("unit", verb, "RZ01", *flags)
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stderr

    def settle(self, payers):
        accepted = {answer.id for answer in payers.accepted()}
        wait_until(lambda: not accepted - set(self.delivered()), 60, "what was accepted to be delivered")
        self.check_order()
        found = self.delivered()
        again = sum(len(found[id]) > 1 for id in accepted)
        times = sorted(found[id][0]["us"] for id in accepted)
        print(f"\n{again} of {len(accepted)} delivered again; longest pause of deliveries "
              f"{max(b - a for a, b in zip(times, times[1:])) / 1000:.0f} ms", end=" ")

    def test_a_unit_is_drained_and_brought_home_without_a_failed_request(self):
        home = self.record()["primary"]
        with unit_fixture.Payers(self.gateways, 0) as payers, switch_fixture.Visitors(self.gateways) as visitors:
            record = self.work("drain", "--note", "new disks")["record"]
            self.assertNotEqual(record["primary"], home)
            self.assertEqual((record["consumer"], record["drained"]["why"]), ("RZ02", "new disks"))
            payers.more(300)
            wait_until(lambda: home in self.record()["in_sync"], 30, "the old primary to be in sync")
            record = self.work("failback")["record"]
            payers.more(300)
            visitors.more(300)
        self.assertEqual((record["primary"], record["consumer"], record["drained"]), (home, "", None))
        self.expect_served(payers, visitors)
        self.settle(payers)

    def test_work_is_done_at_a_drained_home(self):
        """It is said what is missing until all is there; nothing returns by itself, and nobody is alarmed."""
        home = self.record()["primary"]
        self.work("drain")
        self.playground.signal("RZ01-broker", signal.SIGSTOP)
        wait_until(lambda: home not in self.record()["in_sync"], 30, "the home broker to be struck off")
        self.assertIn("is not ready: its broker", self.refused("ready"))
        self.assertIn("is not ready", self.refused("failback"))
        self.playground.signal("RZ01-broker", signal.SIGCONT)
        wait_until(lambda: home in self.record()["in_sync"], 30, "the home broker to be in sync")
        wait_until(lambda: self.playground.ctl("unit", "ready", "RZ01").returncode == 0, 10, "the unit to be ready")
        record = self.record()
        self.assertIsNone(record["drained"])
        self.assertNotEqual(record["primary"], home)

    def test_an_operator_may_take_a_primary_for_lost(self):
        with unit_fixture.Payers(self.gateways, 0) as payers:
            before = self.record()["primary"]
            record = self.work("fail", "--note", "its disk is slow")["record"]
            self.assertNotEqual(record["primary"], before)
            self.assertEqual(record["why"], "forced failover: its disk is slow")
            payers.more(300)
        self.expect_served(payers)
        self.settle(payers)

    def replica(self):
        return next(one["name"] for one in self.playground.topology()["processes"]
                    if one["role"] == "broker" and one["unit"] == "RZ01" and not one["primary"])

    def test_a_switch_that_cannot_be_is_given_up(self):
        home = self.record()["primary"]
        with unit_fixture.Payers(self.gateways, 0) as payers:
            self.playground.signal(self.replica(), signal.SIGSTOP)
            done = self.playground.ctl("unit", "drain", "RZ01")
            self.playground.signal(self.replica(), signal.SIGCONT)
            payers.more(100)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stderr, "RZ01 stays where it was: planned switch given up after .* the standby")
        record = self.record()
        self.assertEqual((record["primary"], record["hold"], record["drained"]), (home, False, None))
        self.expect_served(payers)

    def post(self):
        return harness.request(self.gateways[0].port, "POST", "/pay/1", {"X-User-Id": "1"},
                               b'{"payee": "1", "n": 0}', timeout=10).status

    def test_what_no_other_broker_holds_is_lost_by_an_operators_word_alone(self):
        replica = self.replica()
        self.playground.signal(replica, signal.SIGSTOP)
        wait_until(lambda: len(self.record()["in_sync"]) == 1, 30, "the standby to be struck off")
        self.assertEqual(self.post(), 202)
        self.playground.kill("RZ01-broker")
        self.playground.signal(replica, signal.SIGCONT)
        self.assertIn("no other broker of RZ01 is in sync and well", self.refused("fail"))
        wait_until(lambda: "is the best copy" in self.refused("fail", "--accept-loss"), 10, "the copy to be heard")
        before = self.record()["primary"]
        done = self.playground.ctl("unit", "fail", "RZ01", "--accept-loss", "--yes")
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        self.assertNotEqual(self.record()["primary"], before)
        wait_until(lambda: self.post() == 202, 20, "the unit to take messages again")


if __name__ == "__main__":
    unittest.main()
