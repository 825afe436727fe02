#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gateways follow the primary that the record names: what was on its way to the old one is sent again, under the same
ids, and nothing that was acknowledged is lost."""
import signal
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
