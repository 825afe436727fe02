#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A playground whose hosts are network namespaces, and the faults that ldcctl does to playgrounds and undoes again."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import unittest

import harness
from harness import wait_until
from playground_fixture import Playground, lives

RUNS_ALONE = "what a busy machine holds up for 40 ms looks dead"
ROOT = os.geteuid() == 0


def namespaces(prefix=""):
    folder = pathlib.Path("/run/netns")
    return {name for name in (os.listdir(folder) if folder.exists() else ()) if name.startswith(prefix)}


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


class FaultTest(harness.StackTest):
    def fault(self, *words):
        done, answer = self.playground.ctl_json("fault", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return answer

    def heal(self):
        done = self.playground.ctl("fault", "heal")
        self.assertEqual(done.returncode, 0, done.stderr)

    def record(self, unit="RZ01"):
        _, status = self.playground.ctl_json("status")
        return next(one for one in status["units"] if one["name"] == unit)["broker_record"]

    def in_sync(self):
        return self.record()["in_sync"]

    def pay(self, user="1", gateway=0):
        return harness.request(self.playground.ingress(gateway), "POST", "/pay/1", {"X-User-Id": user},
                               json.dumps({"payee": user}).encode()).status


@unittest.skipUnless(ROOT, "network namespaces are made by root alone")
class Namespaces(FaultTest):
    def setUp(self):
        super().setUp()
        self.before = namespaces()
        self.playground = Playground(self.stack, "--units", "2", "--gateways", "2", "--hosts", "namespaces")

    def broker(self, name):
        """A connection to it, that was let in."""
        process, topology = self.playground.find(name), self.playground.topology()
        sock = socket.create_connection((process["address"], process["ports"]["redis"]), timeout=5)
        sock.sendall(f"AUTH {topology['token']}\r\n".encode())
        self.assertEqual(sock.recv(100), b"+OK\r\n")
        return sock

    def test_each_host_has_a_network_of_its_own_and_down_removes_them(self):
        topology = self.playground.topology()
        hosts = {process["host"]: process["namespace"] for process in topology["processes"]}
        self.assertEqual(set(hosts), {"RZ01", "RZ02", "BZ01", "CORE", "gateway-1", "gateway-2"})
        made = namespaces() - self.before
        self.assertEqual(len(made), len(hosts) + 1)
        self.assertLess(set(hosts.values()), made)
        for process in topology["processes"]:
            inode = os.stat(f"/run/netns/{process['namespace']}").st_ino
            self.assertEqual(os.stat(f"/proc/{process['pid']}/ns/net").st_ino, inode, process["name"])
        self.assertEqual(self.pay(), 202)
        wait_until(lambda: self.playground.records("RZ01-blue"), what="the delivery")
        self.playground.process.kill()
        self.assertFalse(namespaces() - self.before)
        self.assertFalse([process["name"] for process in topology["processes"] if lives(process["pid"])])

    def test_brokers_let_nobody_in_who_has_no_password(self):
        process = self.playground.find("RZ01-broker")
        with socket.create_connection((process["address"], process["ports"]["redis"]), timeout=5) as sock:
            sock.sendall(b"GET x\r\n")
            self.assertRegex(sock.recv(100), b"^-NOAUTH")

    def test_apps_take_orders_from_those_with_the_token_alone(self):
        app = self.playground.find("RZ01-blue")
        where, token = f"{app['address']}:{app['ports']['http']}", self.playground.topology()["token"]
        self.assertEqual(harness.request(where, "POST", "/-/sample/delay?ms=1").status, 401)
        self.assertEqual(harness.request(where, "POST", "/-/sample/delay?ms=1", body=b"x").status, 401)
        self.assertEqual(harness.request(where, "POST", "/-/sample/delay?ms=1", {"Authorization": f"Bearer {token}"}).status,
                         204)

    def test_a_host_that_is_cut_off_hears_and_says_nothing_until_it_is_healed(self):
        with self.broker("RZ01-broker") as sock:
            self.fault("drop", "RZ01")
            self.fault("drop", "RZ01")
            sock.settimeout(0.3)
            sock.sendall(b"PING\r\n")
            with self.assertRaises(TimeoutError):
                sock.recv(100)
            self.heal()
            sock.settimeout(10)
            self.assertEqual(sock.recv(100), b"+PONG\r\n")

    def test_one_direction_between_two_hosts_is_cut_alone(self):
        router = next(name for name in namespaces() - self.before if name.endswith("-router"))

        def rules():
            return subprocess.run(["ip", "netns", "exec", router, "iptables", "-S", "FORWARD"], capture_output=True,
                                  text=True, check=True).stdout.splitlines()[1:]
        addresses = {name: self.playground.find(name)["address"] for name in ("gateway-1", "RZ01-broker")}
        self.fault("drop", "RZ01", "--peer", "gateway-1", "--way", "in")
        self.assertEqual(rules(), [f"-A FORWARD -s {addresses['gateway-1']}/32 -d {addresses['RZ01-broker']}/32 -j DROP"])
        self.broker("RZ01-broker").close()
        self.heal()
        self.assertEqual(rules(), [])
        self.fault("loss", "RZ01", "--percent", "5")
        self.assertEqual(len(rules()), 2)
        self.assertTrue(all("--mode random --probability 0.0" in rule for rule in rules()), rules())

    def test_a_cut_off_unit_fails_over_and_comes_back_as_a_replica(self):
        self.playground.be_patient()
        wait_until(self.is_covered, 60, "a standby that every gateway trusts")
        home = self.in_sync()[0]
        self.fault("drop", "RZ01")
        wait_until(lambda: self.pay() == 202, 30, "a payment")
        self.assertNotEqual(self.in_sync()[0], home)
        self.heal()
        wait_until(lambda: home in self.in_sync()[1:], 60, "the old primary to be in sync again")

    def is_covered(self):
        topology = self.playground.topology()
        for url in topology["admin"]:
            answer = harness.request(url.split("//")[1], "GET", "/v1/status", {"Authorization": f"Bearer {topology['token']}"})
            unit = next(unit for unit in answer.json()["units"] if unit["name"] == "RZ01")
            if len(unit["broker_record"]["in_sync"]) < 2 or not unit["failover"]["vote"]["standby_healthy"]:
                return False
        return True


class Machine(FaultTest):
    """Faults that need no namespaces."""

    def setUp(self):
        super().setUp()
        self.playground = Playground(self.stack, "--units", "1", "--gateways", "1")

    def test_what_is_killed_and_frozen_is_healed(self):
        before = {process["name"]: process["pid"] for process in self.playground.topology()["processes"]}
        self.assertGreater(self.fault("kill", "RZ01-blue")["at_us"], 0)
        self.assertFalse(lives(before["RZ01-blue"]))
        self.fault("freeze", "gateway-1")
        wait_until(lambda: state_of(before["gateway-1"]) == "T", what="the gateway to stand still")
        self.heal()
        self.heal()
        wait_until(lambda: state_of(before["gateway-1"]) != "T", what="the gateway to go on")
        after = {process["name"]: process["pid"] for process in self.playground.topology()["processes"]}
        self.assertEqual([name for name in after if after[name] != before[name]], ["RZ01-blue"])
        self.assertTrue(lives(after["RZ01-blue"]))
        wait_until(lambda: self.pay() == 202, what="a payment")

    def test_a_host_means_all_of_its_processes(self):
        def lost():
            return {process["name"] for process in self.playground.topology()["processes"] if not lives(process["pid"])}
        self.fault("kill", "RZ01")
        self.assertEqual(lost(), {"RZ01-broker", "RZ01-agent", "RZ01-blue", "RZ01-green"})
        self.heal()
        self.assertEqual(lost(), set())

    def test_a_broker_comes_back_empty_or_with_an_old_copy_and_is_made_whole(self):
        wait_until(lambda: len(self.in_sync()) == 2, 30, "the replica to be in sync")
        self.assertEqual(self.playground.ctl("fault", "keep", "RZ01-replica").returncode, 0)
        self.assertEqual(self.pay(), 202)
        for how in ("--empty", "--old"):
            pid, version = self.playground.pid("RZ01-replica"), self.record()["version"]
            self.fault("restart", "RZ01-replica", how)
            self.assertNotEqual(self.playground.pid("RZ01-replica"), pid)
            wait_until(lambda: self.record()["version"] > version and len(self.in_sync()) == 2, 30,
                       "the replica's new run to be in sync")

    def test_what_was_healed_ends_with_the_playground(self):
        self.fault("kill", "RZ01-blue")
        self.heal()
        pid = self.playground.pid("RZ01-blue")
        self.playground.process.terminate()
        self.assertFalse(lives(pid))

    def test_a_playground_that_was_killed_is_not_raised_again(self):
        pid = self.playground.pid("RZ01-blue")
        os.kill(self.playground.process.pid, signal.SIGKILL)
        wait_until(lambda: not lives(pid), what="the end of all")
        done = self.playground.ctl("fault", "heal")
        self.assertEqual(done.returncode, 3)
        self.assertIn("no playground runs", done.stderr)

    def test_what_cannot_be_done_is_said(self):
        for words, code, why in (
                (("drop", "RZ01"), 1, "--hosts namespaces"), (("kill", "nobody"), 1, "no process or host 'nobody'"),
                (("restart", "RZ01-blue", "--empty"), 1, "has no data"),
                (("restart", "RZ01-broker", "--old"), 1, "no copy"),
                (("loss", "RZ01", "--percent", "100"), 2, "--percent"), (("drop", "RZ01", "--way", "up"), 2, "--way")):
            done = self.playground.ctl("fault", *words)
            self.assertEqual(done.returncode, code, (words, done.stderr))
            self.assertIn(why, done.stderr)

    def test_a_supervised_playground_is_not_killed_by_drills(self):
        playground = Playground(self.stack, "--units", "1", "--gateways", "1", "--supervise", name="supervised")
        done = playground.ctl("fault", "kill", "RZ01-blue")
        self.assertEqual(done.returncode, 1)
        self.assertIn("without --supervise", done.stderr)
        self.assertTrue(lives(playground.pid("RZ01-blue")))


if __name__ == "__main__":
    unittest.main()
