#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A unit whose broker, or all of it, dies while users pay: what was accepted is delivered, once by its id and in each
user's order; others notice nothing; and who took over stands in the status. How long it took is printed, not judged."""
import collections
import signal
import unittest

import unit_fixture
from harness import wait_until
from unit_fixture import Payers

RUNS_ALONE = "what a busy machine holds up for 40 ms looks dead"


class Failover(unit_fixture.UnitTest):
    def strike(self, number, *names):
        """Users pay while NAMES get the signal NUMBER, and go on until many were taken by each gateway again."""
        with Payers(self.gateways, 0) as hit, Payers(self.gateways, 50) as others:
            for name in names:
                self.playground.signal(name, number)
            hit.more(300)
            self.check(hit, others)
        return hit

    def check(self, hit, others):
        self.expect_served(others)
        accepted = {answer.id for answer in hit.accepted()} | {answer.id for answer in others.accepted()}
        wait_until(lambda: not accepted - set(self.delivered()), 60, "what was accepted to be delivered")
        gaps = self.gaps(hit)
        print(f"{self.id().rsplit('.', 1)[1]}: longest silence {1000 * max(gaps):.0f} ms, "
              f"{len(hit.answers) - len(hit.accepted())} of {len(hit.answers)} refused")

    def gaps(self, payers):
        """The longest time between two 202s of each payer."""
        by_payer = collections.defaultdict(list)
        for answer in payers.accepted():
            by_payer[answer.body.split("/")[0]].append(answer.at)
        return [max(b - a for a, b in zip(times, times[1:])) for times in by_payer.values()]

    def test_kill_9_of_a_primary_moves_its_unit_to_the_standby(self):
        before = self.record()
        self.strike(signal.SIGKILL, self.primary())
        after = self.record()
        self.assertNotEqual(before["primary"], after["primary"])
        self.assertRegex(after["why"], r"primary suspected: .*\d votes, \d needed")

    def test_a_primary_that_stands_still_is_left_and_comes_back_as_a_replica(self):
        before, frozen = self.record()["primary"], self.primary()
        self.strike(signal.SIGSTOP, frozen)
        self.playground.signal(frozen, signal.SIGCONT)
        wait_until(lambda: before in self.record()["in_sync"][1:], 60, "the old primary to be in sync again")

    def test_a_unit_that_dies_whole_is_served_by_its_standby(self):
        names = [process["name"] for process in self.playground.topology()["processes"]
                 if process["unit"] == "RZ01" and process["role"] in ("agent", "app")] + [self.primary()]
        self.strike(signal.SIGKILL, *names)
        self.assertEqual(self.record()["consumer"], "RZ02")
        self.check_verbs()

    def check_verbs(self):
        """What operators ask of the unit is answered by who delivers for it."""
        done = self.playground.ctl("queue", "throttle", "payments", "1000", "--unit", "RZ01")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.playground.ctl("queue", "dead", "list", "--unit", "RZ01")
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (0, "0 dead letters"), done.stderr)
        queues = self.playground.ctl_json("queue", "lag")[1]["queues"]
        self.assertIn("RZ01", {queue["unit"] for queue in queues})


if __name__ == "__main__":
    unittest.main()
