# SPDX-License-Identifier: Apache-2.0
"""What is done to collections, and what must come of it. Each scenario ends with the audit's findings, none where all is
well, and prints its figures. They go through the gateways; only what is damaged by hand is damaged in the brokers."""
import random
import time

import audit
import notice
import stage
from collections_fixture import bucket_of
from harness import wait_until
from kills import Kills
from stage import pause

MOST_BEHIND_S = 2.0  # that a copy lacks when it opens: the staleness that its readers bear


def rest(on, load, timeout=120):
    """Everything is back, all that was begun is accepted, and every unit is level. Returns the load's last figures."""
    try:
        wait_until(on.is_whole, timeout, "every broker to be in sync again", every=0.2)
        figures = load.finish()
        on.wait_level(timeout)
    except AssertionError:
        on.tell()
        raise
    return figures


def kills(on, seed, seconds, keys, rate, **chaos):
    """Everything that collections stand on is killed in an order by chance, while they are written and read."""
    on.wait_level()
    load = on.load(keys=keys, rate=rate, deletes=10, readers=2, reads_rate=150, seed=seed)
    load.more(rate)
    with Kills(on, seed, **chaos) as harm:
        harm.stopping.wait(seconds)
    figures = rest(on, load)
    findings = audit.audit(on, [load.journal])
    print(f"kills, seed {seed}: {dict(harm.done)}; {audit.describe(figures)}", flush=True)
    return findings + [f"{figures['core_back']} reads went back from the core to the copy"] * (figures["core_back"] > 0), harm


class Damage:
    """One key of a copy and what is done to it by hand."""

    def __init__(self, what, site, key):
        self.what, self.at, self.key = what, f"{site.at}b/{bucket_of(key)}", key
        self.list, self.before = site.at + "keys", site.call("HGET", self.at, key)
        self.listed = site.call("ZSCORE", self.list, key)

    def do(self, site):
        if self.what == "flipped":
            site.call("HSET", self.at, self.key, self.before[:-2] + bytes([self.before[-2] ^ 1]) + self.before[-1:])
        elif self.what == "deleted":
            site.call("HDEL", self.at, self.key)
        elif self.what == "added":
            site.call("HSET", self.at, self.key, b"\x01" + bytes(26) + b"text/plainstrange")
        elif self.what == "unlisted":
            site.call("ZREM", self.list, self.key)

    def is_mended(self, site):
        return site.call("HGET", self.at, self.key) == self.before and site.call("ZSCORE", self.list, self.key) == self.listed


def by_hand(on, unit, seed, digest_s=1.0):
    """A flipped value, a deleted key and the like, all at once in a copy at rest. Returns findings and, by what was done,
    the seconds until it was good again."""
    chance, mended = random.Random(seed), {}
    with on.site(unit) as site:
        keys = [key for key in site.call("ZRANGE", site.at + "keys", 0, -1)]
        damages = [Damage(what, site, key) for what, key in zip(("flipped", "deleted", "unlisted"), chance.sample(keys, 3))]
        damages.append(Damage("added", site, b"nobody-wrote-this"))
        began = time.monotonic()
        for damage in damages:
            damage.do(site)

        def look():
            for damage in damages:
                if damage.what not in mended and damage.is_mended(site):
                    mended[damage.what] = time.monotonic() - began
            return len(mended) == len(damages)
        try:
            wait_until(look, 20 * digest_s, "all to be repaired", every=0.01)
        except AssertionError:
            pass  # the audit says what is not
    on.wait_level(30)
    findings = [f"{damage.what}: {damage.key} was never mended" for damage in damages if damage.what not in mended]
    print(f"by hand, seed {seed}, digest {digest_s} s: mended after "
          + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in sorted(mended.items())), flush=True)
    return findings + audit.audit(on, logs=False), mended


def empty(on, unit):
    """Nothing of the collection is left in the unit's broker, at once: what is made anew meanwhile would be half gone. Their
    memory is free, too, then: that is a second of a processor for a million keys, which is no part of making them anew."""
    with on.site(unit) as site:
        names = [f"{site.at}b/{n}" for n in range(1024)]
        site.call("UNLINK", *names, *(site.at + name for name in ("meta", "sums", "keys", "log", "pushed")))
        wait_until(lambda: b"lazyfree_pending_objects:0" in site.call("INFO", "memory"), what="the memory to be free")


