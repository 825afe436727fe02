#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a 202 promises where a broker has replicas: that each of the in-sync set holds the message, whatever happened to
them; else the client hears that it was not stored, or that nobody knows."""
import http.client
import json
import random
import re
import signal
import threading
import unittest

import durable_fixture
import harness
from harness import wait_until


class Replicated(durable_fixture.DurableTest):
    def test_an_accepted_message_is_on_every_broker(self):
        self.start(replicas=2, threads=2)
        answers = [self.accepted(user=str(user)) for user in range(20)]
        self.assertEqual({answer.headers["ldc-durability"] for answer in answers}, {"replicated"})
        ids = sorted(answer.json()["id"] for answer in answers)
        for broker in (self.primary, *self.replicas):
            self.assertEqual(self.ids(broker), ids)

    def test_without_a_record_nothing_is_sent(self):
        self.start(record=False)
        wait_until(lambda: "broker.ready" in self.gateway.log_text(), what="the connection")
        problem = self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(problem["detail"], "No replica is in sync")
        self.assertEqual(self.ids(), [])

    def test_a_set_of_one_takes_all_but_where_the_route_wants_two(self):
        routes = [dict(harness.QUEUE_ROUTE, match={"path": f"/pay/{name}"}, durability=name)
                  for name in ("available", "local", "replicated")]
        self.start(routes=[*routes, harness.QUEUE_ROUTE])
        self.assertEqual(self.accepted(path="/pay/available").headers["ldc-durability"], "replicated")
        self.assertEqual(self.accepted(path="/pay/local").headers["ldc-durability"], "local")
        self.write_record(members=[self.primary])
        self.wait_followed()
        self.expect_problem(self.post(path="/pay/replicated"), 503, "broker-unavailable")
        for path in ("/pay/available", "/pay/local", "/pay/1"):
            self.assertEqual(self.accepted(path=path).headers["ldc-durability"], "local")


class Quorum(durable_fixture.DurableTest):
    """A core unit of three brokers: two of them are a majority."""
    KIND = "core"

    def start(self, **options):
        routes = [dict(harness.QUEUE_ROUTE, zone="core", match={"path": f"/pay/{name}"}, durability=name)
                  for name in ("available", "replicated")]
        options = {"replicas": 2, **options}
        super().start(routes=[*routes, dict(harness.QUEUE_ROUTE, zone="core")], **options)

    def test_a_majority_is_enough_and_is_said(self):
        self.start()
        self.assertEqual(self.accepted().headers["ldc-durability"], "quorum")
        self.replicas[1].kill()
        self.write_record(members=[self.primary, self.replicas[0]])
        self.wait_followed()
        answer = self.accepted(path="/pay/available")
        self.assertEqual([self.accepted().headers["ldc-durability"], answer.headers["ldc-durability"]],
                         ["quorum", "replicated"])
        self.assertEqual(self.ids(self.replicas[0]), self.ids())

    def test_a_minority_takes_nothing_that_wants_a_majority(self):
        self.start(failover__hold="200ms")
        self.accepted()
        self.write_record(members=[self.primary])
        self.wait_followed()
        stored = self.ids()
        problem = self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(problem["detail"], "No majority of the unit's brokers is in sync")
        self.assertEqual(self.ids(), stored)
        self.assertEqual(self.accepted(path="/pay/available").headers["ldc-durability"], "local")

    def test_two_of_five_are_no_majority(self):
        self.start(replicas=4, failover__hold="200ms")
        self.accepted()
        for replica in self.replicas[1:]:
            replica.kill()
        self.write_record(members=[self.primary, self.replicas[0]])
        self.wait_followed()
        self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(self.accepted(path="/pay/replicated").headers["ldc-durability"], "replicated")

    def test_what_comes_before_the_majority_is_there_again_waits_for_it(self):
        self.start(failover__hold="20s")
        self.accepted()
        self.write_record(members=[self.primary])
        self.wait_followed()
        held = self.gateway.metric("failover_held_total")
        answers = []
        client = threading.Thread(target=lambda: answers.append(self.post()))
        client.start()
        wait_until(lambda: self.gateway.metric("failover_held_total") > held, what="the message to be held")
        self.write_record()
        client.join()
        self.assertEqual((answers[0].status, answers[0].headers["ldc-durability"]), (202, "quorum"))
        self.assertIn(answers[0].json()["id"], self.ids(self.replicas[0]))

    def test_a_batch_says_what_holds_for_all_its_items(self):
        self.start()
        answer = self.post(body=b"{}\n{}\n", headers={"Content-Type": "application/x-ndjson"})
        self.assertEqual((answer.json()["accepted"], answer.headers["ldc-durability"]), (2, "quorum"))


class Holes(durable_fixture.DurableTest):
    """Each of these is acknowledged by a gateway that lacks one rule."""

    def unknown(self, **options):
        return self.expect_problem(self.post(**options), 503, "outcome-unknown")["message"]

    def test_one_member_short_is_not_enough(self):
        self.start(replicas=2, broker__timeout="1s")
        self.accepted()
        self.replicas[1].signal(signal.SIGSTOP)
        self.unknown()
        self.replicas[1].signal(signal.SIGCONT)
        self.accepted()

    def test_a_replica_that_is_no_member_does_not_count(self):
        self.start(replicas=1, broker__timeout="1s")
        self.accepted()
        self.replicas[0].kill()
        self.replica("foreign")
        self.wait_attached(1)
        self.unknown()

    def test_a_full_copy_since_the_record_makes_it_void(self):
        self.start(replicas=1, broker__timeout="1s")
        self.accepted()
        self.replicas[0].call("REPLICAOF", "NO", "ONE")
        self.replicas[0].call("FLUSHALL")
        self.replicas[0].call("REPLICAOF", "127.0.0.1", self.primary.port)
        wait_until(lambda: int(durable_fixture.info(self.primary, "stats")["sync_full"]) > self.record["sync_full"],
                   what="a full copy")
        self.wait_attached(1)
        self.unknown()
        self.write_record()
        self.accepted()

    def acknowledged_all(self):
        state = durable_fixture.info(self.primary, "replication")
        return f"offset={state['master_repl_offset']}," in state["slave0"]

    def test_a_wait_covers_what_was_sent_before_it_and_no_less(self):
        self.start(replicas=1, broker__timeout="1s")
        self.accepted()
        wait_until(self.acknowledged_all, what="the replica to have acknowledged all, so that a stale WAIT would end at once")
        self.replicas[0].signal(signal.SIGSTOP)
        identity = self.unknown()
        self.replicas[0].signal(signal.SIGCONT)
        self.accepted()
        self.assertIn(identity, self.ids())

    def test_a_wait_that_ends_early_on_a_connection_that_goes_is_not_repeated(self):
        self.start(broker__timeout="8s")
        self.accepted()
        self.replicas[0].signal(signal.SIGSTOP)
        self.addCleanup(self.replicas[0].signal, signal.SIGCONT)
        self.primary.call("FUNCTION", "FLUSH")  # a broker that lacks them is greeted anew
        answers = []
        client = threading.Thread(target=lambda: answers.append(self.post()))
        client.start()
        waiter = wait_until(lambda: re.search(r"^id=(\d+) .* flags=b .* cmd=wait ",
                                              self.primary.call("CLIENT", "LIST").decode(), re.M), what="the WAIT")
        self.primary.call("CLIENT", "UNBLOCK", waiter[1])
        wait_until(lambda: "Function not found" in self.gateway.log_text(), what="the refusal")
        self.replicas[0].signal(signal.SIGCONT)
        client.join()
        self.assertEqual(answers[0].status, 202, answers[0].body)

    def test_after_a_failed_proof_nothing_is_sent_until_one_succeeds(self):
        self.start(replicas=1, broker__timeout="1s")
        self.accepted()
        self.replicas[0].signal(signal.SIGSTOP)
        self.unknown()
        stored = self.ids()
        problem = self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(problem["detail"], "The replicas do not confirm what the broker stores")
        self.assertEqual(self.ids(), stored)
        self.replicas[0].signal(signal.SIGCONT)
        self.accepted()

    def test_a_hasty_route_gives_up_before_the_broker_does(self):
        hasty = dict(harness.QUEUE_ROUTE, match={"path": "/pay/hasty"}, timeout="2s")
        self.start(routes=[hasty, harness.QUEUE_ROUTE], broker__timeout="20s", broker__commit_connections=1)
        self.accepted()
        self.replicas[0].signal(signal.SIGSTOP)
        identity = self.unknown(path="/pay/hasty")  # its batch waits for the replica
        problem = self.expect_problem(self.post(path="/pay/hasty"), 503, "broker-unavailable")  # never left
        self.assertIn("did not get to it in time", problem["detail"])
        self.replicas[0].signal(signal.SIGCONT)
        self.accepted()
        self.assertIn(identity, self.ids())
        self.assertEqual(len(self.ids()), 3)

    def test_a_broker_that_was_restarted_is_closed_until_the_record_names_its_run(self):
        self.start(replicas=1)
        self.accepted()
        self.primary.kill()
        self.primary.restart()
        self.wait_attached(1)
        wait_until(lambda: "restarted" in (self.post().json().get("detail") or ""), what="the gateway to see it")
        stored = len(self.ids())
        self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(len(self.ids()), stored)
        self.write_record()
        self.accepted()

    def refusal(self):
        """Of a message; None where its last try waited for the broker's disk when it was given up, and so ended in doubt."""
        answer = self.post()
        self.assertEqual(answer.status, 503)
        return answer.json() if answer.json()["type"] == "urn:ldcgate:problem:broker-unavailable" else None

    def test_a_broker_of_another_epoch_takes_nothing_until_the_record_says_so(self):
        self.start()
        self.accepted()
        stored = len(self.ids())
        self.primary.call("SET", "ldc:{RZ01}:epoch", 2)
        problem = wait_until(self.refusal, what="a refusal")
        self.assertIn("is changing its broker", problem["detail"])
        self.assertEqual(len(self.ids()), stored)
        self.write_record()
        self.accepted()

    def test_a_broker_that_is_no_primary_by_the_record_is_closed(self):
        self.start(replicas=1, routes=[dict(harness.QUEUE_ROUTE, durability="local")])
        self.accepted()
        record = dict(self.record, primary=self.replicas[0].url, in_sync=list(reversed(self.record["in_sync"])))
        record["run_id"] = record["in_sync"][0]["run_id"]
        self.put_record(record)
        self.wait_followed()
        problem = self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(problem["detail"], "Nothing was stored: the broker takes no writes now")


