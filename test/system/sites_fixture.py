# SPDX-License-Identifier: Apache-2.0
"""Machines: network namespaces behind one bridge, each with an address of its own, and the example of conf/sites/ on
them as docs/OPERATIONS.md tells. The test itself stands in a namespace of the same network. Needs root."""
import contextlib
import ctypes
import os
import subprocess

import harness
from harness import wait_until

CLONE_NEWNET = 0x40000000
HOME = "hz1", "10.0.1.1"
SITES = {"hz1": "10.0.1.1", "sh1": "10.0.2.1", "wt1": "10.0.3.1"}
TESTER = "10.0.9.1"
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(path):
    with open(path) as namespace:
        if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class Network:
    """The namespaces; those who are named after this process, so that two tests do not meet."""

    def __init__(self):
        self.prefix = f"ldc{os.getpid()}"
        self._ip("netns", "add", self.name("bridge"))
        self._inside("bridge", "link", "add", "bridge", "type", "bridge")
        self._inside("bridge", "link", "set", "bridge", "up")
        for site, address in {**SITES, "tester": TESTER}.items():
            self._attach(site, address)
        self.home = open("/proc/self/ns/net")
        _enter(f"/run/netns/{self.name('tester')}")

    def name(self, site):
        return f"{self.prefix}-{site}"

    def _ip(self, *words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def _inside(self, site, *words):
        self._ip("-n", self.name(site), *words)

    def _attach(self, site, address):
        self._ip("netns", "add", self.name(site))
        self._inside(site, "link", "add", "eth0", "type", "veth", "peer", "name", site, "netns", self.name("bridge"))
        self._inside("bridge", "link", "set", site, "master", "bridge", "up")
        self._inside(site, "addr", "add", f"{address}/16", "dev", "eth0")
        self._inside(site, "link", "set", "eth0", "up")
        self._inside(site, "link", "set", "lo", "up")

    def within(self, site, *argv):
        return ["ip", "netns", "exec", self.name(site), *argv]

    def cut(self, site):
        """Nothing reaches SITE any more, and nothing leaves it."""
        self._inside("bridge", "link", "set", site, "down")

    def mend(self, site):
        self._inside("bridge", "link", "set", site, "up")

    def end(self):
        if _libc.setns(self.home.fileno(), CLONE_NEWNET) == 0:
            self.home.close()
        for site in ("bridge", "tester", *SITES):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._ip("netns", "del", self.name(site))


class Sites:
    """What conf/sites/ describes, in STACK's folder, where /etc and /var stand for those of all machines."""

    def __init__(self, stack, network):
        self.stack, self.network, self.processes = stack, network, {}
        self.folder, self.token = stack.folder, "token-of-the-sites"
        for name, word in (("token", self.token), ("pulse-key", "key-of-the-pulses-0123456789"),
                           ("broker-password", "word-of-the-brokers"), ("etcd-password", "word-of-the-gateways")):
            self._write(f"etc/ldcgate/{name}", word + "\n")
        self._write("etc/redis/secret.conf", "requirepass word-of-the-brokers\nmasterauth word-of-the-brokers\n")

    def _write(self, path, text):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o600)
        return file

    def _configure(self, example, site, path, *changes):
        """The EXAMPLE as SITE has it: other addresses, names and units than on the machine that it was written for."""
        lines = (harness.ROOT / "conf/sites" / example).read_text().splitlines(keepends=True)
        for old, new in ((HOME[1], SITES[site]), (HOME[0], site), *changes):
            lines = [line if "2379,10" in line or "INITIAL_CLUSTER=" in line else line.replace(old, new) for line in lines]
        text = "".join(lines)
        for place in ("/etc/", "/var/"):
            text = text.replace(place, f"{self.folder}/{site if place == '/var/' else ''}{place}")
        return self._write(path, text)

    def start(self, name, site, *argv, env=None):
        process = self.stack.keep(harness.Process(name, self.network.within(site, *argv), self.stack.log(name), env=env))
        self.processes[name] = process
        return process

    # One method for each step of the guide.

    def etcd(self, site):
        """With more patience than in the example: machines that run tests are busy."""
        slower = ("INTERVAL=10", "INTERVAL=100"), ("TIMEOUT=100", "TIMEOUT=1000")
        text = self._configure("etcd", site, f"{site}/etcd", *slower).read_text()
        settings = dict(line.split("=", 1) for line in text.splitlines() if line and line[0] != "#")
        return self.start(f"etcd-{site}", site, "etcd", env=dict(os.environ, **settings))

    def etcdctl(self, *words, user=None, endpoints=",".join(f"http://{address}:2379" for address in SITES.values())):
        login = ["--user", user] if user else []
        done = subprocess.run(["etcdctl", *login, *words], capture_output=True, text=True, timeout=60 * harness.PATIENCE,
                              env=dict(os.environ, ETCDCTL_API="3", ETCDCTL_ENDPOINTS=endpoints, ETCDCTL_COMMAND_TIMEOUT="30s"))
        if done.returncode != 0:
            raise AssertionError(f"etcdctl {words}: {done.stdout}{done.stderr}")
        return done.stdout

    def broker(self, site, port):
        conf = self._configure("redis.conf", site, f"{site}/redis-{port}.conf", ("6379", str(port)))
        (self.folder / site / "var/lib/redis" / str(port)).mkdir(parents=True, exist_ok=True)
        return self.start(f"redis-{site}-{port}", site, "redis-server", conf)

    def gateway(self, site):
        (self.folder / site / "var/lib/ldcgate").mkdir(parents=True, exist_ok=True)
        return self.start(f"gateway-{site}", site, harness.BUILD / "ldc-gateway", "--config",
                          self._configure("gateway.yaml", site, f"{site}/gateway.yaml"))

    def agent(self, site, unit):
        return self.start(f"agent-{unit}", site, harness.BUILD / "ldc-agent", "--config",
                          self._configure("agent-RZ01.yaml", site, f"{site}/agent.yaml", ("RZ01", unit)))

    def app(self, site, unit):
        return self.start(f"app-{unit}", site, harness.BUILD / "ldc-sample-app", "--listen", f"{SITES[site]}:8101",
                          "--unit", unit, "--color", "blue", "--record", self.folder / f"app-{unit}.jsonl",
                          "--token-file", self.folder / "etc/ldcgate/token")

    def ctl(self, *words, timeout=60):
        gateways = ",".join(f"http://{address}:9080" for address in SITES.values())
        return subprocess.run([harness.BUILD / "ldcctl", *words, "--gateway", gateways, "--token-file",
                               self.folder / "etc/ldcgate/token"], capture_output=True, text=True, timeout=timeout)

    def wait_for_etcd(self):
        def answers():
            try:
                self.etcdctl("endpoint", "health")
                return True
            except AssertionError:
                return False
        wait_until(answers, 30, "etcd to be healthy")
