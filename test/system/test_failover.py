#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A unit whose broker, or all of it, dies while users pay: what was accepted is delivered, once by its id and in each
user's order; others notice nothing; and who took over stands in the status. How long it took is printed, not judged."""
import collections
import signal
import unittest

import harness
import switch_fixture
from harness import wait_until
from playground_fixture import Playground

RUNS_ALONE = "what a busy machine holds up for 40 ms looks dead"

Gateway = collections.namedtuple("Gateway", "port")


class Payers(switch_fixture.Payers):
    """Of users from FIRST on."""

    def __init__(self, gateways, first):
        super().__init__(gateways, path="/pay/1")
        self.first = first

    def request(self, client, thread, body):
        answer = client.request("POST", self.path, {"X-User-Id": str(self.first + thread), "Idempotency-Key": body},
                                b'{"payee": "%d"}' % (self.first + thread))
        document = answer.json()
        return answer.status, document.get("id") or document.get("message"), document.get("type")


class Failover(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.playground = Playground(self.stack, "--units", "3", "--gateways", "3")
        self.gateways = [Gateway(self.playground.ingress(i)) for i in range(3)]
        wait_until(self.is_covered, 60, "a standby that every gateway trusts")

    def is_covered(self):
        """A standby is trusted when it was well for a while."""
        token = (self.playground.dir / "token").read_text().strip()
        for url in self.playground.topology()["admin"]:
            answer = harness.request(int(url.rsplit(":", 1)[1]), "GET", "/v1/status", {"Authorization": f"Bearer {token}"})
            unit = next(unit for unit in answer.json()["units"] if unit["name"] == "RZ01")
            if len(unit["broker_record"]["in_sync"]) < 2 or not unit["failover"]["vote"]["standby_healthy"]:
                return False
        return True

    def record(self, name="RZ01"):
        done, status = self.playground.ctl_json("status")
        self.assertEqual(done.returncode, 0, done.stderr)
        return next(unit for unit in status["units"] if unit["name"] == name)["broker_record"]

    def delivered(self):
        """By id: what the apps took, in order."""
        found = collections.defaultdict(list)
        for process in self.playground.topology()["processes"]:
            if process["role"] == "app":
                for record in self.playground.records(process["name"]):
                    found[record["id"]].append(record)
        return found

    def strike(self, number, *names):
        """Users pay while NAMES get the signal NUMBER, and go on until many were taken by each gateway again."""
        with Payers(self.gateways, 0) as hit, Payers(self.gateways, 50) as others:
            for name in names:
                self.playground.signal(name, number)
            hit.more(300)
            self.check(hit, others)
        return hit

    def check(self, hit, others):
        self.assertFalse([answer for answer in others.answers if answer.status != 202][:3])
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
        self.strike(signal.SIGKILL, "RZ01-broker")
        after = self.record()
        self.assertNotEqual(before["primary"], after["primary"])
        self.assertRegex(after["why"], r"primary suspected: .*\d votes, \d needed")

    def test_a_primary_that_stands_still_is_left_and_comes_back_as_a_replica(self):
        before = self.record()["primary"]
        self.strike(signal.SIGSTOP, "RZ01-broker")
        self.playground.signal("RZ01-broker", signal.SIGCONT)
        wait_until(lambda: before in self.record()["in_sync"][1:], 60, "the old primary to be in sync again")

    def test_a_unit_that_dies_whole_is_served_by_its_standby(self):
        names = [process["name"] for process in self.playground.topology()["processes"]
                 if process["unit"] == "RZ01" and process["role"] in ("agent", "app") or process["name"] == "RZ01-broker"]
        self.strike(signal.SIGKILL, *names)
        self.assertEqual(self.record()["consumer"], "RZ02")


if __name__ == "__main__":
    unittest.main()