class Idempotency(durable_fixture.DurableTest):
    def test_a_repeat_has_the_first_answer_and_stores_nothing(self):
        self.start()
        first = self.accepted(key="k-1", body=b"a")
        again = self.post(key="k-1", body=b"a")
        self.assertEqual((again.status, again.body), (202, first.body))
        self.assertEqual([answer.headers.get("idempotency-replayed") for answer in (first, again)], [None, "true"])
        for name in ("location", "ldc-message-id", "ldc-durability"):
            self.assertEqual(again.headers[name], first.headers[name])
        self.assertEqual(len(self.ids()), 1)
        self.assertEqual(self.gateway.metric("queue_replayed_total"), 1)

    def test_a_key_is_for_one_user_one_path_and_one_body(self):
        self.start()
        first = self.accepted(key="k", body=b"a").json()["id"]
        for changed in ({"body": b"b"}, {"path": "/pay/2"}, {"path": "/pay/1?x"}):
            answer = self.post(**{"key": "k", "body": b"a", **changed})
            self.assertNotIn("message", self.expect_problem(answer, 422, "idempotency-conflict"))
        self.assertEqual(self.ids(), [first])
        self.assertNotEqual(self.accepted(key="k", user="101", body=b"a").json()["id"], first)

    def test_keys_that_are_none_are_refused(self):
        self.start()
        self.accepted(key="!" * 255)
        for key in ("x" * 256, "a b", "caf\u00e9", " "):
            self.assertIn("Idempotency-Key", self.expect_problem(self.post(headers={"Idempotency-Key": key}), 400,
                                                                 "bad-request")["detail"])
        raw = harness.raw(self.gateway.port, b"POST /pay/1 HTTP/1.1\r\nHost: a\r\nX-User-Id: 1\r\nIdempotency-Key: a\r\n"
                          b"Idempotency-Key: b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.assertIn(b" 400 ", raw.split(b"\r\n")[0])

    def test_the_window_is_the_topics(self):
        self.start(topics={"idempotency_window": "2s"})
        first = self.accepted(key="k").json()["id"]
        self.assertEqual(self.post(key="k").json()["id"], first)
        wait_until(lambda: self.post(key="k").json()["id"] != first, what="the key to be forgotten", every=0.2)

    def test_a_repeat_waits_for_the_replicas_as_the_first_one_did(self):
        self.start(broker__timeout="2s")
        self.accepted()
        clients = [harness.Client(self.gateway.port) for _ in range(2)]
        for client in clients:
            self.addCleanup(client.close)
            self.assertEqual(client.request("POST", "/pay/1", {"X-User-Id": "1"}, b"{}").status, 202)
        self.replicas[0].signal(signal.SIGSTOP)
        self.gateway.freeze()  # so that it finds both at once, and has them wait for one WAIT
        for client in clients:
            client.send("POST", "/pay/1", {"X-User-Id": "1", "Idempotency-Key": "k"}, b"{}")
        self.gateway.signal(signal.SIGCONT)
        answers = [client.receive() for client in clients]
        first, second = (self.expect_problem(answer, 503, "outcome-unknown")["message"] for answer in answers)
        self.assertEqual(first, second)
        self.replicas[0].signal(signal.SIGCONT)
        again = self.accepted(key="k")
        self.assertEqual((again.json()["id"], again.headers["idempotency-replayed"]), (first, "true"))
        self.assertEqual(self.ids().count(first), 1)

    def test_a_primary_that_dies_before_the_replicas_confirm_leaves_one_message(self):
        self.start(broker__timeout="20s")
        self.accepted()
        self.replicas[0].signal(signal.SIGSTOP)
        answers = []
        client = threading.Thread(target=lambda: answers.append(self.post(key="k")))
        client.start()
        wait_until(lambda: len(self.ids()) == 2, what="the primary to store it")
        self.primary.kill()
        client.join()
        identity = self.expect_problem(answers[0], 503, "outcome-unknown")["message"]
        self.replicas[0].signal(signal.SIGCONT)
        self.primary.restart()
        self.wait_attached(1)
        self.write_record()
        again = self.accepted(key="k")
        self.assertEqual((again.json()["id"], again.headers["idempotency-replayed"]), (identity, "true"))
        self.assertEqual(self.ids().count(identity), 1)
        self.assertEqual(self.ids(self.replicas[0]), self.ids())


class Retries(durable_fixture.DurableTest):
    """Clients that never stop asking, while the primary, the replica and the gateway are killed under them."""

    KEYS, REPEATS, CLIENTS = 500, 20, 10

    def repeat(self, keys):
        client = harness.Client(self.gateway.port, timeout=30)
        for key in keys:
            try:
                answer = client.request("POST", "/pay/1", {"X-User-Id": str(key), "Idempotency-Key": f"key-{key}"}, b"{}")
                self.answers[key].append((answer.status, json.loads(answer.body).get("id")))
            except (OSError, http.client.HTTPException):
                client.close()
                client = harness.Client(self.gateway.port, timeout=30)
                self.answers[key].append((0, None))
            if self.answers[key][-1][0] != 202:
                threading.Event().wait(0.05)  # a client backs off; an outage must not eat all the retries
        client.close()

    def answered(self):
        return sum(map(len, self.answers))

    def kill(self, process):
        begun = self.answered()
        process.kill()
        process.restart()
        wait_until(lambda: self.gateway.ready() and self.post(user="0", key="key-0").status == 202, what="a 202 again")
        wait_until(lambda: self.answered() >= min(begun + 500, self.KEYS * self.REPEATS), timeout=60, what="more answers")

    def test_ten_thousand_retries_under_kills_leave_one_message_a_key(self):
        self.start(record=False, broker__timeout="500ms")
        self.stack.agent()
        self.accepted(user="0", key="key-0")
        self.answers = [[] for _ in range(self.KEYS)]
        order = [key for key in range(self.KEYS) for _ in range(self.REPEATS)]
        random.Random(7).shuffle(order)
        clients = [threading.Thread(target=self.repeat, args=(order[n::self.CLIENTS],)) for n in range(self.CLIENTS)]
        for client in clients:
            client.start()
        for process in (self.primary, self.gateway, self.replicas[0], self.primary, self.gateway):
            self.kill(process)
        for client in clients:
            client.join()
        self.audit()

    def audit(self):
        entries = [re.search(rb"idempotency-key: key-(\d+)\n", message[b"headers"]).group(1)
                   for message in self.stored().values()]
        self.assertEqual(len(entries), len(set(entries)), "a key has two messages")
        ids = set(self.ids())
        accepted = 0
        for key, answers in enumerate(self.answers):
            said = {identity for status, identity in answers if status == 202}
            accepted += sum(status == 202 for status, _ in answers)
            self.assertLessEqual(len(said), 1, f"key {key} was told two ids")
            self.assertLessEqual(said, ids, f"key {key} was accepted and is gone")
        print(f"{accepted} of {self.answered()} accepted, {len(entries)} messages", end=" ", flush=True)
        self.assertGreater(accepted, self.answered() / 4)


class Limits(durable_fixture.DurableTest):
    def test_a_partition_takes_no_more_than_its_backlog(self):
        self.start(topics={"max_backlog": 3})
        ids = [self.accepted(user="1", key=f"k{n}").json()["id"] for n in range(3)]
        self.assertNotIn("message", self.expect_problem(self.post(user="1"), 503, "backlog-full"))
        self.assertEqual(self.ids(), sorted(ids))
        self.assertEqual(self.post(user="1", key="k1").json()["id"], ids[1])  # a repeat is no further message
        self.accepted(user="2")
        self.primary.call("HSET", "ldc:{RZ01/payments/1}:state", "floor", 1)
        self.accepted(user="1")
        self.expect_problem(self.post(user="1"), 503, "backlog-full")

    def test_messages_are_refused_before_the_brokers_memory_is_full(self):
        self.start()
        self.accepted()
        used = int(durable_fixture.info(self.primary, "memory")["used_memory"])
        self.primary.call("CONFIG", "SET", "maxmemory", used * 10 // 8)
        answer = wait_until(lambda: (answer := self.post()).status == 503 and answer, what="the guard")
        self.assertIn("the limit for messages", self.expect_problem(answer, 503, "broker-full")["detail"])
        stored = len(self.ids())
        self.expect_problem(self.post(), 503, "broker-full")
        self.assertEqual(len(self.ids()), stored)
        metrics = self.gateway.get("/metrics").body.decode()
        share = next(line for line in metrics.splitlines() if line.startswith('ldcgate_unit_memory_percent{unit="RZ01"}'))
        self.assertGreaterEqual(int(share.split()[1]), 70)
        self.assertGreaterEqual(self.gateway.status()["units"][0]["broker"]["memory_percent"], 70)
        self.primary.call("CONFIG", "SET", "maxmemory", used * 2)
        self.accepted()


if __name__ == "__main__":
    unittest.main(verbosity=1)
