#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The promises of the spine, under load: 202 means stored and delivered, rule changes disturb nobody, kills lose
nothing."""
import random
import unittest

import harness
from load import Load, check_delivery, quantile

USERS = [str(1000 + n) for n in range(200)]


class Requests(harness.StackTest):
    """What is accepted is delivered, whatever it looks like."""

    def start(self):
        self.broker, self.app = self.stack.broker(), self.stack.app()
        self.gateway = self.stack.gateway(wait=False)
        harness.wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        route = {"match": {"path": "/*"}, "zone": "A", "action": "queue", "topic": "payments"}
        units = {"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])}
        self.stack.put_rules(self.gateway, harness.rules(units, routes=[route]))
        self.agent = self.stack.agent()
        harness.wait_until(lambda: self.ask("POST").status == 202, what="a first 202")

    def ask(self, method, path="/pay/1"):
        return harness.request(self.gateway.port, method, path, {"X-User-Id": "1"})

    def test_any_method_that_is_accepted_is_delivered(self):
        self.start()
        answers = [self.ask(method) for method in ("M-SEARCH", "VERSION-CONTROL", "REPORT2", "a!#$%&'*+-.^_`|~1", "X" * 200)]
        self.assertEqual({answer.status for answer in answers}, {202})
        self.expect_problem(self.ask("OPTIONS", "*"), 400, "bad-request")
        accepted = {answer.json()["id"] for answer in answers}
        harness.wait_until(lambda: accepted <= {record["id"] for record in self.app.records()}, what="all to be delivered")
        self.assertEqual(self.agent.metric("agent_messages_malformed_total"), 0)


class Kills(harness.StackTest):
    """kill -9 of each part while messages come in."""

    def start_gateways(self, gateways=1):
        stack = self.stack
        self.broker, self.app = stack.broker(), stack.app()
        first = stack.gateway("gw1", wait=False)
        harness.wait_until(lambda: first.epoch() >= 0, what="the admin listener")
        units = {"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])}
        stack.put_rules(first, harness.rules(units, topics={"payments": {"partitions": 4}}))
        self.gateways = [first] + [stack.gateway(f"gw{n + 2}") for n in range(gateways - 1)]

    def start(self, gateways=1):
        self.start_gateways(gateways)
        self.agent = self.stack.agent()
        self.await_accepting()

    def await_accepting(self):
        for gateway in self.gateways:
            harness.wait_until(lambda: harness.request(gateway.port, "POST", "/pay/0", {"X-User-Id": "1"}).status == 202,
                               what=f"a first 202 of {gateway.name}")

    def finish(self, load):
        """Waits until all that was accepted is processed, and checks it."""
        accepted = {one.id for one in load.sent if one.status == 202}
        self.assertGreater(len(accepted), 200)
        harness.wait_until(lambda: accepted <= {record["id"] for record in self.app.records()}, 60,
                           "every accepted message to be processed", every=0.2)
        duplicates = check_delivery(self, load.sent, self.app.records())
        print(f"  {self._testMethodName}: {len(accepted)} accepted, {duplicates} delivered twice", flush=True)

    def test_kill_9_of_a_gateway(self):
        self.start(gateways=2)
        with Load([gateway.port for gateway in self.gateways], USERS) as load:
            for _ in range(3):
                load.wait_for(300)
                self.gateways[0].kill()
                load.wait_for(100)
                self.gateways[0].restart()
                harness.wait_until(self.gateways[0].ready, what="the gateway again")
        self.finish(load)

    def test_kill_9_of_the_agent(self):
        self.start()
        with Load([self.gateways[0].port], USERS) as load:
            for _ in range(5):
                load.wait_for(300)
                self.agent.kill()
                load.wait_for(50)
                self.agent.restart()
        self.finish(load)

    def test_kill_9_of_the_only_agent_between_the_first_record_and_its_stamp(self):
        self.start_gateways(gateways=2)
        self.await_accepting()
        stamp, others = "ldc:{RZ01}:epoch", ("~ldc:{RZ01}:[^e]*", "~ldc:{RZ01/*")
        self.broker.call("ACL", "SETUSER", "default", "resetkeys", f"%R~{stamp}", *others)
        agent, record = self.stack.agent(wait=False), self.stack.store / "document-brokers%2fRZ01"
        harness.wait_until(record.exists, what="the first record")
        agent.kill()
        self.assertIsNone(self.broker.call("GET", stamp))
        self.broker.call("ACL", "SETUSER", "default", "resetkeys", "~*")
        self.await_accepting()
        self.assertIsNotNone(self.broker.call("GET", stamp))
        agent.restart()
        harness.wait_until(lambda: len(self.app.records()) >= 4, what="the payments of before and after")

    def test_kill_9_of_the_app(self):
        self.start()
        with Load([self.gateways[0].port], USERS) as load:
            for _ in range(3):
                load.wait_for(300)
                self.app.kill()
                load.wait_for(100)
                self.app.restart()
        self.finish(load)

    def test_kill_9_of_the_broker_loses_no_202(self):
        self.start()
        with Load([self.gateways[0].port], USERS) as load:
            for _ in range(3):
                load.wait_for(300)
                self.broker.kill()
                load.wait_for(20, status=503)
                self.broker.restart()
        stored = set()
        for partition in range(4):
            for _, fields in self.broker.call("XRANGE", "ldc:{RZ01/payments/%d}:stream" % partition, "-", "+"):
                stored.add(fields[fields.index(b"id") + 1].decode())
        accepted = {one.id for one in load.sent if one.status == 202}
        self.assertEqual(accepted - stored, set(), "accepted, and not in the append-only file")
        self.finish(load)


class RuleChanges(harness.StackTest):
    """Twenty changes of 16,384 slots and 1,000 overrides while both carriers are busy."""

    UNITS = ["RZ01", "RZ02", "RZ03"]
    SLOTS = 16384

    def change_rules(self):
        """Puts the next version in force. Documents raise the epoch too, so the record says which one it is."""
        rules, version = self.rules()
        self.versions[self.stack.put_rules(self.gateway, rules)["epoch"]] = version

    def rules(self):
        """The next version: the borders between the units wander, and so do the overrides."""
        rng = random.Random(len(self.versions))
        low, high = rng.randrange(3000, 7000), rng.randrange(9000, 13000)
        borders = {"RZ01": (0, low), "RZ02": (low + 1, high), "RZ03": (high + 1, self.SLOTS - 1)}
        overrides = {str(1000 + n): rng.choice(self.UNITS) for n in range(0, 4000, 4)}
        units = {name: harness.unit("%d-%d" % borders[name], brokers=[self.brokers[name]], blue=[self.apps[name]])
                 for name in self.UNITS}
        return harness.rules(units, sharding={"hash": "modulo", "slots": self.SLOTS}, overrides=[
            {"users": [user for user, unit in overrides.items() if unit == name], "unit": name}
            for name in self.UNITS]), (borders, overrides)

    def owner(self, epoch, user):
        """Calculated here, from what was written into the rules of that epoch."""
        borders, overrides = self.versions[max(version for version in self.versions if version <= epoch)]
        if user in overrides:
            return overrides[user]
        slot = int(user) % self.SLOTS
        return next(name for name, (first, last) in borders.items() if first <= slot <= last)

    def start(self):
        stack, self.versions = self.stack, {}
        self.brokers = {name: stack.broker(f"broker-{name}") for name in self.UNITS}
        self.apps = {name: stack.app(name) for name in self.UNITS}
        self.gateway = stack.gateway(wait=False, threads=2)
        harness.wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        self.change_rules()
        for name in self.UNITS:
            stack.agent(name)
        for user in USERS:
            harness.wait_until(lambda: harness.request(self.gateway.port, "POST", "/pay/0", {"X-User-Id": user}).status
                               == 202, what="every unit to accept")

    def run_load(self, changes):
        users = [str(1000 + 7 * n) for n in range(2000)]
        with Load([self.gateway.port], users[:1000], path="/pay/1", threads=2) as queue, \
                Load([self.gateway.port], users[1000:], path="/echo/1", threads=2) as proxy:
            for _ in range(changes):
                queue.wait_for(50)
                self.change_rules()
            queue.wait_for(400)
            proxy.wait_for(400, status=200)
        return queue.sent, proxy.sent

    def check_routed(self, sent, status):
        for one in sent:
            self.assertEqual(one.status, status, f"user {one.user}")
            self.assertEqual(one.unit, self.owner(int(one.epoch), one.user), f"user {one.user} at epoch {one.epoch}")

    def check_processed(self, queued):
        """What each unit's app processed is exactly what was routed there."""
        for name in self.UNITS:
            wanted = {one.id for one in queued if one.unit == name}
            app = self.apps[name]
            harness.wait_until(lambda: wanted <= {record["id"] for record in app.records()}, 60,
                               f"{name} to process what it accepted", every=0.2)
            foreign = {one.id for one in queued if one.unit != name} & {record["id"] for record in app.records()}
            self.assertEqual(foreign, set(), f"{name} processed messages of other units")

    def test_twenty_changes_under_load_disturb_nobody(self):
        self.start()
        quiet = self.run_load(0)
        busy = self.run_load(20)
        for queued, proxied in (quiet, busy):
            self.check_routed(queued, 202)
            self.check_routed(proxied, 200)
        self.check_processed(quiet[0] + busy[0])
        for name, index in (("queue", 0), ("proxy", 1)):
            before, during = (quantile([one.seconds for one in run[index]], 0.99) * 1000 for run in (quiet, busy))
            print(f"  {name}: p99 {before:.2f} ms undisturbed, {during:.2f} ms during 20 changes "
                  f"({during / before:.2f}x), {len(busy[index])} requests, 0 failed, 0 misrouted", flush=True)
        self.assertEqual(self.gateway.epoch(), max(self.versions))


