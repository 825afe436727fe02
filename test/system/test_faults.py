#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What surrounds the programs fails: disks that are full, a broker that stands still while others work."""
import json
import resource
import signal
import unittest

import harness
import load
from harness import wait_until

TOPICS = {"payments": {"partitions": 4}}


class Disk(harness.StackTest):
    """A broker whose append-only file cannot grow: to it that is the same as a full disk."""

    def start(self, fsync):
        self.app = self.stack.app()
        self.broker = self.stack.broker(fsync=fsync)
        self.broker.kill()
        self.unlimited = self.broker.argv
        self.broker.argv = ["env", "--ignore-signal=XFSZ", "prlimit", "--fsize=300000:unlimited", *self.unlimited]
        self.broker.restart()
        self.stack.write_rules(harness.rules({"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])},
                                             topics=TOPICS))
        self.gateway = self.stack.gateway()
        self.accepted = []
        wait_until(lambda: self.post().status == 202, what="the first message")

    def post(self):
        answer = harness.request(self.gateway.port, "POST", "/pay/1", {"X-User-Id": "7"}, b"x" * 4000)
        if answer.status == 202:
            self.accepted.append(answer.headers["ldc-message-id"])
        return answer

    def fill(self):
        """Until a message is refused; its problem."""
        refused = wait_until(lambda: (answer := self.post()).status != 202 and answer, what="the disk to be full", every=0)
        self.assertEqual(refused.status, 503)
        self.assertGreater(len(self.accepted), 10)
        return refused.json()["type"].rsplit(":", 1)[1]

    def check_delivery(self):
        wait_until(lambda: self.post().status == 202, what="messages to be accepted again")
        self.stack.agent()
        wait_until(lambda: set(self.accepted) <= {record["id"] for record in self.app.records()}, what="all of them")

    def test_a_broker_that_ends_at_it_has_lost_nothing_that_was_accepted(self):
        self.start("always")
        self.assertIn(self.fill(), ("outcome-unknown", "broker-unavailable"))
        wait_until(lambda: not self.broker.alive(), what="the broker to end")
        self.assertEqual(self.post().status, 503)
        self.broker.argv = self.unlimited
        self.broker.restart()
        self.check_delivery()

    def test_a_broker_that_lives_on_is_told_full_until_there_is_room(self):
        self.start("everysec")
        self.assertEqual(self.fill(), "broker-full")
        wait_until(lambda: "full disk" in self.gateway.status()["units"][0]["broker"]["fault"], what="the advice")
        resource.prlimit(self.broker.pid, resource.RLIMIT_FSIZE, (-1, -1))
        self.check_delivery()


class Frozen(harness.StackTest):
    def test_a_broker_that_stands_still_holds_up_its_own_unit_alone(self):
        brokers = [self.stack.broker("b1"), self.stack.broker("b2")]
        apps = [self.stack.app("RZ01"), self.stack.app("RZ02")]

        def rules(border):
            slots = f"00-{border}", f"{border + 1}-99"
            return harness.rules({f"RZ0{i + 1}": harness.unit(slots[i], brokers=[brokers[i]], blue=[apps[i]])
                                  for i in range(2)}, topics=TOPICS)
        self.stack.write_rules(rules(49))
        gateway = self.stack.gateway(threads=2, broker__timeout="3s")
        daemons = [gateway, self.stack.agent("RZ01"), self.stack.agent("RZ02")]
        stuck = load.Load([gateway.port], [str(user) for user in range(20)], threads=4, pause=0.01)
        free = load.Load([gateway.port], [str(user) for user in range(60, 80)], threads=2)
        with stuck, free:
            stuck.wait_for(100)
            free.wait_for(100)
            brokers[0].signal(signal.SIGSTOP)
            stuck.wait_for(20, status=503)
            before = len(free.sent)
            epoch = self.stack.put_rules(gateway, rules(48), unfenced=True)["epoch"]
            wait_until(lambda: all(daemon.epoch() == epoch for daemon in daemons), what="everybody at the new epoch")
            free.wait_for(300)
            meanwhile = free.sent[before:]
            brokers[0].signal(signal.SIGCONT)
            stuck.wait_for(50)
        self.assertEqual({one.status for one in meanwhile}, {202})
        sent = stuck.sent + free.sent
        accepted = {one.id for one in sent if one.status == 202}

        def records():
            return sorted((record for app in apps for record in app.records()), key=lambda record: record["us"])
        wait_until(lambda: accepted <= {record["id"] for record in records()}, what="all deliveries")
        load.check_delivery(self, sent, records())
        faults = [json.loads(line)["event"] for daemon in daemons for line in daemon.log_text().splitlines()]
        self.assertLess(faults.count("broker.away") + faults.count("broker.down"), 20)


if __name__ == "__main__":
    unittest.main()
