#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What happened to a message: every hop in its order, whoever made it and whatever died meanwhile."""
import json
import time
import unittest

import harness
from app_fixture import App
from harness import wait_until

PARTITIONS = 4


class TraceTest(harness.StackTest):
    def start(self, replicas=0, agent=(), topic=None, name="agent-a"):
        self.primary = self.stack.broker("primary", extra=("--repl-diskless-sync-delay", "0"))
        self.brokers = [self.primary] + [self.stack.broker(f"replica{i}", extra=("--replicaof", f"127.0.0.1 {self.primary.port}"))
                                         for i in range(replicas)]
        self.app = App()
        self.addCleanup(self.app.end)
        self.gateway = self.stack.gateway(name="gw-one", wait=False)
        wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        units = {"RZ01": harness.unit("00-99", brokers=self.brokers, blue=[self.app])}
        topics = {"payments": {"partitions": PARTITIONS, "retry": {"ladder": ["#50ms"]}, **(topic or {})}}
        text = harness.rules(units, topics=topics).replace('"#', "").replace('ms"', "ms")
        self.stack.put_rules(self.gateway, text)
        self.options = {"delivery__backoff_max": "100ms", "trace__interval": "10ms", "health__interval": "200ms",
                        "lease__ttl": "20s", **dict(agent)}  # who is held up for less delivers nothing twice
        self.agent = self.stack.agent(name=name, **self.options)

    def post(self, user="1", path="/pay/1", body=b"x", headers=()):
        """The id of a message that was accepted."""
        def accepted():
            answer = harness.request(self.gateway.port, "POST", path, {"X-User-Id": user, **dict(headers)}, body, timeout=30)
            return answer.status == 202 and answer.json()["id"]
        return wait_until(accepted, what="a 202")

    def look_up(self, identity):
        answer = harness.request(self.gateway.port, "GET", "/-/messages/" + identity)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def traced(self, identity, wanted):
        """The look-up, once WANTED(hop names) holds."""
        found = {}

        def there():
            found.update(self.look_up(identity))
            return wanted([hop["hop"] for hop in found["hops"]])
        try:
            wait_until(there, what="the hops")
        except AssertionError:
            self.fail(json.dumps(found, indent=1))
        return found

    def acknowledged(self, identity):
        return self.traced(identity, lambda hops: "acknowledged" in hops)

    @staticmethod
    def hops(found):
        """Their names. An attempt that is held up is told twice: when it has lasted for a while, it says that it began."""
        return [hop["hop"] for hop in found["hops"] if hop["hop"] != "begun"]

    def check_times(self, found, began):
        times = [hop["us"] for hop in found["hops"]]
        self.assertEqual(times, sorted(times), found["hops"])
        self.assertGreaterEqual(times[0], began * 1e6 - 1000)
        self.assertLessEqual(times[-1], time.time() * 1e6)


class Hops(TraceTest):
    def test_a_message_tells_every_hop_in_order_with_names_and_times(self):
        self.start()
        began = time.time()
        identity = self.post(user="7")
        found = self.acknowledged(identity)
        self.assertEqual(self.hops(found), ["received", "stored", "attempt", "acknowledged"])
        self.assertEqual([hop["by"] for hop in found["hops"]][:2], ["gw-one", "broker"])
        self.assertEqual({hop["by"] for hop in found["hops"][2:]}, {"agent-a"})
        attempt = next(hop for hop in found["hops"] if hop["hop"] == "attempt")
        self.assertEqual({key: attempt[key] for key in ("attempt", "status", "node", "subscription")},
                         {"attempt": 1, "status": 200, "node": self.app.url, "subscription": "default"})
        self.assertEqual({key: found[key] for key in ("id", "unit", "topic", "state", "gateway", "complete")},
                         {"id": identity, "unit": "RZ01", "topic": "payments", "state": "delivered", "gateway": "gw-one",
                          "complete": True})
        self.assertEqual(found["subscriptions"], [{"name": "default", "state": "delivered"}])
        self.check_times(found, began)

    def test_replication_is_a_hop_between_storing_and_delivering(self):
        self.start(replicas=1)
        wait_until(lambda: len(self.agent.status()["broker_record"]["in_sync"]) == 2, what="two in sync")
        found = self.acknowledged(self.post())
        self.assertEqual(self.hops(found), ["received", "stored", "replicated", "attempt", "acknowledged"])

    def test_three_attempts_and_a_takeover_show_all_hops_in_order(self):
        self.start(agent={"lease__ttl": "800ms"})
        began = time.time()
        self.app.answers["/pay/bad"] = (500, {}, b"no")
        identity = self.post(path="/pay/bad")
        self.traced(identity, lambda hops: hops.count("attempt") >= 2)
        self.agent.kill()
        del self.app.answers["/pay/bad"]
        self.agent = self.stack.agent(name="agent-b", **self.options)
        found = self.acknowledged(identity)
        attempts = [hop for hop in found["hops"] if hop["hop"] == "attempt"]
        by = [hop["by"] for hop in attempts]
        self.assertGreaterEqual(by.count("agent-a"), 2)
        self.assertEqual((by[-1], by), ("agent-b", sorted(by)))
        self.assertEqual([hop["status"] for hop in attempts[:-1]], [500] * (len(attempts) - 1))
        self.assertEqual((attempts[-1]["status"], found["hops"][-1]["hop"]), (200, "acknowledged"))
        self.check_times(found, began)

    def test_a_delivery_that_takes_long_is_seen_while_it_lasts(self):
        self.start()
        identity = self.post(path="/pay/held")
        self.assertTrue(self.app.arrived.wait(20 * harness.PATIENCE))
        wait_until(lambda: self.look_up(identity)["state"] == "delivering", what="the state")
        self.app.release.set()
        found = self.acknowledged(identity)
        self.assertEqual([hop["hop"] for hop in found["hops"]], ["received", "stored", "begun", "attempt", "acknowledged"])


