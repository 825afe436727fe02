# SPDX-License-Identifier: Apache-2.0
"""A gateway and a broker for messages that wait: timers and transactions."""
import harness
from harness import wait_until

PARTITIONS = 4
UNIT = "ldc:{RZ01}:"


class Waiting(harness.StackTest):
    options = {}  # of the gateway

    apps = 0      # nodes of the unit

    def setUp(self):
        super().setUp()
        self.broker = self.stack.broker()
        self.nodes = [self.stack.app(name=f"app{i}") for i in range(self.apps)]
        self.gateway = self.stack.gateway(wait=False, **self.options)
        wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        self.put_rules()
        wait_until(lambda: self.post(path="/warm/up").status == 202, what="the broker")
        for partition in range(PARTITIONS):
            self.broker.call("DEL", self.key(partition, "stream"))

    def put_rules(self, **unit):
        routes = (harness.QUEUE_ROUTE, {**harness.QUEUE_ROUTE, "match": {"path": "/warm/*", "methods": ["POST"]}})
        self.stack.put_rules(self.gateway, harness.rules(
            {"RZ01": harness.unit("00-99", brokers=[self.broker], blue=self.nodes, **unit)}, routes=routes,
            topics={"payments": {"partitions": PARTITIONS}}))

    def key(self, partition, suffix):
        return "ldc:{RZ01/payments/%d}:%s" % (partition, suffix)

    def post(self, user="1", body=b"{}", path="/pay/1", headers=()):
        return harness.request(self.gateway.port, "POST", path, {"X-User-Id": user, **dict(headers)}, body, timeout=30)

    def look_up(self, identity):
        return harness.request(self.gateway.port, "GET", "/-/messages/" + identity)

    def end(self, identity, verb):
        """DELETE, or POST of another verb."""
        if verb == "DELETE":
            return harness.request(self.gateway.port, "DELETE", "/-/messages/" + identity)
        return harness.request(self.gateway.port, "POST", f"/-/messages/{identity}/{verb}")

    def delivered(self):
        """What reached the apps through the queue, but for the request that awaited the broker."""
        return [record for app in self.nodes for record in app.records() if record["path"].startswith("/pay")]

    def find(self, identity):
        found = self.broker.call("FCALL", "ldc1_find", 1, UNIT, identity)
        return found and (found[0].decode(), int(found[1]), found[2])

    def waiting(self):
        """How many timers are near, how many later; how many transactions are prepared, and parked."""
        return self.broker.call("FCALL", "ldc1_waiting", 1, UNIT)

    def stored(self):
        """Fields by message id. Two entries with one id would be a message stored twice."""
        found = {}
        for partition in range(PARTITIONS):
            for _, fields in self.broker.call("XRANGE", self.key(partition, "stream"), "-", "+"):
                message = dict(zip(fields[::2], fields[1::2]))
                identity = message[b"id"].decode()
                assert identity not in found, f"{identity} stands twice in its stream"
                found[identity] = message
        return found
