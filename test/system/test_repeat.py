#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A connection is lost and the record stays: what was on its way is sent again, and what the network brings of the old
connection after that is run by nobody."""
import threading
import unittest

import switch_fixture
from harness import wait_until
from relay_fixture import BehindRelay


class Repeat(BehindRelay, switch_fixture.SwitchTest):
    def later(self, count):
        """COUNT requests, each in a thread of its own, whose answers come into a list."""
        answers = []

        def ask(number):
            answers.append(self.post(user=str(number), body=b"late"))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        return threads, answers

    def late(self):
        return [message for message in self.stored().values() if message[b"body"] == b"late"]

    def repeat(self, count=20):
        """The connections end with messages in them that were not delivered yet."""
        links = self.relay.withhold()
        threads, answers = self.later(count)
        wait_until(lambda: sum(b"ldc1_enqueue" in link.kept for link in links) > 0 and
                   self.gateway.metric("requests_in_flight") >= count, what="messages on their way")
        for link in links:
            link.reset()
        for thread in threads:
            thread.join()
        self.assertEqual({answer.status for answer in answers}, {202})
        return links

    def test_a_command_that_comes_after_its_own_repeat_is_not_run(self):
        self.start(gateways=1)
        links = self.repeat()
        self.assertGreater(self.gateway.metric("failover_replayed_total"), 0)
        self.relay.deliver(links)
        self.accepted(body=b"after")
        self.assertEqual(len(self.late()), 20)

    def test_a_broker_that_does_not_let_connections_be_ended_is_not_used(self):
        self.start(gateways=1, failover__hold="200ms")
        self.primary.call("ACL", "SETUSER", "default", "-client|kill")
        for link in self.relay.withhold():
            link.reset()
        wait_until(lambda: "+client|id and +client|kill" in self.gateway.log_text(), what="the fault")
        self.expect_problem(self.post(), 503, "broker-unavailable")
        self.primary.call("ACL", "SETUSER", "default", "+client|kill")
        self.accepted()


if __name__ == "__main__":
    unittest.main()