class States(TraceTest):
    def test_a_message_that_waits_is_pending(self):
        self.start()
        self.agent.terminate()
        found = self.look_up(self.post())
        self.assertEqual((found["state"], [hop["hop"] for hop in found["hops"]]), ("pending", ["received", "stored"]))

    def test_traces_outlive_the_message(self):
        self.start(topic={"retention": "#100ms"}, agent={})
        identity = self.post(user="3")
        self.acknowledged(identity)
        stream = "ldc:{%s}:stream" % "/".join(identity.split(".")[:3])

        def trimmed():  # whole nodes of the stream go at a time
            for _ in range(100):
                self.post(user="3")
            return identity.encode() not in {fields[1] for _, fields in self.primary.call("XRANGE", stream, "-", "+")}
        wait_until(trimmed, timeout=60, what="the message to be trimmed")
        found = self.look_up(identity)
        self.assertEqual((found["state"], self.hops(found)), ("delivered", ["received", "stored", "attempt", "acknowledged"]))
        self.assertEqual(found["gateway"], "gw-one")

    def test_a_scheduled_message_says_so_until_it_is_due(self):
        self.start()
        identity = self.post(headers={"LDC-Delay": "2s"})
        found = self.look_up(identity)
        self.assertEqual(found["state"], "scheduled")
        self.assertIn("due", found)
        self.assertEqual(self.acknowledged(identity)["state"], "delivered")

    def test_a_parked_message_says_when_it_is_due_and_its_follower_waits_behind_it(self):
        self.start(topic={"retry": {"ladder": ["#60000ms"]}})
        self.app.answers["/pay/bad"] = (500, {}, b"no")
        head, follower = self.post(user="1", path="/pay/bad"), self.post(user="1")
        wait_until(lambda: [self.look_up(one)["state"] for one in (head, follower)] == ["parked", "parked"], what="the parks")
        found = self.traced(head, lambda hops: "parked" in hops)
        place, = found["subscriptions"]
        self.assertEqual((place["state"], place["attempts"]), ("parked", 1))
        self.assertTrue(time.time() + 40 < place["due_ms"] / 1000 < time.time() + 80, place)
        self.assertEqual(self.hops(found), ["received", "stored", "attempt", "parked"])
        self.assertNotIn("due_ms", self.look_up(follower)["subscriptions"][0])

    def test_a_parked_message_that_is_taken_later_tells_all_of_it(self):
        self.start()
        self.app.answers["/pay/bad"] = (500, {}, b"no")
        identity = self.post(path="/pay/bad")
        self.traced(identity, lambda hops: hops.count("parked") >= 2)
        del self.app.answers["/pay/bad"]
        found = self.acknowledged(identity)
        attempts = [hop for hop in found["hops"] if hop["hop"] == "attempt"]
        self.assertEqual([hop["attempt"] for hop in attempts], list(range(1, len(attempts) + 1)))
        self.assertEqual((found["state"], attempts[-1]["status"]), ("delivered", 200))

    def test_a_dead_letter_says_why(self):
        self.start()
        self.app.answers["/pay/bad"] = (422, {}, b"never")
        found = self.traced(self.post(path="/pay/bad"), lambda hops: "dead" in hops)
        self.assertEqual((self.hops(found), found["state"]), (["received", "stored", "attempt", "dead"], "dead"))
        place, = found["subscriptions"]
        self.assertEqual({key: place[key] for key in ("state", "status", "attempts", "reason")},
                         {"state": "dead", "status": 422, "attempts": 1, "reason": "status"})

    def test_what_never_was_is_not_found(self):
        self.start()
        identity = self.post()
        other = identity[:-12] + "0" * 12
        self.assertEqual(harness.request(self.gateway.port, "GET", "/-/messages/" + other).status, 404)


