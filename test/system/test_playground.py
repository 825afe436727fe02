# SPDX-License-Identifier: Apache-2.0
"""ldcctl playground: what it starts, what it writes, and that it ends exactly that."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import unittest

import harness
from playground_fixture import Playground, lives

TOPOLOGY_KEYS = {"ingress", "admin", "token", "rules", "store", "processes"}
PROCESS_KEYS = {"name", "role", "unit", "datacenter", "host", "address", "pid", "ports", "log"}


def pids(playground):
    return [process["pid"] for process in playground.topology()["processes"]]


class Foreground(harness.StackTest):
    def test_it_is_what_it_says_and_ends_with_an_interrupt(self):
        playground = Playground(self.stack, "--units", "2", "--gateways", "2")
        topology = playground.topology()
        self.assertEqual(set(topology), TOPOLOGY_KEYS)
        for process in topology["processes"]:
            primary = {"primary"} if process["role"] == "broker" else set()
            self.assertEqual(set(process), PROCESS_KEYS | primary, process)
            self.assertTrue(lives(process["pid"]), process["name"])
            self.assertTrue(os.path.exists(process["log"]))
        roles = [process["role"] for process in topology["processes"]]
        self.assertEqual({role: roles.count(role) for role in roles}, {"broker": 8, "app": 8, "agent": 4, "gateway": 2})
        self.assertEqual({process["datacenter"] for process in topology["processes"] if process["unit"][:2] == "RZ"},
                         {"dc1", "dc2"})
        self.assertEqual((playground.dir / "token").read_text().strip(), topology["token"])
        self.assertEqual((playground.dir / "topology.json").stat().st_mode & 0o777, 0o600)
        started = pids(playground)
        self.assertEqual(playground.ctl("playground", "status").returncode, 0)
        playground.process.signal(signal.SIGINT)
        self.assertEqual(playground.process.popen.wait(30 * harness.SLOW), 0)
        self.assertFalse([pid for pid in started if lives(pid)])
        self.assertFalse((playground.dir / "topology.json").exists())
        self.assertEqual(playground.ctl("playground", "status").returncode, 1)

    def test_brokers_are_durable_and_replicas_follow(self):
        playground = Playground(self.stack, "--units", "1", "--gateways", "1")
        for process in playground.topology()["processes"]:
            if process["role"] != "broker":
                continue
            port = process["ports"]["redis"]

            def ask(*words):
                return subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True,
                                      check=True).stdout
            self.assertIn("always", ask("CONFIG", "GET", "appendfsync"))
            self.assertIn("yes", ask("CONFIG", "GET", "appendonly"))
            self.assertEqual(ask("CONFIG", "GET", "save").split(), ["save"])
            role = "role:master" if process["primary"] else "master_link_status:up"
            harness.wait_until(lambda: role in ask("INFO", "replication"), what=f"{process['name']} to be {role}")

    @staticmethod
    def pay(port, user, payee):
        """The answer, as soon as the unit's broker takes messages."""
        body = json.dumps({"payee": payee}).encode()
        return harness.wait_until(lambda: (answer := harness.request(port, "POST", "/pay/1", {"X-User-Id": user}, body)
                                           ).status == 202 and answer, what="a 202")

    def test_its_rules_send_each_path_where_the_product_says(self):
        playground = Playground(self.stack)
        port = playground.ingress()
        for user, unit in (("1", "RZ01"), ("34", "RZ02"), ("99", "RZ03")):
            answer = harness.request(port, "GET", "/echo/x", {"X-User-Id": user})
            self.assertEqual((answer.status, answer.headers["ldc-unit"], answer.json()["unit"]), (200, unit, unit))
            answer = harness.request(port, "GET", "/search/x", {"X-User-Id": user})
            self.assertEqual((answer.status, answer.json()["unit"]), (200, "BZ01"))
            answer = self.pay(port, user, user)
            self.assertEqual(answer.headers["ldc-unit"], unit)
            harness.wait_until(lambda: answer.headers["ldc-message-id"] in [one["id"] for one in playground.records(
                f"{unit}-blue")], what="the delivery")
        self.assertEqual(self.pay(port, "1", "99").headers["ldc-unit"], "CORE")
        self.assertEqual(harness.request(port, "GET", "/echo/x").status, 400)

    def test_killed_itself_it_takes_everything_along(self):
        playground = Playground(self.stack, "--units", "1", "--gateways", "1")
        started = pids(playground)
        playground.process.kill()
        harness.wait_until(lambda: not [pid for pid in started if lives(pid)], what="all to be gone")
        self.assertEqual(playground.ctl("playground", "down").returncode, 0)

    def test_what_is_killed_stays_dead(self):
        playground = Playground(self.stack, "--units", "1", "--gateways", "1")
        before = playground.topology()
        playground.kill("RZ01-blue")
        harness.wait_until(lambda: "RZ01-blue" in playground.process.log_text(), what="word of the death")
        self.assertEqual(playground.topology(), before)
        done, status = playground.ctl_json("playground", "status")
        self.assertEqual(done.returncode, 1)
        self.assertEqual([one["name"] for one in status["processes"] if not one["alive"]], ["RZ01-blue"])

    def test_supervised_what_is_killed_comes_back(self):
        playground = Playground(self.stack, "--units", "1", "--gateways", "1", "--supervise")
        for name in ("RZ01-broker", "RZ01-agent", "gateway-1"):
            before = playground.pid(name)
            playground.kill(name)
            harness.wait_until(lambda: playground.pid(name) not in (0, before), what=f"{name} to come back")
            self.assertTrue(lives(playground.pid(name)))
        harness.wait_until(lambda: playground.ctl("status").returncode == 0 and
                           not playground.ctl_json("status")[1]["faults"], what="everything to be well again")


