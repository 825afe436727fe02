#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Batches: many messages in one request, each with a user, a unit and a verdict of its own."""
import base64
import http.client
import json
import socket
import unittest

import harness
from durable_fixture import DurableTest
from harness import wait_until

PARTITIONS = 4
EVENTS = "application/cloudevents-batch+json"
LINES = "application/x-ndjson"
IDENTITY = {"sources": ["header:X-User-Id", "json:/user/id"]}


def event(number, user=None, source="/shop", **more):
    """A CloudEvent; USER becomes its subject."""
    made = {"specversion": "1.0", "id": str(number), "source": source, "type": "paid"}
    if user is not None:
        made["subject"] = str(user)
    return {**made, **more}


def lines(items):
    return "\n".join(item if isinstance(item, str) else json.dumps(item) for item in items)


def stored(broker, unit="RZ01"):
    """All messages of UNIT in the order of each partition, as dicts of text."""
    found = []
    for partition in range(PARTITIONS):
        for _, words in broker.call("XRANGE", "ldc:{%s/payments/%d}:stream" % (unit, partition), "-", "+"):
            found.append({name.decode(): value.decode("latin-1") for name, value in zip(words[::2], words[1::2])})
    return found


class BatchTest(harness.StackTest):
    def start(self, route=None, two_units=False, **options):
        self.brokers = [self.stack.broker("b1")] + ([self.stack.broker("b2")] if two_units else [])
        self.units = {"RZ01": harness.unit("00-49" if two_units else "00-99", brokers=self.brokers[:1])}
        if two_units:
            self.units["RZ02"] = harness.unit("50-99", brokers=self.brokers[1:])
        self.gateway = self.stack.gateway(wait=False, **options)
        wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        self.stack.put_rules(self.gateway, harness.rules(
            self.units, routes=[dict(harness.QUEUE_ROUTE, **(route or {}))], identity=IDENTITY,
            topics={"payments": {"partitions": PARTITIONS}}))
        wait_until(lambda: all(row["broker"]["up"] for row in self.gateway.status()["units"]), what="the brokers")

    def post(self, body, kind=EVENTS, headers=(), path="/pay/batch"):
        text = body if isinstance(body, (str, bytes)) else json.dumps(body) if kind == EVENTS else lines(body)
        data = text.encode() if isinstance(text, str) else text
        return harness.request(self.gateway.port, "POST", path, {"Content-Type": kind, **dict(headers)}, data, timeout=60)

    def verdicts(self, answer):
        """[(status, problem's name or None)]; checks that the answer adds up."""
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"), answer.body[:300])
        document = answer.json()
        items = document["items"]
        self.assertEqual([item["index"] for item in items], list(range(len(items))))
        self.assertEqual(document["accepted"], sum(item["status"] == 202 for item in items))
        self.assertEqual(document["accepted"] + document["refused"] + document["unknown"], len(items))
        for item in items:
            self.assertEqual("problem" in item, item["status"] != 202)
        return [(item["status"], item.get("problem", "").rpartition(":")[2] or None) for item in items]


