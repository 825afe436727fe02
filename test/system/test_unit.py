#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ldcctl unit: a unit is drained, made ready and brought home while users pay and visit: no request fails, each user's
order stays, and what waited is printed, not judged."""
import collections
import time

import harness
import switch_fixture
from harness import wait_until
from test_failover import Payers, Failover as Base

RUNS_ALONE = "what a busy machine holds up for 40 ms looks dead"


class Planned(Base):
    def work(self, verb, *flags):
        done, said = self.playground.ctl_json("unit", verb, "RZ01", *flags)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        print(f"\n{verb}: {said['held']['requests']} held, the longest for {said['held']['longest_ms']:.1f} ms; " +
              ", ".join(f"{step['event']} {step['ms']:+.1f}" for step in said["steps"]))
        return said

    def test_drain_and_failback(self):
        home = self.record()["primary"]
        with Payers(self.gateways, 0) as payers:
            since = time.monotonic()
            record = self.work("drain", "--note", "new disks")["record"]
            self.assertNotEqual(record["primary"], home)
            self.assertEqual((record["consumer"], record["drained"]["why"]), ("RZ02", "new disks"))
            payers.more(300)
            wait_until(lambda: home in self.record()["in_sync"], 30, "the old primary to be in sync")
            longest = payers.longest_ms(since)
            since = time.monotonic()
            record = self.work("failback")["record"]
            payers.more(300)
            print("longest request", longest, payers.longest_ms(since))
        self.assertEqual(record["primary"], home)
        self.assertEqual(payers.refused(), [])
        accepted = {answer.id for answer in payers.accepted()}
        wait_until(lambda: not accepted - set(self.delivered()), 60, "what was accepted to be delivered")


del Base

if __name__ == "__main__":
    import unittest
    unittest.main()