class Detached(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.dir = self.stack.folder / "detached"

    def tearDown(self):
        self.ctl("playground", "down")
        super().tearDown()

    def ctl(self, *words, **options):
        return self.stack.ctl(*words, "--dir", self.dir, **options)

    def up(self, *flags):
        done = self.ctl("playground", "up", "--units", "1", "--gateways", "1", "--detach", "-o", "json", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        topology = json.loads(done.stdout)
        self.assertEqual(topology, self.topology())
        return topology

    def topology(self):
        return json.loads((self.dir / "topology.json").read_text())

    def test_up_returns_when_all_is_ready_and_down_ends_all(self):
        topology = self.up()
        self.assertEqual(self.ctl("status").returncode, 0)
        answer = harness.request(int(topology["ingress"][0].rsplit(":")[-1]), "GET", "/echo/x", {"X-User-Id": "1"})
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.ctl("playground", "down").returncode, 0)
        self.assertFalse([one["name"] for one in topology["processes"] if lives(one["pid"])])
        self.assertEqual(self.ctl("playground", "down").stdout, "nothing was running\n")
        self.assertEqual(self.ctl("status").returncode, 3)

    def test_down_ends_what_is_stopped_and_what_a_supervisor_holds(self):
        topology = self.up("--supervise")
        agent = next(one for one in topology["processes"] if one["name"] == "RZ01-agent")
        os.kill(agent["pid"], signal.SIGSTOP)
        self.assertEqual(self.ctl("playground", "down").returncode, 0)
        self.assertFalse([one["name"] for one in topology["processes"] if lives(one["pid"])])

    def test_down_spares_a_process_that_has_got_the_number_of_another(self):
        self.up()
        path = self.dir / "playground.json"
        state = json.loads(path.read_text())
        other = next(one for one in state["processes"] if one["name"] == "RZ01-green")
        other["start_ticks"] += 1
        path.write_text(json.dumps(state))
        self.assertEqual(self.ctl("playground", "down").returncode, 0)
        self.assertTrue(lives(other["pid"]))
        self.assertFalse([one["name"] for one in state["processes"] if one is not other and lives(one["pid"])])
        os.kill(other["pid"], signal.SIGKILL)

    def test_it_comes_up_again_as_it_was(self):
        before = self.up()
        rules = pathlib.Path(before["rules"]).read_text().replace("blue: 100, green: 0", "blue: 90, green: 10")
        changed = self.stack.folder / "changed.yaml"
        changed.write_text(rules)
        self.assertEqual(self.ctl("rules", "apply", changed).returncode, 0)
        self.assertEqual(self.ctl("playground", "down").returncode, 0)
        after = self.up()
        self.assertEqual((after["ingress"], after["token"]), (before["ingress"], before["token"]))
        self.assertEqual(self.ctl("rules", "show").stdout, rules)
        refused = self.ctl("playground", "up", "--units", "2", "--detach")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("runs in", refused.stderr)
        self.ctl("playground", "down")
        refused = self.ctl("playground", "up", "--units", "2", "--detach")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("use another --dir", refused.stderr)

    def test_faults_that_keep_it_from_coming_up_are_told(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = self.ctl("playground", "up", "--port-base", port, "--detach")
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"port {port} is not to be had", done.stderr)
        empty = self.stack.folder / "empty"
        empty.mkdir()
        done = subprocess.run([str(harness.BUILD / "ldcctl"), "playground", "up", "--dir", str(self.dir), "--detach"],
                              env=dict(os.environ, PATH=str(empty)), capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("make deps", done.stderr)
        self.assertEqual(self.ctl("playground", "up", "--units", "0").returncode, 2)
        self.assertEqual(self.ctl("playground", "up", "--store", "nothing").returncode, 2)
        self.assertEqual(self.ctl("playground", "up", "--hosts", "nowhere").returncode, 2)

    def test_what_cannot_start_leaves_nothing_behind(self):
        programs = self.stack.folder / "programs"
        programs.mkdir()
        for name in ("ldcctl", "ldc-gateway", "ldc-sample-app"):
            shutil.copy(harness.BUILD / name, programs / name)
        agent = programs / "ldc-agent"
        agent.write_text("#!/bin/sh\necho this agent has a fault\nexit 1\n")
        agent.chmod(0o755)
        done = subprocess.run([str(programs / "ldcctl"), "playground", "up", "--units", "1", "--detach", "--dir",
                               str(self.dir)], capture_output=True, text=True,
                              env=harness._sanitizer_env(self.stack.log("ldcctl")))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"this agent has a fault\n---\nldcctl: RZ01-agent ended as soon as")
        state = json.loads((self.dir / "playground.json").read_text())
        self.assertEqual(state["processes"], [])
        log = re.findall(r"pid=(\d+)", (self.dir / "logs" / "RZ01-broker.log").read_text())
        self.assertTrue(log)
        self.assertFalse([pid for pid in log if lives(pid)])


if __name__ == "__main__":
    unittest.main()
