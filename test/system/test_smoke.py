#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One gateway, one unit: a message is stored and a request is forwarded, and answers say where they went."""
import unittest

import harness


class Smoke(harness.StackTest):
    def start(self):
        stack = self.stack
        self.broker = stack.broker()
        self.app = stack.app()
        self.gateway = stack.gateway(wait=False)
        harness.wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        units = {"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])}
        stack.put_rules(self.gateway, harness.rules(units))
        harness.wait_until(self.gateway.ready, what="the gateway")

    def post(self, user, body=b"{}"):
        return harness.request(self.gateway.port, "POST", "/pay/1", {"X-User-Id": user}, body)

    def test_a_message_is_in_the_stream_when_its_202_arrives(self):
        self.start()
        answer = harness.wait_until(lambda: (a := self.post("42", b'{"n":1}')).status == 202 and a, what="a 202")
        self.assertEqual(answer.headers["ldc-unit"], "RZ01")
        self.assertEqual(answer.headers["ldc-epoch"], "1")
        identity = answer.json()["id"]
        self.assertEqual(answer.headers["location"], "/-/messages/" + identity)
        key = "ldc:{RZ01/payments/%d}:stream" % answer.json()["partition"]
        entries = self.broker.call("XRANGE", key, "-", "+")
        fields = dict(zip(entries[-1][1][::2], entries[-1][1][1::2]))
        self.assertEqual(fields[b"id"].decode(), identity)
        self.assertEqual(fields[b"user"], b"42")
        self.assertEqual(fields[b"body"], b'{"n":1}')
        status = harness.request(self.gateway.port, "GET", "/-/messages/" + identity)
        self.assertEqual((status.status, status.json()["state"]), (200, "pending"))

    def test_a_request_is_forwarded_to_the_unit(self):
        self.start()
        answer = harness.request(self.gateway.port, "GET", "/echo/a?b=c", {"X-User-Id": "7"})
        self.assertEqual(answer.status, 200)
        record = self.app.records()[-1]
        self.assertEqual((record["user"], record["via"], record["unit"]), ("7", "proxy", "RZ01"))

    def test_a_broker_that_is_away_is_503_and_comes_back(self):
        self.start()
        harness.wait_until(lambda: self.post("1").status == 202, what="a first 202")
        self.broker.kill()
        answer = harness.wait_until(lambda: (a := self.post("1")).status == 503 and a, what="a 503")
        self.assertEqual(answer.headers["retry-after"], "1")
        self.assertEqual(answer.headers["content-type"], "application/problem+json")
        self.broker.restart()
        harness.wait_until(lambda: self.post("1").status == 202, what="the broker to be found again")

    def test_a_unit_without_brokers_and_nodes_answers_503_by_name(self):
        gateway = self.stack.gateway(wait=False)
        harness.wait_until(lambda: gateway.epoch() >= 0, what="the admin listener")
        self.stack.put_rules(gateway, harness.rules({"RZ01": {"kind": "A", "slots": ["00-99"]}}))
        for method, path, problem in (("POST", "/pay/1", "broker-unavailable"), ("GET", "/echo/1", "node-unavailable")):
            answer = harness.request(gateway.port, method, path, {"X-User-Id": "1"})
            self.assertEqual((answer.status, answer.json()["type"]), (503, "urn:ldcgate:problem:" + problem))
            self.assertEqual((answer.headers["ldc-unit"], answer.headers["retry-after"]), ("RZ01", "1"))


if __name__ == "__main__":
    unittest.main()
