# SPDX-License-Identifier: Apache-2.0
"""A playground under a test's guard: it runs in the foreground of a process that dies with the test, and takes all that
it started along."""
import json
import os
import signal
import subprocess

import harness


class Up(harness.Process):
    """What comes back from a fault is nobody's child, and namespaces are nobody's at all: `down` finds both."""

    def kill(self):
        super().kill()
        subprocess.run([self.argv[0], "playground", "down", "--dir", self.argv[4]], stderr=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)


class Playground:
    """In STACK's folder; `.ctl(words...)`, `.topology()`, `.pid(name)`. ENV: what its processes find beside the usual."""

    def __init__(self, stack, *flags, name="playground", env=None):
        self.stack, self.dir = stack, stack.folder / name
        log = stack.log(name)
        self.process = stack.keep(Up(
            name, [harness.BUILD / "ldcctl", "playground", "up", "--dir", self.dir, *flags], log,
            env=dict(harness._sanitizer_env(log), **(env or {}))))
        harness.wait_until(lambda: (self.dir / "topology.json").exists() or not self.process.alive(), 60,
                           "the playground")
        if not self.process.alive():
            raise AssertionError(f"the playground ended:\n{self.process.log_text()}")

    def be_patient(self):
        """For tests that are not about how soon silence is noticed: who is killed is known at once in any case."""
        rules = self.stack.folder / f"{self.dir.name}.patient.yaml"
        rules.write_text((self.dir / "rules.yaml").read_text() + harness.PATIENT_RULES)
        harness.wait_until(lambda: self.ctl("rules", "apply", rules, "--timeout", "30").returncode == 0, 60, "patient rules")

    def hide_store(self):
        """The folder of the store is away, and no process can make a new one."""
        os.rename(self.dir / "store", self.dir / "store.away")
        (self.dir / "store").write_text("in the way\n")

    def show_store(self):
        (self.dir / "store").unlink()
        os.rename(self.dir / "store.away", self.dir / "store")

    def ctl(self, *words, **options):
        return self.stack.ctl(*words, "--dir", self.dir, **options)

    def ctl_json(self, *words, **options):
        done = self.ctl(*words, "-o", "json", **options)
        return done, json.loads(done.stdout)

    def topology(self):
        return json.loads((self.dir / "topology.json").read_text())

    def find(self, name):
        return next(one for one in self.topology()["processes"] if one["name"] == name)

    def pid(self, name):
        return self.find(name)["pid"]

    def signal(self, name, number):
        os.kill(self.pid(name), number)

    def kill(self, name):
        """kill -9, and wait until it is gone."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        harness.wait_until(lambda: not lives(pid), what=f"{name} to be gone")

    def ingress(self, i=0):
        """As harness.request() takes it."""
        where = self.topology()["ingress"][i].rsplit("/", 1)[1]
        return int(where.rsplit(":", 1)[1]) if where.startswith("127.0.0.1:") else where

    def gateway_status(self, i=0):
        """As this one gateway tells it."""
        token = (self.dir / "token").read_text().strip()
        admin = int(self.topology()["admin"][i].rsplit(":", 1)[1])
        return harness.request(admin, "GET", "/v1/status", {"Authorization": f"Bearer {token}"}).json()

    def heard(self, i=0):
        """The agents whose pulses this gateway hears."""
        return {one["name"] for one in self.gateway_status(i)["pulses"]["agents"] if one["heard"]}

    def records(self, name):
        """What the app has written so far; its last line may be on its way."""
        lines = (self.dir / "apps" / f"{name}.jsonl").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def replace(self, name):
        """kill -9, and wait until the supervisor has started it again (`--supervise`)."""
        before = self.pid(name)
        self.kill(name)
        harness.wait_until(lambda: self.pid(name) not in (before, 0), 30, f"{name} to be started again")


def lives(pid):
    """Whether PID is there and no zombie; one with a thread that still ends, in a write to a disk, holds its ports yet."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            is_dead = stat.read().rsplit(")", 1)[1].split()[0] in "ZX"
        return not is_dead or len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False
