# SPDX-License-Identifier: Apache-2.0
"""One deployment that something is done to: a playground, payers of the unit that is struck and of the others, and eyes
on every broker."""
import collections
import contextlib
import http.client
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))

import harness  # noqa: E402
from harness import wait_until  # noqa: E402
from playground_fixture import Playground, lives  # noqa: E402

import clients  # noqa: E402
import harm  # noqa: E402

class Void(Exception):
    """A busy machine has done something to the scene before its fault."""


UNIT = "RZ01"  # whom it happens to: slots 00-33 of 100
PACE_S, PACE_OTHERS_S = 0.004, 0.016


class Scene:
    """STORE: dir or etcd. HOSTS: each unit, gateway and member of the store has a network namespace of its own. SMALL: the
    broker that has a small disk. GAP_MS: the rules' failover.gap; None: the rules are as the playground makes them."""

    def __init__(self, stack, store="dir", hosts=False, env=None, small=None, gap_ms=40):
        self.stack, self.store, self.hosts, self.env = stack, store, hosts, env or {}
        self.started, self.struck_gateways, self.fault_at, self.healed, self.rules = {}, set(), None, "", []
        self.clocks = collections.defaultdict(list)  # (since, how far ahead in seconds) of each process
        folder = stack.folder / "playground"
        self.small = small
        if small:
            self._make_small_disk(folder / "brokers" / small)
        flags = ["--units", "3", "--gateways", "3"] + ["--store", "etcd"] * (store == "etcd") + \
            ["--hosts", "namespaces"] * hosts
        self.play = Playground(stack, *flags, env=env)
        topology = self.play.topology()
        self.token, self.processes = topology["token"], {one["name"]: one for one in topology["processes"]}
        self.argv = {name: pathlib.Path(f"/proc/{self.pid(name)}/cmdline").read_bytes().decode().split("\0")[:-1]
                     for name in self.processes}
        if gap_ms is not None:
            self._lift_the_rail(gap_ms)
        self.home = f"{UNIT}-broker"
        wait_until(self.is_covered, 90, "standbys that every gateway trusts", every=0.2)

    def _make_small_disk(self, path):
        path.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", path], check=True)

    def fill_disk(self, name):
        """Returns the file that takes all the place, bit by bit: nobody is to fall silent for want of a processor."""
        filler = self.data(name) / "filler"
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(65536)):
                threading.Event().wait(0.001)
        wait_until(lambda: not self.lives(name), 30, f"{name} to end for want of room")
        return filler

    def _lift_the_rail(self, gap_ms):
        """A busy machine makes other units fail over: they must not use up what the struck one needs."""
        path = self.stack.folder / "rules.yaml"
        path.write_text((self.play.dir / "rules.yaml").read_text() + f"failover: {{max_units: 5, gap: {gap_ms}ms}}\n")
        done = self.play.ctl("rules", "apply", path, "--max-move", "100")
        if done.returncode:
            raise AssertionError(f"rules refused: {done.stderr}{done.stdout}")

    # --- what it is ---

    def of(self, **wanted):
        return [name for name, one in self.processes.items() if all(one.get(key) == value for key, value in wanted.items())]

    def address(self, name, port):
        return self.processes[name].get("address", "127.0.0.1"), self.processes[name]["ports"][port]

    def pid(self, name):
        return self.started[name].pid if name in self.started else self.processes[name]["pid"]

    def call(self, name, *words):
        host, port = self.address(name, "redis")
        return harness.call_broker(port, *words, host=host, password=self.token if self.hosts else None)

    def gateways(self):
        return {name: self.address(name, "ingress") for name in self.of(role="gateway")}

    def ask(self, name, path):
        host, port = self.address(name, "admin")
        return harness.request(f"{host}:{port}", "GET", path, {"Authorization": f"Bearer {self.token}"}, timeout=2)

    def status(self, name):
        """{} where it does not answer."""
        try:
            return self.ask(name, "/v1/status").json()
        except (OSError, ValueError):
            return {}

    def units(self, gateway):
        return {unit["name"]: unit for unit in self.status(gateway).get("units", [])}

    def record(self, unit=UNIT):
        """As most gateways have it: the newest."""
        return max((self.record_at(name, unit) for name in self.of(role="gateway")), key=lambda record: record["version"])

    def broker_at(self, url):
        parts = urllib.parse.urlsplit(url)
        return next(name for name in self.of(role="broker") if self.address(name, "redis") == (parts.hostname, parts.port))

    @property
    def primary(self):
        return self.broker_at(self.record()["primary"])

    @property
    def standby(self):
        return self.broker_at(self.record()["in_sync"][1])

    def stored(self):
        """(version, number of members) of the record as it stands in the store's folder."""
        text = (self.play.dir / "store" / f"document-brokers%2f{UNIT}").read_text()
        return int(text.split("\n", 1)[0]), text.count('"broker":')

    def record_at(self, gateway, unit=UNIT):
        return self.units(gateway).get(unit, {}).get("broker_record") or {"version": 0, "in_sync": []}

    def knows_newest(self, gateway):
        return self.record_at(gateway)["version"] == self.record()["version"]

    def is_covered(self):
        for name in self.of(role="gateway"):
            units = self.units(name)
            if not units or any(len(unit["broker_record"]["in_sync"]) < 2 or not unit["failover"]["vote"]["standby_healthy"]
                                for unit in units.values()):
                return False
        return True

    def is_whole(self):
        return len(self.record()["in_sync"]) == 2

    def lives(self, name):
        return lives(self.pid(name))

    def pays_at(self, gateway):
        """Whether GATEWAY takes a payment of the unit."""
        host, port = self.gateways()[gateway]
        with contextlib.suppress(OSError, http.client.HTTPException):
            return harness.request(f"{host}:{port}", "GET", "/echo/x", {"X-User-Id": "33"}, timeout=2).status == 200
        return False

    # --- the members of etcd ---

    def etcd(self, name, path, **body):
        host, port = self.address(name, "client")
        connection = http.client.HTTPConnection(host, port, timeout=3)
        try:
            connection.request("POST", path, json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def leader(self):
        for name in self.of(role="store"):
            status = self.etcd(name, "/v3/maintenance/status")
            if status["leader"] == status["header"]["member_id"]:
                return name
        raise AssertionError("the store has no leader")

    def compact(self):
        """All that is not in force any more is forgotten."""
        name = self.leader()
        revision = self.etcd(name, "/v3/maintenance/status")["header"]["revision"]
        self.etcd(name, "/v3/kv/compaction", revision=revision, physical=True)

    def alarm(self, action):
        """As if its quota were used up; it takes no changes then."""
        self.etcd(self.leader(), "/v3/maintenance/alarm", action=action, alarm="NOSPACE")

    # --- who looks and who pays ---

    def begin(self, pause=0.003, pace_others=PACE_OTHERS_S):
        """PAUSE: of a client between two requests; PACE_OTHERS: of the eyes between two questions to brokers of other units
        than the struck one; both in seconds."""
        brokers = [{"name": name, "host": self.address(name, "redis")[0], "port": self.address(name, "redis")[1],
                    "unit": self.processes[name]["unit"], "password": self.token if self.hosts else "",
                    "namespace": self.processes[name].get("namespace"),
                    "pace": PACE_S if self.processes[name]["unit"] == UNIT else pace_others}
                   for name in self.of(role="broker")]
        folder = str(self.play.dir / "store") if self.store == "dir" else ""
        self.watches = [self.start_watch(processor, {"brokers": brokers, "folder": folder})
                        for processor in sorted(os.sched_getaffinity(0))[:2]]
        hit, others = [str(user) for user in range(9)], [str(user) for user in (40, 41, 42, 80, 81, 82)]
        self.payers = {"hit": [clients.Payers(self.gateways(), hit, threads=6, pause=pause)],
                       "others": [clients.Payers(self.gateways(), others, threads=3, pause=pause)]}
        for payers in self.payers.values():
            payers[0].start()
        self.more(60)
        wait_until(self.is_whole, 30, "the set to be whole", every=0.05)

    def start_watch(self, processor, plan):
        out, path = self.stack.folder / f"watch-{processor}.jsonl", self.stack.folder / f"watch-{processor}.plan"
        path.write_text(json.dumps(dict(plan, out=str(out), processor=processor)))
        process = self.stack.keep(harness.Process(f"watch-{processor}", [sys.executable, HERE / "watch.py", path],
                                                  self.stack.log(f"watch-{processor}")))
        wait_until(out.exists, 20, "the watch")
        return process, out

    def more(self, count, timeout=30):
        goals = [(payers[0], payers[0].accepted() + count) for payers in self.payers.values()]
        for payers, goal in goals:
            wait_until(lambda p=payers, g=goal: p.accepted() >= g, timeout, f"{count} more payments", every=0.02)

    def crowd(self, gateway):
        """Many more payers of the unit, who all stand at GATEWAY."""
        crowd = clients.Payers({gateway: self.gateways()[gateway]}, [str(user) for user in range(10, 34)], threads=24, pause=0.02)
        self.payers["hit"].append(crowd)
        crowd.start()
        wait_until(lambda: crowd.accepted() > 50, 30, "the crowd")

    def answers(self, who):
        return sorted((answer for payers in self.payers[who] for answer in payers.all), key=lambda answer: answer.at)

    def do(self, act):
        """What ACT waited for in vain after its fault is told in `.healed`."""
        try:
            act(self)
        except AssertionError as fault:
            if self.fault_at is None:
                raise
            self.healed = str(fault)

    def heal(self):
        """Waits until payments of all go on and the unit has a standby; what does not come about is in `.healed`."""
        if self.healed:
            return
        try:
            self.more(60, timeout=30)
            wait_until(self.is_whole, 30, "the unit to have a standby", every=0.1)
        except AssertionError as fault:
            self.healed = str(fault)

    def end(self):
        """Everything stands still; what was seen is in `.seen`, and from each processor in `.seen_by`."""
        for payers in self.payers["hit"] + self.payers["others"]:
            payers.stop()
        for rule in list(self.rules):
            self.let(rule)
        for process, _ in self.watches:
            process.terminate()
        if self.small:
            subprocess.run(["umount", "--lazy", self.data(self.small)], check=True)
        self.seen_by = [[json.loads(line) for line in out.read_text().splitlines()] for _, out in self.watches]
        self.seen = self.seen_by[0]

    # --- what is done to it ---

    def mark(self):
        """From now on the clock runs. A unit that was moved before will not be moved again: nothing could be seen."""
        if self.primary != self.home:
            raise Void(f"{UNIT} was moved before its fault")
        self.start_clock()

    def start_clock(self):
        self.fault_at, self.fault_wall_us = time.monotonic(), int(time.time() * 1e6)

    def moves_logged(self):
        return sum(pathlib.Path(self.processes[name]["log"]).read_text().count('"unit.won"') for name in self.of(role="gateway"))

    def signal(self, name, number):
        os.kill(self.pid(name), number)

    def kill(self, name):
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        if name in self.started:
            self.started[name].popen.wait()
        wait_until(lambda: not lives(pid), what=f"{name} to be gone", every=0.001)

    def freeze(self, *names, seconds=None):
        """Without SECONDS: until thaw()."""
        for name in names:
            self.signal(name, signal.SIGSTOP)
        wait_until(lambda: all(harness.stands_still(self.pid(name)) for name in names), what=f"{names} to stand still", every=0.001)
        if seconds is not None:
            threading.Event().wait(seconds)
            self.thaw(*names)

    def thaw(self, *names):
        for name in names:
            self.signal(name, signal.SIGCONT)

    def data(self, name):
        return self.play.dir / ("etcd" if self.processes[name]["role"] == "store" else "brokers") / name

    def copy_data(self, name):
        shutil.copytree(self.data(name), f"{self.data(name)}.old")

    def empty_data(self, name):
        for path in self.data(name).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def restore_data(self, name):
        self.empty_data(name)
        shutil.copytree(f"{self.data(name)}.old", self.data(name), dirs_exist_ok=True)

    def restart(self, name):
        """As the playground had started it, and a broker as a supervisor does: until it stays up."""
        one = self.processes[name]
        argv = ["redis-server", self.play.dir / "conf" / f"{name}.conf"] if one["role"] == "broker" else self.argv[name]
        if one.get("namespace"):
            argv = ["nsenter", f"--net=/run/netns/{one['namespace']}", *argv]
        env = dict(harness._sanitizer_env(one["log"]), **self.env)
        self.started[name] = self.stack.keep(harness.Process(name, argv, one["log"], env=env))
        if one["role"] == "broker":
            wait_until(lambda: self.is_up(name), 30, f"{name} to be up", every=0.02)

    def is_up(self, name):
        """Whether it answers; starts it again where it has ended: a child of the killed one, which writes a copy of the data,
        may hold its port for a moment."""
        if not self.started[name].alive():
            self.started[name].start()
        try:
            self.call(name, "PING")
        except OSError:
            return False
        except RuntimeError:
            pass  # it loads
        return self.started[name].alive()

    def leads(self, name):
        return self.call(name, "ROLE")[0] == b"master"

    def follows(self, name, primary):
        """It has copied PRIMARY."""
        role = self.call(name, "ROLE")
        return role[0] == b"slave" and (role[1].decode(), role[2]) == self.address(primary, "redis") and role[3] == b"connected"

    def deliver(self, verb):
        """"pause" or "resume" of the unit's deliveries, as soon as it can be done."""
        wait_until(lambda: self.play.ctl("queue", verb, "payments", "--unit", UNIT).returncode == 0, 60, f"the queue to {verb}")

    def rogue(self, primary):
        """A replica of PRIMARY that nobody has asked for, attached and up to date."""
        host, port = self.address(primary, "redis")
        extra = ["--replicaof", f"{host} {port}"] + ["--masterauth", self.token] * self.hosts
        rogue = self.stack.broker("rogue", extra=extra)
        wait_until(lambda: b"master_link_status:up" in rogue.call("INFO", "replication"), 20, "the stranger to be attached")
        return rogue

    def mute(self, primary):
        """What PRIMARY sends to its only replica is lost on the way, until the end; nothing else is. On loopback."""
        peer = re.search(r" addr=\S+:(\d+) ", self.call(primary, "CLIENT", "LIST", "TYPE", "replica").decode()).group(1)
        port = self.address(primary, "redis")[1]
        self.lose(["OUTPUT", "-p", "tcp", "--sport", str(port), "--dport", peer, "-j", "DROP"])

    def lose(self, rule):
        """RULE of iptables is in force until let(), or the end."""
        subprocess.run(["iptables", "-I", *rule], check=True)
        self.rules.append(rule)

    def let(self, rule):
        subprocess.run(["iptables", "-D", *rule], check=True)
        self.rules.remove(rule)

    def harm(self, name, **what):
        harm.tell(self.env, self.pid(name), **what)
        if "clock_us" in what:
            self.clocks[name].append((time.monotonic(), what["clock_us"] / 1e6))

    def clock_of(self, name, wall_s):
        """The monotonic time at which the log of NAME says WALL_S, whatever was done to its clock meanwhile."""
        jumps = [*self.clocks[name], (math.inf, 0)]
        plain = wall_s - self.fault_wall_us / 1e6 + self.fault_at
        for (since, ahead_s), (until, _) in zip(jumps, jumps[1:]):
            if ahead_s and since - 0.1 <= plain - ahead_s <= until + 0.1:
                return plain - ahead_s
        return plain

    def is_stopped(self, name):
        return pathlib.Path(f"/proc/{self.pid(name)}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"

    def fault(self, *words):
        """ldcctl fault WORDS: what the network does."""
        done = self.play.ctl("fault", *words)
        if done.returncode:
            raise AssertionError(f"ldcctl fault {' '.join(words)}: {done.stderr}")
