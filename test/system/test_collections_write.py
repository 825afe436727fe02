#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Collections are written over HTTP: under conditions, once for each request, and acknowledged when the in-sync replicas
of the core unit's broker have it; also while that broker is changed under the writers' hands."""
import base64
import collections
import http.client
import json
import signal
import socket
import threading
import unittest

import harness
import switch_fixture
from collections_fixture import Site
from harness import wait_until

RULES = 'collections: {rates: {writers: any}, merchants: {}}\n'
ROUTE = {"match": {"path": "/-/c/*"}, "zone": "C", "max_body": 65536}


class WriteTest(switch_fixture.SwitchTest):
    """RZ01 is the core unit: its broker is the origin."""

    def apply(self, routes=(), topics=None):
        units = {"RZ01": harness.unit(kind="core", brokers=[self.primary, *self.replicas]),
                 "RZ02": harness.unit("00-99", datacenter="dc2")}
        text = harness.rules(units, routes=(ROUTE, harness.QUEUE_ROUTE), topics={"payments": {"partitions": 4}})
        self.stack.put_rules(self.gateway, text + RULES)

    def start(self, gateways=1, **options):
        options = {"failover__hold": "30s", "broker__timeout": "30s", **options}
        durable_start = super(switch_fixture.SwitchTest, self).start
        durable_start(replicas=1, **options)
        self.standby = self.replicas[0]
        self.gateways = [self.gateway] + [self.stack.gateway(f"gw{n}", **options) for n in range(2, gateways + 1)]
        for gateway in self.gateways:
            wait_until(lambda: self.send("PUT", "first", b"1", gateway, Idempotency_Key="first").status == 201, what="a first write")
            wait_until(lambda: f"{self.standby.url} is connected" in gateway.log_text(), what="the standby's line")

    def send(self, method, key, body=b"", gateway=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return harness.request((gateway or self.gateway).port, method, f"/-/c/rates/{key}", headers, body, timeout=30)

    def site(self, broker=None):
        connection = harness.BrokerConnection((broker or self.primary).port)
        self.addCleanup(connection.close)
        return Site(connection, "RZ01", self.epoch())


class Values(WriteTest):
    def test_a_value_is_made_replaced_and_deleted(self):
        self.start()
        made = self.send("PUT", "a", b"one", Content_Type="text/plain")
        self.assertEqual((made.status, made.body), (201, b""))
        version = int(made.headers["ldc-version"])
        self.assertEqual(made.headers["etag"], f'"{version}"')
        self.assertEqual((made.headers["ldc-durability"], made.headers["ldc-unit"]), ("replicated", "RZ01"))
        replaced = self.send("PUT", "a", b"two")
        self.assertEqual((replaced.status, replaced.headers["etag"]), (204, f'"{version + 1}"'))
        deleted = self.send("DELETE", "a")
        self.assertEqual((deleted.status, deleted.headers["ldc-version"]), (204, str(version + 2)))
        self.assertNotIn("etag", deleted.headers)
        absent = self.send("DELETE", "a")
        self.expect_problem(absent, 404, "no-key")
        self.assertEqual(absent.headers["ldc-collection-sequence"], str(version + 2))
        for broker in (self.primary, self.standby):
            ops = [(fields[b"op"], fields[b"key"]) for _, fields in self.site(broker).log() if fields[b"key"] == b"a"]
            self.assertEqual(ops, [(b"put", b"a"), (b"put", b"a"), (b"del", b"a")])

    def test_conditions_are_those_of_http(self):
        self.start()
        self.expect_problem(self.send("PUT", "a", b"1", If_Match="*"), 412, "condition-failed")
        self.expect_problem(self.send("PUT", "a", b"1", If_Match='"1"'), 412, "condition-failed")
        made = self.send("PUT", "a", b"1", If_None_Match="*")
        self.assertEqual(made.status, 201)
        tag = made.headers["etag"]
        lost = self.send("PUT", "a", b"2", If_None_Match="*")
        self.expect_problem(lost, 412, "condition-failed")
        self.assertEqual((lost.headers["etag"], lost.headers["ldc-version"]), (tag, tag.strip('"')))
        for headers, status in (({"If-Match": "W/" + tag}, 412), ({"If-Match": '"x"'}, 412), ({"If-None-Match": "W/" + tag}, 412),
                                ({"If-Match": f'"9", {tag}', "If-None-Match": tag}, 412), ({"If-Match": '"'}, 400),
                                ({"If-Match": "7"}, 400), ({"If-Unmodified-Since": "Sun, 01 Jan 2040 00:00:00 GMT"}, 400)):
            with self.subTest(headers):
                answer = harness.request(self.gateway.port, "PUT", "/-/c/rates/a", headers, b"2")
                self.expect_problem(answer, status, "condition-failed" if status == 412 else "bad-request")
        self.assertEqual(self.send("DELETE", "a", If_Match='"9"').status, 412)
        self.assertEqual(self.send("PUT", "a", b"2", If_Match=f'"x", "9",{tag}').status, 204)
        self.assertEqual(self.send("PUT", "a", b"3", If_Match="*", If_None_Match=tag).status, 204)
        self.assertEqual(self.gateway.metric("collection_conflicts_total"), 8)

    def test_an_idempotency_key_stands_for_one_change(self):
        self.start()
        replayed = self.gateway.metric("collection_replayed_total")
        first = self.send("PUT", "a", b"1", Idempotency_Key="k")
        self.send("PUT", "a", b"other")
        again = self.send("PUT", "a", b"1", Idempotency_Key="k")
        self.assertEqual((first.status, again.status), (201, 201))
        self.assertEqual(first.headers["etag"], again.headers["etag"])
        self.assertEqual(again.headers["idempotency-replayed"], "true")
        self.assertNotIn("idempotency-replayed", first.headers)
        for method, key, body in (("PUT", "a", b"2"), ("PUT", "b", b"1"), ("DELETE", "a", b"")):
            self.expect_problem(self.send(method, key, body, Idempotency_Key="k"), 422, "idempotency-conflict")
        self.assertEqual([self.send("DELETE", "a", Idempotency_Key="d").status for _ in range(2)], [204, 204])
        self.assertEqual(self.gateway.metric("collection_replayed_total") - replayed, 2)

    def test_who_may_write_and_what(self):
        self.start()
        stranger = self.stack.gateway("gw2", ingress__trusted_peers="192.0.2.1/32")
        def put(gateway, name, **options):
            return harness.request(gateway.port, "PUT", f"/-/c/{name}/a", options, b"1")
        self.expect_problem(put(stranger, "merchants"), 403, "untrusted-peer")
        self.assertEqual((put(stranger, "rates").status, put(self.gateway, "merchants").status), (201, 201))
        self.expect_problem(put(self.gateway, "nothing"), 404, "no-collection")
        for headers in ({"Content-Encoding": "gzip"}, {"Content-Range": "bytes 0-0/2"}, {"Content-Type": "t/" + 254 * "x"},
                        {"LDC-Delay": "5"}, {"Prefer": "wait=2"}, {"Idempotency-Key": ""}):
            with self.subTest(headers):
                self.expect_problem(put(self.gateway, "rates", **headers), 400, "bad-request")
        self.assertEqual(self.send("PUT", "big", bytes(65536)).status, 201)
        self.expect_problem(self.send("PUT", "big", bytes(65537)), 413, "body-too-large")
        self.expect_problem(self.send("PUT", "%00", b"1"), 400, "bad-request")
        self.assertEqual(self.send("POST", "a", b"1").status, 405)


class Batches(WriteTest):
    def post(self, lines, **headers):
        body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        headers = {"Content-Type": "application/x-ndjson", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return harness.request(self.gateway.port, "POST", "/-/c/rates", headers, body, timeout=30)

    def test_each_line_has_its_verdict(self):
        self.start()
        raw = bytes(range(256))
        answer = self.post([{"key": "a", "value": "text"}, {"key": "b", "value_base64": base64.b64encode(raw).decode()},
                            b'{"key":"c","value":{"rate":1.250}}', {"key": "a", "value": "again", "if_match": 2},
                            {"key": "a", "value": "lost", "if_match": 2}, {"key": "b", "delete": True, "if_match": "*"},
                            {"key": "b", "delete": True}, {"key": "d", "value": "x", "if_none_match": "*", "type": "a/b"},
                            b"no json", {"key": "..", "value": ""}, {"key": "e"}, {"key": "e", "value": 1, "ifmatch": 3},
                            {"key": "e", "value": "x" * 65537}, {"key": "z", "if_match": '"7", "9"', "value": None}])
        self.assertEqual(answer.status, 200)
        document = answer.json()
        self.assertEqual([item["index"] for item in document["items"]], list(range(14)))
        self.assertEqual([item["status"] for item in document["items"]],
                         [201, 201, 201, 204, 412, 204, 404, 201, 400, 400, 400, 400, 413, 412])
        self.assertEqual([item.get("version") for item in document["items"]],
                         [2, 3, 4, 5, 5, 6, None, 7, None, None, None, None, None, None])
        self.assertEqual((document["accepted"], document["refused"], document["unknown"]), (6, 8, 0))
        self.assertEqual(answer.headers["ldc-durability"], "replicated")
        stored = [(fields[b"key"], fields[b"value"][27:]) for _, fields in self.site(self.standby).log("2")]
        self.assertEqual(stored, [(b"a", b"text/plain; charset=utf-8text"), (b"b", b"application/octet-stream" + raw),
                                  (b"c", b'application/json{"rate":1.250}'), (b"a", b"text/plain; charset=utf-8again"),
                                  (b"b", b""), (b"d", b"a/bx")])

    def test_a_large_batch_keeps_its_order_and_may_be_sent_again(self):
        self.start(batch__items=10000, batch__bytes="1MiB")
        lines = [{"key": f"k{n % 7}", "value": str(n)} for n in range(5000)]
        first, again = self.post(lines, Idempotency_Key="b"), self.post(lines, Idempotency_Key="b")
        self.assertEqual([item["version"] for item in first.json()["items"]], list(range(2, 5002)))
        self.assertEqual([item["version"] for item in again.json()["items"]], list(range(2, 5002)))
        self.assertTrue(all(item["replayed"] for item in again.json()["items"]))
        self.assertEqual(self.site().seq, 5001)

    def test_what_is_no_batch_is_refused_whole(self):
        self.start(batch__items=3, batch__bytes="1KiB")
        self.expect_problem(self.post([{}], Content_Type="application/json"), 400, "bad-request")
        self.expect_problem(self.post([{}], Content_Encoding="gzip"), 400, "bad-request")
        self.expect_problem(self.post([{}] * 4), 413, "body-too-large")
        self.expect_problem(self.post([b" " * 1025]), 413, "body-too-large")
        self.assertEqual(self.post([b"", b"  "]).json(), {"accepted": 0, "refused": 0, "unknown": 0, "items": []})
        self.assertEqual(self.site().seq, 1)


class Writers(switch_fixture.Payers):
    """Each thread in its own way: values under new keys; one value, again and again, on the version that it had; new keys
    by batches; each request twice by its idempotency key. `id` is what was written: {key: version}."""

    def request(self, client, thread, body):
        return (self.new, self.chained, self.batch, self.twice)[thread % 4](client, thread, body)

    @staticmethod
    def put(client, key, body, **headers):
        answer = client.request("PUT", f"/-/c/rates/{key}", headers, body.encode())
        done = answer.status in (201, 204)
        return (202 if done else answer.status, {key: int(answer.headers["ldc-version"])} if done else None,
                None if done else answer.json()["type"])

    def new(self, client, thread, body):
        return self.put(client, f"new/{body}", body)

    def chained(self, client, thread, body):
        own = [answer for answer in self.answers if answer.body.startswith(f"{thread}/")]
        if own and own[-1].status != 202:
            return self.put(client, f"chain/{thread}", body)  # nobody knows on which version
        condition = {"If-Match": f'"{own[-1].id[f"chain/{thread}"]}"'} if own else {"If-None-Match": "*"}
        return self.put(client, f"chain/{thread}", body, **condition)

    def batch(self, client, thread, body):
        keys = [f"batch/{body}/{n}" for n in range(20)]
        lines = "\n".join(json.dumps({"key": key, "value": key}) for key in keys)
        answer = client.request("POST", "/-/c/rates", {"Content-Type": "application/x-ndjson"}, lines.encode())
        items = answer.json()["items"]
        problem = next((item["problem"] for item in items if "problem" in item), None)
        done = {keys[item["index"]]: item["version"] for item in items if "problem" not in item}
        return 500 if problem else 202, done, problem

    def twice(self, client, thread, body):
        key = {"Idempotency-Key": body}
        first = self.put(client, f"twice/{body}", body, **key)
        again = self.put(client, f"twice/{body}", body, **key)
        if first[0] == again[0] == 202 and first[1] != again[1]:
            return 0, None, f"{first} and {again}"
        return again


class Faults(WriteTest):
    def test_what_no_replica_has_is_not_acknowledged(self):
        """A write that is not covered is no success; once more under its key it is the same write."""
        self.start(broker__timeout="1s")
        self.standby.signal(signal.SIGSTOP)
        before, version = self.gateway.metric("collection_unwritten_total"), self.site().seq + 1
        lost = self.send("PUT", "a", b"1", Idempotency_Key="k")
        self.expect_problem(lost, 503, "outcome-unknown")
        self.assertEqual(self.gateway.metric("collection_unwritten_total"), before + 1)
        self.standby.signal(signal.SIGCONT)
        found = wait_until(lambda: (answer := self.send("PUT", "a", b"1", Idempotency_Key="k")).status == 201 and answer,
                           what="the replica's word")
        self.assertEqual((found.headers["ldc-version"], found.headers["idempotency-replayed"]), (str(version), "true"))
        self.assertEqual(self.site(self.standby).seq, version)

    def test_a_broker_that_is_full_writes_nothing_and_says_so(self):
        self.start()
        self.primary.call("CONFIG", "SET", "maxmemory", "1")
        full = wait_until(lambda: (answer := self.send("PUT", "a", b"1")).json()["type"].endswith("broker-full") and answer,
                          what="the broker to be full")
        self.expect_problem(full, 503, "broker-full")
        self.primary.call("CONFIG", "SET", "maxmemory", "0")
        wait_until(lambda: self.send("PUT", "a", b"1").status == 201, what="a write")
        self.assertEqual(self.site().seq, 2)

    def test_clients_that_go_away_leave_nothing_behind(self):
        """Their writes take effect or not, and the others go on, though batches that nobody waits for any more stand
        before theirs."""
        self.start(broker__timeout="400ms", failover__hold="2s")
        lines = b"".join(b'{"key":"k%d","value":"%s"}\n' % (n, b"x" * 50) for n in range(5000))
        head = b"POST /-/c/rates HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
        self.standby.signal(signal.SIGSTOP)
        before = self.gateway.metric("requests_total")
        for _ in range(8):
            for data in (head % len(lines) + lines,
                         b"PUT /-/c/rates/gone HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"):
                with socket.create_connection(("127.0.0.1", self.gateway.port)) as client:
                    client.sendall(data)
        wait_until(lambda: self.gateway.metric("requests_total") >= before + 16, what="the requests")
        wait_until(lambda: self.gateway.metric("requests_in_flight") == 0, what="the clients' end to be seen")
        self.standby.signal(signal.SIGCONT)
        wait_until(lambda: self.send("PUT", "a", b"1").status in (201, 204), what="a write of another client")
        wait_until(lambda: self.gateway.metric("requests_in_flight") == 0, what="all to have ended")
        # the broker may still be at what nobody waits for, and is looked at in several steps
        wait_until(lambda: not self.site().wrong_sums(), what="the sums to be those of the keys")

    def test_a_gateway_that_is_killed_writes_nothing_twice(self):
        """What it did not answer is sent to another gateway under the same key."""
        self.start(gateways=2)
        done = {}

        def write(thread):
            for n in range(60):
                key, port = f"new/{thread}/{n}", self.gateway.port
                while True:
                    try:
                        answer = harness.request(port, "PUT", f"/-/c/rates/{key}", {"Idempotency-Key": key}, b"x")
                        break
                    except (OSError, http.client.HTTPException):
                        port = self.gateways[1].port
                self.assertEqual(answer.status, 201)
                done[key] = int(answer.headers["ldc-version"])

        threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(done) > 100, what="a hundred writes")
        self.gateway.kill()
        for thread in threads:
            thread.join()
        log = [(fields[b"key"].decode(), int(id.split("-")[0])) for id, fields in self.site().log() if fields[b"key"] != b"first"]
        self.assertEqual(len(done), 360)
        self.assertEqual(sorted(log), sorted(done.items()))


class Failover(WriteTest):
    def audit_writes(self, writers, broker):
        """What was acknowledged stands in the log at its version, and nothing but the chains was written twice."""
        log = [(int(id.split("-")[0]), fields) for id, fields in self.site(broker).log() if fields[b"op"] in (b"put", b"del")]
        self.assertEqual([seq for seq, _ in log], list(range(1, len(log) + 1)))
        keys = {seq: fields[b"key"].decode() for seq, fields in log}
        lost = [(key, version) for answer in writers.answers for key, version in (answer.id or {}).items()
                if keys.get(version) != key]
        self.assertEqual(lost, [], "acknowledged and lost")
        times = collections.Counter(keys.values())
        again = [key for key, count in times.items() if count > 1 and not key.startswith(("chain", "first"))]
        self.assertEqual(again, [], "written twice")
        self.assertFalse(self.site(broker).wrong_sums())
        self.assertEqual(len({answer.body.split("/")[0] for answer in writers.accepted()}), len(writers.threads))

    def check(self, what, harm):
        self.start(gateways=2)
        with Writers(self.gateways, threads=8) as writers:
            harm()
            since = self.decide(self.standby, [self.standby])
            self.promote(self.standby)
            writers.more(300)
            self.tell(what, writers, since)
        self.primary.signal(signal.SIGCONT)
        self.audit_writes(writers, self.standby)
        self.assertEqual(writers.refused(), [], "held, and sent again: no client hears of it")

    def test_a_primary_that_is_killed_costs_no_write_and_makes_none_twice(self):
        self.check("kill -9", self.primary_killed)

    def test_a_primary_that_stands_still_costs_no_write_and_makes_none_twice(self):
        self.check("SIGSTOP", lambda: self.primary.signal(signal.SIGSTOP))

    def primary_killed(self):
        self.primary.kill()
        self.primary.signal = lambda number: None

    def test_a_planned_switch_costs_nothing(self):
        self.start(gateways=2)
        with Writers(self.gateways, threads=8) as writers:
            since = self.switch()
            writers.more(300)
            self.tell("planned", writers, since)
        self.audit_writes(writers, self.standby)
        self.assertEqual(writers.refused(), [])


if __name__ == "__main__":
    unittest.main()