class Bounds(TraceTest):
    def trace_lines(self):
        lines = []
        for partition in range(PARTITIONS):
            for _, fields in self.primary.call("XRANGE", "ldc:{RZ01/payments/%d}:trace" % partition, "-", "+"):
                lines += fields[5].decode().splitlines()
        return lines


    def test_one_record_serves_many_messages(self):
        self.start(agent={"trace__interval": "300ms"})
        users = [str(user) for user in range(0, 100 * PARTITIONS, PARTITIONS)]  # of one partition
        for user in users:
            self.post(user=user)
        wait_until(lambda: self.agent.metric("agent_traces_total") == 2 * len(users), what="all lines")
        records = sum(self.primary.call("XLEN", "ldc:{RZ01/payments/%d}:trace" % partition) for partition in range(PARTITIONS))
        self.assertEqual(len(self.trace_lines()), 2 * len(users))
        self.assertLess(records, len(users))

    def test_a_sample_traces_some_and_none_when_it_is_0(self):
        self.start(agent={"trace__sample": "4"})
        for user in range(200):
            self.post(user=str(user))
        wait_until(lambda: self.agent.metric("agent_acknowledged_total") == 200, what="the deliveries")
        wait_until(lambda: len(self.trace_lines()) == self.agent.metric("agent_traces_total") > 0, what="the traces")
        self.assertTrue(10 < len({line.split()[1] for line in self.trace_lines()}) < 100)

    def test_what_cannot_be_kept_is_dropped_and_counted_and_delays_nothing(self):
        self.start()
        identity = self.post()
        self.acknowledged(identity)
        key = "ldc:{%s}:trace" % "/".join(identity.split(".")[:3])
        self.primary.call("DEL", key)
        self.primary.call("SET", key, "in the way")
        self.post()
        wait_until(lambda: self.agent.metric("agent_acknowledged_total") == 2, what="the delivery")
        wait_until(lambda: self.agent.metric("agent_traces_dropped_total") == 2, what="the drops")

    def test_traces_give_way_where_memory_is_short(self):
        self.start(agent={"trace__max_entries": "1000"})
        key = "ldc:{RZ01/payments/0}:trace"

        def note(count):
            for _ in range(count):
                self.primary.call("FCALL", "ldc1_note", "1", key, "1000", "agent", "default", "k 0 1\n")
            return self.primary.call("XLEN", key)
        self.assertGreater(note(1500), 900)
        used = int(self.primary.call("INFO", "memory").decode().split("used_memory:")[1].split()[0])
        self.primary.call("CONFIG", "SET", "maxmemory", str(used * 3 // 2))
        wait_until(lambda: note(1) < 300, what="the traces to be cut")
        self.primary.call("CONFIG", "SET", "maxmemory", "0")

    def test_ldcctl_shows_the_hops(self):
        self.start()
        identity = self.post()
        found = self.acknowledged(identity)
        shown = self.stack.ctl("queue", "trace", identity, gateway=self.gateway)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        for word in (identity, "delivered", "received", "gw-one", "stored", "attempt", self.app.url, "acknowledged", "agent-a"):
            self.assertIn(word, shown.stdout)
        told = json.loads(self.stack.ctl("queue", "trace", identity, "-o", "json", gateway=self.gateway).stdout)
        self.assertEqual(told, found)
        self.assertEqual(self.stack.ctl("queue", "trace", identity[:-12] + "0" * 12, gateway=self.gateway).returncode, 1)
        self.assertEqual(self.stack.ctl("queue", "trace", "nonsense", gateway=self.gateway).returncode, 2)


if __name__ == "__main__":
    unittest.main()
