#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gateways follow the primary that the record names: what was on its way to the old one is sent again, under the same
ids, and nothing that was acknowledged is lost."""
import signal
import threading
import unittest

import harness
import switch_fixture


class Unplanned(switch_fixture.SwitchTest):
    def fail_over(self, payers, what):
        since = self.decide(self.standby, [self.standby])
        self.promote(self.standby)
        payers.more(500)
        self.tell(what, payers, since)

    def check(self, payers):
        self.audit(payers, self.standby)
        self.assertEqual({answer.problem for answer in payers.refused()} - {"urn:ldcgate:problem:outcome-unknown"}, set())

    def test_a_primary_that_is_killed_costs_no_message(self):
        self.start()
        with switch_fixture.Payers(self.gateways) as payers:
            self.primary.kill()
            self.fail_over(payers, "kill -9")
        self.check(payers)
        self.assertEqual(payers.refused(), [])

    def test_a_primary_that_stands_still_costs_no_message(self):
        self.start()
        with switch_fixture.Payers(self.gateways) as payers:
            self.primary.signal(signal.SIGSTOP)
            self.fail_over(payers, "SIGSTOP")
        self.primary.signal(signal.SIGCONT)
        self.check(payers)
        self.assertEqual(payers.refused(), [])


class EveryKind(switch_fixture.SwitchTest):
    """What is under way when the primary dies, beside plain messages."""

    def later(self, *words, **options):
        """A request in a thread of its own; the result has its answer as `answer` once it is joined."""
        def ask():
            thread.answer = harness.request(self.gateway.port, *words, timeout=30, **options)

        thread = threading.Thread(target=ask)
        thread.start()
        return thread

    def fail_over(self, *threads):
        """When all that was asked for is under way."""
        harness.wait_until(lambda: self.gateway.metric("requests_in_flight") >= len(threads), what="the requests")
        self.decide(self.standby, [self.standby])
        self.promote(self.standby)
        for thread in threads:
            thread.join()
        return [thread.answer for thread in threads]

    def test_timers_transactions_batches_and_look_ups_survive(self):
        self.start(gateways=1)
        user, check = {"X-User-Id": "7"}, {"LDC-Transaction": "prepare", "LDC-Check-Url": self.apps["RZ01"].url}
        there = self.post(user="7").json()["id"]
        prepared = harness.request(self.gateway.port, "POST", "/pay/1", {**user, **check}, b"{}").json()["id"]
        timer = harness.request(self.gateway.port, "POST", "/pay/1", {**user, "LDC-Delay": "600"}, b"{}").json()["id"]
        self.primary.signal(signal.SIGSTOP)
        answers = self.fail_over(
            self.later("POST", "/pay/1", {**user, "LDC-Delay": "600"}, b"{}"),
            self.later("POST", "/pay/1", {**user, **check}, b"{}"),
            self.later("POST", "/pay/1", {**user, "Content-Type": "application/x-ndjson"}, b"{}\n" * 300),
            self.later("POST", f"/-/messages/{prepared}/commit"),
            self.later("DELETE", f"/-/messages/{timer}"),
            self.later("GET", f"/-/messages/{there}"))
        self.assertEqual([answer.status for answer in answers], [202, 202, 200, 200, 200, 200],
                         [answer.body for answer in answers])
        batch = answers[2].json()
        self.assertEqual(batch["accepted"], 300)
        stored = self.ids(self.standby)
        self.assertEqual(len(stored), len(set(stored)))
        self.assertLessEqual({item["id"] for item in batch["items"]} | {there, prepared}, set(stored))
        self.assertEqual(self.standby.call("ZCARD", "ldc:{RZ01}:timers"), 1)
        self.assertEqual(self.standby.call("HLEN", "ldc:{RZ01}:tx"), 1)

    def test_an_answer_that_is_waited_for_comes_by_the_new_primary(self):
        self.start(gateways=1)
        self.primary.signal(signal.SIGSTOP)
        waiting = self.later("POST", "/pay/1", {"X-User-Id": "7", "Prefer": "wait=20"}, b"{}")
        harness.wait_until(lambda: self.gateway.metric("requests_in_flight") >= 1, what="the request")
        self.decide(self.standby, [self.standby])
        self.promote(self.standby)
        message = harness.wait_until(lambda: next((message for message in self.stored(self.standby).values()
                                                   if message[b"body"] == b"{}" and message[b"reply"]), None),
                                     what="the message")
        self.standby.call("FCALL", "ldc1_answer", 1, message[b"reply"], 100, 60000, message[b"id"], 201, "", "done", "")
        waiting.join()
        self.assertEqual((waiting.answer.status, waiting.answer.body), (201, b"done"))


class Planned(switch_fixture.SwitchTest):
    def test_a_switch_costs_no_request_and_little_time(self):
        self.start()
        with switch_fixture.Payers(self.gateways) as payers:
            since = self.switch()
            payers.more(500)
            self.tell("planned", payers, since)
        self.audit(payers, self.standby)
        self.assertEqual(payers.refused(), [])

    def test_proxied_requests_wait_and_go_to_the_unit_that_serves_now(self):
        self.start()
        with switch_fixture.Visitors(self.gateways) as visitors:
            since = self.switch(consumer="RZ02")
            self.wait_all_followed()
            visitors.more(500)
            self.tell("planned, proxied", visitors, since)
        self.assertEqual(visitors.refused(), [])
        served = [answer.id for answer in sorted(visitors.answers, key=lambda answer: answer.at)]
        self.assertEqual((served[0], set(served[-300:])), ("RZ01", {"RZ02"}))

    def test_a_hold_that_never_ends_is_bounded(self):
        self.start(gateways=1, failover__hold="200ms")
        self.hold()
        self.wait_followed()
        problem = self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(problem["detail"], "The unit is changing its broker")
        self.expect_problem(self.get_echo(), 503, "unit-switching")
        self.decide(self.primary, [self.primary, self.standby], consumer="RZ03")
        self.wait_followed()
        self.expect_problem(self.get_echo(), 503, "node-unavailable")

    def get_echo(self, **headers):
        return harness.request(self.gateway.port, "GET", "/echo/x", {"X-User-Id": "1", **headers})


class Epochs(switch_fixture.SwitchTest):
    def request(self, epoch):
        return harness.request(self.gateway.port, "GET", "/echo/x", {"X-User-Id": "1", "LDC-Epoch": str(epoch)})

    def test_a_stale_caller_hears_the_current_epoch(self):
        self.start(gateways=1)
        self.version = 40
        self.decide(self.primary, [self.primary, self.standby])
        self.wait_followed()
        problem = self.expect_problem(self.request(40), 409, "stale-epoch")
        self.assertEqual(problem["epoch"], 41)
        for epoch in (41, 42):
            answer = self.request(epoch)
            self.assertEqual((answer.status, answer.headers["ldc-epoch"]), (200, "41"))
        self.expect_problem(self.request("x"), 400, "bad-request")
        batch = harness.request(self.gateway.port, "POST", "/pay/1", {"X-User-Id": "1", "LDC-Epoch": "40", "Content-Type":
                                "application/x-ndjson"}, b"{}\n{}\n")
        self.assertEqual([item["problem"] for item in batch.json()["items"]], ["urn:ldcgate:problem:stale-epoch"] * 2)


if __name__ == "__main__":
    unittest.main()
