#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A core of three brokers: what crosses units is accepted while any two of them are there, and by no fewer."""
import json
import signal
import time
import unittest

import harness
from harness import wait_until
from playground_fixture import Playground


class Quorum(harness.StackTest):
    """Users 1001 and 1051 live in two units, so their payments go to the core."""

    def setUp(self):
        super().setUp()
        self.playground = Playground(self.stack, "--units", "2", "--gateways", "2", "--core-brokers", "3", "--supervise")
        self.playground.be_patient()
        self.brokers = {one["ports"]["redis"]: one["name"] for one in self.playground.topology()["processes"]
                        if one["role"] == "broker" and one["unit"] == "CORE"}
        wait_until(lambda: len(self.members()) == 3, what="three brokers in sync")

    def record(self):
        return json.loads((self.playground.dir / "store/document-brokers%2fCORE").read_text().split("\n", 1)[1])

    def name_of(self, url):
        return self.brokers[int(url.rsplit(":", 1)[1])]

    def members(self):
        """Of the record, the primary first."""
        return [self.name_of(member["broker"]) for member in self.record()["in_sync"]]

    def pay(self):
        return harness.request(self.playground.ingress(), "POST", "/pay/1",
                               {"X-User-Id": "1001", "Content-Type": "application/json"}, b'{"payee": "1051"}', timeout=20)

    def wait_paid(self):
        answer = wait_until(lambda: (answer := self.pay()).status == 202 and answer, 30, "a 202")
        self.assertEqual((answer.headers["ldc-unit"], answer.headers["ldc-durability"]), ("CORE", "quorum"))
        return answer.json()["id"]

    def stored(self, broker):
        port = next(port for port, name in self.brokers.items() if name == broker)
        keys = harness.call_broker(port, "KEYS", "ldc:{CORE/payments/*}:stream")
        entries = [entry for key in keys for entry in harness.call_broker(port, "XRANGE", key, "-", "+")]
        return {dict(zip(words[::2], words[1::2]))[b"id"].decode() for _, words in entries}

    def test_any_one_may_die(self):
        paid = {self.wait_paid()}
        for turn in range(2):
            primary, *standbys = self.members()
            self.assertLessEqual(paid, self.stored(primary))
            victim = standbys[0] if turn == 0 else primary
            started = time.monotonic()
            self.playground.kill(victim)
            paid.add(self.wait_paid())
            print(f"{'the primary' if turn else 'a standby'} killed: 202 after {(time.monotonic() - started) * 1000:.0f} ms",
                  flush=True)
            wait_until(lambda: len(self.members()) == 3, 30, "three brokers in sync again")
        self.assertNotEqual(self.members()[0], primary)
        for broker in self.brokers.values():
            wait_until(lambda: paid <= self.stored(broker), what=f"all payments in {broker}")

    def test_a_minority_takes_nothing_and_hands_nothing_out_and_goes_on_with_one_more(self):
        self.wait_paid()
        primary, *standbys = self.members()
        for name in standbys:
            self.playground.signal(name, signal.SIGSTOP)
        refused = wait_until(lambda: (answer := self.pay()).status == 503 and
                             answer.json()["type"].endswith("broker-unavailable") and answer, 30, "a refusal")
        self.assertGreaterEqual(len(self.members()), 2)  # so that nobody takes the primary for the only one that counts
        self.assertNotIn("message", refused.json())
        self.playground.signal(standbys[0], signal.SIGCONT)
        self.wait_paid()
        self.playground.signal(standbys[1], signal.SIGCONT)
        wait_until(lambda: len(self.members()) == 3, 30, "three brokers in sync again")

    def test_who_comes_back_to_a_minority_takes_over_from_a_primary_that_is_gone(self):
        identity = self.wait_paid()
        primary, *standbys = self.members()
        for name in standbys:
            self.playground.signal(name, signal.SIGSTOP)
        wait_until(lambda: self.pay().status == 503, 30, "a refusal")
        self.playground.signal(primary, signal.SIGSTOP)
        self.playground.signal(standbys[0], signal.SIGCONT)
        wait_until(lambda: self.members()[0] == standbys[0], 30, "the one that came back to lead")
        self.playground.signal(standbys[1], signal.SIGCONT)
        self.wait_paid()
        self.assertIn(identity, self.stored(standbys[0]))
        self.playground.signal(primary, signal.SIGCONT)
        wait_until(lambda: len(self.members()) == 3, 30, "three brokers in sync again")


if __name__ == "__main__":
    unittest.main()
