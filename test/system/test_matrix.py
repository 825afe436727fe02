#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The part of the fault matrix that `make test` has time for: one fault for each rule without which messages are lost.
What a busy machine makes late, or moves, is printed and not judged here. `make matrix` runs all of it."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "matrix"))

import harness  # noqa: E402
import isolate  # noqa: E402
import matrix  # noqa: E402
from checkers import COLUMNS  # noqa: E402
from rows import ROWS  # noqa: E402

RUNS_ALONE = "what a busy machine holds up for 40 ms looks dead"

SAFETY = ("lost", "twice", "two writers", "epochs fell", "inverted", "explained", "healed")


@unittest.skipIf(harness.BUILD.name != "build", "what it preloads does not go with sanitizers")
@unittest.skipIf(not isolate.may(), "it loses packets on purpose, and must be root for that")
class Matrix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        matrix.GAP_MS = 120  # a busy machine is to move nobody before his fault

    def check(self, word):
        row = next(row for row in ROWS if row.name.startswith(word))
        cells, log = matrix.play(row)
        matrix.print_row(row.name, cells)
        bad = [name for (name, _), cell in zip(COLUMNS, cells) if name in SAFETY and not cell.ok]
        self.assertTrue(len(cells) == len(COLUMNS) and not bad, f"{bad}\n{log}")

    def test_a_primary_that_comes_back_empty_while_gateways_stand_still(self):
        self.check("empty while gateways stand still")

    def test_a_strange_replica(self):
        self.check("a strange replica")

    def test_a_set_that_grows_behind_a_gateways_back(self):
        self.check("a set grows")


if __name__ == "__main__":
    isolate.alone()
    unittest.main()
