# SPDX-License-Identifier: Apache-2.0
"""What writers notice of something: their waits before and meanwhile, and whether the machine has anything left for it."""
from stage import pause

CALM_S = 20
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
    print(f"before: {phase}", flush=True)
    if phase.rate < 0.98 * rate or phase.processors > FULL:
        print(f"the machine is full with {rate} writes/s: what follows tells of that; choose --writes", flush=True)
    return phase


def compare(before, after, most, what):
    """Findings where the second phase's writes took too long, and lines for people."""
    print(f"meanwhile: {after}", flush=True)
    texts = [(f"{what}: writers' p99 {name} {before.p99_ms(kind):.2f} ms before, {after.p99_ms(kind):.2f} ms meanwhile: "
              f"{after.p99_ms(kind) / max(before.p99_ms(kind), 0.001):.2f} times", before.p99_ms(kind), after.p99_ms(kind))
             for kind, name in (("writes", "from sending on"), ("waits", "from when they were due"))]
    print("\n".join(text for text, _, _ in texts), flush=True)
    return [text for text, first, second in texts if second > most * first]
