#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who is in sync: what the broker record says when brokers stop, die, come back, are wiped or are foreign; and that each
member that it names holds whatever was acknowledged by it."""
import json
import os
import random
import shutil
import signal
import socket
import threading
import time
import unittest

import harness

STREAM = "ldc:{RZ01/payments/0}:stream"


class Link:
    """A connection that stays, as a writer's does."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=5 * harness.SLOW)
        self.stream = self.sock.makefile("rb")

    def calls(self, *commands):
        """One pipeline; errors are raised."""
        text = b""
        for words in commands:
            parts = [str(word).encode() for word in words]
            text += b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.sock.sendall(text)
        return [harness._read_reply(self.stream) for _ in commands]

    def close(self):
        self.stream.close()
        self.sock.close()


def info(port, *sections):
    return parse_info(harness.call_broker(port, "INFO", *sections))


def parse_info(text):
    return dict(line.split(":", 1) for line in text.decode().split("\r\n") if ":" in line)


def covers(record, counted, answer, run_id):
    """The rules of common/broker_record.h, written a second time."""
    online = sum("state=online" in value for name, value in answer.items() if name.startswith("slave") and "ip=" in value)
    return (len(record["in_sync"]) > 1 and counted >= record["wait"] == online and run_id == record["run_id"] and
            answer["role"] == "master" and answer["aof_enabled"] == "1" and int(answer["sync_full"]) == record["sync_full"] and
            int(answer["sync_partial_ok"]) == record["sync_partial"])


class Writer(threading.Thread):
    """Writes as fast as acknowledgements come, by the record that it finds; `acknowledged` are replicated."""

    def __init__(self, test):
        super().__init__(daemon=True)
        self.test, self.acknowledged, self.unknown, self.stopped = test, [], 0, threading.Event()
        self.count = 0
        self.start()

    def run(self):
        link = None
        while not self.stopped.is_set():
            try:
                if link is None:
                    link = Link(self.test.primary.port)
                    run_id = parse_info(link.calls(["INFO", "server"])[0])["run_id"]
                self.write(link, run_id)
            except (OSError, RuntimeError, ValueError):
                if link is not None:
                    link.close()
                link = None
                self.stopped.wait(0.02)
        if link is not None:
            link.close()

    def write(self, link, run_id):
        record = self.test.record()
        self.count += 1
        name = f"m{self.count}"
        _, counted, answer = link.calls(["XADD", STREAM, "*", "name", name], ["WAIT", record.get("wait", 0), 200],
                                        ["INFO", "replication", "stats", "persistence"])
        if record and covers(record, counted, parse_info(answer), run_id):
            self.acknowledged.append(name)
        else:
            self.unknown += 1
            self.stopped.wait(0.01)

    def end(self):
        self.stopped.set()
        self.join()


