# SPDX-License-Identifier: Apache-2.0
"""What writers notice of something: their waits before and meanwhile, and whether the machine has anything left for it."""
import pathlib
import statistics
import sys

from stage import harness, pause

CALM_S = 20
CONTROL_S = 12
LOOPS, LOOP_SHARE = 2, 0.06  # of one processor each: what a unit that catches up takes more than before, and the reading for it
FULL = 0.95  # of all processors: then every wait tells of the machine


class Phase:
    """The load's figures from here to end(), and how busy the machine was."""

    def __init__(self, load):
        self.load = load
        load.next_phase()
        self.ticks = ticks()

    def end(self):
        self.figures = self.load.next_phase()
        busy, every = (now - then for now, then in zip(ticks(), self.ticks))
        self.processors = busy / max(every, 1)
        return self

    @property
    def rate(self):
        return self.figures["accepted"] / self.figures["seconds"]

    def p99_ms(self, what):
        return self.figures[what]["p99_us"] / 1000

    def __str__(self):
        writes = self.figures["writes"]
        return f"{self.rate:.0f} writes/s, acknowledged after p50 {writes['p50_us'] / 1000:.2f} p99 {self.p99_ms('writes'):.2f} ms, " \
               f"from when they were due p99 {self.p99_ms('waits'):.2f} ms, readable everywhere p99 " \
               f"{self.p99_ms('everywhere'):.2f} ms, processors {100 * self.processors:.0f} %"


def ticks():
    """(busy, all) of all processors since the machine began."""
    with open("/proc/stat") as stat:
        user, nice, system, idle, iowait, *rest = (int(word) for word in stat.readline().split()[1:9])
    busy = user + nice + system + sum(rest)
    return busy, busy + idle + iowait


def calm(load, rate):
    """The phase before, once the load has come to its pace. Whoever asks for more than the machine gives measures the machine."""
    load.more(2 * rate, timeout=300)
    phase = Phase(load)
    pause(CALM_S)
    phase.end()
    print(f"calm: {phase}", flush=True)
    if phase.rate < 0.98 * rate or phase.processors > FULL:
        print(f"the machine is full with {rate} writes/s: what follows tells of that; choose --writes", flush=True)
    return phase


def control(load, stack):
    """What any work of that size does to writers, which has nothing to do with them: loops, half a millisecond at a time."""
    loops = [stack.keep(harness.Process(f"loop-{i}", [sys.executable, pathlib.Path(__file__).parent / "loop.py", LOOP_SHARE],
                                        stack.log(f"loop-{i}"))) for i in range(LOOPS)]
    phase = Phase(load)
    pause(CONTROL_S)
    phase.end()
    for loop in loops:
        loop.kill()
    print(f"{LOOPS} loops of {100 * LOOP_SHARE:.0f} %: {phase}", flush=True)
    return phase


def compare(calms, meanwhile, most, what):
    """Phases of either kind. By the median of each, for one minute of a machine that others use, too, is half as quick as the next
    one: findings where writes took too long, and lines for people."""
    findings = []
    for kind, name in (("writes", "from sending on"), ("waits", "from when they were due")):
        times = [[phase.p99_ms(kind) for phase in phases] for phases in (calms, meanwhile)]
        before, then = (statistics.median(one) for one in times)
        every = " and ".join(", ".join(f"{ms:.2f}" for ms in one) for one in times)
        text = f"{what}: writers' p99 {name} {before:.2f} ms in calm, {then:.2f} ms meanwhile: {then / max(before, 0.001):.2f} times " \
               f"({every})"
        print(text, flush=True)
        findings += [text] * (then > most * before)
    return findings
