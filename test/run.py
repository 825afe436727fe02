#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of a build folder: unit programs, fuzz corpora, simulated deployments, system tests.

    run.py --build build [--only unit,fuzz,simulation,system] [-k WORD] [-j N]

As many programs as there are processors run at a time, and those that say
`RUNS_ALONE = "why"` run one by one behind them.
Single tests are counted, not programs. The last line is `N passed, N failed`; the exit code is 1 where anything
failed, and where nothing ran at all.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMITS = {"unit": 400, "fuzz": 300, "simulation": 400, "system": 900}  # seconds a program, for whom a busy machine has little
MEMORY, MEMORY_ROOM = "/dev/shm", 4 << 30  # where tests keep files if they fit: a disk that others keep busy is no fault of ours
SEEDS = 2000  # of simulated deployments; `make soak` runs more


class Job:
    """One program to run, and how to read from its output what passed."""

    def __init__(self, kind, name, argv, count, alone=False):
        self.kind, self.name, self.argv, self.count, self.alone = kind, name, argv, count, alone

    def run(self, build):
        started = time.monotonic()
        environment = dict(os.environ, LDC_BUILD=str(build), PYTHONDONTWRITEBYTECODE="1")
        if build.name != "build":
            environment.setdefault("LDC_SLOW", "1")
        if self.kind == "system" and has_room(MEMORY, MEMORY_ROOM):
            environment.setdefault("TMPDIR", MEMORY)
        try:
            done = subprocess.run(self.argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMITS[self.kind])
            output, code = done.stdout.decode(errors="replace"), done.returncode
        except subprocess.TimeoutExpired as late:
            output = (late.stdout or b"").decode(errors="replace") + f"\nended after {LIMITS[self.kind]} s\n"
            code = -1
        passed, failed = self.count(output, code)
        return passed, failed, output, time.monotonic() - started


def has_room(folder, room):
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= room


def count_cmocka(output, code):
    passed = len(re.findall(r"^\[ +OK \] ", output, re.M))
    failed = len(re.findall(r"^\[ +(?:FAILED|ERROR) +\] (?!\d+ test)\S", output, re.M))
    started = len(re.findall(r"^\[ +RUN +\] ", output, re.M))
    failed = max(min(failed, started - passed), started - passed)
    return passed, failed if failed or (code == 0 and started) else 1


def count_fuzz(output, code):
    inputs = re.search(r"(\d+) inputs?", output)
    return (int(inputs.group(1)) if inputs and code == 0 else 0), int(code != 0 or not inputs)


def count_seeds(output, code):
    seeds = re.search(r"^(\d+) seeds, (\d+) failed", output, re.M)
    failed = int(seeds.group(2)) if seeds else 1
    return (int(seeds.group(1)) - failed if seeds else 0), max(failed, int(code != 0))


def count_unittest(output, code):
    ran = re.search(r"^Ran (\d+) tests?", output, re.M)
    bad = re.search(r"^FAILED \((.*)\)", output, re.M)
    skipped = re.search(r"skipped=(\d+)", output)
    faults = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", bad.group(1))) if bad else 0
    if not ran or (code != 0 and faults == 0):
        return 0, 1
    return max(int(ran.group(1)) - faults - (int(skipped.group(1)) if skipped else 0), 0), faults


def collect(build, kinds, word):
    jobs = []
    if "unit" in kinds:
        for path in sorted((build / "test").glob("test_*")):
            if path.is_file() and os.access(path, os.X_OK) and not path.suffix:
                jobs.append(Job("unit", path.name, [str(path)], count_cmocka))
    if "fuzz" in kinds:
        for path in sorted((build / "test").glob("fuzz_*")):
            corpus = ROOT / "test" / "fuzz" / "corpus" / path.name.removeprefix("fuzz_")
            if path.is_file() and not path.suffix and corpus.is_dir():
                jobs.append(Job("fuzz", path.name, [str(path), str(corpus)], count_fuzz))
    simulation = build / "test" / "simulation"
    if "simulation" in kinds and simulation.is_file():
        seeds = SEEDS if build.name == "build" else SEEDS // 10
        jobs.append(Job("simulation", simulation.name, [str(simulation), "--seeds", str(seeds)], count_seeds))
    if "system" in kinds:
        for path in sorted((ROOT / "test" / "system").glob("test_*.py")):
            jobs.append(Job("system", path.name, [sys.executable, "-W", "error::ResourceWarning", str(path)],
                            count_unittest, alone=bool(re.search(r"^RUNS_ALONE = ", path.read_text(), re.M))))
    return [job for job in jobs if not word or word in job.name]


def report(job, result, totals):
    passed, failed, output, seconds = result
    totals[0] += passed
    totals[1] += failed
    print(f"{'ok  ' if not failed else 'FAIL'} {job.kind:6} {job.name:36} {passed:5} passed {seconds:7.1f} s", flush=True)
    if failed:
        print("\n".join("     | " + line for line in output.rstrip().splitlines()[-200:]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--only", default="unit,fuzz,simulation,system")
    parser.add_argument("-k", default="", metavar="WORD")
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    build = (ROOT / options.build).resolve()
    jobs = collect(build, options.only.split(","), options.k)
    totals = [0, 0]
    together = [job for job in jobs if not job.alone]
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        for job, result in zip(together, pool.map(lambda job: job.run(build), together)):
            report(job, result, totals)
    for job in jobs:
        if job.alone:
            report(job, job.run(build), totals)
    print(f"{totals[0]} passed, {totals[1]} failed")
    sys.exit(1 if totals[1] or not totals[0] else 0)


if __name__ == "__main__":
    main()
