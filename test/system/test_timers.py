#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Messages that are due later, through a real gateway, broker and agent."""
import email.utils
import os
import time
import unittest

import harness
import waiting_fixture
import waiting_load


class Headers(waiting_fixture.Waiting):
    def test_a_delayed_message_waits_and_says_when_it_is_due(self):
        answer = self.post(headers={"LDC-Delay": "1h"})
        self.assertEqual(answer.status, 202, answer.body)
        accepted = answer.json()
        self.assertEqual(accepted["state"], "scheduled")
        self.assertAlmostEqual(waiting_load.parse_us(accepted["due"]) / 1e6, time.time() + 3600, delta=60)
        self.assertEqual(self.find(accepted["id"])[0], "scheduled")
        self.assertEqual(self.waiting()[0] + self.waiting()[1], 1)
        self.assertEqual(self.stored(), {})

    def test_every_way_to_write_a_delay_and_a_time(self):
        now = time.time()
        for headers, seconds in (
                ({"LDC-Delay": "90"}, 90), ({"LDC-Delay": "90s"}, 90), ({"LDC-Delay": "15m"}, 900),
                ({"LDC-Delay": "40d"}, 40 * 86400),
                ({"LDC-Deliver-At": str(int(now) + 500)}, 500),
                ({"LDC-Deliver-At": email.utils.formatdate(now + 600, usegmt=True)}, 600),
                ({"LDC-Deliver-At": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 700))}, 700),
                ({"LDC-Deliver-At": time.strftime("%Y-%m-%dT%H:%M:%S+01:00", time.gmtime(now + 700 + 3600))}, 700)):
            answer = self.post(headers=headers)
            self.assertEqual(answer.status, 202, (headers, answer.body))
            self.assertAlmostEqual(waiting_load.parse_us(answer.json()["due"]) / 1e6, now + seconds, delta=60)

    def test_what_cannot_be_meant_is_refused_and_nothing_is_stored(self):
        for headers, word in (({"LDC-Delay": "soon"}, "LDC-Delay"), ({"LDC-Delay": "-5s"}, "LDC-Delay"),
                              ({"LDC-Delay": "41d"}, "40 days"), ({"LDC-Deliver-At": "2999-01-01T00:00:00Z"}, "40 days"),
                              ({"LDC-Deliver-At": "tomorrow"}, "LDC-Deliver-At"),
                              ({"LDC-Deliver-At": "2026-13-01T00:00:00Z"}, "LDC-Deliver-At"),
                              ({"LDC-Delay": "1s", "LDC-Deliver-At": "2026-01-01T00:00:00Z"}, "twice"),
                              ({"LDC-Delay": "999999999999999999999d"}, "LDC-Delay")):
            problem = self.expect_problem(self.post(headers=headers), 400, "bad-request")
            self.assertIn(word, problem["detail"])
        self.assertEqual(self.waiting(), [0, 0, 0, 0])
        self.assertEqual(self.stored(), {})

    def test_what_is_past_is_stored_at_once(self):
        answer = self.post(headers={"LDC-Deliver-At": "2001-09-09T01:46:40Z"})
        self.assertEqual(answer.status, 202)
        self.assertNotIn("state", answer.json())
        self.assertEqual(list(self.stored()), [answer.json()["id"]])

    def test_the_same_key_gives_the_same_timer(self):
        headers = {"LDC-Delay": "60s", "Idempotency-Key": "k"}
        first, again = self.post(headers=headers), self.post(headers=headers)
        self.assertEqual((first.status, again.status), (202, 202))
        self.assertEqual(again.json()["id"], first.json()["id"])
        self.assertEqual(again.headers["idempotency-replayed"], "true")
        self.assertEqual(self.waiting(), [1, 0, 0, 0])