class InSync(harness.StackTest):
    def start(self, brokers=2, write=True, fsync="always", **options):
        self.primary = self.stack.broker("primary", fsync=fsync)
        self.replicas = [self.replica(f"replica{i}", fsync) for i in range(1, brokers)]
        self.stack.write_rules(self.rules(self.primary, *self.replicas))
        self.agent = self.stack.agent(**options)
        self.wait_members(self.primary, *self.replicas)
        self.writer = Writer(self) if write else None
        if write:
            self.wait_acknowledged(20)

    def replica(self, name, fsync="always", extra=()):
        return self.stack.broker(name, fsync=fsync, extra=("--replicaof", f"127.0.0.1 {self.primary.port}", *extra))

    def rules(self, *brokers):
        return harness.rules({"RZ01": harness.unit("00-99", brokers=list(brokers))},
                             topics={"payments": {"partitions": 1}})

    def tearDown(self):
        if getattr(self, "writer", None):
            self.writer.end()
        super().tearDown()

    def record(self):
        """{} where there is none."""
        try:
            version, text = (self.stack.store / "document-brokers%2fRZ01").read_text().split("\n", 1)
        except FileNotFoundError:
            return {}
        return dict(json.loads(text), version=int(version))

    def members(self):
        return [member["broker"] for member in self.record().get("in_sync", [])]

    def wait_members(self, *brokers, timeout=20):
        """The record names just these, and fits the primary as it is."""
        def named():
            record = self.record()
            if [member["broker"] for member in record.get("in_sync", [])] != [broker.url for broker in brokers]:
                return False
            try:
                now = info(self.primary.port, "server", "replication", "stats")
            except (OSError, RuntimeError, ValueError):
                return False
            stamp = harness.call_broker(self.primary.port, "GET", "ldc:{RZ01}:epoch")
            return int(stamp or 0) >= record["version"] and \
                record["run_id"] == now["run_id"] and record["sync_full"] == int(now["sync_full"]) and \
                record["sync_partial"] == int(now["sync_partial_ok"]) and record
        return harness.wait_until(named, timeout=timeout, what=f"the record to name {[b.name for b in brokers]}")

    def wait_acknowledged(self, more):
        target = len(self.writer.acknowledged) + more
        harness.wait_until(lambda: len(self.writer.acknowledged) >= target, what=f"{more} more acknowledgements")

    def held(self, broker):
        return {fields[1].decode() for _, fields in broker.call("XRANGE", STREAM, "-", "+") or []}

    def check_holds(self, broker):
        """BROKER is a member now, so it holds what was acknowledged before we look."""
        acknowledged = set(self.writer.acknowledged)
        self.assertTrue(acknowledged)
        self.assertEqual(acknowledged - self.held(broker), set())

    def check_file_holds(self, broker):
        """kill -9, and what the append-only file alone brings back."""
        acknowledged = set(self.writer.acknowledged)
        broker.kill()
        copy = self.stack.folder / f"{broker.name}.copy{time.monotonic_ns()}"
        shutil.copytree(broker.folder, copy)
        alone = self.stack.keep(harness.Broker("copy", copy, self.stack.log("copy")))
        harness.wait_until(lambda: not int(info(alone.port, "persistence")["loading"]), what="the copy to be loaded")
        self.assertEqual(acknowledged - self.held(alone), set())
        alone.kill()

    # --- the replica --------------------------------------------------------------------------------------------

    def test_a_replica_in_sync_is_named_with_its_run(self):
        self.start(broker__replica_timeout="1m")
        record = self.record()
        self.assertEqual(record["primary"], self.primary.url)
        self.assertEqual(record["in_sync"][1]["run_id"], info(self.replicas[0].port, "server")["run_id"])
        self.assertEqual((record["wait"], record["by"]), (1, "agent-RZ01"))
        self.assertEqual(record["dataset"].encode(), self.primary.call("GET", "ldc:{RZ01}:dataset"))
        version = record["version"]
        self.wait_acknowledged(200)
        self.assertEqual(self.record()["version"], version, "nothing changed, and yet the record was written")
        self.check_holds(self.replicas[0])

    def test_a_stopped_replica_leaves_within_a_second_and_a_half_and_is_detached(self):
        self.start()
        replica = self.replicas[0]
        with harness.Span() as span:
            replica.signal(signal.SIGSTOP)
            self.wait_members(self.primary)
        print(f"a stopped replica left the set after {span.seconds:.2f} s")
        self.assertLess(span.seconds, span.allowed(1.5))
        harness.wait_until(lambda: info(self.primary.port, "replication")["connected_slaves"] == "0",
                           what="the replica to be detached")
        replica.signal(signal.SIGCONT)
        self.wait_members(self.primary, replica)
        self.wait_acknowledged(20)
        self.check_holds(replica)

    def test_a_stopped_replica_leaves_also_while_nothing_is_written(self):
        self.start(write=False)
        self.replicas[0].signal(signal.SIGSTOP)
        began = time.monotonic()
        self.wait_members(self.primary)
        print(f"a stopped replica of an idle primary left the set after {time.monotonic() - began:.2f} s")
        self.replicas[0].signal(signal.SIGCONT)
        self.wait_members(self.primary, self.replicas[0])

    def test_a_killed_replica_leaves_and_comes_back(self):
        self.start()
        replica = self.replicas[0]
        for _ in range(3):
            with harness.Span() as span:
                replica.kill()
                self.wait_members(self.primary)
            self.assertLess(span.seconds, span.allowed(2.5))
            replica.restart()
            record = self.wait_members(self.primary, replica)
            self.assertEqual(record["in_sync"][1]["run_id"], info(replica.port, "server")["run_id"])
            self.wait_acknowledged(20)
            self.check_holds(replica)

    def test_what_was_acknowledged_is_in_the_file_of_a_replica_that_has_just_joined(self):
        self.start(write=False)
        replica = self.replicas[0]
        for i in range(20):  # so that a rewrite takes its time
            self.primary.call("EVAL", "for i=1,5000 do redis.call('SET', KEYS[1]..i, string.rep('x', 500)) end", 1, f"f{i}:")
        self.writer = Writer(self)
        self.wait_acknowledged(20)
        for wiped in (True, False):
            replica.kill()
            if wiped:
                shutil.rmtree(replica.folder)
                replica.folder.mkdir()
            self.wait_members(self.primary)
            replica.restart()
            self.wait_members(self.primary, replica, timeout=60)
            self.wait_acknowledged(5)
            self.check_file_holds(replica)
            replica.restart()
            self.wait_members(self.primary, replica, timeout=60)

    def test_a_replica_without_its_file_is_not_in_sync(self):
        self.start()
        replica = self.replicas[0]
        replica.call("CONFIG", "SET", "appendonly", "no")
        self.wait_members(self.primary)
        self.assertIn("set appendonly yes", self.agent.status()["broker_record"]["why"])
        replica.call("CONFIG", "SET", "appendonly", "yes")
        self.wait_members(self.primary, replica)
        self.wait_acknowledged(10)
        self.check_file_holds(replica)

    def test_a_replica_that_follows_another_primary_is_not_in_sync(self):
        self.start(guard__brokers="redis://127.0.0.1:1")  # else the agent brings it back at once
        replica, other = self.replicas[0], self.stack.broker("other")
        replica.call("REPLICAOF", "127.0.0.1", other.port)
        self.wait_members(self.primary)
        harness.wait_until(lambda: info(replica.port, "replication")["master_link_status"] == "up", what="the other link")
        self.assertEqual(self.members(), [self.primary.url])
        replica.call("REPLICAOF", "NO", "ONE")
        harness.wait_until(lambda: "no replica" in self.agent.status()["broker_record"]["why"], what="the reason")
        replica.call("REPLICAOF", "127.0.0.1", self.primary.port)
        self.wait_members(self.primary, replica)
        self.check_holds(replica)

    def test_a_foreign_replica_is_detached_and_never_named(self):
        self.start()
        foreign = self.replica("foreign")
        harness.wait_until(lambda: "replica.foreign" in self.agent.log_text(), what="the warning")
        self.wait_acknowledged(1)
        self.assertNotIn(foreign.url, self.members())
        foreign.kill()
        self.wait_members(self.primary, self.replicas[0])
        self.wait_acknowledged(20)
        self.check_holds(self.replicas[0])

    def test_three_brokers_go_on_while_one_is_away_and_joins_again(self):
        self.start(brokers=3)
        self.assertEqual(self.record()["wait"], 2)
        first, second = self.replicas
        second.signal(signal.SIGSTOP)
        self.wait_members(self.primary, first)
        self.wait_acknowledged(20)
        second.signal(signal.SIGCONT)
        self.wait_members(self.primary, first, second)
        first.kill()
        self.wait_members(self.primary, second)
        self.wait_acknowledged(20)
        self.check_holds(second)

    # --- the primary --------------------------------------------------------------------------------------------

    def test_a_restarted_primary_with_its_data_gets_a_record_of_its_new_run(self):
        self.start()
        before = self.record()
        self.primary.kill()
        self.primary.restart()
        after = self.wait_members(self.primary, self.replicas[0])
        self.assertNotEqual(after["run_id"], before["run_id"])
        self.assertEqual(after["dataset"], before["dataset"])
        self.wait_acknowledged(20)
        self.check_holds(self.replicas[0])
        self.check_holds(self.primary)

    def test_an_empty_primary_is_not_taken_for_the_data(self):
        self.start()
        gateway = self.stack.gateway("gw1")
        def pay():
            answer = harness.request(gateway.port, "POST", "/pay/1", {"X-User-Id": "42"}, b"{}")
            return answer.status, answer.headers.get("ldc-durability")
        harness.wait_until(lambda: pay() == (202, "replicated"), what="the gateway to store replicated messages")
        self.primary.kill()
        for replica in self.replicas:
            replica.kill()
        before = self.record()
        kept = self.stack.folder / "kept"
        shutil.move(self.primary.folder, kept)
        self.primary.folder.mkdir()
        self.primary.restart()
        harness.wait_until(lambda: b"was emptied" in self.agent.get("/readyz").body, what="the agent to be unready")
        self.assertEqual(self.agent.get("/readyz").status, 503)
        status = self.agent.status()["broker_record"]
        self.assertIn("was emptied", status["alarm"])
        self.assertIn("ldcgate_agent_record_alarm 1\n", self.agent.get("/metrics").body.decode())
        shown = self.stack.ctl("status", gateway=gateway)
        self.assertIn("was emptied", shown.stdout)
        acknowledged = len(self.writer.acknowledged)
        self.replicas[0].restart()  # copies the emptiness: the next part of the design keeps it from that
        harness.wait_until(lambda: info(self.replicas[0].port, "replication")["master_link_status"] == "up", what="the link")
        self.assertEqual(self.record(), before)
        self.assertEqual(len(self.writer.acknowledged), acknowledged, "acknowledged by an empty primary")
        self.assertEqual(pay(), (503, None))
        self.primary.kill()
        shutil.rmtree(self.primary.folder)
        shutil.move(kept, self.primary.folder)
        self.primary.restart()
        self.wait_members(self.primary, self.replicas[0])
        harness.wait_until(self.agent.ready, what="the agent to be ready")
        self.wait_acknowledged(20)
        self.check_holds(self.replicas[0])
        harness.wait_until(lambda: pay() == (202, "replicated"), what="the gateway to store replicated messages again")

    def test_a_primary_that_is_flushed_raises_the_alarm(self):
        self.start(write=False)
        before = self.record()
        self.primary.call("FLUSHALL")
        harness.wait_until(lambda: not self.agent.ready(), what="the agent to be unready")
        self.assertEqual(self.record(), before)

    def test_a_primary_that_gives_up_its_file_acknowledges_nothing(self):
        self.start(write=False)
        gateway = self.stack.gateway("gw1")
        def pay():
            return harness.request(gateway.port, "POST", "/pay/1", {"X-User-Id": "42"}, b"{}").status
        harness.wait_until(lambda: pay() == 202, what="the gateway to store messages")
        self.primary.call("CONFIG", "SET", "appendonly", "no")
        self.assertEqual([pay() for _ in range(10)], [503] * 10)
        self.assertIn("keeps no append-only file", gateway.log_text())
        self.primary.call("CONFIG", "SET", "appendonly", "yes")
        harness.wait_until(lambda: pay() == 202, what="the gateway to store messages again")

    def test_with_everysec_a_restarted_primary_shrinks_nothing(self):
        self.start(write=False, fsync="everysec")
        self.agent.signal(signal.SIGSTOP)  # it finds both at once
        self.replicas[0].kill()
        self.primary.kill()
        before = self.record()
        self.primary.restart()
        self.agent.signal(signal.SIGCONT)
        harness.wait_until(lambda: self.agent.status()["broker_record"]["why"].startswith(self.replicas[0].url),
                           what="the agent to look again")
        threading.Event().wait(2.5)  # the bound after which a member would be dropped with fsync always
        self.assertEqual(self.record()["in_sync"], before["in_sync"])
        self.replicas[0].restart()
        self.wait_members(self.primary, self.replicas[0])

    # --- the record ---------------------------------------------------------------------------------------------

    def test_agent_and_gateway_show_the_record(self):
        self.start(broker__replica_timeout="3s")
        gateway = self.stack.gateway("gw1")
        harness.wait_until(lambda: self.agent.status()["broker_record"]["why"] == "", what="the agent to look again")
        record = self.record()
        shown = self.agent.status()["broker_record"]
        self.assertEqual(shown["version"], record["version"])
        self.assertEqual(shown["in_sync"], self.members())
        self.assertEqual((shown["keeper"], shown["why"], shown["alarm"]), (True, "", ""))
        metrics = self.agent.get("/metrics").body.decode()
        self.assertIn("ldcgate_agent_in_sync_members 2\n", metrics)
        self.assertIn(f"ldcgate_agent_record_version {record['version']}\n", metrics)
        def shown_by_gateway():
            return next(unit for unit in gateway.status()["units"] if unit["name"] == "RZ01")["broker_record"]["in_sync"]

        harness.wait_until(lambda: shown_by_gateway() == self.members(), what="the gateway to show it")
        self.assertIn('ldcgate_unit_in_sync_members{unit="RZ01"} 2\n', gateway.get("/metrics").body.decode())
        self.replicas[0].kill()
        self.wait_members(self.primary)
        harness.wait_until(lambda: 'ldcgate_unit_in_sync_members{unit="RZ01"} 1\n' in gateway.get("/metrics").body.decode(),
                           what="the gateway to follow")
        harness.wait_until(lambda: self.replicas[0].url in self.agent.status()["broker_record"]["why"], what="the reason")

    def test_a_store_that_is_away_leaves_the_record_and_nothing_shrinks(self):
        self.start()
        away = self.stack.folder / "away"
        self.stack.store.rename(away)
        self.replicas[0].signal(signal.SIGSTOP)
        acknowledged = len(self.writer.acknowledged)
        harness.wait_until(lambda: self.agent.status()["broker_record"]["why"], what="the agent to see it")
        threading.Event().wait(2.0)  # the bound after which it would be dropped
        self.assertEqual(self.agent.status()["broker_record"]["in_sync"], [self.primary.url, self.replicas[0].url])
        away.rename(self.stack.store)
        self.wait_members(self.primary)
        self.assertLess(len(self.writer.acknowledged), acknowledged + 500)
        self.replicas[0].signal(signal.SIGCONT)
        self.wait_members(self.primary, self.replicas[0])
        self.wait_acknowledged(10)
        self.check_holds(self.replicas[0])

    def test_a_store_that_is_away_keeps_a_replica_out_and_writers_going(self):
        self.start()
        self.replicas[0].kill()
        self.wait_members(self.primary)
        away = self.stack.folder / "away"
        self.stack.store.rename(away)
        self.replicas[0].restart()
        harness.wait_until(lambda: info(self.replicas[0].port, "replication")["master_link_status"] == "up", what="the link")
        stamp, end = self.primary.call("GET", "ldc:{RZ01}:epoch"), time.monotonic() + 2  # in which it could have joined
        while time.monotonic() < end:
            self.assertEqual(self.primary.call("GET", "ldc:{RZ01}:epoch"), stamp)
        away.rename(self.stack.store)
        self.wait_members(self.primary, self.replicas[0])
        self.check_holds(self.replicas[0])

    def test_a_restarted_agent_drops_nobody_who_is_in_sync(self):
        self.start(broker__replica_timeout="3s")  # a busy machine may hold a replica up for less
        version = self.record()["version"]
        for _ in range(2):
            self.agent.kill()
            self.agent.restart()
            harness.wait_until(self.agent.ready, what="the agent")
            self.wait_acknowledged(50)
        threading.Event().wait(3.5)
        self.assertEqual(self.record()["version"], version)
        self.check_holds(self.replicas[0])

    def test_another_agent_keeps_the_record_when_the_keeper_dies(self):
        self.start()
        other = self.stack.agent(name="agent-other")
        harness.wait_until(lambda: other.status()["broker_record"]["in_sync"] == self.members(), what="it to follow")
        def keepers():
            return [agent.name for agent in (self.agent, other) if agent.status()["broker_record"]["keeper"]]
        harness.wait_until(lambda: keepers() == ["agent-RZ01"], what="one keeper")
        version = self.record()["version"]
        self.agent.kill()
        self.replicas[0].kill()
        record = self.wait_members(self.primary)
        self.assertEqual(record["by"], "agent-other")
        self.assertGreater(record["version"], version)
        self.replicas[0].restart()
        self.wait_members(self.primary, self.replicas[0])
        self.agent.restart()
        harness.wait_until(self.agent.ready, what="the first agent")
        harness.wait_until(lambda: keepers() == ["agent-RZ01"], what="the first to keep again")
        self.wait_acknowledged(50)
        self.check_holds(self.replicas[0])

    # --- whatever happens ---------------------------------------------------------------------------------------

    def disturb(self, chance):
        """One thing goes wrong, or right again."""
        replica = chance.choice(self.replicas)
        what = chance.choice(["stop", "go on", "kill replica", "kill primary", "kill agent", "cut", "rewrite", "nothing"])
        if what == "stop":
            replica.signal(signal.SIGSTOP)
        elif what == "go on":
            replica.signal(signal.SIGCONT)
        elif what == "kill agent":
            self.agent.kill()
            self.agent.restart()
        elif what in ("kill replica", "kill primary"):
            broker = replica if what == "kill replica" else self.primary
            broker.kill()
            threading.Event().wait(chance.random())
            broker.restart()
        elif what == "cut":
            self.primary.call("CLIENT", "KILL", "TYPE", "replica")
        elif what == "rewrite":
            self.primary.call("CONFIG", "SET", "repl-backlog-size", chance.choice(["16kb", "1mb"]))
            self.primary.call("BGREWRITEAOF")
        return f"{what} {replica.name}"

    def check_members_could_take_over(self, told):
        """Everything dies at once. What each member's file brings back holds all that was acknowledged."""
        for process in (self.agent, self.primary, *self.replicas):
            process.signal(signal.SIGKILL)
        for process in (self.agent, self.primary, *self.replicas):
            process.kill()
        record, acknowledged = self.record(), set(self.writer.acknowledged)
        for broker in (self.primary, *self.replicas):
            if broker.url not in self.members():
                continue
            folder = self.stack.folder / "survivor"
            shutil.copytree(broker.folder, folder)
            alone = self.stack.keep(harness.Broker("survivor", folder, self.stack.log("survivor")))
            harness.wait_until(lambda: alone.call("GET", "ldc:{RZ01}:dataset") is not None, what="its data")
            self.assertEqual(alone.call("GET", "ldc:{RZ01}:dataset").decode(), record["dataset"], told)
            self.assertEqual(acknowledged - self.held(alone), set(), f"{broker.name} lacks what was acknowledged: {told}")
            alone.kill()
            shutil.rmtree(folder)
        for broker in (self.primary, *self.replicas):
            broker.restart()
        self.agent.restart()

    def test_whoever_is_named_could_take_over_at_any_time(self):
        seed = int(os.environ.get("LDC_SEED", time.time_ns() % 1000000))
        print(f"LDC_SEED={seed}")
        chance, told = random.Random(seed), [f"seed {seed}"]
        self.start(brokers=3)
        for _ in range(int(os.environ.get("LDC_ROUNDS", 6))):
            for _ in range(chance.randrange(1, 4)):
                told.append(self.disturb(chance))
                threading.Event().wait(chance.random())
            self.check_members_could_take_over(told)
            self.wait_acknowledged(1)
        self.wait_members(self.primary, *self.replicas)
        self.wait_acknowledged(20)
        print(f"{len(self.writer.acknowledged)} acknowledged, {self.writer.unknown} not")


if __name__ == "__main__":
    unittest.main()
