#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gateways follow the primary that the record names: what was on its way to the old one is sent again, under the same
ids, and nothing that was acknowledged is lost."""
import signal
import unittest

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


if __name__ == "__main__":
    unittest.main()