def is_level(on, unit, rate):
    """But for what is on its way."""
    return int(on.meta(unit)["seq"]) >= int(on.meta(stage.CORE)["seq"]) - rate // 10


def wiped(on, unit, keys, rate, most=1.5):
    """A unit with nothing left copies KEYS anew under RATE writes a second, which others notice little of until it is level."""
    on.wait_level(300)
    load = on.load(keys=keys, rate=rate, writers=64, readers=2, reads_rate=100, probe_rate=50)
    before = notice.calm(load, rate)
    began = time.monotonic()
    empty(on, unit)
    making = notice.Phase(load)
    wait_until(lambda: on.meta(unit).get("state") == "live", 3600, f"the copy of {unit} to be live", every=0.2)
    wait_until(lambda: on.meta(unit).get("epoch") == on.meta(unit)["stamp"], 60, f"the copy of {unit} to be open", every=0.1)
    opened = time.monotonic()
    wait_until(lambda: is_level(on, unit, rate), 3600, f"{unit} to have what was written meanwhile", every=0.1)
    level = time.monotonic()
    making.end()
    print(f"meanwhile: {making}", flush=True)
    afterwards = notice.calm(load, rate)
    figures = rest(on, load)
    print(f"wiped: {unit} copied {keys} keys: open after {opened - began:.1f} s, level after {level - began:.1f}; "
          f"{audit.describe(making.figures)} {audit.describe(figures)}", flush=True)
    early = [f"wiped: open {level - opened:.1f} s before it was level"] * (level - opened > MOST_BEHIND_S)
    return early + notice.compare([before, afterwards], [making], most, "wiped") \
        + audit.audit(on, [load.journal], logs=False)


def caught_up(on, unit, rate):
    """Waits until UNIT has what it missed. Returns how many changes it lacked, how many seconds until the first came, and how
    many came a second then."""
    healed, start = time.monotonic(), int(on.meta(unit)["seq"])
    backlog = int(on.meta(stage.CORE)["seq"]) - start
    wait_until(lambda: int(on.meta(unit)["seq"]) > start, 60, "the first change to come through", every=0.01)
    began, first = time.monotonic(), int(on.meta(unit)["seq"])
    wait_until(lambda: is_level(on, unit, rate), 300, "the unit to have caught up", every=0.02)
    took, last = time.monotonic() - began, int(on.meta(unit)["seq"])
    return backlog, began - healed, (last - first) / max(took, 0.001)


def cut(on, load, unit, rate, away_s):
    """UNIT cannot reach the core unit's broker for a while. Returns the phases before it and while what was missed flowed, how
    many times as fast as it was written that was, and the phases of a control behind it: a calm, and loops."""
    before = notice.calm(load, rate)
    on.play.ctl("fault", "drop", unit, "--peer", stage.CORE)
    pause(away_s)
    on.play.ctl("fault", "heal")
    catching_up = notice.Phase(load)
    backlog, silent_s, speed = caught_up(on, unit, rate)
    catching_up.end()
    print(f"meanwhile: {catching_up}\npartition: {backlog} changes behind, {speed:.0f} a second once they flowed ({silent_s:.2f} s "
          f"after the network was whole), {speed / before.rate:.1f} times the {before.rate:.0f} writes a second", flush=True)
    return before, catching_up, speed / before.rate, notice.calm(load, rate), notice.control(load, on.stack)


def partition(on, unit, keys, rate, away_s, cuts=1, most=1.5, faster=5.0):
    """What a unit missed while it was cut off it gets much faster than it was written, and the others notice little of that."""
    on.wait_level(120)
    live = [one for one in on.copies() if one != unit]
    load = on.load(keys=keys, rate=rate, writers=64, units=live, readers=2, reads_rate=100, probe_rate=50)
    before, meanwhile, speeds, between, controls = zip(*(cut(on, load, unit, rate, away_s) for _ in range(cuts)))
    calms = [*before, *between, notice.calm(load, rate)]
    rest(on, load)
    notice.compare(calms, controls, most, "loops for comparison")
    slow = [f"partition: {speed:.1f} times as fast as it was written" for speed in speeds if speed < faster]
    return slow + notice.compare(calms, meanwhile, most, "partition") + audit.audit(on, [load.journal])
