#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The change feed of collections while brokers die: every change once and in order, and none that could be taken back."""
import threading
import unittest

import watch_fixture
from harness import PATIENCE, wait_until
from watch_fixture import Watch


class Failover(watch_fixture.WatchTest):
    """Some watch all the time, others come back again and again."""

    RUNS = 400  # writes before, while and after

    def start(self, **options):
        super().start(**options)
        self.over, self.told = threading.Event(), {}
        self.threads = [threading.Thread(target=self.follow, args=(n,)) for n in range(4)]

    def follow(self, number):
        """Number 0 stays; others leave after some events and go on where they were."""
        seen, told = 0, self.told.setdefault(number, [])
        while not (self.over.is_set() and seen == self.last):
            try:
                with Watch(self.gateway.port, timeout=5, Last_Event_ID=seen) as watch:
                    if watch.status != 200:
                        continue
                    for _ in range(number * 50 or 10**9):
                        event = watch.block()
                        if event is None:
                            break
                        seen = watch.seen
                        told += [event.told()] if event.event else []
                        if self.over.is_set() and seen == self.last:
                            break
            except OSError:
                pass

    def run_watchers(self, strike):
        for thread in self.threads:
            thread.start()
        self.write(self.RUNS)
        strike()
        self.last = self.write(self.RUNS, first=2 * self.RUNS)
        self.over.set()
        for thread in self.threads:
            thread.join(60 * PATIENCE)
            self.assertFalse(thread.is_alive(), "a watcher waits in vain")
        for number, told in self.told.items():
            self.assertEqual([id for _, id, *_ in told], list(range(1, self.last + 1)), f"watcher {number}")

    def die(self, unit):
        """The primary, while its unit is written: the record names another one then."""
        before = self.units[unit].primary()
        writer = threading.Thread(target=lambda: self.write_slowly(unit))
        writer.start()
        before.kill()
        wait_until(lambda: self.units[unit].primary() is not before, timeout=30, what=f"another primary of {unit}")
        writer.join(60 * PATIENCE)
        if unit != "CORE":
            wait_until(lambda: self.is_open(self.copy(unit)), timeout=30, what="the copy to open")
        wait_until(self.takes_writes, timeout=30, what="the origin to take writes")

    def takes_writes(self):
        """The record may name a primary that has yet to be promoted."""
        try:
            return self.origin.put(b"first", b"x")
        except RuntimeError:
            return False

    @staticmethod
    def is_open(copy):
        return copy.meta("epoch") == str(copy.epoch)

    def write_slowly(self, unit):
        for n in range(self.RUNS if unit != "CORE" else 0):
            self.origin.put(b"key-%d" % n, b"while it dies")

    def test_a_unit_whose_broker_dies(self):
        self.start(brokers=2)
        self.run_watchers(lambda: self.die("RZ01"))

    def test_a_core_whose_broker_dies(self):
        """Changes that a failover may take back are told to nobody."""
        self.start(core_brokers=2)
        self.threads += [threading.Thread(target=self.follow_core)]
        self.run_watchers(lambda: self.die("CORE"))

    def follow_core(self):
        told = self.told.setdefault("at the core", [])
        while not told or told[-1][1] < (self.last if self.over.is_set() else 10**9):
            with Watch(self.gateway.port, timeout=30, LDC_Unit="CORE", Last_Event_ID=told[-1][1] if told else 0) as watch:
                while watch.status == 200 and (event := watch.block()):
                    told += [event.told()] if event.event else []
                    if self.over.is_set() and told and told[-1][1] == self.last:
                        return


if __name__ == "__main__":
    unittest.main()
