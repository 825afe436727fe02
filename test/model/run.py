#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks SPIN whether the failover protocol holds (failover.pml), and whether each of its rules is needed.

    run.py                 small bounds, under a minute on an idle machine: `make check`
    run.py --all           wider bounds; and each rule taken out, which must be found out: `make model`
    run.py -k WORD         only the bounds or rules whose name has it, of all
    run.py --tell SWITCH   the shortest way to the harm, step by step, with that rule taken out
    run.py --document      the rules as a table, for docs/FAILOVER.md
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

MODEL = pathlib.Path(__file__).resolve().parent / "failover.pml"
MEMORY_MB = 4000

# Name, then the bounds: SPIN looks at every run within them.
SMALL = [
    ("a restart", dict(VERSIONS=3, RESTARTS=1, OTHERS=0)),
    ("a failover and back", dict(VERSIONS=4, RESTARTS=0, OTHERS=0)),
    ("a restart, two replicated messages", dict(VERSIONS=3, RESTARTS=1, OTHERS=0, LOCAL=0)),
]
WIDE = [
    ("epochs of others", dict(VERSIONS=4, RESTARTS=0, OTHERS=1)),
    ("four epochs with a restart", dict(VERSIONS=4, RESTARTS=1, OTHERS=0)),
    ("two restarts", dict(VERSIONS=3, RESTARTS=2, OTHERS=0)),
]

PLAIN, RESTART, EXPAND = dict(VERSIONS=3, RESTARTS=0, OTHERS=0), dict(VERSIONS=3, RESTARTS=1, OTHERS=0), \
    dict(VERSIONS=4, RESTARTS=0, OTHERS=0)

# The switch, the smallest bounds at which its absence shows, the rule, and what happens without it.
RULES = [
    ("NO_EPOCH_CHECK", PLAIN, "Every function that writes compares the epoch of its caller with the broker's stamp.",
     "A gateway that has not heard of the change goes on writing to the old primary, or a forgotten command runs late."),
    ("ANY_REPLICA", PLAIN, "Only in-sync members count for a `WAIT`; a strange replica makes it void.",
     "A message is acknowledged that the standby has never seen."),
    ("NO_COMPARE", PLAIN, "The record changes by compare-and-set alone.",
     "Two proposals from one record both win, and the second undoes what the first has promised."),
    ("PUSH_EARLY", PLAIN, "A new record is told to others when the store has it, and not before.",
     "The proposal loses, and what the broker that it named has acknowledged is nowhere."),
    ("SHRINK_EARLY", PLAIN, "A replica that is gone is struck off in the store first; then gateways stop waiting for it.",
     "The replica that they no longer wait for is made the primary."),
    ("NO_PRE_STAMP", EXPAND, "Before a replica joins the set the primary's stamp is raised above the record's epoch.",
     "A gateway that still acknowledges alone writes past the new member, which is then made the primary."),
    ("NO_CATCH_UP", EXPAND, "A replica joins when it holds all that the primary held at the raised stamp.",
     "It is made the primary without the rest."),
    ("NO_RUN_ID", RESTART, "Members are named by broker *and* run. A broker that was restarted is nobody until it is taken up "
     "again.", "A broker that came back with an old copy is promoted for what it was before."),
    ("OPEN_BOOT", RESTART, "Brokers start fenced: replica of nobody that serves, until an agent has read the record.",
     "A broker that came back empty takes writes, or wipes the replica that follows it."),
    ("ADOPT_ANY", RESTART, "A restarted primary is taken up again only if it has all that the in-sync member has.",
     "Its old copy replaces the good one."),
    ("OLD_LOOK", RESTART, "What that member has is asked after the restart, when its link to the former run has ended.",
     "It has received more since it was last looked at, and an older copy replaces it."),
    ("NO_WATCH", RESTART, "An agent's check and its `REPLICAOF` are one step for the broker (`WATCH`, `MULTI`, `EXEC`).",
     "An agent that was frozen between them makes the new primary a replica of the old one, which wipes it."),
    ("BLIND_STAMP", PLAIN, "A stamp is only ever raised, by a function that compares.",
     "An agent with an old record lowers it, and old writers are let in again."),
    ("NO_LOOKUP", PLAIN, "What is sent again with doubt is looked for by its id before it is stored.",
     "The message stands there twice."),
    ("REPLAY_AT_ONCE", PLAIN, "A message whose outcome is unknown is sent again only at a higher epoch, which shuts the earlier "
     "command out, or when the broker has ended the earlier connection.", "The earlier command, still unread in its connection, runs after the repeat has found nothing."),
    ("NO_HOLD", PLAIN, "While the record says `hold`, gateways let requests of the unit wait.",
     "What the primary acknowledges alone (`local`) during a planned switch is lost."),
    ("NO_FENCE", PLAIN, "The fence of a planned switch is the stamp of the record that says `hold`; it does not end by itself.",
     "A pause ends before the switch is in the store: the same loss."),
    ("NO_OFFSETS", PLAIN, "The switch waits until the standby holds all that the fenced primary holds.",
     "The same loss."),
]