class StoreAway(harness.StackTest):
    def test_a_gateway_routes_and_says_so_while_its_store_is_away_and_even_starts(self):
        stack = self.stack
        broker, app = stack.broker(), stack.app()
        gateway = stack.gateway(wait=False)
        harness.wait_until(lambda: gateway.epoch() >= 0, what="the admin listener")
        stack.put_rules(gateway, harness.rules({"RZ01": harness.unit("00-99", brokers=[broker], blue=[app])}))
        harness.wait_until(gateway.ready, what="the gateway")
        stack.store.rename(stack.folder / "away")
        stack.store.write_text("not a folder")
        harness.wait_until(lambda: gateway.status()["store"]["state"] != "up", what="the gateway to notice")
        self.assertTrue(gateway.ready())
        self.assertEqual(harness.request(gateway.port, "GET", "/echo/1", {"X-User-Id": "1"}).status, 200)
        gateway.kill()
        gateway.restart()
        harness.wait_until(gateway.ready, what="the gateway to start from its cache")
        self.assertEqual(harness.request(gateway.port, "GET", "/echo/1", {"X-User-Id": "1"}).status, 200)
        stack.store.unlink()
        (stack.folder / "away").rename(stack.store)
        harness.wait_until(lambda: gateway.status()["store"]["state"] == "up", what="the store to be found again")


if __name__ == "__main__":
    unittest.main()
