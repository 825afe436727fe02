#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The store is away under load: nobody's request fails, what is accepted is delivered, and who restarts meanwhile serves
what it served before. For the folder and for etcd."""
import json
import signal
import time
import unittest

import harness
import load
from harness import wait_until
from playground_fixture import Playground

AWAY_REQUESTS = 400  # of each kind, answered while the store is away


class StoreAway(harness.StackTest):
    def start(self, *flags):
        self.play = Playground(self.stack, "--units", "2", "--gateways", "2", "--supervise", *flags)
        self.play.be_patient()
        wait_until(self.is_settled, 60, "each unit's replica to be in sync, and the agents to know the gateways")

    def is_settled(self):
        """A set that grows blocks writers until the store has the record of it: nothing for a store to go away in."""
        units = self.play.ctl_json("status")[1]["units"]
        return all(len(unit["broker_record"]["in_sync"]) == 2 for unit in units) and "RZ02-agent" in self.play.heard()

    def store_states(self):
        status = self.play.ctl_json("status")[1]
        return [(one.get("store") or {}).get("state") for one in status["gateways"]]

    def restart_gateway(self):
        self.play.replace("gateway-2")

        def routes():
            try:
                answers = [harness.request(self.play.ingress(1), "GET", "/echo/x", {"X-User-Id": user}) for user in ("1", "60")]
            except OSError:
                return False
            return all(answer.status == 200 for answer in answers) and [answer.headers["ldc-unit"] for answer in answers]
        self.assertEqual(wait_until(routes, 30, "the restarted gateway to route"), ["RZ01", "RZ02"])

    def restart_agent(self):
        """It finds the gateways, and they hear its pulses."""
        self.play.replace("RZ02-agent")
        since = time.monotonic()

        def is_heard():
            heard = {one["name"]: one["age_ms"] for one in self.play.gateway_status()["pulses"]["agents"]}
            return heard.get("RZ02-agent", 1e9) < (time.monotonic() - since) * 1000
        wait_until(is_heard, 30, "pulses of the restarted agent")

    def wait_delivered(self, paid):
        """What was accepted until now; also by the agent that was started anew."""
        accepted = {one.id for one in list(paid.sent) if one.status == 202}
        wait_until(lambda: accepted <= {record["id"] for unit in ("RZ01", "RZ02") for record in
                                        self.play.records(f"{unit}-blue")}, 60, "what was accepted to be delivered", 0.2)

    def check(self, go_away, come_back):
        users = [str(user) for user in range(0, 100, 5)]
        with load.Load([self.play.ingress()], users, "/pay/1", payee=True, threads=2, pause=0.005) as paid, \
                load.Load([self.play.ingress()], users, "/echo/x", "GET", threads=2, pause=0.005) as asked:
            paid.wait_for(20)
            asked.wait_for(20, 200)
            go_away()
            wait_until(lambda: self.store_states()[0] == "away", 30, "the store to be away")
            self.restart_gateway()
            self.restart_agent()
            paid.wait_for(AWAY_REQUESTS)
            asked.wait_for(AWAY_REQUESTS, 200)
            self.wait_delivered(paid)
            self.assertEqual(self.play.ctl("rules", "rollback", "--timeout", "2").returncode, 1)
            come_back()
            wait_until(lambda: self.store_states() == ["up", "up"], 30, "the store to be back")
            paid.wait_for(20)
        self.assertEqual([(one.status, one.unit, one.epoch, one.seconds) for one in paid.sent if one.status != 202], [])
        self.assertEqual({one.status for one in asked.sent}, {200})
        self.wait_delivered(paid)

    def test_a_folder_that_is_away(self):
        self.start()
        self.check(self.play.hide_store, self.play.show_store)

    def test_an_etcd_that_answers_nothing(self):
        self.start("--store", "etcd")
        members = [f"etcd-{i}" for i in (1, 2, 3)]
        self.assertTrue(json.loads((self.play.dir / "topology.json").read_text())["store"].startswith("etcd:http://"))
        self.check(lambda: [self.play.signal(member, signal.SIGSTOP) for member in members],
                   lambda: [self.play.signal(member, signal.SIGCONT) for member in members])


if __name__ == "__main__":
    unittest.main()
