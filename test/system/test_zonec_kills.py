#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Collections while agents, units' brokers and both brokers of the core unit are killed at random: all units hold the same
then, nothing that was acknowledged is missing, and no reader went back. Then a copy is damaged by hand. `make zonec-soak`
does it at length."""
import os
import pathlib
import random
import signal
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "zonec"))

import stage  # noqa: E402
import harness  # noqa: E402
import scenarios  # noqa: E402

KEYS = 2000
RUNS_ALONE = "units whose brokers die one after another take longer to heal where they get no processor"


class Kills(harness.StackTest):
    def test_all_units_hold_the_same_after_everything_was_killed(self):
        seed = random.SystemRandom().randrange(1, 1 << 31)
        print(f"seed {seed}", flush=True)
        on = stage.Stage(self.stack, "--units", "2", "--gateways", "2", "--agents", "2", "--supervise")
        on.fill(KEYS)
        findings, harm = scenarios.kills(on, seed, 12, KEYS, 300, pause=(0.2, 1.2))
        self.assertEqual(findings, [])
        self.assertGreater(sum(harm.done.values()), 2)
        findings, _ = scenarios.by_hand(on, "RZ01", seed)
        self.assertEqual(findings, [])

    def test_a_core_whose_new_primary_dies_right_after_the_old_one_comes_back_by_itself(self):
        on = stage.Stage(self.stack, "--units", "1", "--supervise")
        harness.wait_until(lambda: on.may_move(stage.CORE), 30, "a standby that is trusted")
        former = on.primary(stage.CORE)
        other = next(one for one in on.processes(role="broker", unit=stage.CORE) if one["name"] != former["name"])

        def serves():
            return harness.call_broker(other["ports"]["redis"], "ROLE")[0] == b"master"

        os.kill(former["pid"], signal.SIGKILL)
        harness.wait_until(serves, what="the standby to serve")
        os.kill(other["pid"], signal.SIGKILL)
        try:
            harness.wait_until(on.is_whole, 60, "both to be in sync again", every=0.1)
        except AssertionError:
            on.tell()
            raise


if __name__ == "__main__":
    unittest.main()