def spin(folder, defines, *flags):
    """Makes SPIN's verifier of the model with these switches, and returns what it prints."""
    argv = [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in defines.items()]
    shutil.copy(MODEL, folder)
    for step in (["spin", "-a", *argv, MODEL.name],
                 ["gcc", "-O2", "-w", "-DSAFETY", f"-DMEMLIM={MEMORY_MB}", *flags, "-o", "pan", "pan.c"]):
        done = subprocess.run(step, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(step)}:\n{done.stdout}{done.stderr}")
    # -E: that nothing more can happen within the bounds is no fault.
    done = subprocess.run(["./pan", "-E", "-m200000", "-w24"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    return done.stdout + done.stderr


def verdict(text):
    """(whether a property was broken, whether all was looked at, how many states were)."""
    errors = re.search(r"errors: (\d+)", text)
    states = re.search(r"([\d.e+]+) states, stored", text)
    if not errors or not states:
        raise SystemExit(f"no verdict of SPIN's:\n{text}")
    whole = "not completed" not in text and "depth too small" not in text and "out of memory" not in text
    return int(errors.group(1)) > 0, whole, int(float(states.group(1)))


def check(name, defines):
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ldc-model-") as folder:
        # Four bytes of hash stand for a state: at these sizes the odds of passing one over are below one in a thousand.
        broken, whole, states = verdict(spin(folder, defines, "-DHC4", "-DNOREDUCE"))
    return broken, whole, f"{name:38} {states:10,} states {time.monotonic() - began:6.1f} s"


def holds(name, bounds):
    broken, whole, line = check(name, bounds)
    good = whole and not broken
    print(f"{'holds' if good else 'BROKEN' if broken else 'UNDONE'}   {line}", flush=True)
    return good


def is_needed(switch, bounds):
    broken, _, line = check(switch, {**bounds, switch: None})
    print(f"{'caught' if broken else 'MISSED'}  {line}", flush=True)
    return broken


def tell(switch):
    bounds = next((bounds for name, bounds, _, _ in RULES if name == switch), None)
    if bounds is None:
        raise SystemExit(f"no such switch; there are {', '.join(rule[0] for rule in RULES)}")
    with tempfile.TemporaryDirectory(prefix="ldc-model-") as folder:
        broken, _, _ = verdict(spin(folder, {**bounds, switch: None}, "-DCOLLAPSE", "-DBFS"))
        if not broken:
            raise SystemExit("nothing was found")
        argv = [f"-D{name}={value}" for name, value in bounds.items()]
        done = subprocess.run(["spin", "-t", "-T", *argv, f"-D{switch}", MODEL.name], cwd=folder, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True)
    print(done.stdout.split("spin: trail ends")[0])


def document():
    print("| Rule | Without it | Switch |\n|---|---|---|")
    for switch, _, rule, harm in RULES:
        print(f"| {rule} | {harm} | `{switch}` |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("-k", metavar="WORD")
    parser.add_argument("--tell", metavar="SWITCH")
    parser.add_argument("--document", action="store_true")
    options = parser.parse_args()
    if options.document:
        return document()
    if options.tell:
        return tell(options.tell)
    word = options.k or ""
    every = options.all or options.k is not None
    good = [holds(name, bounds) for name, bounds in SMALL + (WIDE if every else []) if word in name]
    good += [is_needed(switch, bounds) for switch, bounds, _, _ in (RULES if every else []) if word in switch]
    if not good:
        raise SystemExit(f"nothing has {word!r} in its name")
    print("the protocol holds" if all(good) else "the model and its rules do not agree")
    return not all(good)


if __name__ == "__main__":
    sys.exit(main())
