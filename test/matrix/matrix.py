#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The fault matrix: each fault is done to a whole deployment of real processes under load, and each checker says whether
what it stands for held. Prints one line a fault, and ends with 1 where a cell is red.

    matrix.py [-k WORD] [--store dir|etcd] [--seed N] [--list]      `make matrix`
    matrix.py --without RULE|all                                   in a copy without that rule something must turn red
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import traceback

import harm
import isolate
import scene as scenes  # noqa: I001  (puts test/system on the path)
import harness
from audit import Audit
from checkers import COLUMNS
from rows import ROWS
from rules import RULES, without

GAP_MS = int(os.environ.get("LDC_GAP_MS", "40"))  # failover.gap: more where the machine is busy
TRIES = 4  # a busy machine may move the unit before anything is done to it


class Cell:
    def __init__(self, ok, text):
        self.ok, self.text = ok, text

    def __str__(self):
        return self.text if self.ok else f"RED {self.text}"


def attempt(row):
    """The cells of one row, what is to be said where one is red, and whether nothing could be seen."""
    stack, scene = harness.Stack(), None
    try:
        scene = scenes.Scene(stack, row.store, row.hosts, harm.prepare(stack.folder), row.small, GAP_MS)
        scene.begin()
        scene.do(row.act)
        scene.heal()
        state = standing(scene) if scene.healed else ""
        scene.end()
        audit = Audit(scene)
        cells = [Cell(*check(audit, row)) for _, check in COLUMNS]
        return cells, "" if all(cell.ok for cell in cells) else tell(audit) + state, False
    except Exception as fault:  # whatever it is, the other rows are still to come
        log = traceback.format_exc() + (standing(scene) if scene else "")
        return [Cell(False, str(fault).splitlines()[0][:80])], log, isinstance(fault, scenes.Void)
    finally:
        stack.end()


def play(row):
    for _ in range(TRIES):
        cells, log, void = attempt(row)
        if not void:
            break
    return cells, log


def tell(audit):
    refused = [answer for answer in audit.answers["hit"] + audit.answers["others"] if answer.status != 202]
    return "\n".join([f"missing: {sorted(audit.missing())[:5]}"] + [str(move) for move in audit.moves] +
                     [str(answer) for answer in refused[:10]]) + "\n"


def standing(scene):
    """What the gateways think of the unit, and its agents' last words."""
    lines = []
    for name in scene.of(role="gateway"):
        unit = scene.units(name).get(scenes.UNIT, {})
        lines.append(f"{name}: {json.dumps(unit.get('broker_record'))} {json.dumps(unit.get('failover'))}")
    for name in scene.of(role="agent") + scene.of(role="gateway"):
        text = pathlib.Path(scene.processes[name]["log"]).read_text()
        lines += [f"--- {name}"] + [line[:400] for line in text.splitlines()[-25:]]
    return "\n".join(lines) + "\n"


def print_row(name, cells):
    print(f"| {name:58} | " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def run(rows, verbose):
    """The number of rows that have a red cell."""
    print(f"| {'fault':58} | " + " | ".join(name for name, _ in COLUMNS) + " | s |")
    print("|---" * (len(COLUMNS) + 2) + "|", flush=True)
    red = 0
    for row in rows:
        began = time.monotonic()
        cells, log = play(row)
        bad = not all(cell.ok for cell in cells)
        red += bad
        print_row(row.name + (" (etcd)" if row.store == "etcd" else ""),
                  cells + [Cell(True, f"{time.monotonic() - began:.0f}")])
        if bad and verbose:
            print(log, file=sys.stderr, flush=True)
    return red


def run_without(name, options):
    """Whether the rows that stand for the rule NAME turn red without it."""
    rule = next(rule for rule in RULES if rule.name == name)
    with without(rule) as build:
        done = subprocess.run([sys.executable, __file__, "--quiet", "-k", rule.row], stdin=subprocess.DEVNULL,
                              env=dict(os.environ, LDC_BUILD=str(build)), stdout=subprocess.PIPE, text=True)
    print(f"{'red  ' if done.returncode == 1 else 'GREEN'} without the rule: {rule.says}\n{done.stdout}", flush=True)
    return done.returncode == 1


def choose(options):
    rows = [row for row in ROWS if options.k.lower() in row.name.lower() and options.store in (None, row.store)]
    if not rows:
        raise SystemExit(f"no fault has {options.k!r}")
    if options.seed:
        random.Random(options.seed).shuffle(rows)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", metavar="WORD", default="", help="only faults whose name has it")
    parser.add_argument("--store", choices=("dir", "etcd"), help="only faults with this store")
    parser.add_argument("--seed", type=int, default=0, help="another order of the faults")
    parser.add_argument("--quiet", action="store_true", help="no logs where a cell is red")
    parser.add_argument("--list", action="store_true", help="names of the faults and rules")
    parser.add_argument("--without", metavar="RULE", choices=[rule.name for rule in RULES] + ["all"],
                        help="take a rule out of a copy: " + ", ".join(rule.name for rule in RULES))
    options = parser.parse_args()
    if options.list:
        print("\n".join([row.name for row in ROWS] + [f"--without {rule.name}: {rule.says}" for rule in RULES]))
        return 0
    if not isolate.may():
        raise SystemExit("it loses packets on purpose, and must be root for that")
    isolate.alone()
    if options.without:
        names = [rule.name for rule in RULES] if options.without == "all" else [options.without]
        return not all([run_without(name, options) for name in names])
    red = run(choose(options), not options.quiet)
    print(f"{red} red" if red else "all green")
    return red > 0


if __name__ == "__main__":
    sys.exit(main())