class Routing(BatchTest):
    def test_each_item_goes_to_the_unit_of_its_own_user(self):
        self.start(two_units=True)
        answer = self.post([event(i, user=i * 10) for i in range(10)])
        self.assertEqual(self.verdicts(answer), [(202, None)] * 10)
        ids = [item["id"] for item in answer.json()["items"]]
        self.assertEqual([identity.split(".")[0] for identity in ids], ["RZ01"] * 5 + ["RZ02"] * 5)
        for number, unit in enumerate(("RZ01", "RZ02")):
            messages = stored(self.brokers[number], unit)
            self.assertEqual(sorted(message["id"] for message in messages), sorted(ids[number * 5:number * 5 + 5]))
            self.assertEqual(sorted(int(message["user"]) for message in messages),
                             [user * 10 for user in range(number * 5, number * 5 + 5)])

    def test_identity_sources_look_into_the_item_and_the_request(self):
        self.start()
        answer = self.post([{"user": {"id": 7}, "n": 1.10}, {"n": 2}, {"user": {"id": "8"}}], kind=LINES)
        self.assertEqual(self.verdicts(answer), [(202, None), (400, "missing-user"), (202, None)])
        answer = self.post([{"user": {"id": 7}}, {"n": 2}], kind=LINES, headers={"X-User-Id": "3"})
        self.assertEqual(self.verdicts(answer), [(202, None)] * 2)
        answer = self.post([event(1, user=5, data={"user": {"id": 6}}), event(2, user=5), event(3)])
        self.assertEqual(self.verdicts(answer), [(202, None), (202, None), (400, "missing-user")])
        self.assertEqual(sorted(message["user"] for message in stored(self.brokers[0])), ["3", "3", "5", "6", "7", "8"])

    def test_the_order_of_a_user_is_the_order_of_the_items(self):
        self.start()
        self.post([event(i, user=1, data=i) for i in range(300)])
        self.assertEqual([message["body"] for message in stored(self.brokers[0])], [str(i) for i in range(300)])

    def test_participants_of_two_units_refuse_their_item_alone(self):
        self.start({"participants": ["json:/payee"]}, two_units=True)
        answer = self.post([event(1, 1, data={"payee": 2}), event(2, 1, data={"payee": 51}), event(3, 1, data={})])
        self.assertEqual(self.verdicts(answer), [(202, None), (409, "cross-unit"), (400, "bad-json")])


class Messages(BatchTest):
    def test_an_event_becomes_a_message_with_its_attributes_as_headers(self):
        self.start()
        data = {"n": 1.10, "text": "caf\u00e9"}
        self.verdicts(self.post([event(1, user=9, data=data, traced=True, time="2026-11-21T09:00:00Z"),
                                 event(2, user=9, data_base64=base64.b64encode(b"\0\xff").decode(),
                                       datacontenttype="image/png")],
                                headers={"X-Kept": "1", "Content-Language": "en"}, path="/pay/batch?x=1"))
        first, second = stored(self.brokers[0])
        self.assertEqual((first["method"], first["path"], first["user"], first["slot"]),
                         ("POST", "/pay/batch?x=1", "9", "9"))
        self.assertEqual(json.loads(first["body"].encode("latin-1")), data)
        headers = first["headers"].split("\n")
        for line in ("x-kept: 1", "content-type: application/json", "ce-id: 1", "ce-source: /shop", "ce-type: paid",
                     "ce-subject: 9", "ce-traced: true", "ce-time: 2026-11-21T09:00:00Z", "ce-specversion: 1.0"):
            self.assertIn(line, headers)
        self.assertTrue(headers[-1].startswith("traceparent: 00-"))
        self.assertNotIn("cloudevents-batch", first["headers"])
        self.assertNotIn("content-language", first["headers"])
        self.assertEqual(second["body"], "\0\xff")
        self.assertIn("content-type: image/png", second["headers"].split("\n"))

    def test_a_line_is_stored_as_it_was_written(self):
        self.start()
        self.verdicts(self.post('{"user": {"id":7}, "n": 1.10}\r\n\n  [1]\n', kind=LINES, headers={"X-User-Id": "7"}))
        self.assertEqual([message["body"] for message in stored(self.brokers[0])],
                         ['{"user": {"id":7}, "n": 1.10}', "[1]"])

    def test_a_batch_may_be_empty(self):
        self.start()
        for body, kind in (("[]", EVENTS), ("", LINES), ("\n\n", LINES)):
            answer = self.post(body, kind)
            self.assertEqual(answer.json(), {"accepted": 0, "refused": 0, "unknown": 0, "items": []})
            self.assertNotIn("ldc-durability", answer.headers)

    def test_ten_thousand_items_are_stored_once_each(self):
        self.start(two_units=True, limits__body="16MiB", batch__bytes="16MiB")
        answer = self.post([event(i, user=i, data={"n": i}) for i in range(10000)])
        self.assertEqual(self.verdicts(answer), [(202, None)] * 10000)
        ids = [item["id"] for item in answer.json()["items"]]
        self.assertEqual(len(set(ids)), 10000)
        messages = stored(self.brokers[0], "RZ01") + stored(self.brokers[1], "RZ02")
        self.assertEqual(sorted(message["id"] for message in messages), sorted(ids))
        self.assertEqual(self.gateway.metric("batch_items_total"), 10000)


