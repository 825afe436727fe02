#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The agent: every message reaches the app at least once, in order for each user, whatever dies meanwhile."""
import collections
import json
import os
import random
import resource
import signal
import socket
import threading
import time
import unittest

import harness
from producer import PARTITIONS, Producer, stream


class Agent(harness.StackTest):
    def start(self, apps=1, retention="1h", **options):
        stack = self.stack
        self.broker = stack.broker()
        self.apps = [stack.app(name=f"app{i}") for i in range(apps)]
        self.app = self.apps[0]
        self.retention = retention
        self.stack.write_rules(self.rules())
        self.agent = stack.agent(**{"delivery__backoff_max": "200ms", **options})
        self.producer = Producer(self.broker)

    def rules(self, name="RZ01", **unit):
        fields = {"brokers": [self.broker], "blue": self.apps, **unit}
        text = harness.rules({name: harness.unit("00-99", **fields)},
                             topics={"payments": {"partitions": PARTITIONS, "retention": self.retention,
                                                  "retry": {"ladder": "[100ms]"}}})
        return text.replace(f'"{self.retention}"', self.retention).replace('"[100ms]"', "[100ms]")  # without quotes

    def pending(self):
        """None while the agent cannot tell."""
        try:
            status = self.agent.status()
        except (OSError, ValueError, harness.http.client.HTTPException):
            return None
        if not status["broker"]["up"] or not all(part["linked"] for part in status["partitions"]):
            return None
        return sum(part["pending"] for part in status["partitions"])

    def records(self):
        return sorted((record for app in self.apps for record in app.records()), key=lambda record: record["us"])

    def wait_delivered(self, timeout=60.0):
        def all_there():
            return self.pending() == 0 and self.producer.confirmed <= {record["id"] for record in self.records()}
        harness.wait_until(all_there, timeout=timeout, what="all messages to be delivered", every=0.1)

    def check_all(self, repeats=True):
        """Nothing lost, nothing invented, each user's order kept among repeats too. Returns how many were repeated."""
        seen, repeated = collections.defaultdict(list), 0
        for record in self.records():
            user = seen[record["user"]]
            if user and user[-1] == record["id"]:
                repeated += 1
            else:
                user.append(record["id"])
        self.assertEqual(dict(seen), dict(self.producer.stored()))
        if not repeats:
            self.assertEqual(repeated, 0)
        return repeated

    # --- delivery ----------------------------------------------------------------------------------------------------

    def test_a_message_reaches_the_app_as_the_client_sent_it(self):
        self.start()
        identity = self.producer.send("42", headers=b"content-type: text/plain\nidempotency-key: mine",
                                      body="grüße".encode(), path=b"/pay/7?a=b")
        record = harness.wait_until(self.app.records, what="the delivery")[0]
        expected = {"id": identity, "user": "42", "unit": "RZ01", "color": "blue", "via": "queue", "attempt": 1,
                    "path": "/pay/7", "body": "grüße"}
        self.assertEqual({key: record[key] for key in expected}, expected)

    def test_each_users_order_holds_and_nothing_comes_twice(self):
        self.start(apps=2)
        self.producer.send_many([str(random.randrange(300)) for _ in range(5000)])
        self.wait_delivered()
        self.check_all(repeats=False)
        self.assertTrue(all(app.records() for app in self.apps))

    def test_users_do_not_wait_for_each_other(self):
        self.start()
        self.app.order("fail", user=7, status=500, times=1000000)
        self.producer.send_many(["7"] + [str(user) for user in range(8, 400)] + ["7"])
        others = self.producer.confirmed
        harness.wait_until(lambda: len(self.app.records()) == len(others) - 2, what="the others", every=0.05)
        harness.wait_until(lambda: sum(part["parked"] for part in self.agent.status()["partitions"]) == 2, what="the park")
        self.assertEqual(self.pending(), 0)
        self.assertNotIn("7", {record["user"] for record in self.app.records()})
        self.app.order("fail", times=0)
        self.wait_delivered()
        self.assertGreater(self.app.records()[-2]["attempt"], 1)
        self.check_all(repeats=False)

    def test_many_users_are_served_at_once(self):
        self.start()
        self.app.order("delay", ms=1000)
        self.producer.send_many([str(user) for user in range(100)])
        harness.wait_until(lambda: self.agent.metric("agent_deliveries_in_flight") > 50, what="most of them at once")
        self.wait_delivered()

    def test_retry_after_is_honoured(self):
        self.start()
        self.app.order("fail", user=5, status=429, times=1, retry_after=1)
        began = time.monotonic()
        self.producer.send("5")
        harness.wait_until(self.app.records, what="the second attempt")
        self.assertGreater(time.monotonic() - began, 0.95)
        self.assertEqual(self.app.records()[0]["attempt"], 1)

    # --- what dies ---------------------------------------------------------------------------------------------------

    def under_load(self, seconds, kill):
        """Sends all the while, and calls KILL() now and then."""
        stop = threading.Event()

        def produce():
            while not stop.wait(0.004):
                try:
                    self.producer.send_many([str(random.randrange(200)) for _ in range(20)])
                except (OSError, ConnectionError):
                    continue
        thread = threading.Thread(target=produce)
        thread.start()
        try:
            end = time.monotonic() + seconds
            kills = 0
            while time.monotonic() < end or kills <= 3:
                stop.wait(0.2 + random.random() * 0.4)
                kill()
                kills += 1
        finally:
            stop.set()
            thread.join()
        self.wait_delivered(timeout=90)
        self.assertGreater(len(self.producer.confirmed), 200)
        return self.check_all()

    def restart(self, process):
        process.kill()
        process.restart()

    def test_kill_9_of_the_agent_loses_and_inverts_nothing(self):
        self.start()
        self.under_load(5, lambda: self.restart(self.agent))

    def test_kill_9_of_the_app_loses_and_inverts_nothing(self):
        self.start()
        self.under_load(5, lambda: self.restart(self.app))

    def test_kill_9_of_the_broker_loses_and_inverts_nothing(self):
        self.start()
        repeated = self.under_load(5, lambda: self.restart(self.broker))
        self.assertEqual(repeated, 0)  # the agent lives and knows what was delivered

    def test_kill_9_of_everything_loses_and_inverts_nothing(self):
        self.start(apps=2)
        self.under_load(6, lambda: self.restart(random.choice([self.agent, self.broker, *self.apps])))

    def test_sigterm_finishes_and_records_what_is_in_flight(self):
        self.start()
        self.app.signal(signal.SIGSTOP)
        self.producer.send_many([str(user) for user in range(20)])
        harness.wait_until(lambda: self.agent.metric("agent_deliveries_in_flight") == 20, what="flights")
        self.agent.signal(signal.SIGTERM)
        harness.wait_until(lambda: "agent.ending" in self.agent.log_text(), what="the agent to hear of its end")
        self.app.signal(signal.SIGCONT)
        self.assertEqual(self.agent.popen.wait(20 * harness.PATIENCE), 0)
        self.assertEqual(len(self.app.records()), 20)
        self.agent.restart()
        self.wait_delivered()
        self.check_all(repeats=False)

    def test_an_agent_that_is_out_of_descriptors_does_not_blame_the_node(self):
        self.start(health__interval="1m")  # a probe that is late would say so of a node that is held up
        self.app.order("delay", ms=50)
        used, most = len(os.listdir(f"/proc/{self.agent.pid}/fd")), resource.prlimit(self.agent.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.agent.pid, resource.RLIMIT_NOFILE, (used + 1, most[1]))
        self.producer.send_many([str(user) for user in range(40)])
        harness.wait_until(lambda: len(self.app.records()) == 40, what="the deliveries")
        resource.prlimit(self.agent.pid, resource.RLIMIT_NOFILE, most)
        self.wait_delivered()
        self.check_all(repeats=False)
        self.assertIn("out of file descriptors", self.agent.log_text())
        self.assertNotIn("node.down", self.agent.log_text())

    # --- rules and nodes ---------------------------------------------------------------------------------------------

    def gateway(self):
        gateway = self.stack.gateway("gw")
        return gateway

    def test_rules_are_followed_and_a_unit_that_is_gone_is_served_on(self):
        self.start(apps=2)
        gateway = self.gateway()
        record = self.stack.put_rules(gateway, self.rules(blue=[self.apps[1]]))
        harness.wait_until(lambda: self.agent.epoch() == record["epoch"], what="the new epoch at the agent")
        self.producer.send("1")
        harness.wait_until(self.apps[1].records, what="a delivery to the new node")
        self.assertEqual(self.apps[0].records(), [])
        record = self.stack.put_rules(gateway, self.rules(name="RZ02"))
        harness.wait_until(lambda: self.agent.epoch() == record["epoch"], what="rules without the unit")
        self.assertFalse(self.agent.ready())
        self.producer.send("2")
        harness.wait_until(lambda: len(self.apps[1].records()) == 2, what="a delivery all the same")

    def test_it_starts_from_its_cache_while_the_store_is_away(self):
        self.start(store__cache=self.stack.folder / "agent.cache")
        self.agent.terminate()
        self.stack.store.rename(self.stack.folder / "gone")
        self.agent.restart()
        harness.wait_until(self.agent.ready, what="an agent without its store")
        self.assertFalse(self.agent.status()["store"]["up"])
        self.producer.send("3")
        harness.wait_until(self.app.records, what="the delivery")
        (self.stack.folder / "gone").rename(self.stack.store)
        harness.wait_until(lambda: self.agent.status()["store"]["up"], what="the store to be found again")

    def test_what_is_done_is_trimmed_after_its_retention(self):
        self.start(retention="100ms", health__interval="100ms")
        for _ in range(4):
            self.producer.send_many([str(user * PARTITIONS) for user in range(300)])
        harness.wait_until(lambda: self.pending() == 0 and self.broker.call("XLEN", stream(0)) < 300, what="a trimmed stream")
        self.assertEqual(len({record["id"] for record in self.app.records()}), 1200)

    def events(self, wanted, timeout=15):
        """Reads health events until WANTED(report) holds; returns all that came."""
        reports = []
        request = (f"GET /v1/health/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {harness.TOKEN}\r\n\r\n").encode()
        with socket.create_connection(("127.0.0.1", self.agent.admin_port), timeout=timeout * harness.SLOW) as sock:
            sock.sendall(request)
            with sock.makefile("rb") as lines:
                for line in lines:
                    if line.startswith(b"data: "):
                        reports.append(json.loads(line[6:]))
                        if wanted(reports[-1]):
                            return reports
        self.fail("the event stream ended")

    def test_health_is_told_at_once_and_when_it_changes(self):
        self.start(health__interval="200ms")
        first = self.events(lambda report: len(report["lag"]) == PARTITIONS and report["broker"]["up"] and
                            report["nodes"][0]["up"])[-1]
        self.assertEqual((first["unit"], first["agent"], first["epoch"]), ("RZ01", "agent-RZ01", 1))
        self.assertEqual(first["broker"], {"url": self.broker.url, "up": True, "fault": ""})
        self.assertEqual(first["nodes"], [{"url": self.app.url, "color": "blue", "up": True, "fault": ""}])
        self.assertEqual([lag["partition"] for lag in first["lag"]], list(range(PARTITIONS)))
        self.app.kill()
        down = self.events(lambda report: not report["nodes"][0]["up"])[-1]
        self.assertNotEqual(down["nodes"][0]["fault"], "")
        self.producer.send("8")
        self.events(lambda report: report["lag"][0]["pending"] == 1)
        self.app.restart()
        self.events(lambda report: report["nodes"][0]["up"] and report["lag"][0]["pending"] == 0)
        self.broker.kill()
        lost = self.events(lambda report: not report["broker"]["up"])[-1]
        self.assertNotEqual(lost["broker"]["fault"], "")
        self.assertEqual(self.agent.get("/readyz").status, 503)
        self.broker.restart()
        reports = self.events(lambda report: report["broker"]["up"])
        numbers = [report["seq"] for report in reports]
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_metrics_and_status_tell_the_same(self):
        self.start()
        self.producer.send_many([str(user) for user in range(50)])
        self.wait_delivered()
        lines = dict(line.rsplit(" ", 1) for line in self.agent.get("/metrics").body.decode().splitlines()
                     if line and not line.startswith("#"))
        status = self.agent.status()
        self.assertEqual(int(lines["ldcgate_agent_acknowledged_total"]), 50)
        self.assertEqual(status["counters"]["agent_acknowledged_total"], 50)
        self.assertEqual(int(lines["ldcgate_agent_delivery_latency_seconds_count"]), 50)
        self.assertGreater(status["latency_us"]["p99"], 0)
        self.assertEqual(harness.request(self.agent.admin_port, "GET", "/metrics").status, 401)
        self.assertEqual(harness.request(self.agent.admin_port, "GET", "/healthz").status, 200)

    def test_sighup_takes_what_may_change_and_refuses_the_rest(self):
        config = self.stack.folder / "agent.yaml"
        config.write_text("log: {level: info}\ndelivery: {window: 10}\n")
        self.start()
        self.agent.terminate()
        self.agent.argv += ["--config", str(config)]
        self.agent.restart()
        harness.wait_until(self.agent.ready, what="the agent")

        def option(name):
            options = json.loads(self.agent.get("/v1/config").body)["options"]
            return next(row["value"] for row in options if row["name"] == name)
        self.assertEqual(option("delivery.window"), "10")
        config.write_text("log: {level: debug}\ndelivery: {window: 20}\n")
        self.agent.signal(signal.SIGHUP)
        harness.wait_until(lambda: option("delivery.window") == "20", what="the new window")
        config.write_text("delivery: {window: 30}\nbroker: {timeout: 3s}\n")
        self.agent.signal(signal.SIGHUP)
        harness.wait_until(lambda: "broker.timeout" in self.agent.log_text(), what="the refusal")
        self.assertEqual(option("delivery.window"), "20")


if __name__ == "__main__":
    unittest.main()
