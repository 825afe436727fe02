#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Users who move to another unit by new rules, while they pay: no request fails, what a user sent earlier is delivered
earlier, whatever the unit that they left still had to do, and whoever dies on the way. How long requests waited is
printed, not judged."""
import json
import re
import unittest

import harness
import load
from harness import wait_until
from playground_fixture import Playground

RUNS_ALONE = "each request's time is printed, and gateways and agents of three units want to run"

USERS = [str(user) for user in range(100)]  # one in each slot


class Payers(load.Load):
    """Each user's next request goes by the next gateway."""

    def __init__(self, playground, users=USERS, threads=6, path="/pay/1", **options):
        super().__init__([playground.ingress(i) for i in range(3)], users, path, threads=threads, payee=True, **options)

    def _run(self, users, sent, number):
        clients = [harness.Client(port, timeout=30) for port in self.ports]
        seq = 0
        while not self.stopping.is_set():
            seq += 1
            for user in users:
                if not self.stopping.is_set():
                    self._send(clients[(seq + number) % len(clients)], user, seq, sent)
        for client in clients:
            client.close()

    def failed(self):
        return [(one.user, one.seq, one.status) for one in self.sent if one.status not in (200, 202)]


class MovesTest(harness.StackTest):
    def start(self, *flags):
        self.playground = Playground(self.stack, "--units", "3", "--gateways", "3", *flags)
        wait_until(self.is_kept, 60, "a record of each unit")
        self.text = self.playground.ctl("rules", "show").stdout
        self.units = {name: set(range(int(first), int(last) + 1)) for name, first, last in
                      re.findall(r'^  (RZ\d+):\n(?:    .*\n)*?    slots: \["(\d+)-(\d+)"\]', self.text, re.M)}

    def is_kept(self):
        done, status = self.playground.ctl_json("status")
        return done.returncode == 0 and all(unit["broker_record"]["version"] > 0 and len(unit["broker_record"]["in_sync"]) > 1
                                            for unit in status["units"])

    def rules(self, **slots):
        """With these slots in place of those that the playground gave to the unit."""
        text = self.text
        for name, ranges in slots.items():
            text = re.sub(rf'(^  {name}:\n(?:    .*\n)*?    slots: )\[.*\]', rf'\1["{ranges}"]', text, flags=re.M)
        path = self.stack.folder / "moved.yaml"
        path.write_text(text)
        return path

    def apply(self, *words, **slots):
        done = self.playground.ctl("rules", "apply", self.rules(**slots), "--max-move", "100", "-o", "json", *words)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)["moved"]

    def records(self):
        """What all apps took, in the order of time."""
        return sorted((record for process in self.playground.topology()["processes"] if process["role"] == "app"
                       for record in self.playground.records(process["name"])), key=lambda record: record["us"])

    def check(self, payers, lost_ok=False):
        self.assertEqual(payers.failed(), [])
        accepted = {one.id for one in payers.sent if one.status == 202}
        wait_until(lambda: not accepted - {record["id"] for record in self.records()}, 60, "what was accepted to be delivered", 0.1)
        return load.check_delivery(self, payers.sent, self.records())

    def tell(self, what, payers, held_ms):
        slowest = 1000 * max(one.seconds for one in payers.sent)
        usual = 1000 * load.quantile([one.seconds for one in payers.sent], 0.99)
        print(f"\n{what}: gateway held for {held_ms:.0f} ms, longest request {slowest:.0f} ms, p99 {usual:.0f} ms, "
              f"{len(payers.sent)} requests", end=" ", flush=True)

    def wait_arrived(self):
        wait_until(lambda: all(not agent["arrivals"] for agent in self.agents()), 30, "nobody to wait any more")

    def agents(self):
        _, status = self.playground.ctl_json("status")
        return status["agents"]


class UnderLoad(MovesTest):
    def test_a_third_of_the_users_moves_without_an_error_and_in_order(self):
        self.start()
        with Payers(self.playground) as payers:
            payers.wait_for(300)
            moved = self.apply(RZ01="00-03", RZ02="04-66")
            payers.wait_for(600)
        self.check(payers)
        self.tell("30 % of the slots", payers, moved["held_ms"])
        self.assertEqual(moved["units"], 1)
        last = {one.user: one.unit for one in payers.sent}
        self.assertEqual((last["3"], last["4"], last["33"]), ("RZ01", "RZ02", "RZ02"))


if __name__ == "__main__":
    unittest.main()
