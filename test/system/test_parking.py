#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Users whose messages fail: they wait apart, in order, across crashes, and no other user waits for them."""
import collections
import random
import signal
import threading
import time
import unittest

import harness
from producer import Producer

PARTITIONS = 2


def key(partition, suffix):
    return f"ldc:{{RZ01/payments/{partition}}}:{suffix}"


class Parking(harness.StackTest):
    def start(self, ladder=("150ms",), attempts=1000, retention="1h", **options):
        self.broker = self.stack.broker()
        self.app = self.stack.app()
        retry = f"{{attempts: {attempts}, ladder: [{', '.join(ladder)}]}}"
        self.topic = {"partitions": PARTITIONS, "retention": retention, "retry": "RETRY"}
        text = harness.rules({"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])},
                             topics={"payments": self.topic})
        self.stack.write_rules(text.replace('"RETRY"', retry).replace(f'"{retention}"', retention))
        self.options = options
        self.agent = self.stack.agent(**options)
        self.producer = Producer(self.broker, PARTITIONS)

    def order(self, what="fail", **query):
        self.app.order(what, **query)

    def mend(self):
        self.order(times=0)

    def sum_of(self, *fields):
        """Over the agent's partitions; None while it cannot tell."""
        try:
            status = self.agent.status()
        except (OSError, ValueError, harness.http.client.HTTPException):
            return None
        if not status["broker"]["up"] or not all(part["linked"] for part in status["partitions"]):
            return None
        return sum(part[field] for part in status["partitions"] for field in fields)


    def wait_for(self, expected, *fields, timeout=30.0):
        harness.wait_until(lambda: self.sum_of(*fields) == expected, timeout=timeout,
                           what=f"{' + '.join(fields)} to be {expected}", every=0.02)

    def hash(self, suffix):
        return {name.decode(): value.decode() for partition in range(PARTITIONS)
                for name, value in self.pairs(self.broker.call("HGETALL", key(partition, suffix)))}

    def pairs(self, flat):
        return zip(flat[0::2], flat[1::2])

    def dead(self):
        return [{name.decode(): value for name, value in self.pairs(fields)} for partition in range(PARTITIONS)
                for _, fields in self.broker.call("XRANGE", key(partition, "dead:default"), "-", "+")]

    def seen(self):
        """The ids that the app took of each user, in order, without immediate repeats."""
        users = collections.defaultdict(list)
        for record in sorted(self.app.records(), key=lambda record: record["us"]):
            if users[record["user"]][-1:] != [record["id"]]:
                users[record["user"]].append(record["id"])
        return users

    def dead_ids(self):
        return {letter["id"].decode() for letter in self.dead()}

    def wait_all(self, timeout=60.0):
        """Until each message that the broker confirmed was taken, or is dead, and nothing else is under way."""
        def all_there():
            return (self.sum_of("parked", "pending") == 0 and
                    self.producer.confirmed <= {record["id"] for record in self.app.records()} | self.dead_ids())
        harness.wait_until(all_there, timeout=timeout, what="all messages to be taken or dead", every=0.1)

    def check_all(self):
        """Nothing lost, nothing invented, each user's order kept among repeats too; what is dead is not missed."""
        dead, seen = self.dead_ids(), self.seen()
        for user, ids in self.producer.stored().items():
            self.assertEqual([id for id in seen[user] if id not in dead], [id for id in ids if id not in dead], user)
        self.assertLessEqual(seen.keys(), self.producer.stored().keys())

    def nothing_is_left(self):
        for partition in range(PARTITIONS):
            for suffix in ("parked:default", "tries:default", "park:default:*"):
                self.assertEqual(self.broker.call("KEYS", key(partition, suffix).replace("{", "\\{")), [])
            self.assertIn(self.broker.call("HGET", key(partition, "cursor:default"), "parked"), (None, b"0"))

    # --- parks -------------------------------------------------------------------------------------------------------

    def test_one_poisoned_user_of_many_delays_no_other(self):
        self.start(ladder=["300ms"], delivery__window=64)
        self.order(user=7, status=500, times=1000000)
        users = [str(user) for user in range(100, 1100)]
        self.producer.send_many(["7"] * 500 + users[:500] + ["7"] * 500 + users[500:])
        with harness.Span() as span:
            harness.wait_until(lambda: len(self.app.records()) == 1000, what="the others", every=0.05)
        self.wait_for(1000, "parked")
        self.assertEqual(self.sum_of("pending"), 0)
        self.assertEqual(self.sum_of("parked_users"), 1)
        for partition in range(PARTITIONS):  # all of it is done for the cursor
            waiting = self.broker.call("HMGET", key(partition, "cursor:default"), "watermark", "done")
            last = self.broker.call("XINFO", "STREAM", key(partition, "stream"))
            self.assertEqual(waiting, [dict(self.pairs(last))[b"last-generated-id"], b""])
        self.assertLess(span.seconds, span.allowed(10))
        self.assertNotIn("7", {record["user"] for record in self.app.records()})
        self.mend()
        self.wait_all()
        self.check_all()
        self.nothing_is_left()
        self.assertGreater(next(record for record in self.app.records() if record["user"] == "7")["attempt"], 1)

    def test_a_users_order_holds_into_the_park_and_out_of_it(self):
        self.start(ladder=["30ms", "60ms"])
        users = [str(user) for user in range(8)]
        for _ in range(60):
            self.order(user=random.choice(users), status=500, times=random.randint(1, 3))
            self.producer.send_many([random.choice(users) for _ in range(20)])
        self.mend()
        self.wait_all()
        self.check_all()
        self.nothing_is_left()
        self.assertGreater(self.agent.metric("agent_unparked_total"), 20)

    def test_thousands_of_parked_users_take_no_memory_of_the_agent_and_all_come_back(self):
        self.start(ladder=["1s"])
        self.order(status=500, times=1000000)
        users = [str(user) for user in range(3000)]
        for at in range(0, 3000, 500):
            self.producer.send_many(users[at:at + 500] * 2)
        self.wait_for(6000, "parked", timeout=60)
        self.assertEqual(self.sum_of("parked_users"), 3000)
        self.assertLessEqual(self.sum_of("in_flight", "held"), 2 * 64)
        self.mend()
        self.wait_all()
        self.check_all()
        self.nothing_is_left()

    def test_a_long_retry_after_parks_and_counts_no_attempt(self):
        self.start(delivery__park_after="100ms", attempts=2)
        self.order(user=5, status=429, times=4, retry_after=1)
        began = time.monotonic()
        self.producer.send_many(["5", "5", "6"])
        self.wait_for(2, "parked")
        self.assertEqual(self.hash("tries:default"), {})
        harness.wait_until(lambda: len(self.app.records()) == 3, what="all", every=0.05)
        self.assertGreater(time.monotonic() - began, 3.9)
        self.assertEqual({record["attempt"] for record in self.app.records()}, {1})
        self.check_all()

    def test_no_node_is_no_attempt_and_parks_nobody(self):
        self.start(delivery__backoff_max="50ms", attempts=2)
        self.producer.send_many(["1", "2"])
        harness.wait_until(lambda: len(self.app.records()) == 2, what="the first")
        self.app.terminate()
        self.producer.send_many([str(user) for user in range(50)] * 2)
        harness.wait_until(lambda: self.sum_of("held") == 100, what="them to be read")
        time_out = time.monotonic() + 1.5
        while time.monotonic() < time_out:  # for a time in which each could be parked and die
            self.assertEqual(self.sum_of("parked", "dead"), 0)
            self.assertEqual(self.agent.metric("agent_retries_total"), 0)
        self.app.start()
        self.wait_for(0, "pending")
        self.assertEqual(self.sum_of("parked", "dead"), 0)

    # --- dead letters ------------------------------------------------------------------------------------------------

    def test_what_no_retry_can_mend_dies_at_once_and_the_user_goes_on(self):
        self.start()
        self.order(user=7, status=422, times=1)
        first = self.producer.send("7", body="grüße".encode(), headers=b"x-mine: 1")
        second = self.producer.send("7")
        harness.wait_until(lambda: self.seen()["7"] == [second], what="the second")
        letter, = self.dead()
        expected = {"id": first, "user": "7", "reason": "status", "status": "422", "attempts": "1", "body": "grüße",
                    "headers": "x-mine: 1", "path": "/pay/1", "method": "POST", "color": "blue"}
        self.assertEqual({name: letter[name].decode() for name in expected}, expected)
        self.wait_for(1, "dead")
        self.assertEqual(self.sum_of("parked", "pending"), 0)

    def test_after_the_last_attempt_it_dies_and_its_followers_live(self):
        self.start(ladder=["20ms"], attempts=4)
        self.order(user=7, status=500, times=4)
        self.producer.send_many(["7", "7", "7"])
        self.wait_all()
        self.check_all()
        letter, = self.dead()
        self.assertEqual((letter["reason"], letter["status"], letter["attempts"]), (b"attempts", b"500", b"4"))
        self.assertLess(abs(int(letter["dead_us"]) - time.time() * 1e6), 60e6)
        self.nothing_is_left()

    def test_one_that_kills_its_node_again_and_again_is_parked(self):
        self.start(ladder=["1h"], lease__ttl="1m")
        self.order("delay", ms=60000)
        self.producer.send("7")
        for _ in range(3):
            harness.wait_until(lambda: self.sum_of("in_flight") == 1, what="the attempt", every=0.01)
            self.app.kill()
            self.agent.signal(signal.SIGSTOP)  # it finds nobody who would answer at once
            self.app.restart()
            self.order("delay", ms=60000)
            self.agent.signal(signal.SIGCONT)
        self.wait_for(1, "parked")
        self.assertEqual(self.hash("tries:default"), {"7": "1"})

    # --- what dies ---------------------------------------------------------------------------------------------------

    def test_attempts_survive_kill_9_of_the_agent_and_of_the_broker(self):
        self.start(ladder=["100ms"])
        self.order(user=7, status=500, times=1000000)
        self.producer.send_many(["7", "7", "8"])
        for victim in (self.agent, self.broker, self.agent):
            before = int(self.hash("tries:default").get("7", 0))
            harness.wait_until(lambda: int(self.hash("tries:default").get("7", 0)) > before + 1, what="more attempts")
            reached = int(self.hash("tries:default")["7"])
            victim.kill()
            victim.start()
            self.wait_for(2, "parked")
            self.assertGreaterEqual(int(self.hash("tries:default")["7"]), reached)
        self.mend()
        self.wait_all()
        self.check_all()
        last = [record["attempt"] for record in self.app.records() if record["user"] == "7"]
        self.assertGreater(last[0], 5)
        self.assertEqual(last[-1], 1)

    def test_any_crash_leaves_each_message_in_one_place(self):
        """Kills agent and broker while users fail, die and recover; then counts everything."""
        self.start(ladder=["20ms", "50ms"], attempts=6, broker__timeout="500ms", lease__ttl="300ms", lease__beat="50ms")
        users = [str(user) for user in range(40)]
        stop = threading.Event()

        def produce():
            while not stop.wait(0.01):
                try:
                    self.producer.send_many([random.choice(users) for _ in range(10)])
                except (OSError, ConnectionError):
                    continue

        def spoil():
            while not stop.wait(0.05):
                try:
                    self.order(times=0)
                    for _ in range(3):
                        self.order(user=random.choice(users), status=random.choice([500, 500, 500, 422, 404]), times=6)
                except OSError:
                    continue
        threads = [threading.Thread(target=produce), threading.Thread(target=spoil)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(12):
                stop.wait(0.2 + random.random() * 0.5)
                victim = self.broker if turn % 3 == 2 else self.agent
                victim.kill()
                victim.start()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.mend()
        self.wait_all()
        dead = collections.Counter(letter["id"].decode() for letter in self.dead())
        self.assertEqual([id for id, count in dead.items() if count > 1], [])
        stored = {id for ids in self.producer.stored().values() for id in ids}
        taken = {record["id"] for record in self.app.records()}
        self.assertEqual(taken | set(dead), stored)
        self.assertGreaterEqual(stored, self.producer.confirmed)
        self.assertGreater(len(dead), 5)
        self.check_all()
        self.nothing_is_left()

    def test_a_broker_that_forgot_what_it_confirmed_is_believed_and_not_memory(self):
        """As after a failover to a replica that had the message, but not the park and the cursor."""
        self.start(ladder=["1h"])
        self.order(user=8, status=500, times=1)
        self.producer.send("8")
        self.wait_for(1, "parked")
        self.mend()
        partition = 8 % PARTITIONS
        for suffix in ("park:default:8", "parked:default", "tries:default", "cursor:default"):
            self.assertEqual(self.broker.call("DEL", key(partition, suffix)), 1)
        self.broker.call("CLIENT", "KILL", "TYPE", "normal")
        self.wait_all()
        self.assertEqual(self.agent.metric("agent_stream_regressions_total"), 1)
        self.check_all()
        self.nothing_is_left()

    def test_a_full_broker_parks_and_acknowledges(self):
        self.start(ladder=["100ms"])
        self.order(user=7, status=500, times=3)
        self.order("delay", ms=300)
        self.producer.send_many(["7", "7", "8", "9"])
        self.broker.call("CONFIG", "SET", "maxmemory", 1)
        self.wait_all()
        self.check_all()
        self.assertEqual(self.agent.metric("agent_retries_total"), 3)
        self.nothing_is_left()


if __name__ == "__main__":
    unittest.main()
