#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ldcctl drill: what it does to a playground, that it puts everything back however it ends, and what it proves."""
import json
import os
import pathlib
import signal
import unittest

import harness
import page_fixture
from harness import wait_until
from playground_fixture import Playground, lives

RUNS_ALONE = "what a busy machine holds up for 40 ms looks dead"

STEADY = "steady_state: {for: 1s, p99: 10s}\n"


def drill_text(method, rollback="[{heal: all}, {wait: in_sync, within: 60s}, {wait: calm, within: 60s}]"):
    return (f"name: tried\ntitle: Tried\nparameters: {{unit: RZ01, fault: freeze}}\nload: {{rate: 60}}\n{STEADY}"
            f"method: {method}\nabort: {{other_errors: 50, other_p99: 20s, after: 90s}}\nrollback: {rollback}\n")


class DrillTest(harness.StackTest):
    def start(self):
        self.playground = Playground(self.stack, "--gateways", "3", "--units", "2")
        self.playground.be_patient()
        self.settle()

    def settle(self):
        """Until a drill may begin: a busy machine moves units by itself."""
        def well():
            done, status = self.playground.ctl_json("status")
            return not status["faults"] and all(self.playground.ctl("unit", "failback", unit).returncode == 0
                                                for unit in ("RZ01", "RZ02", "BZ01", "CORE"))
        wait_until(well, 60, "a playground where all is well", every=0.2)

    def write(self, text):
        path = self.stack.folder / "drill.yaml"
        path.write_text(text)
        return path

    def run_drill(self, *words):
        """(exit code, report). A drill that is refused, since the machine is too busy for a steady state, is tried again."""
        for _ in range(4):
            done = self.playground.ctl("drill", "run", *words, "--yes", "-o", "json", timeout=150)
            if done.stdout:
                return done.returncode, json.loads(done.stdout)
            self.assertRegex(done.stderr, "no drill now: |not steady: ")
            self.settle()
        raise AssertionError(done.stderr)

    def begin(self, text):
        """A drill in a process of its own that may be signalled; returns once something was done to somebody."""
        log, known = self.stack.log("drill"), len(self.kinds())
        process = self.stack.keep(harness.Process(
            "drill", [harness.BUILD / "ldcctl", "drill", "run", "--file", self.write(text), "--yes", "--dir",
                      self.playground.dir], log, env=harness._sanitizer_env(log)))
        wait_until(lambda: "inject" in self.kinds()[known:] or not process.alive(), 60, "the fault")
        self.assertTrue(process.alive(), process.log_text())
        return process

    def runs(self):
        return sorted((self.playground.dir / "drills").glob("*-*"))

    def kinds(self):
        return [json.loads(line)["kind"] for path in sorted((self.playground.dir / "drills").glob("*-*/events.jsonl"))
                for line in path.read_text().splitlines()]

    def state(self, name):
        stat = pathlib.Path(f"/proc/{self.playground.pid(name)}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0]


class WholeRuns(DrillTest):
    def check_round(self, one):
        self.assertEqual(sorted(one["targets"]), ["RZ01-agent", "RZ01-blue", "RZ01-broker", "RZ01-green"])
        self.assertEqual([event["at_us"] for event in one["events"]],
                         sorted(event["at_us"] for event in one["events"]))
        self.assertEqual([link["gateway"] for link in one["chain"]], ["gateway-1", "gateway-2", "gateway-3"])
        for link in one["chain"]:
            self.assertGreater(link["detect_ms"], 0)
            self.assertGreater(link["first_success_ms"], 0)
            self.assertGreaterEqual(link["promoted_ms"], link["converge_ms"])
        self.assertTrue(any(link["decide_ms"] is not None for link in one["chain"]))
        self.assertTrue(all(step["ok"] for step in one["rollback"]), one["rollback"])
        self.assertEqual({sample["unit"] for sample in one["samples"]}, {"RZ01", "RZ02"})

    def check_proof(self, report):
        proof = report["proof"]
        self.assertEqual(proof["accepted"], report["load"]["accepted"])
        self.assertEqual(proof["accepted"], proof["acknowledged"])
        self.assertEqual((proof["lost"], proof["lost_count"], proof["unknown"]), ([], 0, 0))
        processed = {record["id"] for name in ("RZ01-blue", "RZ02-blue") for record in self.playground.records(name)}
        accepted = [line.split(",") for line in (self.runs()[-1] / "requests.csv").read_text().splitlines()[1:]]
        self.assertEqual(len(accepted), report["load"]["requests"])
        self.assertAlmostEqual(sum(line[2] == "RZ01" for line in accepted) / len(accepted), 0.6, delta=0.02)
        self.assertEqual({line[4] for line in accepted}, {"gateway-1", "gateway-2", "gateway-3"})
        self.assertLessEqual({line[8] for line in accepted if line[5] == "accepted"}, processed)

    def test_a_unit_is_killed_twice_and_nothing_is_lost(self):
        self.start()
        code, report = self.run_drill("unit-kill", "--rounds", "2", "--rate", "90")
        self.assertEqual((code, report["outcome"]), (0, "passed"), report["why"])
        self.assertEqual([one["round"] for one in report["rounds"]], [1, 2])
        for one in report["rounds"]:
            self.check_round(one)
        self.check_proof(report)
        other = next(unit for unit in report["blast"]["units"] if not unit["target"])
        self.assertEqual((other["unit"], other["failed"], other["unknown"]), ("RZ02", 0, 0))
        for process in self.playground.topology()["processes"]:
            self.assertTrue(lives(process["pid"]), process["name"])
        self.assertEqual({path.name for path in self.runs()[-1].iterdir()},
                         {"report.json", "report.html", "events.jsonl", "requests.csv"})
        page_fixture.check(self, (self.runs()[-1] / "report.html").read_text(), report)
        print(f"first success {report['summary']['first_success_ms']} ms", flush=True)


class Ends(DrillTest):
    def test_whatever_ends_it_everything_is_put_back(self):
        self.start()
        self.refused_where_somebody_is_missing()
        self.refused_away_from_home()
        self.interrupted()
        self.killed_and_aborted()
        self.killed_while_applications_are_slow()
        self.aborted_by_its_own_condition()

    def refused_where_somebody_is_missing(self):
        broker = self.playground.pid("RZ02-replica")
        os.kill(broker, signal.SIGSTOP)
        wait_until(lambda: self.playground.ctl_json("status")[1]["faults"], 60, "a replica that is missed")
        done = self.playground.ctl("drill", "run", "unit-kill", "--yes", timeout=60)
        os.kill(broker, signal.SIGCONT)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("RZ02", done.stderr)
        self.assertRegex(done.stderr, "no drill now: |not steady: ")
        self.assertNotIn("inject", self.kinds())
        self.settle()

    def refused_away_from_home(self):
        """It says what to do, as `status` does."""
        wait_until(lambda: self.playground.ctl("unit", "fail", "RZ01").returncode == 0, 60, "a unit that is moved")
        self.assertRegex(self.playground.ctl("status").stdout, r"\nRZ01 .* moved: wants failback ")
        wait_until(lambda: "`ldcctl unit failback RZ01` brings it home\n" in
                   self.playground.ctl("drill", "run", "unit-kill", "--yes", timeout=60).stderr, 60, "a refusal with its cure")
        self.settle()

    def interrupted(self):
        drill = self.begin(drill_text("[{fault: $fault, part: agents}, {pause: 60s}]"))
        wait_until(lambda: self.state("RZ01-agent") == "T", what="a frozen agent")
        self.assertEqual(self.playground.ctl("drill", "run", "unit-kill", "--yes").returncode, 1)
        drill.signal(signal.SIGINT)
        self.assertEqual(drill.popen.wait(120 * harness.SLOW), 1)
        self.assertNotEqual(self.state("RZ01-agent"), "T")
        report = json.loads((self.runs()[-1] / "report.json").read_text())
        self.assertEqual(report["outcome"], "interrupted")
        self.assertEqual(report["proof"]["lost_count"], 0)

    def killed_and_aborted(self):
        drill = self.begin(drill_text("[{fault: kill, part: blue}, {pause: 60s}]"))
        drill.kill()
        self.assertFalse(lives(self.playground.pid("RZ01-blue")))
        done, answer = self.playground.ctl_json("drill", "abort")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("is gone", answer["done"])
        self.assertTrue(lives(self.playground.pid("RZ01-blue")))
        self.assertIn("no drill", self.playground.ctl_json("drill", "abort")[1]["done"])
        self.settle()

    def delay_ms(self, app):
        return harness.request(self.playground.find(app)["ports"]["http"], "GET", "/-/sample/status").json()["delay_ms"]

    def killed_while_applications_are_slow(self):
        drill = self.begin(drill_text("[{fault: slow, part: apps, delay: 30s}, {pause: 60s}]"))
        drill.kill()
        self.assertEqual(self.delay_ms("RZ01-blue"), 30000)
        again = self.playground.ctl("drill", "run", "unit-kill", "--yes")
        self.assertEqual(again.returncode, 1)
        self.assertIn("`ldcctl drill abort` does that", again.stderr)
        done, answer = self.playground.ctl_json("drill", "abort")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("is gone", answer["done"])
        self.assertEqual(self.delay_ms("RZ01-blue"), 0)
        self.settle()

    def aborted_by_its_own_condition(self):
        text = drill_text("[{fault: slow, part: apps}, {pause: 60s}]").replace("after: 90s", "after: 500ms")
        code, report = self.run_drill("--file", self.write(text))
        self.assertEqual((code, report["outcome"]), (1, "aborted"), report["why"])
        self.assertIn("took longer than 500 ms", report["why"])
        self.assertTrue(all(step["ok"] for step in report["rounds"][0]["rollback"]))


class Words(harness.StackTest):
    def test_drills_are_listed_and_faults_of_files_have_places(self):
        names = [drill["name"] for drill in json.loads(self.stack.ctl("drill", "list", "-o", "json").stdout)["drills"]]
        self.assertLessEqual({"unit-kill", "broker-kill", "broker-freeze", "datacentre-loss", "partition", "agent-loss",
                              "store-loss", "consumer-lag", "colour-failure"}, set(names))
        path = self.stack.folder / "d.yaml"
        path.write_text(drill_text("[{fault: explode}]"))
        done = self.stack.ctl("drill", "run", "--file", path, "--yes", "--dir", self.stack.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{path}:6:18: fault: kill, freeze,", done.stderr)
        done = self.stack.ctl("drill", "run", "unit-kil", "--yes")
        self.assertEqual(done.returncode, 2)
        self.assertIn("did you mean unit-kill", done.stderr)
        done = self.stack.ctl("drill", "run", "unit-kill", "--yes", "--gateway", "http://127.0.0.1:1")
        self.assertIn("name its folder by --dir", done.stderr)
        done = self.stack.ctl("drill", "run", "unit-kill", "--dir", self.stack.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--yes", done.stderr)


if __name__ == "__main__":
    unittest.main()