class Cancelling(waiting_fixture.Waiting):
    def test_a_cancelled_timer_never_comes(self):
        for verb, delay in (("DELETE", "1h"), ("cancel", "30d"), ("cancel", "3h")):
            identity = self.post(headers={"LDC-Delay": delay}).json()["id"]
            for _ in range(2):
                answer = self.end(identity, verb)
                self.assertEqual((answer.status, answer.json()["state"]), (200, "cancelled"), answer.body)
        self.assertEqual(self.waiting(), [0, 0, 0, 0])

    def test_too_late_is_told_with_the_state(self):
        identity = self.post(headers={"LDC-Deliver-At": "2001-09-09T01:46:40Z"}).json()["id"]
        problem = self.expect_problem(self.end(identity, "DELETE"), 409, "message-state")
        self.assertEqual(problem["state"], "pending")

    def test_too_late_is_told_long_after_the_id_was_made(self):
        self.stack.agent()
        identity = self.post(headers={"LDC-Delay": "2s"}).json()["id"]
        self.assertEqual(self.look_up(identity).json()["state"], "scheduled")
        harness.wait_until(lambda: self.find(identity)[0] == "stored", what="the timer")
        self.assertIn(self.look_up(identity).json()["state"], ("pending", "delivered"))
        problem = self.expect_problem(self.end(identity, "cancel"), 409, "message-state")
        self.assertIn(problem["state"], ("pending", "delivered"))

    def test_what_never_was_is_unknown(self):
        identity = self.post().json()["id"]
        unknown = identity[:-12] + "000000000000"
        self.expect_problem(self.end(unknown, "DELETE"), 404, "not-found")
        self.expect_problem(self.end("nonsense", "DELETE"), 404, "not-found")
        self.expect_problem(self.end(identity, "explode"), 404, "not-found")

    def test_a_timer_cannot_be_committed(self):
        identity = self.post(headers={"LDC-Delay": "1h"}).json()["id"]
        problem = self.expect_problem(self.end(identity, "commit"), 409, "message-state")
        self.assertEqual(problem["state"], "scheduled")


class Delivery(waiting_fixture.Waiting):
    apps = 1
    COUNT = int(os.environ.get("LDC_WAITING", "1000"))  # `make soak` asks for more

    def judge(self, due):
        """None early by the broker's clock, each exactly once in the streams; returns how late they were, in ms."""
        harness.wait_until(lambda: {record["id"] for record in self.delivered()} >= set(due), timeout=60,
                           what="all timers to be delivered", every=0.05)
        stored = self.stored()
        self.assertEqual(set(stored), set(due))
        early = [identity for identity in due if int(stored[identity][b"st_us"]) < due[identity]]
        self.assertEqual(early, [])
        late = [(int(stored[identity][b"st_us"]) - due[identity]) / 1000 for identity in due if due[identity]]
        print(f"{len(due)} timers: lateness p50 {waiting_load.percentile(late, .5):.1f} ms, p99 "
              f"{waiting_load.percentile(late, .99):.1f} ms, most {max(late):.1f} ms")
        return late

    def test_timers_come_once_and_never_early(self):
        self.stack.agent(lease__ttl="20s")  # who is held up for less delivers nothing twice
        due = waiting_load.schedule_many(self.gateway.port, self.COUNT, 0.5, 4 + self.COUNT / 400, seed=1)
        self.judge(due)
        self.assertEqual(len(self.delivered()), self.COUNT)
        self.assertEqual(self.waiting(), [0, 0, 0, 0])

    def test_two_agents_move_each_timer_once(self):
        for name in ("first", "second"):
            self.stack.agent(name=name)
        self.judge(waiting_load.schedule_many(self.gateway.port, self.COUNT, 0.2, 2 + self.COUNT / 400, seed=2))

    def test_kill_9_of_the_keeper_and_of_the_broker_loses_and_repeats_nothing(self):
        agents = [self.stack.agent(name=name) for name in ("first", "second")]
        due, kills = waiting_load.kill_during(
            lambda: waiting_load.schedule_many(self.gateway.port, self.COUNT, 0.2, 5 + self.COUNT / 300, seed=3),
            [*agents, self.broker, self.gateway], seed=3)
        print(dict(kills))
        self.judge(due)

    def test_a_due_hour_that_nobody_opened_is_caught_up_with(self):
        gateway = self.stack.gateway("near-sighted", timers__near="0s")
        answer = harness.wait_until(lambda: (answer := harness.request(
            gateway.port, "POST", "/pay/1", {"X-User-Id": "1", "LDC-Delay": "61m"}, b"{}")).status == 202 and answer,
            what="a 202")
        self.assertEqual(self.waiting()[:2], [0, 1])
        self.stack.agent(timers__near="3h")
        harness.wait_until(lambda: self.waiting()[:2] == [1, 0], what="the hour to be opened")
        self.assertEqual(self.end(answer.json()["id"], "cancel").json()["state"], "cancelled")


if __name__ == "__main__":
    unittest.main()
