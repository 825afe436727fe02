#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What operators do to the queue of a running unit by ldcctl."""
import collections
import json
import signal
import time
import unittest

import harness
from harness import wait_until


def key(suffix, partition=0):
    return f"ldc:{{RZ01/payments/{partition}}}:{suffix}"


class Operations(harness.StackTest):
    def setUp(self):
        super().setUp()
        stack = self.stack
        self.broker, self.app = stack.broker(), stack.app("RZ01", "blue")
        stack.write_rules(harness.rules({"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])},
                                        topics={"payments": {"partitions": 2}}))
        self.gateway, self.agent = stack.gateway(), stack.agent()

    def ctl(self, *words, code=0):
        done = self.stack.ctl(*words, "-o", "json", gateway=self.gateway)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return json.loads(done.stdout)["items"] if code == 0 else done.stderr

    def pay(self, users=("1000",)):
        def accepted(user):
            answer = harness.request(self.gateway.port, "POST", "/pay/1", {"X-User-Id": user}, b"{}")
            self.assertIn(answer.status, (202, 503), answer.body)  # 503: the broker record is only being written
            return answer.status == 202 and answer.headers["ldc-message-id"]
        return [wait_until(lambda: accepted(user), what="a 202") for user in users]

    def delivered(self):
        return [record["id"] for record in self.app.records()]

    def wait_delivered(self, ids):
        wait_until(lambda: set(ids) <= set(self.delivered()), what="the deliveries")

    def bury(self, user, body="{}", **more):
        """A dead letter, as the agent leaves it."""
        identity = f"RZ01.payments.{int(user) % 2}.{len(user) + int(user):024x}"
        fields = {"id": identity, "user": user, "slot": int(user) % 100, "epoch": 1, "in_us": int(time.time() * 1e6),
                  "color": "blue", "method": "POST", "path": "/pay/dead", "headers": "content-type: text/plain",
                  "body": body, "n": 1, "st_us": 1, "reply": "", "reason": "the app answered 422", "status": 422,
                  "attempts": 1, "dead_us": int(time.time() * 1e6), "entry": "1-1", **more}
        self.broker.call("XADD", key("dead:default", int(user) % 2), "*", *[word for pair in fields.items() for word in pair])
        return identity

    def test_a_paused_topic_keeps_its_messages_and_gives_them_back_in_order(self):
        first = self.pay()
        self.wait_delivered(first)
        self.assertEqual(self.ctl("queue", "pause", "payments"),
                         [{"unit": "RZ01", "topic": "payments", "subscription": "default", "rate": "paused"}])
        users = ["1000", "1001", "1000", "1001", "1000"]
        ids = self.pay(users)
        wait_until(lambda: self.agent.metric("agent_messages_read_total") >= 6,
                   what="the agent to have read them")
        self.assertEqual(set(self.delivered()), set(first))  # and maybe again: an app that is slow is asked twice
        self.ctl("queue", "resume", "payments")
        self.wait_delivered(ids)
        order = [(record["user"], record["id"]) for record in self.app.records() if record["id"] not in first]
        for user in set(users):
            self.assertEqual([id for who, id in order if who == user], [id for who, id in zip(users, ids) if who == user])

    def test_a_throttled_topic_is_never_faster(self):
        self.ctl("queue", "throttle", "payments", "50")
        started = time.monotonic()
        self.wait_delivered(self.pay([str(1000 + i) for i in range(60)]))
        self.assertGreater(time.monotonic() - started, 55 / 50)
        self.assertIn("1 to 1000000", self.ctl("queue", "throttle", "payments", "0", code=1))
        self.assertIn("no such topic", self.ctl("queue", "pause", "nothing", code=1))

    def test_a_pause_outlives_the_agent(self):
        self.ctl("queue", "pause", "payments")
        self.agent.kill()
        self.agent.restart()
        wait_until(self.agent.ready, what="the agent")
        ids = self.pay()
        wait_until(lambda: self.agent.metric("agent_messages_read_total") >= 1,
                   what="the agent to have read it")
        self.assertEqual(self.delivered(), [])
        self.ctl("queue", "resume", "payments")
        self.wait_delivered(ids)

    def test_a_cursor_goes_back_to_a_time_and_on_to_the_end(self):
        ids = self.pay(["1000", "1001", "1002"])
        self.wait_delivered(ids)
        self.assertEqual(len(self.ctl("queue", "reset", "payments", "--to-time", "10m")), 2)
        wait_until(lambda: collections.Counter(self.delivered()) == {id: 2 for id in ids}, what="a second delivery")
        self.ctl("queue", "pause", "payments")
        skipped = self.pay(["1000", "1001"])
        reset = self.ctl("queue", "reset", "payments", "--to-end")
        self.assertEqual(sum(item["passed"] for item in reset), 5)
        wait_until(lambda: all(self.broker.call("HGET", key("state", n), "owner") for n in range(2)), what="the owner")
        self.ctl("queue", "resume", "payments")
        last = self.pay(["1000", "1001"])
        self.wait_delivered(last)
        self.assertFalse(set(skipped) & set(self.delivered()))
        entry = self.broker.call("XRANGE", key("stream", 1), "-", "+")[0][0].decode()
        self.ctl("queue", "reset", "payments", "--to-id", entry, "--partition", "1")
        self.wait_delivered([skipped[1]])
        self.assertNotIn(skipped[0], self.delivered())
        self.assertIn("is wanted", self.ctl("queue", "reset", "payments", code=2))

    def test_what_was_delivered_from_a_park_is_delivered_again_after_a_reset(self):
        self.app.order("fail", user=1000, status=503, times=1, retry_after=2)
        ids = self.pay(["1000"] * 3)
        self.wait_delivered(ids)
        self.app.order("fail", user=1000, status=503, times=1000000, retry_after=2)
        ids += self.pay(["1000"] * 2)
        parked = lambda: sum(part["parked"] for part in self.agent.status()["partitions"])
        wait_until(lambda: parked() == 2, what="the park")
        self.ctl("queue", "reset", "payments", "--to-time", "10m")
        wait_until(lambda: parked() == 5, what="all to wait")
        self.app.order("fail", times=0)
        wait_until(lambda: self.delivered() == ids[:3] + ids, what="the second delivery")
        wait_until(lambda: parked() == 0, what="an empty park")

    def test_dead_letters_are_listed_shown_redriven_and_purged(self):
        one, two, three = self.bury("1000", '{"a": 1}'), self.bury("1001", b"\xff\x00"), self.bury("1002")
        listed = self.ctl("queue", "dead", "list")
        self.assertEqual({item["id"] for item in listed}, {one, two, three})
        self.assertEqual(len(self.ctl("queue", "dead", "list", "--partition", "0", "--limit", "1")), 1)
        shown, = self.ctl("queue", "dead", "show", one)
        self.assertEqual((shown["body"], shown["status"], shown["reason"]), ('{"a": 1}', 422, "the app answered 422"))
        self.assertEqual(self.ctl("queue", "dead", "show", two)[0]["body_base64"], "/wA=")
        self.assertIn("--all", self.ctl("queue", "dead", "redrive", code=2))
        self.nothing_is_not_everything()
        self.assertEqual(self.ctl("queue", "dead", "redrive", "--id", one)[0]["count"], 1)
        self.wait_delivered([one])
        self.assertEqual(self.ctl("queue", "dead", "purge", "--id", two)[0]["count"], 1)
        self.ctl("queue", "redrive", "--all", "--topic", "payments")
        self.wait_delivered([three])
        self.assertEqual(self.ctl("queue", "dead", "list"), [])
        self.assertNotIn(two, self.delivered())

    def nothing_is_not_everything(self):
        """A script's variable that is not set: no dead letter goes for it, neither by ldcctl nor by the agent."""
        before = self.ctl("queue", "dead", "list")
        for words in (("--id", ""), ("--all", "--topic", ""), ("--all", "--unit="), ("--all", "--subscription", "")):
            for verb in ("purge", "redrive"):
                self.assertIn("wants a value that is not empty", self.ctl("queue", "dead", verb, *words, code=2))
        for name in ("id", "topic", "subscription"):
            for verb in ("purge", "redrive"):
                self.assertEqual(self.agent.get(f"/v1/queue/{verb}?{name}=", "POST").status, 400)
        self.assertEqual(self.ctl("queue", "dead", "list"), before)

    def test_dead_letters_of_broadcasts_are_those_of_each_agent(self):
        unit = harness.unit("00-99", brokers=[self.broker], blue=[self.app])
        self.stack.put_rules(self.gateway, harness.rules({"RZ01": unit}, topics={
            "payments": {"partitions": 2, "subscriptions": {"caches": {"mode": "broadcast"}, "ledger": {}}}}))
        other = self.stack.agent(name="agent-2")
        names = {f"caches@{daemon.name}" for daemon in (self.agent, other)}
        linked = lambda: {(part["subscription"], part["partition"]) for daemon in (self.agent, other)
                          for part in daemon.status()["partitions"] if part["linked"]}
        wait_until(lambda: {(name, n) for name in names | {"ledger"} for n in range(2)} <= linked(), what="the subscriptions")
        self.app.order("fail", status=422, times=3)
        identity, = self.pay()
        listed = wait_until(lambda: len(items := self.ctl("queue", "dead", "list")) == 3 and items, what="the dead letters")
        self.assertEqual({(item["subscription"], item["id"]) for item in listed},
                         {(name, identity) for name in names | {"ledger"}})
        place = f"caches@{other.name}"
        self.assertEqual(len(self.ctl("queue", "dead", "list", "--subscription", place)), 1)
        self.assertEqual(len(self.ctl("queue", "dead", "list", "--subscription", "caches")), 2)
        self.ctl("queue", "dead", "redrive", "--all", "--subscription", place)
        wait_until(lambda: len(self.delivered()) == 1, what="the one that was redriven")
        self.ctl("queue", "dead", "purge", "--all", "--subscription", "caches")
        self.assertEqual({item["subscription"] for item in self.ctl("queue", "dead", "list")}, {"ledger"})
        self.assertEqual(self.delivered(), [identity])
        self.assertIn("cannot be reset", self.ctl("queue", "reset", "payments", "--subscription", "caches", "--to-end", code=1))
        self.assertEqual({item["subscription"] for item in self.ctl("queue", "reset", "payments", "--to-end")}, {"ledger"})

    def test_the_figures_stand_in_plain_text_too(self):
        for daemon in self.gateway, self.agent:
            text = daemon.get("/stats").body.decode()
            self.assertTrue(text.endswith("END\r\n"))
            lines = dict(line.split(" ", 2)[1:] for line in text.splitlines() if line.startswith("STAT "))
            self.assertEqual(lines["name"], daemon.name)
            status = daemon.status()
            self.assertEqual(lines["epoch"], str(status["epoch"]))

    def test_where_the_agents_are_gone_those_of_the_standby_answer(self):
        other = self.stack.broker("other")
        units = {"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app], standby="RZ02"),
                 "RZ02": harness.unit(brokers=[other])}
        self.wait_delivered(self.pay())
        self.stack.put_rules(self.gateway, harness.rules(units, topics={"payments": {"partitions": 2}}))
        guest = self.stack.agent("RZ02")
        wait_until(lambda: guest.status()["guests"], what="the guest's duty")
        self.agent.kill()
        buried = self.bury("1000")
        found = wait_until(lambda: self.ctl("queue", "dead", "list", "--unit", "RZ01"), what="the guest's broker")
        self.assertEqual([(item["unit"], item["id"]) for item in found], [("RZ01", buried)])
        self.assertEqual({item["unit"] for item in self.ctl("queue", "pause", "payments")}, {"RZ01", "RZ02"})
        self.assertEqual(self.ctl("queue", "transactions", "list", "--unit", "RZ01"), [])
        self.assertEqual(self.ctl("queue", "dead", "list", "--unit", "RZ02"), [])
        answer = harness.request(guest.admin_port, "GET", "/v1/queue/dead?unit=RZ03",
                                 {"Authorization": f"Bearer {harness.TOKEN}"})
        self.assertEqual(answer.status, 404)

    def test_an_agent_that_ends_answers_by_the_rules_it_knew(self):
        """New ones come while it waits for its app, and nobody is left to deliver by them."""
        self.wait_delivered(self.pay())
        self.app.signal(signal.SIGSTOP)
        self.pay()
        wait_until(lambda: self.agent.metric("agent_deliveries_in_flight") == 1, what="a delivery")
        self.agent.signal(signal.SIGTERM)
        self.stack.put_rules(self.gateway, harness.rules({"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])},
                                                         topics={"payments": {"partitions": 3}}))
        wait_until(lambda: '"rules.adopted","text":"epoch 2' in self.agent.log_text(), what="the agent to have the rules")
        answer = self.agent.get("/v1/queue/dead")
        self.assertEqual(answer.status, 200, answer.body)
        self.app.signal(signal.SIGCONT)
        self.assertEqual(self.agent.popen.wait(30 * harness.SLOW), 0)

    def test_a_broker_that_is_away_is_said(self):
        self.broker.kill()
        wait_until(lambda: self.agent.status()["broker"]["up"] is False, what="the news")
        self.assertIn("(503", self.ctl("queue", "pause", "payments", code=1))


if __name__ == "__main__":
    unittest.main()
