#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a unit's users wait when it fails, and what that costs them and others: rounds of kill -9, SIGSTOP and a
silent cut of a unit's broker or of its whole host, in a playground of network namespaces with three gateways under
load. Needs root.

    sudo python3 test/bench/failover_bench.py [--rounds N] [--store file,etcd] [--fault kill,freeze,drop]
                                              [--part host|broker] [--slow MS]

Printed for each case: from the fault to the first payment that the standby accepted, over all gateways and rounds; the
longest that any payment took; payments refused; accepted payments that no app ever saw, and those it saw twice; and of
the other units' users the refused payments and the 99th percentile, before and during the faults. The fault's time is
taken before it is done: cutting a network takes some ms more. Rounds slower than --slow are explained step by step.
"""
import argparse
import collections
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "system"))
import harness
from failover_load import Load
from harness import wait_until
from playground_fixture import Playground

UNIT, USERS, OTHERS = "RZ01", range(0, 12), range(68, 80)  # of 3 units: RZ01, and RZ03, whose brokers stand elsewhere
EVERY_S, CALM_S = 0.05, 1.0


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


class Ground(Playground):
    def get(self, gateway, path):
        token = self.topology()["token"]
        answer = harness.request(gateway, "GET", path, {"Authorization": f"Bearer {token}"})
        return answer.json() if answer.status == 200 else {}

    def admins(self):
        return [url.split("//")[1] for url in self.topology()["admin"]]

    def unit(self, gateway):
        return next((unit for unit in self.get(gateway, "/v1/status").get("units", ()) if unit["name"] == UNIT), None)

    def record(self):
        return self.unit(self.admins()[0])["broker_record"]

    def covered(self, primary):
        """PRIMARY leads, everybody is in sync, and each gateway would trust the standby."""
        for gateway in self.admins():
            unit = self.unit(gateway)
            record = unit and unit["broker_record"]
            if not record or record["primary"] != primary or len(record["in_sync"]) < 2 or record.get("hold") or \
                    not unit["failover"]["vote"]["standby_healthy"]:
                return False
        return True

    def fault(self, *words):
        done, answer = self.ctl_json("fault", *words)
        assert done.returncode == 0, done.stderr
        return answer["at_us"] / 1e6 if answer else None

    def heal(self):
        done = self.ctl("fault", "heal")
        assert done.returncode == 0, done.stderr

    def failback(self):
        done = self.ctl("unit", "failback", UNIT, "--timeout", "60")
        assert done.returncode == 0, done.stdout + done.stderr

    def transitions(self, since):
        """Of UNIT since the monotonic time SINCE: (ms after it, gateway, event, text)."""
        shift = time.time() - time.monotonic()
        found = []
        for number, gateway in enumerate(self.admins(), 1):
            for one in self.get(gateway, "/v1/transitions?limit=100").get("transitions", ()):
                ms = 1000 * (one["at_us"] / 1e6 - shift - since)
                if one["unit"] == UNIT and ms > -20:
                    found.append((ms, f"gateway-{number}", one["event"], one["text"]))
        return sorted(found)


class Round:
    """One fault, from steady state to steady state."""

    def __init__(self, ground, loads, others, words):
        self.before = ground.record()
        self.at = ground.fault(*words)
        self.loads = loads
        wait_until(self.is_over, 60, "payments that the standby accepted, at each gateway")
        time.sleep(0.5)
        self.steps = ground.transitions(self.at)
        ground.heal()
        wait_until(lambda: len(ground.record()["in_sync"]) == 2, 60, "the old primary to be in sync")
        ground.failback()
        wait_until(lambda: ground.covered(self.before["primary"]), 60, "the unit to be home and covered")

    def firsts_ms(self):
        """Of each gateway, None where there was none yet."""
        firsts = []
        for load in self.loads:
            times = [a.at for a in load.collect() if a.status == 202 and a.at > self.at and a.epoch > self.before["version"]]
            firsts.append(1000 * (min(times) - self.at) if times else None)
        return firsts

    def is_over(self):
        return None not in self.firsts_ms()


def explain(round_):
    print(f"    {', '.join(f'{first:.0f}' for first in round_.firsts_ms())} ms:")
    for ms, gateway, event, text in round_.steps:
        if ms < 1500:
            print(f"    {ms:8.1f} {gateway} {event:10} {text}")


def delivered(ground):
    """How often the apps took each message."""
    seen = collections.Counter()
    for process in ground.topology()["processes"]:
        if process["role"] == "app":
            path = ground.dir / "apps" / f"{process['name']}.jsonl"
            seen.update(json.loads(line)["id"] for line in path.read_text().splitlines() if line.endswith("}"))
    return seen


def missing(ground, answers):
    accepted = {answer.id for answer in answers if answer.status == 202}
    end = time.monotonic() + 60
    while accepted - set(delivered(ground)) and time.monotonic() < end:
        time.sleep(0.5)
    seen = delivered(ground)
    return len(accepted - set(seen)), sum(1 for identity in accepted if seen[identity] > 1)


def run(store, fault, options):
    with harness.Stack() as stack:
        ground = Ground(stack, "--hosts", "namespaces", "--gateways", "3", "--units", "3", "--store", store)
        harness.wait_until(lambda: ground.covered(ground.record()["in_sync"][0]), 60, "a covered unit")
        target = UNIT if options.part == "host" or fault == "drop" else f"{UNIT}-broker"
        gateways = [ground.ingress(i) for i in range(3)]
        hit = [Load(gateway, list(USERS[i::3]), EVERY_S) for i, gateway in enumerate(gateways)]
        others = [Load(gateway, list(OTHERS[i::3]), EVERY_S) for i, gateway in enumerate(gateways)]
        time.sleep(3 * CALM_S)
        began = time.monotonic()
        rounds = []
        for _ in range(options.rounds):
            rounds.append(Round(ground, hit, others, (fault, target)))
            if max(rounds[-1].firsts_ms()) > options.slow:
                explain(rounds[-1])
            time.sleep(CALM_S)
        for load in hit + others:
            load.stop()
        report(f"{store} {fault} {options.part}", rounds, hit, others, began, ground)


def report(name, rounds, hit, others, began, ground):
    answers = [answer for load in hit for answer in load.answers]
    elsewhere = [answer for load in others for answer in load.answers]
    firsts = [first for one in rounds for first in one.firsts_ms()]
    took = [1000 * (answer.at - answer.asked) for answer in answers]
    lost, twice = missing(ground, answers + elsewhere)
    calm = [1000 * (a.at - a.asked) for a in elsewhere if a.asked < began]
    storm = [1000 * (a.at - a.asked) for a in elsewhere if any(0 <= a.asked - one.at < 0.5 for one in rounds)]
    print(f"{name:20}| {quantile(firsts, 0.5):5.0f} {max(firsts):5.0f} | {max(took):7.0f} "
          f"{sum(a.status != 202 for a in answers):4} of {len(answers):6} | {lost:4} {twice:5} | "
          f"{sum(a.status != 202 for a in elsewhere):4} of {len(elsewhere):6}, p99 {quantile(calm, 0.99):.0f} -> "
          f"{quantile(storm, 0.99):.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--store", default="file,etcd")
    parser.add_argument("--fault", default="kill,freeze,drop")
    parser.add_argument("--part", default="host", choices=("host", "broker"))
    parser.add_argument("--slow", type=float, default=100, help="ms; slower rounds are explained")
    options = parser.parse_args()
    print(f"{'ms':20}| first: p50, max | longest, refused | lost, twice | others: refused")
    for store in options.store.split(","):
        for fault in options.fault.split(","):
            run(store, fault, options)


if __name__ == "__main__":
    main()
