#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The proof of zone C at length: everything that collections stand on is killed, damaged, wiped and cut off under writes,
and every key of every unit is read afterwards.

    soak.py [--seconds 600] [--seed N] [--only kills,quorum,hand,wiped,partition] [--keys 1000000] [--rate N] [--writes N]
            [--away S] [--cuts N]

SECONDS is how long the kills go on. `make zonec-soak SECONDS=600 SEED=N`
"""
import argparse
import os
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MENDED_S = {"unlisted": 3.4}  # the list's keys are counted behind a round, and looked for in the next one


def soak_kills(stack, options, *flags):
    on = stage.Stage(stack, "--units", "3", "--gateways", "2", "--agents", "2", "--supervise", *flags)
    on.fill(20000)
    findings, _ = scenarios.kills(on, options.seed, options.seconds, keys=20000, rate=options.rate)
    return findings + scenarios.by_hand(on, "RZ02", options.seed)[0]


def soak_quorum(stack, options):
    """Of three brokers of the core unit a second one may die before the first is back."""
    return soak_kills(stack, options, "--core-brokers", "3")


def soak_hand(stack, options):
    on = stage.Stage(stack, "--units", "1")
    on.fill(20000)
    on.wait_level()
    findings, mended = scenarios.by_hand(on, "RZ01", options.seed)
    late = [f"{what} was mended after {took:.2f} s" for what, took in mended.items() if took > MENDED_S.get(what, 1.2)]
    return findings + late


def quiet_stage(stack, options, keys, *flags, **collection):
    """No unit moves, and no broker makes its file anew: what others notice is what RZ01 does."""
    on = stage.Stage(stack, *flags, failover={"auto": "false"}, **collection)
    on.rewrite_nothing()
    on.fill(keys)
    return on


def soak_wiped(stack, options):
    """To look through a million keys each 10 s takes a fifth of every broker: whoever has so many chooses a longer digest."""
    on = quiet_stage(stack, options, options.keys, "--units", "1", digest="1m")
    return scenarios.wiped(on, "RZ01", options.keys, options.writes)


def soak_partition(stack, options):
    """An hour at 100 writes a second takes three minutes at 2,000."""
    if os.geteuid() != 0:
        print("partition: left out, it takes root")
        return []
    on = quiet_stage(stack, options, 20000, "--units", "2", "--hosts", "namespaces")
    return scenarios.partition(on, "RZ01", 20000, options.writes, options.away, options.cuts)


SOAKS = {"kills": soak_kills, "quorum": soak_quorum, "hand": soak_hand, "wiped": soak_wiped, "partition": soak_partition}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=int, default=500, help="writes a second while all is killed")
    parser.add_argument("--writes", type=int, default=2000, help="writes a second beside a wiped unit, and a partition")
    parser.add_argument("--away", type=float, default=180, help="seconds that a partition lasts")
    parser.add_argument("--cuts", type=int, default=1, help="partitions, one after the other")
    parser.add_argument("--keys", type=int, default=1000000)
    parser.add_argument("--only", default=",".join(SOAKS))
    options = parser.parse_args()
    options.seed = options.seed or random.SystemRandom().randrange(1, 1 << 31)
    bad = 0
    for name in options.only.split(","):
        print(f"--- {name}, seed {options.seed}", flush=True)
        with harness.Stack() as stack:
            try:
                findings = SOAKS[name](stack, options)
            except AssertionError as fault:
                findings = [str(fault)]
            print("\n".join(f"RED {finding}" for finding in findings) or f"{name}: all well", flush=True)
            if findings:
                print(stack.logs(60))
            bad += bool(findings)
    return bad > 0


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    import stage  # puts test/system on the path
    import harness
    import scenarios
    sys.exit(main())