class Refusals(BatchTest):
    def test_a_malformed_item_refuses_itself_alone(self):
        self.start()
        answer = self.post('[%s, {"a" "b"}, %s, 5, {"id": "x"}]' % (json.dumps(event(1, 1)), json.dumps(event(2, "\n"))))
        self.assertEqual(self.verdicts(answer), [(202, None), (400, "bad-json"), (400, "bad-user-id"),
                                                 (400, "bad-request"), (400, "bad-request")])
        self.assertIn("line 1, column", answer.json()["items"][1]["detail"])
        answer = self.post('{"user":{"id":1}}\n{"user":\n[]', kind=LINES)
        self.assertEqual(self.verdicts(answer), [(202, None), (400, "bad-json"), (400, "missing-user")])
        self.assertEqual(len(stored(self.brokers[0])), 2)
        self.assertEqual(self.gateway.metric("batch_items_refused_total"), 6)

    def test_an_event_has_no_more_attributes_than_a_delivery_can_have(self):
        self.start()
        few, many = ({f"a{number}": "x" for number in range(count)} for count in (95, 96))
        answer = self.post([event(1, user=1, **few), event(2, user=1, **many)])
        self.assertEqual(self.verdicts(answer), [(202, None), (400, "bad-request")])

    def test_a_malformed_document_refuses_the_whole(self):
        self.start()
        good = json.dumps(event(1, 1))
        for body in ("", "{}", good, "[" + good, "[%s,]" % good, "[%s]]" % good, "[%s %s]" % (good, good), '["'):
            self.expect_problem(self.post(body), 400, "bad-json")
        self.expect_problem(self.post([event(1, 1)], headers={"Content-Encoding": "gzip"}), 400, "bad-request")
        self.expect_problem(self.post([event(1, 1)], headers={"LDC-Delay": "5"}), 400, "bad-request")
        self.assertEqual(stored(self.brokers[0]), [])

    def test_limits_hold_for_the_batch_and_for_its_items(self):
        self.start({"max_body": 1024}, batch__items=3, batch__bytes="64KiB")
        self.expect_problem(self.post([event(i, 1) for i in range(4)]), 413, "body-too-large")
        self.expect_problem(self.post([event(1, 1, data="x" * 70000)]), 413, "body-too-large")
        self.assertEqual(stored(self.brokers[0]), [])
        answer = self.post([event(1, 1, data="x" * 2000), event(2, 1, data="x" * 1000), event(3, 1)])
        self.assertEqual(self.verdicts(answer), [(413, "body-too-large"), (202, None), (202, None)])

    def test_a_huge_item_is_stored_beside_small_ones(self):
        self.start(limits__body="32MiB", batch__bytes="32MiB", broker__timeout="20s")
        answer = self.post([event(1, 1, data="s"), event(2, 1, data="x" * (20 << 20)), event(3, 1, data="t")])
        self.assertEqual(self.verdicts(answer), [(202, None)] * 3)
        self.assertEqual([len(message["body"]) for message in stored(self.brokers[0])], [3, (20 << 20) + 2, 3])

    def test_a_broker_that_is_away_refuses_the_items_of_its_unit(self):
        self.start(two_units=True)
        self.brokers[1].kill()
        wait_until(lambda: not all(row["broker"]["up"] for row in self.gateway.status()["units"]), what="the loss")
        answer = self.post([event(i, user=i) for i in (1, 51, 2, 52)])
        self.assertEqual(self.verdicts(answer), [(202, None), (503, "broker-unavailable")] * 2)
        self.assertEqual(len(stored(self.brokers[0])), 2)

    def test_what_a_broker_does_not_confirm_is_unknown_and_has_its_id(self):
        self.start(two_units=True, broker__timeout="2s")
        self.brokers[1].signal(harness.signal.SIGSTOP)
        try:
            answer = self.post([event(i, user=i) for i in (1, 51)])
        finally:
            self.brokers[1].signal(harness.signal.SIGCONT)
        self.assertEqual(self.verdicts(answer), [(202, None), (503, "outcome-unknown")])
        self.assertEqual((answer.json()["refused"], answer.json()["unknown"]), (0, 1))
        self.assertTrue(answer.json()["items"][1]["id"].startswith("RZ02."))

    def test_a_full_unit_locks_the_items_out(self):
        self.start(two_units=True, limits__in_flight_each_unit=1, broker__timeout="30s")
        self.brokers[1].signal(harness.signal.SIGSTOP)
        client = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=30)
        try:
            client.request("POST", "/pay/1", b"{}", {"X-User-Id": "51"})
            wait_until(lambda: self.gateway.metric("requests_in_flight") >= 1, what="the request that fills the unit")
            self.assertEqual(self.verdicts(self.post([event(1, 1), event(2, 51)])),
                             [(202, None), (503, "unit-busy")])
        finally:
            self.brokers[1].signal(harness.signal.SIGCONT)
        client.getresponse().read()
        client.close()
        wait_until(lambda: self.verdicts(self.post([event(3, 1), event(4, 51)])) == [(202, None)] * 2,
                   what="both units to take items again")


