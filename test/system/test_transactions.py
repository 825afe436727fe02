#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Messages that wait for their sender's word, through a real gateway, broker and agent."""
import unittest

import waiting_fixture

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


if __name__ == "__main__":
    unittest.main()
