#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Request-reply over the queue: the app's answer comes back to the client that waits for it, whatever dies meanwhile."""
import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import time
import unittest

import harness
from app_fixture import App
from harness import wait_until

PARTITIONS = 4


class ReplyTest(harness.StackTest):
    def start(self, agent=(), **options):
        self.broker, self.app = self.stack.broker(), App()
        self.addCleanup(self.app.end)
        self.gateway = self.stack.gateway(wait=False, **options)
        wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        units = {"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])}
        topics = {"payments": {"partitions": PARTITIONS, "retry": {"ladder": ["50ms"]}}}
        self.stack.put_rules(self.gateway, harness.rules(units, topics=topics).replace('"50ms"', "50ms"))
        self.agent = self.stack.agent(**{"delivery__backoff_max": "100ms", **dict(agent)})
        wait_until(lambda: self.post(path="/pay/warm", wait=None).status == 202, what="a 202")

    def post(self, body=b"x", user="1", path="/pay/1", wait=30, headers=(), timeout=60):
        fields = {"X-User-Id": user, **dict(headers)}
        if wait is not None:
            fields["Prefer"] = f"wait={wait}"
        return harness.request(self.gateway.port, "POST", path, fields, body, timeout=timeout)

    def later(self, **options):
        """The answer to come, as a future."""
        pool = concurrent.futures.ThreadPoolExecutor(1)
        self.addCleanup(pool.shutdown)
        return pool.submit(self.post, **options)


class Answers(ReplyTest):
    def test_the_apps_answer_comes_back_with_status_headers_and_body(self):
        self.start()
        self.app.answers["/pay/new"] = (201, {"Content-Type": "application/json", "X-Receipt": "r-7", "ETag": '"e"',
                                              "LDC-Unit": "forged", "Connection": "X-Hop", "X-Hop": "1"}, b'{"ok":true}')
        answer = self.post(path="/pay/new", user="142")
        self.assertEqual((answer.status, answer.body), (201, b'{"ok":true}'))
        got = {name: answer.headers.get(name) for name in
               ("content-type", "x-receipt", "etag", "preference-applied", "ldc-unit", "ldc-durability", "x-hop")}
        self.assertEqual(got, {"content-type": "application/json", "x-receipt": "r-7", "etag": '"e"',
                               "preference-applied": "wait=30", "ldc-unit": "RZ01", "ldc-durability": "local", "x-hop": None})
        self.assertTrue(answer.headers["ldc-message-id"].startswith("RZ01.payments."))
        self.assertEqual(self.gateway.metric("reply_answers_total"), 1)

    def test_binary_empty_and_large_answers_are_whole(self):
        self.start()
        noise = os.urandom(200_000)
        self.app.answers.update({"/pay/binary": (200, {}, bytes(range(256))), "/pay/large": (200, {}, noise),
                                 "/pay/empty": (204, {}, b"")})
        self.assertEqual(self.post(path="/pay/binary").body, bytes(range(256)))
        self.assertEqual(self.post(path="/pay/large").body, noise)
        self.assertEqual((self.post(path="/pay/empty").status, self.post(path="/pay/empty").body), (204, b""))

    def test_an_answer_beyond_the_agents_limit_is_named_so(self):
        self.start(agent={"reply__max_body": "1KiB"})
        self.app.answers["/pay/large"] = (200, {}, b"x" * 1025)
        answer = self.post(path="/pay/large")
        self.assertEqual((answer.status, answer.json()["type"]), (502, "urn:ldcgate:problem:reply-missing"))
        self.assertIn("reply.max_body", answer.json()["detail"])

    def test_an_answer_of_any_length_is_an_answer(self):
        self.start()
        self.app.answers["/pay/huge"] = (200, {}, b"x" * 3_000_000)
        answer = self.post(path="/pay/huge")
        self.assertEqual((answer.status, answer.json()["type"]), (502, "urn:ldcgate:problem:reply-missing"), answer.body)
        self.assertIn("has taken the message", answer.json()["detail"])
        self.assertEqual([path for path, _, _ in self.app.seen if path == "/pay/huge"], ["/pay/huge"])
        self.assertEqual(self.post().status, 200)  # by the same node

    def test_without_the_preference_or_with_zero_the_client_gets_202(self):
        self.start()
        for wait in (None, 0):
            answer = self.post(wait=wait)
            self.assertEqual(answer.status, 202)
            self.assertNotIn("preference-applied", answer.headers)

    def test_the_wait_is_cut_to_the_gateways_limit(self):
        self.start(reply__max_wait="5s")
        answer = self.post(wait=500)
        self.assertEqual((answer.status, answer.headers["preference-applied"]), (200, "wait=5"))

    def test_the_answer_is_that_of_the_last_attempt(self):
        self.start()
        tries = []

        def third_time_lucky(_, body):
            tries.append(body)
            return (500, {}, b"no") if len(tries) < 3 else (200, {}, b"third")
        self.app.answers["/pay/1"] = third_time_lucky
        answer = self.post()
        self.assertEqual((answer.status, answer.body, len(tries)), (200, b"third", 3))

    def test_the_answer_that_makes_a_dead_letter_comes_back(self):
        self.start()
        self.app.answers["/pay/bad"] = (422, {"Content-Type": "text/plain"}, b"no such account")
        answer = self.post(path="/pay/bad")
        self.assertEqual((answer.status, answer.body), (422, b"no such account"))

    def test_a_replayed_key_does_not_wait(self):
        self.start()
        first = self.post(headers={"Idempotency-Key": "k-1"})
        again = self.post(headers={"Idempotency-Key": "k-1"})
        self.assertEqual((first.status, again.status), (200, 202))
        self.assertEqual(again.headers["idempotency-replayed"], "true")
        self.assertEqual(again.headers["ldc-message-id"], first.headers["ldc-message-id"])

    def test_http2_clients_wait_as_well(self):
        self.start(ingress__http2_clear="true")
        done = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-d", "two", "-H", "X-User-Id: 3", "-H", "Prefer: wait=30",
                               "-w", " %{http_version} %{http_code}", f"http://127.0.0.1:{self.gateway.port}/pay/2"],
                              capture_output=True, timeout=60, check=True)
        self.assertEqual(done.stdout, b"echo two 2 200")


