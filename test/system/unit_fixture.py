# SPDX-License-Identifier: Apache-2.0
"""A playground of three units and three gateways whose units fail over or are moved while users pay."""
import collections
import json

import harness
import switch_fixture
from harness import wait_until
from playground_fixture import Playground

Gateway = collections.namedtuple("Gateway", "port")
HOLD_S = 2  # failover.hold of the playground's gateways


class Payers(switch_fixture.Payers):
    """Of users from FIRST on."""

    def __init__(self, gateways, first):
        super().__init__(gateways, path="/pay/1")
        self.first = first

    def request(self, client, thread, body):
        user, number = str(self.first + thread), int(body.split("/")[1])
        answer = client.request("POST", self.path, {"X-User-Id": user, "Idempotency-Key": body},
                                json.dumps({"payee": user, "n": number}).encode())
        document = answer.json()
        return answer.status, document.get("id") or document.get("message"), document.get("type")


class UnitTest(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.playground = Playground(self.stack, "--units", "3", "--gateways", "3")
        self.playground.be_patient()
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

    def primary(self):
        """The name of RZ01's."""
        port = int(self.record()["primary"].rsplit(":", 1)[1])
        return next(one["name"] for one in self.playground.topology()["processes"] if one["ports"].get("redis") == port)

    def expect_served(self, *loads):
        """Nobody was refused but who waited for all of failover.hold, as only a machine that stands still makes one."""
        self.assertEqual([answer for load in loads for answer in load.refused() if answer.at - answer.asked < HOLD_S], [])

    def delivered(self):
        """By id: what the apps took, in order."""
        found = collections.defaultdict(list)
        for process in self.playground.topology()["processes"]:
            if process["role"] == "app":
                for record in self.playground.records(process["name"]):
                    found[record["id"]].append(record)
        return found

    def check_order(self):
        """Of what was delivered, each user's payments came in the order of their numbers, but for what came again."""
        records = [record for records in self.delivered().values() for record in records if record["via"] == "queue"]
        last = collections.defaultdict(lambda: -1)
        seen, turned = set(), []
        for record in sorted(records, key=lambda record: record["us"]):
            number = json.loads(record["body"])["n"]
            if record["id"] not in seen and number < last[record["user"]]:
                turned.append(record)
            seen.add(record["id"])
            last[record["user"]] = max(number, last[record["user"]])
        self.assertEqual(turned[:3], [])