class Repeats(BatchTest):
    def test_events_are_told_apart_by_source_and_id(self):
        self.start()
        batch = [event(1, 1, data=1), event(2, 1, data=2), event(1, 1, source="/other", data=1)]
        first = self.post(batch, headers={"Idempotency-Key": "*"})
        self.assertEqual(self.verdicts(first), [(202, None)] * 3)
        again = self.post(batch[:2] + [event(2, 1, data="changed"), event(3, 1)], headers={"Idempotency-Key": "*"})
        self.assertEqual(self.verdicts(again), [(202, None), (202, None), (422, "idempotency-conflict"), (202, None)])
        self.assertEqual([item["id"] for item in again.json()["items"][:2]],
                         [item["id"] for item in first.json()["items"][:2]])
        self.assertEqual([item.get("replayed", False) for item in again.json()["items"]], [True, True, False, False])
        self.assertEqual(len(stored(self.brokers[0])), 4)
        self.assertIn("idempotency-key: /other 1", "\n".join(message["headers"] for message in stored(self.brokers[0])))

    def test_without_a_key_equal_events_are_two(self):
        self.start()
        for _ in range(2):
            self.assertEqual(self.verdicts(self.post([event(1, 1)])), [(202, None)])
        self.assertEqual(len(stored(self.brokers[0])), 2)

    def test_another_key_counts_for_each_item_by_its_place(self):
        self.start()
        batch = [{"user": {"id": 1}, "n": n} for n in range(5)]
        for round_ in range(2):
            answer = self.post(batch, kind=LINES, headers={"Idempotency-Key": "upload-7"})
            self.assertEqual(self.verdicts(answer), [(202, None)] * 5)
            self.assertEqual([item.get("replayed", False) for item in answer.json()["items"]], [round_ == 1] * 5)
        self.assertEqual(len(stored(self.brokers[0])), 5)
        self.expect_problem(self.post(batch, kind=LINES, headers={"Idempotency-Key": "*"}), 400, "bad-request")
        longest = self.post(batch, kind=LINES, headers={"Idempotency-Key": "k" * 255})
        self.assertEqual(self.verdicts(longest), [(202, None)] * len(batch))


