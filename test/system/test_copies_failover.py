#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copies of collections, and who is told of their changes, while their unit's agent and broker, and the core unit's broker,
die under writes."""
import collections
import pathlib
import sys
import threading
import time
import unittest

import harness
import push_fixture
from harness import wait_until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "zonec"))
import stage  # noqa: E402
from stage import CORE, NAME, Stage  # noqa: E402

UNIT, NEIGHBOUR = "RZ01", "RZ02"


class Writer(threading.Thread):
    """Puts one value after the other through a gateway, each until it is accepted; `.versions` by key, in order."""

    def __init__(self, port):
        super().__init__()
        self.client, self.versions, self.stopping = harness.Client(port), {}, threading.Event()

    def run(self):
        n = 0
        while not self.stopping.is_set():
            key = f"key-{n % 50}"
            try:
                answer = self.client.request("PUT", f"/-/c/{NAME}/{key}", {"Idempotency-Key": f"put-{n}"}, b"%d" % n)
            except OSError:
                continue
            if answer.status in (200, 201, 204):
                self.versions.setdefault(key, []).append(int(answer.headers["ldc-version"]))
                n += 1

    def more(self, count):
        goal = self.count() + count
        wait_until(lambda: self.count() >= goal, 30, f"{count} more writes")

    def count(self):
        return sum(map(len, list(self.versions.values())))

    def end(self):
        self.stopping.set()
        self.join()
        self.client.close()


class Reader(threading.Thread):
    """Reads what the writer writes, from UNIT's copy (None: from any), and remembers what went back."""

    def __init__(self, port, unit):
        super().__init__()
        self.client, self.headers = harness.Client(port), {"LDC-Unit": unit} if unit else {}
        self.last, self.back, self.statuses, self.stopping = {}, [], collections.Counter(), threading.Event()

    def run(self):
        n = 0
        while not self.stopping.is_set():
            n += 1
            key = f"key-{n % 50}"
            try:
                answer = self.client.request("GET", f"/-/c/{NAME}/{key}", self.headers)
            except OSError:
                continue
            self.statuses[answer.status] += 1
            if answer.status == 200:
                self.see(key, int(answer.headers["ldc-version"]), answer.headers["ldc-unit"])
            else:
                self.stopping.wait(0.05)  # as a client does, who is told to come again

    def see(self, key, version, unit):
        before = self.last.get(key, (0, ""))
        if version < before[0]:
            self.back.append((key, before, version, unit))
        self.last[key] = version, unit

    def end(self):
        self.stopping.set()
        self.join()
        self.client.close()


class CopiesFailover(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.stage = Stage(self.stack, "--units", "2")
        wait_until(self.is_open, what="a copy")
        self.writer = Writer(self.stage.play.ingress())
        self.writer.start()
        self.addCleanup(self.writer.end)
        self.writer.more(50)
        self.readers = [Reader(self.stage.play.ingress(), unit) for unit in (None, UNIT, NEIGHBOUR, CORE)]
        for reader in self.readers:
            reader.start()
            self.addCleanup(reader.end)

    def kill(self, process):
        """Returns when that was."""
        self.stage.play.kill(process["name"])
        return time.monotonic()

    def owner(self):
        return (self.stage.meta(UNIT).get("owner") or "").split("/")[0]

    def wait_moved(self, unit, before):
        wait_until(lambda: (now := self.stage.primary(unit)) and now["name"] != before["name"], what=f"another primary of {unit}")

    def is_open(self):
        meta = self.stage.meta(UNIT)
        return meta.get("state") == "live" and meta.get("epoch") == meta["stamp"]

    def check(self):
        """Every acknowledged value is in every copy, or a newer one; all copies are the same."""
        self.writer.more(50)
        expected = {key: versions[-1] for key, versions in self.writer.versions.items()}
        for unit in (UNIT, NEIGHBOUR):
            wait_until(lambda: int(self.stage.meta(unit)["seq"]) >= max(expected.values()), what=f"all of it in {unit}")
            with self.stage.site(unit) as site:
                values = site.values()
            found = {key: stage.collections_fixture.unpack(values[key.encode()])[0] for key in expected}
            self.assertEqual({key: version for key, version in expected.items() if found[key] < version}, {})
        for versions in self.writer.versions.values():
            self.assertEqual(versions, sorted(set(versions)), "each write got a version of its own")

    def test_copies_go_on_when_agent_broker_and_origin_die(self):
        primary = self.stage.primary(UNIT)
        started = self.kill(primary)
        self.wait_moved(UNIT, primary)
        wait_until(self.is_open, what="the copy to be open at the other broker")
        print(f"closed for {time.monotonic() - started:.2f} s at most when the unit's primary died")
        self.check()
        agent = next(one for one in self.stage.processes(role="agent", unit=UNIT))
        self.kill(agent)
        wait_until(lambda: NEIGHBOUR in self.owner(), what="a guest that keeps the copy")
        wait_until(self.is_open, what="the copy to be open again")
        self.check()
        origin = self.stage.primary(CORE)
        self.kill(origin)
        self.wait_moved(CORE, origin)
        self.check()
        self.writer.end()
        for reader in self.readers:
            reader.end()
            print(f"a reader was answered {dict(reader.statuses)}")
            self.assertEqual(reader.back, [], "no reader of one gateway sees a version go back")
            self.assertGreater(reader.statuses[200], 0.9 * sum(reader.statuses.values()))
        self.stage.wait_level(30)


class PushFailover(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.app = push_fixture.Listener(NAME, delay=0.05)  # so that a request is under way whenever something dies
        self.addCleanup(self.app.end)
        self.stage = Stage(self.stack, "--units", "2", push=self.app.url + push_fixture.PATH)
        self.writer = Writer(self.stage.play.ingress())
        self.writer.start()
        self.addCleanup(self.writer.end)

    def kill_primary(self, unit):
        """While it is told of changes, and until its successor tells of more."""
        told = self.told(unit)
        wait_until(lambda: self.told(unit) > told, 30, f"changes of {unit}")
        before = self.stage.primary(unit)
        wait_until(lambda: self.stage.may_move(unit), 30, f"a standby of {unit} that is trusted")
        self.stage.play.kill(before["name"])
        wait_until(lambda: (now := self.stage.primary(unit)) and now["name"] != before["name"], what=f"another primary of {unit}")
        self.writer.more(50)

    def told(self, unit):
        return max(self.app.sequences(unit), default=0)

    def test_an_app_hears_of_all_changes_when_the_brokers_of_its_unit_and_of_the_core_die(self):
        for unit in (UNIT, CORE):
            self.kill_primary(unit)
        self.writer.end()
        with self.stage.site(CORE) as origin:
            last, changes = origin.seq, {int(id.split("-")[0]): fields[b"key"].decode() for id, fields in origin.log()
                                         if fields[b"op"] == b"put"}
        for unit in (UNIT, NEIGHBOUR, CORE):
            wait_until(lambda: self.told(unit) == last, 30, f"{last}, the last change, to be told in {unit}")
            told = self.app.assert_no_gap(self, unit, last)
            events = self.app.of(unit, "put")
            self.assertEqual([data["key"] for data in events], [changes[data["version"]] for data in events])
            self.assertEqual(self.app.kinds(unit).count("reset"), 1, unit)
            print(f"{unit}: {len(told)} events for {last - min(told) + 1} changes")


if __name__ == "__main__":
    unittest.main()
