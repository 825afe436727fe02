# SPDX-License-Identifier: Apache-2.0
"""A core unit that does not answer: one reader finds that out for all."""
import time
import unittest

from copies_fixture import CORE, stopped
from harness import wait_until
from test_collections_read import ReadTest

PATIENCE_S = 1  # of each read that asks the core unit; reads that follow within 100 ms do not


class CoreHangs(ReadTest):
    def read(self):
        """How long a read that gets the old value takes."""
        began = time.monotonic()
        old = self.get("k")
        self.assertEqual((old.status, old.headers["ldc-unit"], old.headers["warning"][:3]), (200, "RZ01", "111"))
        return time.monotonic() - began

    def test_readers_behind_one_that_waited_in_vain_do_not_wait(self):
        self.begin(units=("RZ01",), collections={"rates": {"staleness": "100ms"}}, broker__timeout="1m",
                   collections__core_wait=f"{PATIENCE_S}s")
        self.put(b"k", b"old")
        with stopped(self.units["RZ01"].agent), stopped(self.units[CORE].brokers[0]):
            wait_until(lambda: "warning" in self.get("k").headers, what="a copy behind its bound")
            wait_until(lambda: self.read() < PATIENCE_S, what="a read that is answered at once")


if __name__ == "__main__":
    unittest.main()
