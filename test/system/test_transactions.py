#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Messages that wait for their sender's word, through a real gateway, broker and agent."""
import json
import os
import signal
import unittest

import durable_fixture
import harness
import waiting_fixture
import waiting_load

PREPARE = {"LDC-Transaction": "prepare", "LDC-Check-Url": "http://127.0.0.1:1/check"}


class Ends(waiting_fixture.Waiting):
    def prepare(self, **headers):
        answer = self.post(headers={**PREPARE, **headers})
        self.assertEqual((answer.status, answer.json().get("state")), (202, "prepared"), answer.body)
        return answer.json()["id"]

    def test_a_prepared_message_is_stored_when_it_is_committed(self):
        identity = self.prepare()
        self.assertEqual(self.stored(), {})
        for _ in range(2):
            answer = self.end(identity, "commit")
            self.assertEqual((answer.status, answer.json()["state"]), (200, "committed"))
            self.assertEqual(answer.headers["ldc-durability"], "local")
        self.assertEqual(list(self.stored()), [identity])
        problem = self.expect_problem(self.end(identity, "rollback"), 409, "message-state")
        self.assertEqual(problem["state"], "committed")

    def test_a_message_that_is_rolled_back_is_never_stored(self):
        identity = self.prepare()
        for _ in range(2):
            answer = self.end(identity, "rollback")
            self.assertEqual((answer.status, answer.json()["state"]), (200, "rolled-back"))
        problem = self.expect_problem(self.end(identity, "commit"), 409, "message-state")
        self.assertEqual((problem["state"], problem["message"]), ("rolled-back", identity))
        self.assertEqual(self.stored(), {})

    def test_a_look_up_says_where_each_is(self):
        identities = [self.prepare() for _ in range(3)]
        self.end(identities[1], "commit")
        self.end(identities[2], "rollback")
        self.assertEqual([self.look_up(identity).json()["state"] for identity in identities],
                         ["prepared", "pending", "rolled-back"])

    def test_cancelling_is_for_timers(self):
        identity = self.prepare()
        problem = self.expect_problem(self.end(identity, "DELETE"), 409, "message-state")
        self.assertEqual(problem["state"], "prepared")

    def test_what_was_never_prepared_is_unknown(self):
        identity = self.post().json()["id"]
        self.expect_problem(self.end(identity, "commit"), 404, "not-found")
        self.expect_problem(self.end(identity, "rollback"), 404, "not-found")

    def test_the_headers_come_together_and_make_sense(self):
        for headers, word in (({"LDC-Transaction": "prepare"}, "together"),
                              ({"LDC-Check-Url": "http://127.0.0.1/"}, "together"),
                              ({"LDC-Transaction": "commit"}, "prepare"),
                              ({**PREPARE, "LDC-Check-Url": "ftp://127.0.0.1/"}, "http"),
                              ({**PREPARE, "LDC-Check-Url": "http://"}, "http"),
                              ({**PREPARE, "LDC-Check-Url": "http://a b/"}, "http"),
                              ({**PREPARE, "LDC-Check-Url": "http://a/" + "x" * 2100}, "http"),
                              ({**PREPARE, "LDC-Delay": "5s"}, "put off")):
            problem = self.expect_problem(self.post(headers=headers), 400, "bad-request")
            self.assertIn(word, problem["detail"])
        self.assertEqual(self.waiting(), [0, 0, 0, 0])

    def test_the_same_key_gives_the_same_transaction(self):
        key = {"Idempotency-Key": "k"}
        identity = self.prepare(**key)
        again = self.post(headers={**PREPARE, **key})
        self.assertEqual((again.status, again.json()["id"]), (202, identity))
        self.assertEqual(self.waiting(), [0, 0, 1, 0])


class Strangers(waiting_fixture.Waiting):
    options = {"ingress__trusted_peers": "192.0.2.0/24"}

    def test_peers_that_are_not_trusted_can_neither_prepare_nor_end(self):
        answer = self.post(headers={**PREPARE, "LDC-Delay": "1h"})
        self.assertEqual(answer.status, 202)
        identity = answer.json()["id"]
        self.assertEqual(list(self.stored()), [identity])
        for verb in ("commit", "rollback", "cancel", "DELETE"):
            self.expect_problem(self.end(identity, verb), 403, "untrusted-peer")


