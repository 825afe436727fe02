#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copies of collections as the agents keep them: made, kept up, opened, and made anew where nothing else helps."""
import itertools
import json
import pathlib
import re
import time
import unittest

import copies_fixture
import harness
from collections_fixture import bucket_of
from copies_fixture import CORE, stopped
from harness import wait_until


class Copies(copies_fixture.CopiesTest):
    def bootstraps(self, unit="RZ01"):
        return self.units[unit].agent.metric("agent_copy_bootstraps_total")

    def open_with(self, count, **options):
        self.start(**options)
        self.write(count)
        self.wait_open()
        self.assert_same()

    def test_what_is_written_in_the_core_is_read_in_every_unit(self):
        self.start(units=("RZ01", "RZ02"))
        seq = self.write(500)
        self.origin.delete(b"key-7")
        for unit in ("RZ01", "RZ02"):
            self.wait_open(unit)
            self.wait_applied(seq + 1, unit)
            self.assert_same(unit)
        report = json.loads(wait_until(lambda: self.origin.call("HGET", self.origin.at + "units", "RZ02"), what="a report"))
        self.assertEqual((report["agent"], report["bad"]), ("agent-RZ02", ""))
        self.assertEqual(self.origin.call("EXISTS", f"ldc:{{{CORE}}}:c/rates/owner"), 0)

    def test_a_making_that_is_killed_goes_on_where_it_was(self):
        self.start()
        self.wait_open()
        agent, copy = self.units["RZ01"].agent, self.copy()
        agent.kill()
        self.write(8000, size=400)

        def killed_in_the_midst():
            copy.call("DEL", copy.at + "meta")
            agent.restart()
            wait_until(lambda: 100 < int(copy.meta("copy_bucket") or 0), what="a tenth of it", every=0.001)
            agent.kill()
            return int(copy.meta("copy_bucket")) < 1024  # else it was over before it was seen

        wait_until(killed_in_the_midst, what="a making that is killed")
        self.write(100)
        agent.restart()
        self.wait_open()
        self.assert_same()
        self.assertEqual(self.bootstraps(), 0)

    def test_a_copy_that_is_gone_is_made_anew(self):
        self.open_with(100)
        copy = self.copy()
        copy.call("DEL", *copy.call("KEYS", copy.at + "*"))  # at once: what is made anew meanwhile would be half gone
        wait_until(lambda: copy.seq == self.origin.seq, what="another copy")
        self.wait_open()
        self.assert_same()
        self.assertEqual(self.bootstraps(), 2)

    def test_a_copy_that_the_log_does_not_reach_is_made_anew(self):
        self.open_with(100)
        with stopped(self.units["RZ01"].agent):
            seq = self.write(2000)
            self.origin.call("XTRIM", self.origin.at + "log", "MINID", f"{seq - 10}-0")
        self.wait_applied(seq)
        self.wait_open()
        self.assert_same()
        self.assertEqual(self.bootstraps(), 2)

    def test_a_copy_that_has_more_than_the_origin_is_made_anew(self):
        self.open_with(100)
        origin = self.origin
        with stopped(self.units["RZ01"].agent):
            origin.call("DEL", *origin.call("KEYS", origin.at + "*"))
            self.write(30)
        wait_until(lambda: self.copy().seq == 30, what="another copy")
        self.wait_open()
        self.assert_same()

    def test_a_broker_that_is_full_takes_changes_again_when_there_is_room(self):
        self.open_with(100)
        broker = self.units["RZ01"].brokers[0]
        broker.call("CONFIG", "SET", "maxmemory", "1")
        seq = self.write(100)
        wait_until(lambda: "copy.refused" in self.units["RZ01"].agent.log_text(), what="a refusal")
        self.assertEqual(self.copy().seq, 100)
        broker.call("CONFIG", "SET", "maxmemory", "0")
        self.wait_applied(seq)
        self.assert_same()
        self.assertEqual(self.bootstraps(), 1)

    def peak(self, agent, forget=False):
        """The most memory that the agent took, in bytes."""
        if forget:
            pathlib.Path(f"/proc/{agent.pid}/clear_refs").write_text("5")
        status = pathlib.Path(f"/proc/{agent.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def test_a_backlog_of_large_values_comes_in_pieces(self):
        """However small the values before them were."""
        self.open_with(1000)
        agent = self.units["RZ01"].agent
        before = self.peak(agent, forget=True)
        with stopped(agent):
            seq = self.write(384, first=1000, size=128 << 10)
        self.wait_applied(seq, timeout=60)
        if harness.PLAIN:
            self.assertLess(self.peak(agent) - before, 40 << 20)
        self.assert_same()

    def test_a_large_bucket_is_copied_in_parts_while_it_changes(self):
        self.start()
        self.wait_open()
        agent, copy, origin = self.units["RZ01"].agent, self.copy(), self.origin
        keys = list(itertools.islice((key for key in (b"key-%d" % n for n in itertools.count()) if bucket_of(key) == 0), 60))

        def write(key, size=100 << 10):
            origin.put(key, key * (size // len(key)))

        agent.kill()
        for key in keys[:50]:
            write(key)
        copy.call("DEL", *copy.call("KEYS", copy.at + "*"))
        origin.call("CONFIG", "RESETSTAT")
        agent.restart()
        for change in range(200):
            key = keys[change % len(keys)]
            if change % 3 == 0:
                origin.delete(key)
            else:
                write(key, size=1000)
        self.wait_open()
        self.assert_same()
        self.assertIn("cmdstat_hmget:calls=", origin.call("INFO", "commandstats").decode())

    def waits(self):
        """How many WAITs have ended at the core unit's primary."""
        line = next((line for line in self.origin.call("INFO", "commandstats").decode().splitlines() if line.startswith("cmdstat_wait:")), "")
        return int(line.split("calls=")[1].split(",")[0]) if line else 0

    def is_lacking(self):
        """Writes one, and says whether the standby does not take it."""
        self.write(1)
        return self.origin.call("WAIT", 1, 50) == 0

    def test_what_a_standby_lacks_is_not_applied_while_changes_flow(self):
        self.open_with(50, core_brokers=2)
        core = self.units[CORE]
        with stopped(core.agent), stopped(core.brokers[1]):  # the agent would go on without the standby
            wait_until(self.is_lacking, what="a standby that stands still")
            lacking, asked = self.write(1), self.waits()
            wait_until(lambda: self.write(1) and self.waits() >= asked + 5, what="questions of the copy's agent", every=0.001)
            self.assertLess(self.copy().seq, lacking)
        self.wait_applied(self.origin.seq)
        self.assert_same()

    def test_a_snapshot_is_brought_up_at_its_interval_and_stays_open(self):
        self.start(collections={"rates": {"replication": "snapshot", "interval": "2s", "staleness": "1m"}})
        self.write(100)
        self.wait_open()
        wait_until(lambda: "copy.open" in self.units["RZ01"].agent.log_text(), what="the log of it")
        left = wait_until(self.left_behind(), what="a copy that stands still", every=0.05)
        wait_until(lambda: self.copy().seq > left, what="a copy that is brought up")
        self.assertTrue(self.is_open())
        self.assert_same()
        self.assertEqual(self.bootstraps(), 1)

    def left_behind(self):
        """A condition: where the copy has stood for a second of steady writes, each of which a copy that follows takes."""
        stood, since = -1, 0.0

        def look():
            nonlocal stood, since
            before = self.copy().seq
            if before != stood:
                stood, since = before, time.monotonic()
            self.write(1)
            return time.monotonic() - since > 1 and stood

        return look

    def share_out(self):
        """Eight copies between two agents; the owner of each by its name."""
        self.start(collections={f"rates-{n}": {} for n in range(8)})
        other = self.stack.agent("RZ01", name="agent-b")
        for name in self.collections:
            self.wait_open(name=name)
        wait_until(lambda: len(set(self.owners().values()) - {""}) == 2, what="shared out copies")
        return other

    def owners(self):
        return {name: self.copy(name=name).meta("owner") or "" for name in self.collections}

    def test_the_copies_of_an_agent_that_is_killed_go_to_another(self):
        other = self.share_out()
        self.units["RZ01"].agent.kill()
        wait_until(lambda: {owner.split("/")[0] for owner in self.owners().values()} == {"agent-b"}, what="one owner")
        for name in self.collections:
            self.write(50, origin=self.site(CORE, name))
            self.assert_same(name=name)
        self.assertEqual(other.metric("agent_copies_open"), 8)

    def test_what_was_given_back_at_another_primary_is_given_back_at_this_one(self):
        """As after a failover to a broker that has not heard of it."""
        self.share_out()
        owners = self.owners()
        name = next(name for name, owner in owners.items() if owner.startswith("agent-b/"))
        left = next(owner for owner in owners.values() if owner.startswith("agent-RZ01/"))
        copy = self.copy(name=name)
        copy.call("HSET", copy.at + "meta", "owner", left)
        copy.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_until(lambda: self.owners() == owners, what="the owner that there was")
        self.write(50, origin=self.site(CORE, name))
        self.assert_same(name=name)


if __name__ == "__main__":
    unittest.main()
