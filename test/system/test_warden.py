#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Brokers that boot fenced, and the agents that guard them: what comes back old, empty or deposed harms nothing, and
whatever was acknowledged is there."""
import fcntl
import json
import os
import shutil
import signal
import threading
import time
import unittest

import harness
from app_fixture import App
from durable_fixture import info
from harness import wait_until

PARTITIONS = 4


class Payer:
    """Pays as fast as it can; `acknowledged` are the ids of its 202s."""

    def __init__(self, port):
        self.port, self.acknowledged, self.stopping = port, [], threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        client, number = harness.Client(self.port, timeout=10), 0
        while not self.stopping.is_set():
            number += 1
            try:
                answer = client.request("POST", "/pay/1", {"X-User-Id": str(number % 100)}, b"{}")
                if answer.status == 202:
                    self.acknowledged.append(answer.json()["id"])
            except OSError:
                client.close()
                client = harness.Client(self.port, timeout=10)
        client.close()

    def more(self, count):
        goal = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= goal, timeout=30, what=f"{count} more payments")

    def end(self):
        self.stopping.set()
        self.thread.join()


class Warden(harness.StackTest):
    """RZ01 has a primary and, with its standby RZ02, a replica. Nobody fails over but the test itself."""

    def start(self, app=None, **options):
        self.primary, self.standby, self.other = (self.stack.broker(name, fenced=True)
                                                  for name in ("primary", "standby", "other"))
        blue = [app] if app is not None else []
        units = {"RZ01": harness.unit("00-99", brokers=[self.primary, self.standby], standby="RZ02", blue=blue),
                 "RZ02": harness.unit(datacenter="dc2", brokers=[self.other])}
        text = harness.rules(units, routes=[harness.QUEUE_ROUTE], topics={"payments": {"partitions": PARTITIONS}})
        self.stack.write_rules(text + "failover: {auto: false}\n")
        self.agent = self.stack.agent("RZ01", wait=False, **options)
        self.guard = self.stack.agent("RZ02", wait=False, **options)
        self.gateway = self.stack.gateway()
        self.wait_in_sync(self.primary, self.standby)
        self.payer = Payer(self.gateway.port)
        self.payer.more(50)

    def tearDown(self):
        if hasattr(self, "payer"):
            self.payer.end()
        super().tearDown()

    # --- the record ---

    @property
    def path(self):
        return self.stack.store / "document-brokers%2fRZ01"

    def record(self):
        if not self.path.exists():
            return {"version": 0, "in_sync": []}
        version, text = self.path.read_text().split("\n", 1)
        return dict(json.loads(text), version=int(version))

    def members(self):
        return [member["broker"] for member in self.record()["in_sync"]]

    def wait_in_sync(self, *brokers):
        wait_until(lambda: self.members() == [broker.url for broker in brokers], timeout=30,
                   what=f"{[broker.name for broker in brokers]} to be in sync")

    def move_to(self, broker, **changes):
        """Compare-and-set: BROKER, a member, alone is in sync from now on; returns the new version."""
        with open(self.stack.store / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = self.record()
            version = record.pop("version") + 1
            member, = [member for member in record["in_sync"] if member["broker"] == broker.url]
            record.update(primary=broker.url, run_id=member["run_id"], in_sync=[member], wait=0, sync_full=0,
                          sync_partial=0, by="test", why="the test moved it", **changes)
            self.path.with_suffix(".new").write_text(f"{version}\n{json.dumps(record)}")
            os.rename(self.path.with_suffix(".new"), self.path)
        return version

    # --- brokers ---

    def role(self, broker):
        try:
            found = info(broker, "replication")
        except (OSError, RuntimeError, ConnectionError):
            return None
        return found["role"] if found["role"] == "master" else f"replica {found['master_link_status']}"

    def stamp(self, broker):
        return int(broker.call("GET", "ldc:{RZ01}:epoch") or 0)

    def wait_role(self, broker, role):
        wait_until(lambda: self.role(broker) == role, what=f"{broker.name} to be {role}")

    def ids(self, broker):
        found = set()
        for partition in range(PARTITIONS):
            for _, fields in broker.call("XRANGE", "ldc:{RZ01/payments/%d}:stream" % partition, "-", "+"):
                found.add(fields[1].decode())
        return found

    def check_whole(self, *brokers):
        self.payer.end()
        acknowledged = set(self.payer.acknowledged)
        for broker in brokers:
            wait_until(lambda b=broker: not acknowledged - self.ids(b), timeout=5,
                       what=f"all {len(acknowledged)} that were acknowledged to be on {broker.name}")

    def why(self, agent, broker):
        guarded = {one["broker"]: one for one in agent.status()["guarded"]}
        return guarded[broker.url]["why"]

    def alarm(self):
        return self.agent.status()["broker_record"]["alarm"]

    def copy_data(self, broker):
        """The data as they stand in its folder, for restore_data."""
        shutil.copytree(broker.folder, f"{broker.folder}.copy")

    def restore_data(self, broker):
        shutil.rmtree(broker.folder)
        shutil.move(f"{broker.folder}.copy", broker.folder)

    def owners(self, broker):
        """The agents that deliver the partitions, by what BROKER knows."""
        keys = ["ldc:{RZ01/payments/%d}:state" % partition for partition in range(PARTITIONS)]
        return {(broker.call("HGET", key, "owner") or b"nobody").decode().split("/")[0] for key in keys}

    # --- tests ---

    def test_those_who_deliver_hand_over_to_others_at_another_broker(self):
        """Without waiting until their beats run out, which would be in two minutes."""
        self.start(lease__ttl="2m")
        wait_until(lambda: self.owners(self.primary) == {self.agent.name}, what="the unit's own agent to deliver")
        self.move_to(self.standby, consumer="RZ02")
        since = time.monotonic()
        wait_until(lambda: self.owners(self.standby) == {self.guard.name}, what="the standby's agent to deliver")
        owned = time.monotonic()
        self.wait_in_sync(self.standby, self.primary)
        print(f"handed over after {1000 * (owned - since):.0f} ms, in sync again after "
              f"{1000 * (time.monotonic() - since):.0f} ms", end=" ")
        self.wait_in_sync(self.standby, self.primary)
        self.check_whole(self.standby, self.primary)

    def waiting_calls(self, broker):
        """By address: bytes that have come from each client whose call BROKER keeps waiting, behind that call."""
        lines = broker.call("CLIENT", "LIST").decode().splitlines()
        clients = [dict(word.split("=", 1) for word in line.split()) for line in lines]
        return {client["addr"]: int(client["qbuf"]) for client in clients if "b" in client["flags"]}

    def test_what_is_said_while_a_duty_ends_harms_nobody(self):
        """The agent leaves at the new primary, and before that is answered a trace follows on the same connection."""
        app = App()
        self.addCleanup(app.end)
        self.start(app, broker__timeout="1m", lease__ttl="2m", trace__interval="1ms")
        self.payer.end()
        wait_until(lambda: self.agent.metric("agent_messages_held") == 0, what="all to be delivered")
        harness.request(self.gateway.port, "POST", "/pay/held", {"X-User-Id": "7"}, b"{}")
        self.assertTrue(app.arrived.wait(30), "the message was not delivered")
        self.primary.signal(signal.SIGSTOP)
        writes = self.agent.metric("agent_cursor_writes_total")
        app.release.set()
        wait_until(lambda: self.agent.metric("agent_cursor_writes_total") > writes, what="the cursor to be on the way")
        self.agent.metric("agent_cursor_writes_total")  # the attempt's trace is, too
        self.agent.signal(signal.SIGSTOP)
        version = self.move_to(self.standby, consumer="RZ02")
        wait_until(lambda: self.role(self.standby) == "master" and self.stamp(self.standby) >= version, what="the promotion")
        self.standby.call("CLIENT", "PAUSE", 60000, "WRITE")
        before = set(self.waiting_calls(self.standby))
        self.agent.signal(signal.SIGCONT)
        leaver = wait_until(lambda: next(iter({address for address, behind in self.waiting_calls(self.standby).items()
                                               if behind == 0} - before), None), what="the agent to leave")
        self.primary.signal(signal.SIGCONT)
        wait_until(lambda: self.waiting_calls(self.standby)[leaver] > 0, what="a trace to follow")
        self.standby.call("CLIENT", "UNPAUSE")
        wait_until(lambda: "no longer delivers" in self.agent.log_text(), what="the duty to end")
        self.wait_in_sync(self.standby, self.primary)
        self.move_to(self.primary, consumer="")
        wait_until(lambda: self.owners(self.primary) == {self.agent.name}, what="the unit's own agent to deliver again")

    def test_a_fresh_unit_boots_through_its_record(self):
        self.start()
        record = self.record()
        self.assertEqual(record["primary"], self.primary.url)
        self.assertEqual((self.role(self.primary), self.role(self.standby)), ("master", "replica up"))
        wait_until(lambda: self.stamp(self.primary) == self.record()["version"], what="the stamp")
        self.assertEqual(self.primary.call("GET", "ldc:{RZ01}:dataset").decode(), record["dataset"])
        self.check_whole(self.primary, self.standby)

    def test_a_broker_without_its_agent_stays_fenced(self):
        self.start()
        self.agent.terminate()
        self.primary.kill()
        self.primary.restart()
        self.assertEqual(self.role(self.primary), "replica down")
        with self.assertRaisesRegex(RuntimeError, "READONLY"):
            self.primary.call("SET", "anything", "1")
        self.check_whole(self.standby)

    def test_a_primary_that_was_restarted_whole_serves_again(self):
        self.start()
        before = self.record()["run_id"]
        self.primary.kill()
        self.primary.restart()
        wait_until(lambda: self.record()["run_id"] != before, what="a record of the new run")
        self.payer.more(20)
        self.wait_in_sync(self.primary, self.standby)
        self.payer.more(20)
        self.check_whole(self.primary, self.standby)

    def test_a_primary_that_comes_back_empty_serves_no_more_and_wipes_nobody(self):
        self.start()
        self.primary.kill()
        shutil.rmtree(self.primary.folder)
        self.primary.folder.mkdir()
        self.primary.restart()
        wait_until(lambda: "was emptied" in self.alarm(), what="the alarm")
        self.assertEqual(self.role(self.primary), "replica down")
        self.check_whole(self.standby)
        self.move_to(self.standby)
        self.wait_role(self.standby, "master")
        self.wait_in_sync(self.standby, self.primary)
        self.check_whole(self.standby, self.primary)

    def test_a_primary_that_comes_back_with_old_data_serves_no_more(self):
        """With looks so seldom that the last one at the replica, before the primary died, shows less than it has."""
        self.start(broker__look_interval="1s", broker__replica_timeout="10s")
        self.copy_data(self.primary)
        self.payer.more(50)
        self.primary.kill()
        self.restore_data(self.primary)
        self.primary.restart()
        wait_until(lambda: "must take over" in self.alarm() or "data are old" in self.alarm(), what="the alarm")
        self.assertEqual(self.role(self.primary), "replica down")
        self.move_to(self.standby)
        self.wait_in_sync(self.standby, self.primary)
        self.payer.more(10)
        self.check_whole(self.standby, self.primary)

    def restart_before_the_stamp(self, writes):
        """The replica is gone, the record says so, and the primary is killed before it is stamped with that record."""
        self.start()
        self.guard.terminate()
        self.standby.kill()
        self.wait_in_sync(self.primary)
        wait_until(lambda: self.stamp(self.primary) == self.record()["version"], what="the stamp")
        self.payer.more(20)
        self.agent.kill()
        self.payer.end()
        counted = int(self.primary.call("GET", "ldc:{RZ01}:writes"))
        version = self.move_to(self.primary, counted={"writes": counted + writes, "at_us": 5}, at_us=5)
        self.primary.kill()
        self.primary.restart()
        self.assertLess(self.stamp(self.primary), version)
        self.agent.restart()

    def test_a_primary_that_was_restarted_before_its_stamp_is_taken_up_again(self):
        self.restart_before_the_stamp(writes=0)
        self.wait_role(self.primary, "master")
        wait_until(lambda: self.stamp(self.primary) == self.record()["version"], what="the stamp")
        self.check_whole(self.primary)

    def test_one_that_lacks_what_was_counted_is_not(self):
        self.restart_before_the_stamp(writes=1)
        wait_until(lambda: "holds data of epoch" in self.agent.log_text(), what="the alarm")
        self.assertEqual(self.role(self.primary), "replica down")

    def test_the_standby_takes_over_by_the_record(self):
        self.start()
        self.primary.kill()
        moved, version = time.monotonic(), self.move_to(self.standby)
        self.wait_role(self.standby, "master")
        print(f"promoted {1000 * (time.monotonic() - moved):.0f} ms after the record", end=" ", flush=True)
        self.assertGreaterEqual(self.stamp(self.standby), version)
        self.assertEqual(self.standby.call("CONFIG", "GET", "min-replicas-to-write")[1], b"0")
        self.payer.more(20)
        self.check_whole(self.standby)

    def test_a_deposed_primary_is_demoted_and_joins_again(self):
        self.start()
        version = self.move_to(self.standby)  # the old one lives on
        self.wait_role(self.primary, "replica up")
        self.wait_role(self.standby, "master")
        self.payer.more(20)
        self.wait_in_sync(self.standby, self.primary)
        self.payer.more(20)
        self.assertGreater(self.record()["version"], version)
        self.assertEqual(self.agent.metric("agent_demotions_total"), 1)
        self.assertEqual(self.guard.metric("agent_promotions_total") - 1, 1)  # the other one is its own primary's
        self.check_whole(self.standby, self.primary)

    def test_a_deposed_primary_that_comes_back_is_a_replica(self):
        self.start()
        self.primary.kill()
        self.move_to(self.standby)
        self.payer.more(20)
        self.primary.restart()
        self.wait_in_sync(self.standby, self.primary)
        self.payer.more(20)
        self.check_whole(self.standby, self.primary)

    def test_a_rogue_replica_is_detached_and_acknowledges_nothing(self):
        self.start()
        rogue = self.stack.broker("rogue", extra=("--replicaof", f"127.0.0.1 {self.primary.port}"))
        wait_until(lambda: "replica.foreign" in self.agent.log_text(), what="the warning")
        rogue.kill()
        self.wait_in_sync(self.primary, self.standby)
        self.payer.more(20)
        self.check_whole(self.primary, self.standby)

    def test_what_somebody_made_a_replica_of_another_is_brought_back(self):
        self.start()
        self.standby.call("REPLICAOF", "127.0.0.1", self.other.port)
        wait_until(lambda: info(self.standby, "replication")["master_port"] == str(self.primary.port),
                   what="the standby to follow its primary")
        self.wait_in_sync(self.primary, self.standby)
        self.payer.more(20)
        self.check_whole(self.primary, self.standby)

    def test_a_short_freeze_changes_nothing(self):
        self.start(broker__replica_timeout="10s")  # a machine may stand still for longer than the test has somebody do so
        before = self.record()
        for process in (self.primary, self.standby, self.agent, self.guard):
            process.signal(signal.SIGSTOP)
            threading.Event().wait(0.08)
            process.signal(signal.SIGCONT)
            self.payer.more(20)
        after = self.record()
        self.assertEqual((after["primary"], after["run_id"], self.members()),
                         (before["primary"], before["run_id"], [self.primary.url, self.standby.url]))
        self.check_whole(self.primary, self.standby)

    def test_a_frozen_guard_undoes_no_promotion(self):
        """Back and forth while the old primary's agent is frozen: what it thinks when it wakes is long past."""
        self.start()
        self.agent.signal(signal.SIGSTOP)
        self.move_to(self.standby)
        self.wait_role(self.standby, "master")
        self.agent.signal(signal.SIGCONT)
        self.wait_in_sync(self.standby, self.primary)
        self.guard.signal(signal.SIGSTOP)
        self.move_to(self.primary)
        self.wait_role(self.primary, "master")
        self.payer.more(20)
        self.guard.signal(signal.SIGCONT)
        self.wait_in_sync(self.primary, self.standby)
        self.payer.more(20)
        self.check_whole(self.primary, self.standby)


if __name__ == "__main__":
    unittest.main()
