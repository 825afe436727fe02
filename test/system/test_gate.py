#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gate: an app gets only what every in-sync broker holds."""
import signal
import socket
import unittest

import harness
from producer import PARTITIONS, Producer, encode, stream

UNPROVEN = 5  # rounds of the gate that must have come to nothing before "the app got nothing" says much


class Gate(harness.StackTest):
    def start(self, patience="1m"):
        """PATIENCE: how long the record says that a stopped replica is in sync."""
        self.primary = self.stack.broker("primary", extra=("--repl-diskless-sync-delay", "0", "--repl-timeout", "3600"))
        self.replica = self.stack.broker("replica", extra=("--replicaof", f"127.0.0.1 {self.primary.port}"))
        self.app = self.stack.app()
        unit = harness.unit("00-99", brokers=[self.primary, self.replica], blue=[self.app])
        self.stack.write_rules(harness.rules({"RZ01": unit}, topics={"payments": {"partitions": PARTITIONS}}))
        self.agent = self.stack.agent(broker__replica_timeout=patience, delivery__backoff_max="200ms")
        self.producer = Producer(self.primary)
        harness.wait_until(lambda: len(self.agent.status()["broker_record"]["in_sync"]) == 2, what="two in sync")


    def delivered(self):
        return {record["id"] for record in self.app.records()}

    def test_nothing_is_delivered_that_the_replica_does_not_hold(self):
        self.start()
        first = self.producer.send("1")
        harness.wait_until(lambda: self.delivered() == {first}, what="the first message")
        self.replica.signal(signal.SIGSTOP)
        refused = self.agent.metric("agent_gate_refusals_total")
        second = [self.producer.send(str(user)) for user in range(10)]
        harness.wait_until(lambda: self.agent.metric("agent_gate_refusals_total") >= refused + UNPROVEN, what="closed rounds")
        self.assertEqual(self.delivered(), {first})
        status = self.agent.status()
        self.assertEqual(status["counters"]["agent_gate_closed"], 1)
        self.assertEqual(status["counters"]["agent_messages_held"], 10)  # they were read, and wait here
        self.replica.signal(signal.SIGCONT)
        harness.wait_until(lambda: self.delivered() == {first, *second}, what="the rest")
        harness.wait_until(lambda: self.agent.metric("agent_gate_closed") == 0, what="an open gate")

    def test_when_the_replica_is_no_longer_in_sync_delivery_goes_on_without_it(self):
        self.start(patience="1s")
        self.replica.signal(signal.SIGSTOP)
        sent = {self.producer.send(str(user)) for user in range(10)}
        harness.wait_until(lambda: self.delivered() == sent, what="the messages")
        self.assertEqual(len(self.agent.status()["broker_record"]["in_sync"]), 1)
        self.assertGreater(self.agent.metric("agent_gate_refusals_total"), 0)
        self.replica.signal(signal.SIGCONT)

    def test_a_users_next_message_waits_until_the_replica_knows_of_the_one_before(self):
        self.start()
        self.app.order("delay", ms=3000)
        sent = [self.producer.send("1") for _ in range(2)]
        harness.wait_until(lambda: self.agent.metric("agent_messages_held") == 2, what="both to be read")
        harness.wait_until(self.caught_up, what="the replica")
        self.replica.signal(signal.SIGSTOP)
        self.assertEqual(self.delivered(), set(), "too late for what is to be shown")
        harness.wait_until(lambda: self.delivered() == {sent[0]}, what="the first message")
        refused = self.agent.metric("agent_gate_refusals_total")
        harness.wait_until(lambda: self.agent.metric("agent_gate_refusals_total") >= refused + UNPROVEN, what="closed rounds")
        self.assertEqual(self.delivered(), {sent[0]})
        self.replica.signal(signal.SIGCONT)
        harness.wait_until(lambda: self.delivered() == set(sent), what="the second one")

    def caught_up(self):
        """A write from now is at the replica."""
        with socket.create_connection(("127.0.0.1", self.primary.port), timeout=20) as sock, sock.makefile("rb") as answers:
            sock.sendall(encode(["SET", "probe", 1]) + encode(["WAIT", 1, 1000]))
            return [harness._read_reply(answers), harness._read_reply(answers)][1] == 1

    def test_a_wait_behind_a_blocked_read_is_stale_and_a_ping_brings_it_up_to_date(self):
        self.start()
        with socket.create_connection(("127.0.0.1", self.primary.port), timeout=20) as sock, sock.makefile("rb") as answers:
            def call(*words):
                sock.sendall(encode(words))
                return harness._read_reply(answers)
            self.producer.send("4")
            last = self.primary.call("XREVRANGE", stream(0), "+", "-", "COUNT", 1)[0][0]
            sock.sendall(encode(["XREAD", "BLOCK", 10000, "STREAMS", stream(0), last]))
            clients = lambda: self.primary.call("INFO", "clients").decode()
            harness.wait_until(lambda: "blocked_clients:0" not in clients(), what="the blocked read")
            harness.wait_until(self.caught_up, what="the replica")
            self.replica.signal(signal.SIGSTOP)
            try:
                self.producer.send("4")
                self.assertEqual(len(harness._read_reply(answers)[0][1]), 1)
                self.assertEqual(call("WAIT", 1, 100), 1, "it speaks of the time before the read was blocked")
                self.assertEqual(call("PING"), b"PONG")
                self.assertEqual(call("WAIT", 1, 100), 0)
            finally:
                self.replica.signal(signal.SIGCONT)


class Alone(harness.StackTest):
    def test_a_unit_with_one_broker_has_no_gate(self):
        broker, app = self.stack.broker(), self.stack.app()
        self.stack.write_rules(harness.rules({"RZ01": harness.unit("00-99", brokers=[broker], blue=[app])},
                                             topics={"payments": {"partitions": PARTITIONS}}))
        agent = self.stack.agent()
        Producer(broker).send("1")
        harness.wait_until(app.records, what="the delivery")
        self.assertEqual(agent.metric("agent_gate_rounds_total"), 0)


if __name__ == "__main__":
    unittest.main()