class Checks(waiting_fixture.Waiting):
    options = {"transactions__first_check": "100ms"}
    apps = 1
    COUNT = int(os.environ.get("LDC_WAITING", "1000"))  # `make soak` asks for more

    def setUp(self):
        super().setUp()
        self.senders = waiting_load.Senders()
        self.addCleanup(self.senders.end)

    def prepare(self, query=""):
        answer = self.post(headers={**PREPARE, "LDC-Check-Url": self.senders.url + query})
        self.assertEqual(answer.status, 202)
        return answer.json()["id"]

    def state(self, identity):
        return self.find(identity)[0]

    def wait_state(self, identity, state):
        harness.wait_until(lambda: self.state(identity) == state, what=f"{identity} to be {state}")

    def test_a_silent_sender_is_asked_and_its_word_counts(self):
        committed, rolled = self.prepare("?a=b"), self.prepare()
        self.senders.say = {committed: ["unknown", "commit"], rolled: ["rollback"]}
        self.stack.agent(transactions__longest_pause="100ms")
        self.wait_state(committed, "committed")
        self.wait_state(rolled, "rolled-back")
        harness.wait_until(lambda: [record["id"] for record in self.delivered()] == [committed], what="the delivery")
        identity, query, headers = next(asked for asked in self.senders.queries if asked[0] == committed)
        self.assertEqual((query["a"], headers["LDC-Message-Id"], headers["LDC-Check"]), (["b"], committed, "1"))
        self.assertEqual((self.senders.asked[committed], self.senders.asked[rolled]), (2, 1))

    def test_what_is_no_clear_word_leaves_it_prepared_and_then_visibly_parked(self):
        identities = [self.prepare() for _ in range(5)]
        words = [b"", b"{", b'{"state": 1}', b'["commit"]', "perhaps"]
        self.senders.say = {identity: [word] for identity, word in zip(identities, words)}
        agent = self.stack.agent(transactions__longest_pause="50ms", transactions__checks=3)
        for identity in identities:
            self.wait_state(identity, "parked")
        self.assertEqual(set(self.senders.asked.values()), {3})
        self.assertEqual(self.waiting(), [0, 0, 0, 5])
        harness.wait_until(lambda: "transactions.parked" in agent.log_text(), what="the warning")
        self.assertEqual(self.end(identities[0], "commit").json()["state"], "committed")
        self.assertEqual(self.end(identities[1], "rollback").json()["state"], "rolled-back")
        harness.wait_until(lambda: [record["id"] for record in self.delivered()] == identities[:1], what="the delivery")
        self.assertEqual(self.waiting(), [0, 0, 0, 3])

    def test_an_error_is_no_word_whatever_its_body_says(self):
        self.senders.status, self.senders.default = 404, ["commit"]
        identity = self.prepare()
        self.stack.agent(transactions__longest_pause="50ms", transactions__checks=2)
        self.wait_state(identity, "parked")

    def test_operators_see_what_is_parked_and_decide(self):
        parked = [self.prepare() for _ in range(3)]
        self.stack.agent(transactions__longest_pause="50ms", transactions__checks=2)
        for identity in parked:
            self.wait_state(identity, "parked")
        listed = self.ctl("list")
        self.assertEqual({item["id"] for item in listed}, set(parked))
        self.assertEqual({(item["unit"], item["state"], item["checks"], item["url"]) for item in listed},
                         {("RZ01", "parked", 2, self.senders.url)})
        self.assertEqual(self.ctl("commit", parked[0]), [{"unit": "RZ01", "id": parked[0], "state": "committed"}])
        self.assertEqual(self.ctl("commit", parked[0])[0]["state"], "committed")
        self.assertEqual(self.ctl("rollback", parked[1])[0]["state"], "rolled-back")
        self.assertIn("committed", self.ctl("rollback", parked[0], code=1))
        self.assertIn("No such message", self.ctl("commit", parked[0][:-4] + "0000", code=1))
        self.assertEqual([item["id"] for item in self.ctl("list")], parked[2:])
        self.assertEqual(self.ctl("list", "--state", "prepared"), [])
        self.assertIn("is wanted", self.ctl("list", "--state", "odd", code=1))
        self.ctl("commit", "nonsense", code=2)

    def ctl(self, *words, code=0):
        done = self.stack.ctl("queue", "transactions", *words, "-o", "json", gateway=self.gateway)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return json.loads(done.stdout)["items"] if code == 0 else done.stderr

    def test_kill_9_of_everything_leaves_each_in_one_state_and_delivers_what_is_committed(self):
        agents = [self.stack.agent(name=name, transactions__longest_pause="200ms", transactions__checks=1000)
                  for name in ("first", "second")]
        load = waiting_load.Transactions(self.gateway.port, self.senders, self.COUNT, seed=5)
        _, kills = waiting_load.kill_during(load.run, [*agents, self.gateway, self.broker], seed=5)
        harness.wait_until(lambda: self.waiting() == [0, 0, 0, 0], timeout=60, what="every transaction to end", every=0.1)
        harness.wait_until(lambda: {r["id"] for r in self.delivered()} >= set(self.stored()), timeout=60, every=0.1,
                           what="all that is committed to be delivered")
        self.assertEqual(set(self.stored()), {record["id"] for record in self.delivered()})
        print(dict(kills), dict(load.judge(self, self.find, set(self.stored()))))


class Replicated(durable_fixture.DurableTest):
    def end(self, identity, verb):
        return harness.request(self.gateway.port, "POST", f"/-/messages/{identity}/{verb}", timeout=30)

    def find(self, broker, identity):
        return broker.call("EVAL_RO", "return redis.call('GET', KEYS[1])", 1, "ldc:{RZ01}:ended:" + identity)

    def test_an_end_is_told_only_when_the_replicas_have_it(self):
        self.start(broker__timeout="1s")
        committed, rolled = [self.accepted(headers=PREPARE).json()["id"] for _ in range(2)]
        answer = self.end(committed, "commit")
        self.assertEqual((answer.status, answer.headers["ldc-durability"]), (200, "replicated"))
        self.assertEqual(self.ids(self.replicas[0]), [committed])
        self.replicas[0].signal(signal.SIGSTOP)
        self.expect_problem(self.end(rolled, "rollback"), 503, "outcome-unknown")
        self.replicas[0].signal(signal.SIGCONT)
        answer = harness.wait_until(lambda: (answer := self.end(rolled, "commit")).status != 503 and answer,
                                    what="the replica")
        self.assertEqual((answer.status, answer.json()["state"]), (409, "rolled-back"))
        self.assertEqual(self.find(self.replicas[0], rolled), b"rolled-back")


if __name__ == "__main__":
    unittest.main()
