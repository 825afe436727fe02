#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a 202 promises where a broker has replicas: that each of the in-sync set holds the message, whatever happened to
them; else the client hears that it was not stored, or that nobody knows."""
import signal
import unittest

import durable_fixture
import harness
from harness import wait_until


class Replicated(durable_fixture.DurableTest):
    def test_an_accepted_message_is_on_every_broker(self):
        self.start(replicas=2)
        answers = [self.accepted(user=str(user)) for user in range(20)]
        self.assertEqual({answer.headers["ldc-durability"] for answer in answers}, {"replicated"})
        ids = sorted(answer.json()["id"] for answer in answers)
        for broker in (self.primary, *self.replicas):
            self.assertEqual(self.ids(broker), ids)

    def test_without_a_record_nothing_is_sent(self):
        self.start(record=False)
        wait_until(lambda: "broker.ready" in self.gateway.log_text(), what="the connection")
        problem = self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(problem["detail"], "No replica is in sync")
        self.assertEqual(self.ids(), [])

    def test_a_set_of_one_takes_nothing_but_where_the_route_lets_it(self):
        routes = [dict(harness.QUEUE_ROUTE, match={"path": f"/pay/{name}"}, durability=name)
                  for name in ("available", "local")]
        self.start(routes=[*routes, harness.QUEUE_ROUTE])
        self.assertEqual(self.accepted(path="/pay/available").headers["ldc-durability"], "replicated")
        self.assertEqual(self.accepted(path="/pay/local").headers["ldc-durability"], "local")
        self.write_record(members=[self.primary])
        self.wait_followed()
        self.expect_problem(self.post(), 503, "broker-unavailable")
        for path in ("/pay/available", "/pay/local"):
            self.assertEqual(self.accepted(path=path).headers["ldc-durability"], "local")


class Holes(durable_fixture.DurableTest):
    """Each of these is acknowledged by a gateway that lacks one rule."""

    def unknown(self, **options):
        return self.expect_problem(self.post(**options), 503, "outcome-unknown")["message"]

    def test_one_member_short_is_not_enough(self):
        self.start(replicas=2, broker__timeout="1s")
        self.accepted()
        self.replicas[1].signal(signal.SIGSTOP)
        self.unknown()
        self.replicas[1].signal(signal.SIGCONT)
        self.accepted()

    def test_a_replica_that_is_no_member_does_not_count(self):
        self.start(replicas=1, broker__timeout="1s")
        self.accepted()
        self.replicas[0].kill()
        self.replica("foreign")
        self.wait_attached(1)
        self.unknown()

    def test_a_full_copy_since_the_record_makes_it_void(self):
        self.start(replicas=1, broker__timeout="1s")
        self.accepted()
        self.replicas[0].call("REPLICAOF", "NO", "ONE")
        self.replicas[0].call("FLUSHALL")
        self.replicas[0].call("REPLICAOF", "127.0.0.1", self.primary.port)
        wait_until(lambda: int(durable_fixture.info(self.primary, "stats")["sync_full"]) > self.record["sync_full"],
                   what="a full copy")
        self.wait_attached(1)
        self.unknown()
        self.write_record()
        self.accepted()

    def test_a_wait_covers_what_was_sent_before_it_and_no_less(self):
        self.start(replicas=1, broker__timeout="1s")
        self.accepted()
        self.replicas[0].signal(signal.SIGSTOP)
        identity = self.unknown()
        self.replicas[0].signal(signal.SIGCONT)
        self.accepted()
        self.assertIn(identity, self.ids())

    def test_a_broker_that_was_restarted_is_closed_until_the_record_names_its_run(self):
        self.start(replicas=1)
        self.accepted()
        self.primary.kill()
        self.primary.restart()
        self.wait_attached(1)
        wait_until(lambda: "restarted" in (self.post().json().get("detail") or ""), what="the gateway to see it")
        stored = len(self.ids())
        self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(len(self.ids()), stored)
        self.write_record()
        self.accepted()

    def test_a_broker_that_is_no_primary_by_the_record_is_closed(self):
        self.start(replicas=1, routes=[dict(harness.QUEUE_ROUTE, durability="local")])
        self.accepted()
        record = dict(self.record, primary=self.replicas[0].url, in_sync=list(reversed(self.record["in_sync"])))
        record["run_id"] = record["in_sync"][0]["run_id"]
        self.put_record(record)
        self.wait_followed()
        self.expect_problem(self.post(), 503, "broker-unavailable")


if __name__ == "__main__":
    unittest.main(verbosity=1)
