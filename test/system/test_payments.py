#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Payments between users of one unit and of two, as docs/PAYMENTS.md does them: each happens once in effect, on both sides
or on none, whatever is killed meanwhile."""
import collections
import os
import random
import unittest

import bank_fixture
import conservation
import harness
from playground_fixture import Playground

OPENING = 100
USERS = [str(1000 + number) for number in range(0, 100, 5)]  # of both units
# a busy machine is no dead one: who is killed is known at once in any case
RULES = "failover: {gap: 400ms, cooldown: 2s, window: 1s, max_units: 4, max_share: 100, clean: 500ms}\n"


class Payments(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.playground = Playground(self.stack, "--units", "2", "--gateways", "2", "--agents", "2", "--core-brokers",
                                     "3", "--supervise")
        self.stage = bank_fixture.Stage(harness.BUILD / "ldcctl", self.playground.dir, RULES)
        self.addCleanup(self.stage.end_apps)
        self.stage.open()
        for user in USERS:
            self.assertEqual(self.stage.send("PUT", "/accounts", user, {"balance": OPENING})[0], 200)

    def pay(self, payer, payee, amount, key):
        status, headers, said = self.stage.send("POST", "/payments", payer, {"payee": payee, "amount": amount}, key)
        self.assertEqual(status, 202, said)
        return headers

    def wait_decided(self, payer, key):
        def decided():
            status, _, said = self.stage.send("GET", f"/payments/{key}", payer)
            return status == 200 and said["state"]
        return harness.wait_until(decided, what=f"the end of {key}")

    def balance(self, user):
        return self.stage.send("GET", "/accounts", user)[2].get("balance")

    def test_each_kind_of_payment_comes_to_its_end(self):
        inside = self.pay("1000", "1005", 30, "a")
        across = self.pay("1000", "1095", 30, "b")
        # two queues carry them, which order nothing between them: both are waited for before the third
        self.assertEqual([self.wait_decided("1000", key) for key in "ab"], ["paid", "paid"])
        self.pay("1000", "1095", 41, "c")  # more than is left
        self.pay("1000", "1095", 30, "b")
        self.assertEqual([(headers["ldc-message-id"].split(".")[0], headers["ldc-durability"]) for headers in (inside, across)],
                         [("RZ01", "quorum"), ("CORE", "quorum")])
        self.assertEqual([self.wait_decided("1000", key) for key in "abc"], ["paid", "paid", "refused"])
        harness.wait_until(lambda: self.balance("1095") == OPENING + 30, what="the credit")
        self.assertEqual([self.balance("1000"), self.balance("1005")], [OPENING - 60, OPENING + 30])

    # --- under kills ---

    def test_every_payment_happens_once_or_not_at_all_while_all_is_killed(self):
        seed = int(os.environ.get("LDC_SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
        seconds = float(os.environ.get("LDC_SOAK_SECONDS", "12"))
        print(f"seed {seed}", flush=True)
        ports = [self.playground.ingress(i) for i in range(2)]
        with bank_fixture.Payers(ports, USERS, seed) as payers:
            harness.wait_until(lambda: payers.count() > 20, 60, "the first payments")
            with bank_fixture.Robbers(self.playground, self.stage, seed, pause=(0.2, 1.2)) as robbers:
                robbers.strike_broker("CORE", "primary")
                robbers.stopping.wait(seconds)
            before = payers.count()
            harness.wait_until(lambda: payers.count() > before + 20, 60, "payments after the last kill", 0.1)
        books = self.wait_settled(payers.payments)
        self.check(books, payers.payments)
        self.assertEqual(self.waiting, (0, 0, 0), "in queues, made ready and not ended, dead")
        self.tell(seed, payers.payments, books, robbers.done)

    def wait_settled(self, payments):
        books = self.waiting = None

        def settled():
            nonlocal books
            quiet = self.nothing_waits()  # before the books are read: what waited then may not be in them
            books = bank_fixture.Books(self.stage.data)
            return quiet and all(books.is_done(payment) for payment in payments
                                 if payment.said == "accepted" or books.is_begun(payment))
        try:
            harness.wait_until(settled, 40, "every payment's end", every=0.5)
        except AssertionError:
            self.explain(books, payments)  # the check says which have none
        return books

    def nothing_waits(self):
        try:
            self.waiting = self.stage.waits()
        except (RuntimeError, ValueError) as fault:
            self.waiting = str(fault)  # somebody is still on his way back
        return self.waiting == (0, 0, 0)

    def explain(self, books, payments):
        """For whoever looks into a failure."""
        print(self.waiting, self.playground.ctl("status").stdout)
        for payment in [one for one in payments if books.is_begun(one) and not books.is_done(one)][:2]:
            print(payment.id, payment.said, books.book.get(payment.id), books.outcomes.get(payment.id), books.entries[payment.id])
            for message in books.messages.get(payment.id, ()):
                print("  ", *self.stage.send("GET", f"/-/messages/{message}", payment.payer)[::2])
            conservation.explain(self.playground, books.messages.get(payment.id, ()))
        for unit in self.stage.apps:
            print(unit, (self.playground.dir / f"logs/{unit}-bank.log").read_text()[-1500:], flush=True)

    def check(self, books, payments):
        said = collections.defaultdict(list)
        for payment in payments:
            said[payment.said].append(payment)
            self.check_entries(books, payment)
        self.assertEqual([one.id for one in said["accepted"] if not books.is_done(one)], [], "accepted, and has no end")
        self.assertEqual([one.id for one in said["unknown"] if books.is_begun(one) and not books.is_done(one)], [],
                         "of unknown outcome, and half done")
        self.assertEqual([one.id for one in said["refused"] if books.is_begun(one)], [], "refused, and happened")
        known = {payment.id for payment in payments}
        self.assertEqual((set(books.outcomes) | set(books.book) | set(books.entries)) - known, set(), "of nobody")
        self.assertEqual(books.twice, [], "accounts, outcomes or payments in two units")
        self.check_balances(books)

    def check_entries(self, books, payment):
        entries = sorted(books.entries.get(payment.id, []))
        wanted = [("credit", payment.payee, payment.amount), ("debit", payment.payer, -payment.amount)]
        self.assertIn([entry[:3] for entry in entries], ([], wanted), payment.id)
        self.assertEqual(books.book.get(payment.id, books.outcomes.get(payment.id)), books.outcomes.get(payment.id))

    def check_balances(self, books):
        balances = dict.fromkeys(USERS, OPENING)
        for entries in books.entries.values():
            for _, user, amount, _ in entries:
                balances[user] += amount
        self.assertEqual(books.accounts, balances)
        self.assertEqual(sum(books.accounts.values()), OPENING * len(USERS))

    def tell(self, seed, payments, books, done):
        said = collections.Counter(payment.said for payment in payments)
        ends = collections.Counter(books.outcomes.values())
        maybe = sum(books.is_begun(payment) for payment in payments if payment.said == "unknown")
        print(f"seed {seed}: {said['accepted']} accepted, all at their end; {said['unknown']} of unknown outcome, of which "
              f"{maybe} happened, whole; {said['refused']} refused, none of which happened. {ends['paid']} paid, "
              f"{ends['refused']} without the money; {len(books.book)} between two units. {dict(done)}", flush=True)


if __name__ == "__main__":
    unittest.main()
