#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The deployment of docs/OPERATIONS.md, step by step as it stands there, on machines of its own: it comes up, takes
payments by every gateway, and outlives the loss of a datacentre. How long that takes is printed, not judged."""
import collections
import http.client
import json
import os
import threading
import time
import unittest

import harness
from harness import wait_until
from sites_fixture import SITES, Network, Sites

RUNS_ALONE = "a datacentre that is lost is found out by silence, of which a busy machine has more"
HOMES = {"hz1": "RZ01", "sh1": "RZ02"}
USERS = {"RZ01": 7, "RZ02": 57}


class Payer(threading.Thread):
    """Pays for one user by one gateway, one payment after the other; `answers` holds (when, status)."""

    def __init__(self, site, user):
        super().__init__(daemon=True)
        self.address, self.user, self.answers, self.ids, self.stopped = SITES[site], user, [], set(), False
        self.start()

    def run(self):
        client = http.client.HTTPConnection(self.address, 8080, timeout=10)
        while not self.stopped:
            try:
                client.request("POST", "/pay/1", b"{}", {"X-User-Id": str(self.user)})
                answer = client.getresponse()
                body = json.loads(answer.read())
                self.ids |= {body["id"]} if answer.status == 202 else set()
                self.answers.append((time.monotonic(), answer.status))
            except OSError:
                self.answers.append((time.monotonic(), 0))
                client.close()
        client.close()

    def accepted(self):
        return [at for at, status in self.answers if status == 202]

    def longest_silence(self):
        times = self.accepted()
        return max(b - a for a, b in zip(times, times[1:]))


@unittest.skipUnless(os.geteuid() == 0, "namespaces want root")
class SitesTest(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.network = Network()
        self.addCleanup(self.network.end)
        self.sites = Sites(self.stack, self.network)
        self.come_up()

    def come_up(self):
        """The chapter "First deployment"."""
        for site in SITES:
            self.sites.etcd(site)
        self.sites.wait_for_etcd()
        for words in ("user add root:word-of-root", "user grant-role root root", "role add ldcgate",
                      "role grant-permission --prefix=true ldcgate readwrite /ldcgate/",
                      "user add ldcgate:word-of-the-gateways", "user grant-role ldcgate ldcgate", "auth enable"):
            self.sites.etcdctl(*words.split())
        for site, unit in HOMES.items():
            for port in (6379, 6380):
                self.sites.broker(site, port)
            self.sites.app(site, unit)
        for site in SITES:
            self.sites.gateway(site)
        rules = self.rules()
        wait_until(lambda: self.sites.ctl("rules", "apply", rules, "--note", "first").returncode == 0, 30, "the rules")
        for site, unit in HOMES.items():
            self.sites.agent(site, unit)
        wait_until(self.is_whole, 60, "two brokers in sync in each unit")
        self.bring_home()

    def rules(self):
        """Where a busy machine has had one unit moved, the other one is not kept where it dies."""
        text = (harness.ROOT / "conf/sites/rules.yaml").read_text()
        self.assertIn("gap: 40ms}", text)
        path = self.stack.folder / "rules.yaml"
        path.write_text(text.replace("gap: 40ms}", "gap: 40ms, max_units: 2, window: 1s, cooldown: 1s}"))
        return path

    def bring_home(self):
        """Where they are, unless a busy machine had one moved: then that is made good, as an operator would."""
        for unit in USERS:
            wait_until(lambda: self.sites.ctl("unit", "failback", unit).returncode == 0, 60, f"{unit} to be at home")
        wait_until(self.is_whole, 60, "both units to be whole")

    def status(self, site="wt1"):
        """What its gateway says."""
        client = http.client.HTTPConnection(SITES[site], 9080, timeout=5)
        try:
            client.request("GET", "/v1/status", headers={"Authorization": "Bearer " + self.sites.token})
            return json.loads(client.getresponse().read())
        except OSError:
            return {}
        finally:
            client.close()

    def unit(self, name):
        return next(unit for unit in self.status()["units"] if unit["name"] == name)

    def is_whole(self):
        """Every gateway sees two brokers in sync in each unit, and a standby that was well for a while."""
        units = [unit for site in SITES for unit in self.status(site).get("units", [])]
        return len(units) == 6 and all(unit["broker_record"] and len(unit["broker_record"]["in_sync"]) == 2
                                       and unit["failover"]["vote"]["standby_healthy"] for unit in units)

    def lead(self, site):
        """etcd's leader is to stand at SITE, as the guide does it."""
        login = "root:word-of-root"
        members = json.loads(self.sites.etcdctl("endpoint", "status", "-w", "json", user=login))
        ids = {one["Endpoint"]: one["Status"]["header"]["member_id"] for one in members}
        leader = members[0]["Status"]["leader"]
        wanted = ids[f"http://{SITES[site]}:2379"]
        if leader != wanted:
            at = next(endpoint for endpoint, member in ids.items() if member == leader)
            self.sites.etcdctl("move-leader", f"{wanted:x}", endpoints=at, user=login)

    def pay(self, seconds, strike):
        """Users of both units pay by the gateways that stay, while STRIKE happens; returns the payers by unit."""
        payers = collections.defaultdict(list)
        for unit, user in USERS.items():
            for i, site in enumerate(("sh1", "wt1")):
                payers[unit].append(Payer(site, user + 2 * i))
        wait_until(lambda: all(len(one.accepted()) > 50 for one in sum(payers.values(), [])), 30, "payments")
        strike()
        goal = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() > goal and all(one.accepted()[-1] > goal - 1 for one in sum(payers.values(), [])),
                   30, "payments to be accepted again")
        for payer in sum(payers.values(), []):
            payer.stopped = True
            payer.join()
        return payers

    def test_it_outlives_the_loss_of_a_datacentre(self):
        self.lead("wt1")
        payers = self.pay(3, lambda: self.network.cut("hz1"))
        others = [status for payer in payers["RZ02"] for _, status in payer.answers]
        self.assertEqual(set(others), {202})
        self.assertEqual({status for payer in payers["RZ01"] for _, status in payer.answers} - {202, 503}, set())
        silence = max(payer.longest_silence() for payer in payers["RZ01"])
        print(f"datacentre lost, leader elsewhere: {1000 * silence:.0f} ms without a payment for its users")
        self.assertEqual(self.unit("RZ01")["broker_record"]["primary"], "redis://10.0.2.1:6380")
        self.network.mend("hz1")
        wait_until(self.is_whole, 60, "the lost brokers to be in sync again")
        self.bring_home()
        self.assertEqual(self.unit("RZ01")["broker_record"]["primary"], "redis://10.0.1.1:6379")


if __name__ == "__main__":
    unittest.main()
