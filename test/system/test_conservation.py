#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""accepted = delivered + parked + dead, by id, while processes are killed at random. `make soak` runs it for longer."""
import os
import unittest

import conservation
import harness
from playground_fixture import Playground


class Conservation(harness.StackTest):
    def test_nothing_is_lost_doubled_or_inverted_while_everything_is_killed(self):
        playground = Playground(self.stack, "--units", "2", "--gateways", "2", "--agents", "2", "--supervise")
        seconds = float(os.environ.get("LDC_SOAK_SECONDS", "15"))
        _, _, harm = conservation.run(self, self.stack, playground, int(os.environ.get("LDC_SOAK_SEED", "0")), seconds)
        self.assertGreater(sum(harm.done.values()), seconds / 10)


if __name__ == "__main__":
    unittest.main()
