#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a change of the control store in etcd takes, and for how long none succeeds when members die: what stands in
docs/OPERATIONS.md. A gateway changes a unit's colours again and again, as fast as it is answered; that is the same
compare-and-set as a failover's. Members are processes of one machine: a network adds its round trips.

    python3 test/bench/etcd_bench.py [--rounds N] [-k WORD]
"""
import argparse
import pathlib
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "system"))
import harness
from etcd_fixture import Cluster

PRESETS, FAST = (100, 1000), (10, 100)


class Changer(threading.Thread):
    """Sets colours at GATEWAY until it is stopped; `.done` holds when each change began and ended."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.client = harness.Client(gateway.admin_port)
        self.done, self.stopped = [], threading.Event()

    def run(self):
        share = 0
        while not self.stopped.wait(0.002):
            share = 1 + share % 98
            began = time.monotonic()
            answer = self.client.request("POST", f"/v1/colors?unit=RZ01&blue={share}&green={100 - share}&by=bench",
                                         {"Authorization": f"Bearer {harness.TOKEN}"})
            if answer.status == 200:
                self.done.append((began, time.monotonic()))

    def stop(self):
        self.stopped.set()
        self.join()


def deploy(stack, size, times):
    cluster = Cluster(stack, size, beat_ms=times[0], election_ms=times[1])
    gateway = stack.gateway(wait=False, **cluster.options())
    harness.wait_until(lambda: gateway.epoch() >= 0, what="the admin listener")
    apps = [stack.app("RZ01"), stack.app("RZ01", "green")]
    rules = harness.rules({"RZ01": harness.unit("00-99", blue=[apps[0]], green=[apps[1]])}, routes=[harness.PROXY_ROUTE])
    harness.wait_until(lambda: gateway.get("/v1/rules?expected_epoch=0&by=bench", "POST", rules.encode()).status == 200,
                       what="rules to be taken")
    return cluster, gateway


def kill(cluster, number, members):
    for i in members:
        cluster.members[i].signal(number)


def mend(cluster, number, members):
    for i in members:
        if number == signal.SIGSTOP:
            cluster.members[i].signal(signal.SIGCONT)
        else:
            cluster.members[i].kill()
            cluster.restart(i)
    for i in members:
        cluster.wait_for(i)


def followers(cluster, count):
    leader = cluster.leader()
    return [i for i in range(len(cluster.members)) if i != leader][:count]


def strike_leader(number):
    def strike(cluster):
        members = [cluster.leader()]
        kill(cluster, number, members)
        return lambda: mend(cluster, number, members)
    return strike


def strike_site(cluster):
    """A datacentre with two of five members goes; the leader stands elsewhere."""
    members = followers(cluster, 2)
    kill(cluster, signal.SIGKILL, members)
    return lambda: mend(cluster, signal.SIGKILL, members)


def move_leader(cluster):
    leader, other = cluster.leader(), followers(cluster, 1)[0]
    target = cluster.status(other)["header"]["member_id"]
    subprocess.run(["etcdctl", "--endpoints", f"127.0.0.1:{cluster.ports[leader]}", "move-leader", f"{int(target):x}"],
                   check=True, capture_output=True, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"})
    return lambda: None


def longest(done, begin):
    """Of the times between two successes, the longest that ends after BEGIN."""
    ends = [end for _, end in done]
    return max(b - max(a, begin) for a, b in zip(ends, ends[1:]) if b > begin)


def one_round(cluster, changer, strike):
    harness.wait_until(lambda: len(changer.done) > 50, what="changes")
    begin = time.monotonic()
    heal = strike(cluster)
    harness.wait_until(lambda: changer.done[-1][0] > begin + 0.2, 60, "a change after the fault")
    gap = longest(changer.done, begin)
    heal()
    seen = len(changer.done)
    harness.wait_until(lambda: len(changer.done) > seen + 50, 60, "changes as before")
    return 1000 * gap


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


CASES = [
    ("3 members, presets, leader killed", 3, PRESETS, strike_leader(signal.SIGKILL)),
    ("3 members, presets, leader frozen", 3, PRESETS, strike_leader(signal.SIGSTOP)),
    ("3 members, 10/100, leader killed", 3, FAST, strike_leader(signal.SIGKILL)),
    ("3 members, 10/100, leader frozen", 3, FAST, strike_leader(signal.SIGSTOP)),
    ("5 members, presets, 2 killed, leader elsewhere", 5, PRESETS, strike_site),
    ("5 members, presets, leader killed", 5, PRESETS, strike_leader(signal.SIGKILL)),
    ("3 members, presets, move-leader", 3, PRESETS, move_leader),
    ("3 members, 10/100, move-leader", 3, FAST, move_leader),
]


def run(name, size, times, strike, rounds):
    with harness.Stack() as stack:
        cluster, gateway = deploy(stack, size, times)
        changer = Changer(gateway)
        changer.start()
        gaps = [one_round(cluster, changer, strike) for _ in range(rounds)]
        changer.stop()
        took = [1000 * (end - begin) for begin, end in changer.done]
    print(f"{name:50}| {quantile(took, 0.5):5.1f} {quantile(took, 0.99):7.1f} | {min(gaps):6.0f} "
          f"{quantile(gaps, 0.5):6.0f} {max(gaps):6.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-k", default="", help="only cases with this word in their names")
    options = parser.parse_args()
    print(f"{'ms':50}| change: p50, p99 | longest without one: min, p50, max of {options.rounds}")
    for name, *case in CASES:
        if options.k in name:
            run(name, *case, options.rounds)


if __name__ == "__main__":
    main()