class InVain(ReplyTest):
    def test_no_answer_in_time_is_504_and_the_message_lives_on(self):
        self.start()
        began = time.monotonic()
        answer = self.post(path="/pay/held", wait=1)
        self.assertEqual((answer.status, answer.json()["type"]), (504, "urn:ldcgate:problem:reply-timeout"))
        self.assertGreaterEqual(time.monotonic() - began, 1)
        identity = answer.json()["message"]
        self.app.release.set()
        wait_until(lambda: harness.request(self.gateway.port, "GET", "/-/messages/" + identity).json()["state"] == "delivered",
                   what="the delivery")
        self.assertEqual(self.gateway.metric("reply_timeouts_total"), 1)

    def test_an_answer_that_nobody_waits_for_is_dropped_and_counted(self):
        self.start()
        with socket.create_connection(("127.0.0.1", self.gateway.port)) as client:
            client.sendall(b"POST /pay/held HTTP/1.1\r\nHost: x\r\nX-User-Id: 1\r\nPrefer: wait=20\r\nContent-Length: 1\r\n\r\nx")
            self.assertTrue(self.app.arrived.wait(20 * harness.PATIENCE))
        wait_until(lambda: self.gateway.metric("reply_waiting") == 0, what="the client to be gone")
        keeper = self.later(user="2", path="/pay/2", wait=20)
        self.assertEqual(keeper.result().status, 200)
        self.app.release.set()
        with contextlib.suppress(AssertionError):  # somebody must wait for the stream to be read
            self.post(user="3", wait=20)
        wait_until(lambda: self.post(user="3", wait=5).status == 200 and self.gateway.metric("reply_strays_total") == 1,
                   what="the stray answer")


class Kills(ReplyTest):
    def test_kill_9_of_the_agent_between_the_apps_answer_and_the_reply(self):
        self.start()
        answer = self.later(path="/pay/held", wait=30)
        self.assertTrue(self.app.arrived.wait(20 * harness.PATIENCE))
        self.agent.signal(signal.SIGSTOP)
        self.app.release.set()  # the answer is on its way to an agent that does not read it any more
        self.agent.kill()
        self.agent.restart()
        self.assertEqual((answer.result().status, answer.result().body), (200, b"echo x"))
        self.assertEqual(len([one for one in self.app.seen if one[0] == "/pay/held"]), 2)

    def test_kill_9_of_the_gateway_while_a_client_waits(self):
        self.start()
        pending = self.later(path="/pay/held", wait=30)
        self.assertTrue(self.app.arrived.wait(20 * harness.PATIENCE))
        self.gateway.kill()
        with self.assertRaises((OSError, harness.http.client.HTTPException)):
            pending.result()
        self.gateway.restart()
        wait_until(self.gateway.ready, what="the gateway")
        self.app.release.set()
        # A new life has another stream: it does not take the old answers for its own, and serves.
        wait_until(lambda: self.post(user="2").status == 200, what="an answer after the restart")
        streams = [key for key in self.broker.call("KEYS", "ldc:*:reply:*")]
        self.assertEqual(len(streams), 2, streams)

    def test_kill_9_of_the_broker_while_clients_wait(self):
        self.start()
        accepted = self.gateway.metric("queue_accepted_total")
        answer = self.later(path="/pay/held", wait=30)
        self.assertTrue(self.app.arrived.wait(20 * harness.PATIENCE))
        wait_until(lambda: self.gateway.metric("queue_accepted_total") > accepted, what="the broker's word")
        self.broker.kill()
        self.app.release.set()
        self.broker.restart()
        self.assertIn(answer.result().status, (200, 504))
        wait_until(lambda: self.post(user="2").status == 200, what="an answer after the restart")


class Many(ReplyTest):
    def test_256_clients_wait_at_once_and_each_gets_its_own_answer(self):
        self.start()
        with concurrent.futures.ThreadPoolExecutor(256) as pool:
            answers = list(pool.map(lambda i: (i, self.post(user=str(i), body=b"%d" % i, wait=30)), range(256)))
        wrong = [(i, answer.status, answer.body) for i, answer in answers if answer.body != b"echo %d" % i]
        self.assertEqual(wrong, [])
        times = []
        client = harness.Client(self.gateway.port)
        self.addCleanup(client.close)
        for i in range(200):
            began = time.monotonic()
            answer = client.request("POST", "/pay/1", {"X-User-Id": str(i), "Prefer": "wait=30"}, b"x")
            times.append(time.monotonic() - began)
            self.assertEqual(answer.status, 200)
        times.sort()
        print(f"request-reply, one client: p50 {times[100] * 1e3:.2f} ms, p99 {times[198] * 1e3:.2f} ms")


if __name__ == "__main__":
    unittest.main()