class Cancelled(BatchTest):
    def test_a_client_that_goes_away_leaves_whole_messages_and_a_sound_gateway(self):
        self.start(two_units=True, limits__body="16MiB", batch__bytes="16MiB")
        body = json.dumps([event(i, user=i, data={"n": i}) for i in range(10000)]).encode()
        head = ("POST /pay/batch HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" %
                (EVENTS, len(body))).encode()
        for _ in range(3):
            before = self.gateway.metric("batches_total")
            with socket.create_connection(("127.0.0.1", self.gateway.port)) as client:
                client.sendall(head + body)
                wait_until(lambda: self.gateway.metric("batches_total") > before, what="the batch to begin")
        wait_until(lambda: self.gateway.metric("requests_in_flight") == 0, what="the batches to end")
        answer = self.post([event(i, user=i) for i in (1, 51)])
        self.assertEqual(self.verdicts(answer), [(202, None)] * 2)
        messages = stored(self.brokers[0], "RZ01") + stored(self.brokers[1], "RZ02")
        self.assertEqual(len(set(message["id"] for message in messages)), len(messages))
        self.assertTrue(2 <= len(messages) <= 30002)
        self.assertTrue(all(json.loads(message["body"])["n"] == int(message["user"])
                            for message in messages if message["body"]))
        wait_until(lambda: all(row["in_flight"] == 0 for row in self.gateway.status()["units"]), what="the units to empty")


class Endings(BatchTest):
    def test_a_gateway_ends_with_a_batch_under_way(self):
        self.start(two_units=True, drain_timeout="100ms", limits__body="16MiB", batch__bytes="16MiB")
        self.brokers[1].signal(harness.signal.SIGSTOP)
        body = json.dumps([event(i, user=i) for i in range(5000)]).encode()
        try:
            with socket.create_connection(("127.0.0.1", self.gateway.port)) as client:
                client.sendall(("POST /pay/batch HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" %
                                (EVENTS, len(body))).encode() + body)
                wait_until(lambda: self.gateway.metric("batches_total") == 1, what="the batch to begin")
                self.gateway.terminate()
        finally:
            self.brokers[1].signal(harness.signal.SIGCONT)
        self.assertEqual(self.gateway.popen.returncode, 0, self.gateway.log_text())


class Replicated(DurableTest):
    def post_events(self, items):
        answer = harness.request(self.gateway.port, "POST", "/pay/batch", {"Content-Type": EVENTS},
                                 json.dumps(items).encode(), timeout=60)
        self.assertEqual(answer.status, 200, answer.body[:300])
        return answer

    def test_the_items_of_a_user_keep_their_order_whatever_number_of_connections_carries_them(self):
        self.start(broker__commit_connections=4, broker__commit_batch=16)
        self.accepted()
        for round_ in range(5):
            answer = self.post_events([event(i, user=i % 3, data=[round_, i]) for i in range(900)])
            self.assertEqual((answer.json()["accepted"], answer.headers["ldc-durability"]), (900, "replicated"))
        messages = [fields for _, fields in sorted(self.stored().items(), key=lambda item: (
            item[0][0], [int(part) for part in item[0][1].split(b"-")])) if fields[b"body"] != b"{}"]
        for user in (b"0", b"1", b"2"):
            bodies = [json.loads(fields[b"body"]) for fields in messages if fields[b"user"] == user]
            self.assertEqual(len(bodies), 1500)
            self.assertEqual(bodies, sorted(bodies))

    def test_what_the_replica_does_not_confirm_is_unknown(self):
        self.start(broker__timeout="1s")
        self.accepted()
        self.replicas[0].signal(harness.signal.SIGSTOP)
        try:
            answer = self.post_events([event(i, user=i) for i in range(5)]).json()
        finally:
            self.replicas[0].signal(harness.signal.SIGCONT)
        self.assertEqual((answer["accepted"], answer["refused"], answer["unknown"]), (0, 0, 5))
        known = set(self.ids())
        self.assertTrue(all(item["id"] in known for item in answer["items"]))


if __name__ == "__main__":
    unittest.main()
