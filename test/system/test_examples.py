#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/PROTOCOL.md, run as they stand against a real deployment: what comes in over HTTP is read from
the broker, what they enqueue is delivered, and dead letters can be read."""
import json
import subprocess
import unittest

import harness
from harness import wait_until

PARTITIONS = 4
LANGUAGES = {"python": ["python3", harness.ROOT / "docs/examples/client.py"],
             "node": ["node", harness.ROOT / "docs/examples/client.js"]}


class ExamplesTest(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.broker = self.stack.broker("primary")
        self.replica = self.stack.broker("replica", extra=("--replicaof", "127.0.0.1", str(self.broker.port)))
        self.app = self.stack.app("RZ01", "blue")
        self.stack.write_rules(harness.rules(
            {"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])},
            topics={"payments": {"partitions": PARTITIONS}}))
        self.gateway = self.stack.gateway("gw1")
        self.agent = self.stack.agent("RZ01")
        wait_until(lambda: self.broker.call("INFO", "replication").find(b"state=online") > 0, what="the replica")
        wait_until(lambda: self.gateway.status()["units"][0]["broker"]["up"], what="the broker")
        wait_until(self.is_settled, what="the record that counts the replica, and its stamp")

    def is_settled(self):
        """Until then a writer may read the stamp right before it rises, and is refused."""
        record = self.agent.status()["broker_record"]
        return record["wait"] == 1 and int(self.broker.call("GET", "ldc:{RZ01}:epoch") or 0) == record["epoch"]

    def argv(self, language, command, *more, replicas=1):
        return [*LANGUAGES[language], command, "--broker", f"127.0.0.1:{self.broker.port}", "--unit", "RZ01",
                "--topic", "payments", "--partitions", str(PARTITIONS), "--replicas", str(replicas), *map(str, more)]

    def example(self, language, command, *more, code=0, replicas=1):
        """What the example prints, line by line."""
        done = subprocess.run(self.argv(language, command, *more, replicas=replicas), capture_output=True, text=True,
                              timeout=30 * harness.PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (code, ""), done.stdout)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def post(self, user, body):
        answer = harness.request(self.gateway.port, "POST", "/pay/1", {"X-User-Id": str(user)}, str(body).encode())
        self.assertEqual(answer.status, 202, answer.body)
        return answer.json()["id"]

    def post_many(self, first, count):
        return [self.post(number % 10, number) for number in range(first, first + count)]

    def check_order(self, messages):
        for user in {message["user"] for message in messages}:
            bodies = [int(message["body"]) for message in messages if message["user"] == user]
            self.assertEqual(bodies, sorted(bodies))


class Readers(ExamplesTest):
    def follow_on(self, language):
        ids = self.post_many(0, 40)
        first = self.example(language, "follow", "--name", language, "--count", 15)
        ids += self.post_many(40, 20)
        second = self.example(language, "follow", "--name", language, "--count", 45)
        self.assertEqual(sorted(message["id"] for message in first + second), sorted(ids))
        self.check_order(first + second)
        self.assertEqual({message["method"] for message in first}, {"POST"})

    def test_a_reader_with_a_cursor_goes_on_where_it_was(self):
        self.follow_on("python")

    def test_the_same_in_node(self):
        self.follow_on("node")

    def read_as_group(self, language):
        ids = self.post_many(0, 60)
        readers = [subprocess.Popen(self.argv(language, "group", "--name", language), stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True) for _ in range(2)]
        try:
            pending = lambda: [self.broker.call("XPENDING", "ldc:{RZ01/payments/%d}:stream" % number, language)[0]
                               for number in range(PARTITIONS)]
            groups = lambda: [self.broker.call("XINFO", "GROUPS", "ldc:{RZ01/payments/%d}:stream" % number)
                              for number in range(PARTITIONS)]
            wait_until(lambda: all(groups()), what="the groups")
            read = lambda: sum(dict(zip(group[::2], group[1::2]))[b"entries-read"] or 0
                               for (group,) in groups())
            wait_until(lambda: read() == 60 and not any(pending()), what="all messages to be acknowledged")
        finally:
            for reader in readers:
                reader.terminate()
            outputs = [reader.communicate(timeout=20 * harness.PATIENCE) for reader in readers]
        messages = [json.loads(line) for output, _ in outputs for line in output.splitlines()]
        self.assertEqual(sorted(message["id"] for message in messages), sorted(ids))
        self.assertEqual([errors for _, errors in outputs], ["", ""])

    def test_a_group_shares_the_messages(self):
        self.read_as_group("python")

    def test_a_group_shares_the_messages_in_node(self):
        self.read_as_group("node")

    def test_nothing_is_handed_over_that_no_replica_holds(self):
        self.post_many(0, 5)
        self.replica.kill()
        for language in LANGUAGES:
            reader = subprocess.Popen(self.argv(language, "follow", "--name", "gated", "--count", 5), text=True,
                                      stdout=subprocess.PIPE)
            try:
                with self.assertRaises(subprocess.TimeoutExpired):
                    reader.wait(timeout=1.5)
                self.assertEqual(self.broker.call("KEYS", "gated:*"), [])
            finally:
                reader.terminate()
                self.assertEqual(reader.communicate(timeout=20 * harness.PATIENCE)[0], "")


class Writers(ExamplesTest):
    def enqueue_and_repeat(self, language, user):
        stored, = self.example(language, "enqueue", "--user", user, "--path", "/pay/x", "--key", "a/b%", "hello")
        again, = self.example(language, "enqueue", "--user", user, "--path", "/pay/x", "--key", "a/b%", "hello")
        self.assertEqual((stored["replayed"], again), (False, {"id": stored["id"], "replayed": True}))
        other, = self.example(language, "enqueue", "--user", user, "--path", "/pay/x", "--key", "a/b%", "other", code=1)
        self.assertTrue(other["refused"].startswith("LDC_CONFLICT"), other)
        record = wait_until(lambda: [one for one in self.app.records() if one["id"] == stored["id"]], what="the delivery")
        self.assertEqual([(one["user"], one["path"], one["body"]) for one in record], [(str(user), "/pay/x", "hello")])
        answer = harness.request(self.gateway.port, "GET", "/-/messages/" + stored["id"])
        self.assertEqual((answer.status, answer.json()["partition"]), (200, user % 100 % PARTITIONS))

    def test_what_is_enqueued_as_the_text_says_is_delivered(self):
        self.enqueue_and_repeat("python", 1142)

    def test_what_node_enqueues_is_delivered(self):
        self.enqueue_and_repeat("node", 1143)

    def test_the_two_languages_and_the_gateway_take_turns_in_one_partition(self):
        for number, language in enumerate(("python", "node", "python", "node")):
            self.example(language, "enqueue", "--user", 7, "--path", "/pay/x", 2 * number)
            self.post(7, 2 * number + 1)
        entries = self.broker.call("XRANGE", "ldc:{RZ01/payments/%d}:stream" % (7 % PARTITIONS), "-", "+")
        messages = [dict(zip(words[::2], words[1::2])) for _, words in entries]
        self.assertEqual([int(message[b"n"]) for message in messages], list(range(1, 9)))
        self.check_order([{"user": "7", "body": message[b"body"]} for message in messages])
        wait_until(lambda: len(self.app.records()) == 8, what="the deliveries")
        self.assertEqual([int(one["body"]) for one in self.app.records()], list(range(8)))

    def test_a_message_that_no_replica_confirms_is_unknown_and_its_repeat_tells(self):
        self.replica.kill()
        for language in LANGUAGES:
            unknown, = self.example(language, "enqueue", "--user", 5, "--key", language, "x", code=4)
            known, = self.example(language, "enqueue", "--user", 5, "--key", language, "x", replicas=0)
            self.assertEqual(known, {"id": unknown["unknown"], "replayed": True})

    def test_another_epoch_is_refused(self):
        self.broker.call("SET", "ldc:{RZ01}:epoch", "x")  # which the example reads, and so follows
        self.assertIn("id", self.example("python", "enqueue", "--user", 5, "x")[0])
        with self.assertRaisesRegex(RuntimeError, "LDC_EPOCH"):
            key = "ldc:{RZ01/payments/0}"
            self.broker.call("FCALL", "ldc1_enqueue", 3, key + ":stream", key + ":state", "ldc:{RZ01}:epoch", "0", 0, 1000,
                             "0" * 32, *["1"] * 10, "")


class DeadLetters(ExamplesTest):
    def test_dead_letters_can_be_read(self):
        self.app.order("fail", status=422, times=1, user=3)
        identity = self.post(3, "odd")
        stream = "ldc:{RZ01/payments/3}:dead:default"
        wait_until(lambda: self.broker.call("XLEN", stream) == 1, what="the dead letter")
        for language in LANGUAGES:
            letter, = self.example(language, "dead")
            self.assertEqual({name: letter[name] for name in ("id", "user", "body", "status", "attempts")},
                             {"id": identity, "user": "3", "body": "odd", "status": "422", "attempts": "1"})
            self.assertTrue(letter["reason"])


if __name__ == "__main__":
    unittest.main()
