#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nothing is broken, everything is disturbed: busy loops beside it on the processors, gateways that stand still for 80 ms
now and then, one message of a hundred lost between any two hosts. Whatever moves meanwhile must have had its reason: a
majority on record, and a broker that really said nothing, as eyes beside it saw. And nothing gets lost.

    noise.py [--seconds 600] [--seed N]      `make noise SECONDS=1800`
"""
import argparse
import itertools
import random
import sys
import threading
import time

import harm
import isolate
import scene as scenes  # noqa: I001  (puts test/system on the path)
import checkers
import harness
from audit import Audit
from clients import longest_silence_ms, quantile_ms

LOOPS = 4
STOP_S = 0.08
PAUSE_S = (1.0, 4.0)  # between two stops
LOSS_PERCENT = "1"
PACE_S = 0.008  # of the eyes: any unit may be moved here, and a gateway moves one whose broker kept its question for 14 ms
CHECKS = (("lost", checkers.lost), ("twice", checkers.twice), ("two writers", checkers.one_writer),
          ("epochs fell", checkers.epochs), ("inverted", checkers.order), ("explained", checkers.explained),
          ("healed", checkers.healed))


def disturb(scene, stack):
    hosts = sorted({one["host"] for one in scene.processes.values()})
    for host, peer in itertools.combinations(hosts, 2):
        scene.fault("loss", host, "--peer", peer, "--percent", LOSS_PERCENT)
    return [stack.keep(harness.Process(f"loop-{i}", ["sh", "-c", "while :; do :; done"], stack.log(f"loop-{i}")))
            for i in range(LOOPS)]


def stop_gateways(scene, chance, over):
    """Until OVER; returns how many there were."""
    gateways, count = scene.of(role="gateway"), 0
    while not over.wait(chance.uniform(*PAUSE_S)):
        scene.freeze(chance.choice(gateways), seconds=STOP_S)
        count += 1
    return count


def run(scene, stack, seconds, chance):
    """The number of stops."""
    over, stops = threading.Event(), []
    loops = disturb(scene, stack)
    stopper = threading.Thread(target=lambda: stops.append(stop_gateways(scene, chance, over)))
    stopper.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        over.wait(min(60, end - time.monotonic()))
        accepted = sum(payers.accepted() for payers in scene.payers["hit"] + scene.payers["others"])
        print(f"{seconds - max(end - time.monotonic(), 0):5.0f} s: {accepted} accepted, "
              f"{scene.moves_logged()} failovers", flush=True)
    over.set()
    stopper.join()
    for loop in loops:
        loop.kill()
    scene.fault("heal")
    return stops[0]


def judge(audit):
    """The number of moves without a reason; tells of each."""
    strange = 0
    for move in audit.moves:
        if move.at < audit.scene.fault_at:
            continue  # while the deployment came up, and nobody looked yet
        silence = audit.silence_before(move.unit, move.at)
        fine = move.matter == "primary" and silence >= checkers.REALLY_SILENT_S
        strange += not fine
        print(f"{'justified' if fine else 'NO REASON'}: {move.unit} at {move.at - audit.scene.fault_at:.1f} s, a broker of it "
              f"silent for {1000 * silence:.0f} ms: {move.why}")
    return strange


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not isolate.may():
        raise SystemExit("it makes hosts of its own, and must be root for that")
    isolate.alone()
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 31)
    print(f"seed {seed}", flush=True)
    with harness.Stack() as stack:
        scene = scenes.Scene(stack, hosts=True, env=harm.prepare(stack.folder), gap_ms=None)
        scene.begin(pause=0.02, pace_others=PACE_S)
        scene.start_clock()
        stops = run(scene, stack, options.seconds, random.Random(seed))
        scene.heal()
        scene.end()
        audit = Audit(scene)
        bad = judge(audit)
        for name, check in CHECKS:
            ok, text = check(audit, None)
            bad += not ok
            print(f"{'ok ' if ok else 'RED'} {name}: {text}")
        answers = audit.answers["hit"] + audit.answers["others"]
        refused = sum(answer.status != 202 for answer in answers)
        print(f"seed {seed}: {options.seconds:.0f} s, {stops} stops, {len(audit.accepted)} accepted, {refused} refused or cut, "
              f"p99 {quantile_ms(answers, 0.99):.0f} ms, longest silence {longest_silence_ms(answers):.0f} ms, "
              f"{len(audit.moves)} failovers; {'all well' if not bad else f'{bad} RED'}")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
