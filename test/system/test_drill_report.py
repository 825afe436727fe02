#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ldcctl drill report: finds the run that is meant, in each of its forms. Runs of their own are in test_drill.py."""
import json
import pathlib
import subprocess
import tempfile
import unittest

import harness
import page_fixture

GOLDEN = harness.ROOT / "test/golden/drill"


class DrillReport(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ldc-test-")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.golden = json.loads((GOLDEN / "failed.json").read_text())
        self.add("20260131-120000-unit-kill", self.golden)

    def add(self, run, report):
        (self.dir / "drills" / run).mkdir(parents=True)
        if report is not None:
            (self.dir / "drills" / run / "report.json").write_text(report if isinstance(report, str) else json.dumps(report))

    def report(self, *words, code=0):
        done = subprocess.run([harness.BUILD / "ldcctl", "drill", "report", *words, "--dir", self.dir], capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def test_a_table_unless_something_else_is_asked_for(self):
        self.assertEqual(self.report(), (GOLDEN / "failed.table").read_text())
        self.assertEqual(json.loads(self.report("-o", "json")), self.golden)

    def test_a_page_that_needs_nothing_beside_it(self):
        file = self.dir / "page.html"
        self.assertEqual(self.report("-o", "html", "--output", file), "")
        page = page_fixture.check(self, file.read_text(), self.golden)
        self.assertIn("A unit dies <b>now</b>", page.text)

    def test_the_newest_run_that_has_a_report_or_the_one_that_is_named(self):
        self.add("20260201-120000-broker-kill", dict(self.golden, id="20260201-120000-broker-kill", title="Newer"))
        self.add("20260202-120000-refused", None)
        self.assertIn("Newer", self.report())
        self.assertNotIn("Newer", self.report("20260131-120000-unit-kill"))

    def test_what_is_not_there_is_told(self):
        self.assertIn("no report of a run 'none'", self.report("none", code=1))
        self.assertIn("no report of a run '../drills/x'", self.report("../drills/x", code=1))
        self.add("30000101-120000-torn", '{"id": ')
        self.assertIn("30000101-120000-torn/report.json is no report", self.report(code=1))
        self.dir = self.dir / "nowhere"
        self.assertIn("no drill was run", self.report(code=1))

    def test_a_terminal_is_not_told_what_to_do_by_a_report(self):
        self.add("30000101-120000-odd", dict(self.golden, title="\x1b[2Jgone"))
        self.assertNotIn("\x1b", self.report())


if __name__ == "__main__":
    unittest.main()
