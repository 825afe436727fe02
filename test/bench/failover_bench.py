#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a unit's users wait when it fails, and what that costs them and others: rounds of the drill failover.yaml
(kill -9, SIGSTOP or a silent cut of all of a unit) on a playground of network namespaces with three gateways, with
the control store in a folder and in three members of etcd, which stand elsewhere. Needs root.

    sudo python3 test/bench/failover_bench.py [--rounds N] [--store file,etcd] [--fault kill,freeze,drop] [--slow MS] [--keep FOLDER]

A line a case: milliseconds from right before the fault to the first message that was accepted again, at each gateway
(median and longest of all rounds); the same until it was suspected, and until the new record was in force; requests
refused; what was lost, and what an application saw twice; and of the other units' users the requests refused and the
99th percentile: before, from faults to where they are healed, and of all until everything is home again. Rounds slower
than --slow are told gateway by gateway.

Below it the medians of what that time is made of: each gateway suspects; the first one proposes; the store has taken
its record; each gateway goes by it, hears that the new primary serves, and accepts a message. With etcd, too, how long
its members' disks took to sync the log meanwhile: no change is quicker than the slower of the two quickest.

Everything runs on one machine: a busy one shows its own stalls. Where others work on it, `chrt -r 1` before the command
keeps them out; the folder is $TMPDIR's, whose disk syncs every message.
"""
import argparse
import json
import pathlib
import re
import statistics
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "system"))
import harness
from playground_fixture import Playground

CHAIN = ("detect_ms", "decide_ms", "converge_ms", "promoted_ms", "first_success_ms")


def drill(ground, fault, rounds):
    """The report; None where a drill may not begin yet: a standby is trusted when it was well for a while."""
    done = ground.ctl("drill", "run", "--file", HERE / "failover.yaml", "--fault", fault, "--rounds", str(rounds), "--yes",
                      "-o", "json", timeout=60 + 60 * rounds)
    report = json.loads(done.stdout) if done.stdout.startswith("{") else None
    if report is None or not report["rounds"]:
        return None, done.stderr + done.stdout
    return report, report["why"]


def first_report(ground, fault, rounds):
    end = time.monotonic() + 60
    while True:
        report, why = drill(ground, fault, rounds)
        if report is not None:
            return report
        if time.monotonic() > end:
            raise SystemExit(f"the drill does not begin: {why}\n{ground.ctl('status').stdout}")


def figures(values):
    return f"{values['p50']:5.0f} {values['max']:5.0f}" if values and values["p50"] is not None else f"{'-':>5} {'-':>5}"


def explain(report, slow_ms):
    for one in report["rounds"]:
        if any((link["first_success_ms"] or 1e9) > slow_ms for link in one["chain"]):
            print(f"    round {one['round']}: {one['outcome']} {one['why']}")
            for link in one["chain"]:
                print(f"      {link['gateway']:10}", "  ".join(
                    f"{name[:-3]} {'-' if link[name] is None else format(link[name], '.0f')}" for name in CHAIN))


def median_of(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def first_event(one, kind, text=""):
    """In ms, of round ONE."""
    times = [event["at_us"] / 1000 for event in one["events"] if event["kind"] == kind and text in event["text"]]
    return min((at for at in times if at > 0), default=None)


def tell_stages(rounds):
    links = [link for one in rounds for link in one["chain"]]
    stages = (("suspected", [link["detect_ms"] for link in links]),
              ("proposed", [first_event(one, "decide") for one in rounds]),
              ("stored", [first_event(one, "note", "the store took") for one in rounds]),
              ("in force", [link["converge_ms"] for link in links]),
              ("serves", [link["promoted_ms"] for link in links]),
              ("accepted", [link["first_success_ms"] for link in links]))
    medians = ((name, median_of(values)) for name, values in stages)
    print("    " + ", ".join(f"{name} {'-' if value is None else format(value, '.1f')}" for name, value in medians), flush=True)


def syncs(ground):
    """Of each member of etcd: its name, whether it leads, and how many syncs of its log took how long at most."""
    for member in (one for one in ground.topology()["processes"] if one["role"] == "store"):
        url = f"http://{member['address']}:{member['ports']['client']}/metrics"
        text = urllib.request.urlopen(url, timeout=5).read().decode()
        buckets = re.findall(r'etcd_disk_wal_fsync_duration_seconds_bucket{le="([^"]+)"} (\S+)', text)
        yield (member["name"], "etcd_server_is_leader 1" in text,
               [(float(most) * 1000, float(count)) for most, count in buckets])


def tell_syncs(before, after):
    for (name, leads, now), (_, _, then) in zip(after, before):
        counts = [(most, count - earlier) for (most, count), (_, earlier) in zip(now, then)]
        total = counts[-1][1]
        below = {share: next(most for most, count in counts if count >= total * share / 100) for share in (50, 90, 99)}
        print(f"    {name}{' (leads)' if leads else ''}: {total:.0f} syncs of the log, in ms at most: " +
              ", ".join(f"{share} % {most:.0f}" for share, most in below.items()), flush=True)


def tell_processes(ground, unit="RZ01"):
    """What became of those who were struck, and what all said last."""
    for one in ground.topology()["processes"]:
        stat, log = pathlib.Path(f"/proc/{one['pid']}/stat"), ground.dir / "logs" / f"{one['name']}.log"
        if one.get("unit") == unit or one["role"] == "gateway":
            print(f"    {one['name']}: {stat.read_text().split()[2] if stat.exists() else 'has ended'}")
            print("\n".join(log.read_text(errors="replace").splitlines()[-20:]), flush=True)


def run(store, fault, options):
    with harness.Stack() as stack:
        ground = Playground(stack, "--hosts", "namespaces", "--gateways", "3", "--units", "3", "--store", store)
        before = list(syncs(ground))
        report = first_report(ground, fault, options.rounds)
        after = list(syncs(ground))
        if report["outcome"] != "passed":
            print(f"{store} {fault}: {report['outcome']}: {report['why']}")
            tell_processes(ground)
    summary, proof = report["summary"], report["proof"]
    target = next(unit for unit in report["blast"]["units"] if unit["target"])
    others = [unit for unit in report["blast"]["units"] if not unit["target"] and unit["requests"]]
    p99 = "  ".join(" -> ".join(f"{unit[key] or 0:.1f}" for key in ("p99_before_ms", "p99_struck_ms", "p99_ms")) for unit in others)
    print(f"{store:5}{fault:7}{summary['passed']:3} of {summary['rounds']:3} | {figures(summary['first_success_ms'])} | "
          f"{figures(summary['detect_ms'])} | {figures(summary['converge_ms'])} | {target['failed']:3} of "
          f"{target['requests']:6} | {proof['lost_count']:3} {proof['duplicated_count']:3} | "
          f"{sum(unit['failed'] for unit in others):3} of {sum(unit['requests'] for unit in others):6}  {p99}", flush=True)
    tell_stages(report["rounds"])
    tell_syncs(before, after)
    if options.keep:
        pathlib.Path(options.keep, f"{store}-{fault}.json").write_text(json.dumps(report))
    explain(report, options.slow)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--store", default="file,etcd")
    parser.add_argument("--fault", default="kill,freeze,drop")
    parser.add_argument("--slow", type=float, default=100, help="ms; slower rounds are told")
    parser.add_argument("--keep", metavar="FOLDER", help="for the drills' reports")
    options = parser.parse_args()
    if options.keep:
        pathlib.Path(options.keep).mkdir(parents=True, exist_ok=True)
    print("store fault    passed | first, max | suspected  | converged  | refused       | lost, twice | others: refused, p99")
    for store in options.store.split(","):
        for fault in options.fault.split(","):
            run(store, fault, options)


if __name__ == "__main__":
    main()
