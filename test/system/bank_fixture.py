# SPDX-License-Identifier: Apache-2.0
"""The bank of docs/examples/payment under a test: clients who pay each other at random and keep count, somebody who kills
all that has a part in it, and an oracle that reads what the units' ledgers say, and knows nothing else of the bank."""
import collections
import contextlib
import http.client
import json
import random
import sqlite3
import sys
import threading

import conservation
import harness

sys.path.insert(0, str(harness.ROOT / "docs/examples/payment"))
import bank  # noqa: E402
from stage import Stage  # noqa: E402,F401

REFUSALS = {"broker-unavailable", "broker-full", "backlog-full", "unit-busy", "unit-switching"}  # nothing was stored


class Payment:
    """`said`: what is known of it by the answers alone: `accepted`, `unknown`, or `refused` where each try was."""
    __slots__ = ("payer", "payee", "amount", "key", "said")

    def __init__(self, payer, payee, amount, key):
        self.payer, self.payee, self.amount, self.key, self.said = payer, payee, amount, key, "refused"

    @property
    def id(self):
        return bank.payment_id(self.payer, self.key)


class Payers:
    """Each of USERS pays one thing after the other. Who gets no clear answer repeats it under its key; some give up."""

    def __init__(self, ports, users, seed, threads=8, give_up=0.1):
        self.ports, self.users, self.give_up = ports, users, give_up
        self.stopping, self.lists = threading.Event(), [[] for _ in range(threads)]
        self.threads = [threading.Thread(target=self._run, args=(number, threads, random.Random(f"{seed}/{number}")),
                                         daemon=True) for number in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60 * harness.SLOW)

    @property
    def payments(self):
        return [payment for payments in self.lists for payment in payments]

    def count(self, said="accepted"):
        return sum(payment.said == said for payment in self.payments)

    def _run(self, number, threads, draw):
        turn, users = number, self.users[number::threads]
        while not self.stopping.is_set():
            payer = draw.choice(users)
            payment = Payment(payer, draw.choice(self.users), draw.randint(1, 40), f"{number}-{len(self.lists[number])}")
            self.lists[number].append(payment)
            while not self._try(payment, turn):
                turn += 1
                if self.stopping.wait(0.05) or draw.random() < self.give_up:
                    break

    def _try(self, payment, turn):
        """Whether no more is to be learnt."""
        body = json.dumps({"payee": payment.payee, "amount": payment.amount}).encode()
        headers = {"X-User-Id": payment.payer, "Content-Type": "application/json", "Idempotency-Key": payment.key}
        try:
            answer = harness.request(self.ports[turn % len(self.ports)], "POST", "/payments", headers, body, timeout=5)
            problem = None if answer.status == 202 else answer.json()["type"].rsplit(":", 1)[1]
        except (OSError, http.client.HTTPException, ValueError):
            problem = "connection"
        if problem is None:
            payment.said = "accepted"
        elif problem not in REFUSALS:
            payment.said = "unknown"
        return problem is None


class Robbers(conservation.Chaos):
    """They kill the bank's apps too, which are started again at once. Of a unit's brokers they take one at a time: who
    loses two before anybody can have what one of them held must be helped by an operator."""

    def __init__(self, playground, stage, seed, **options):
        super().__init__(playground, seed, (), roles=("gateway", "agent", "bank", "primary", "standby"), **options)
        self.stage = stage

    def strike(self, role):
        if role in ("primary", "standby"):
            self.strike_broker(self.random.choice(sorted(self.stage.apps)), role)
        elif role == "bank":
            app = self.stage.apps[self.random.choice(sorted(self.stage.apps))]
            app.kill()
            app.start()
            self.done["bank killed"] += 1
        else:
            super().strike(role)

    def strike_broker(self, unit, role):
        """Where UNIT has a primary and a standby, each in the run that its record names: one of them."""
        record = json.loads((self.playground.dir / f"store/document-brokers%2f{unit}").read_text().split("\n", 1)[1])
        pids = {one["ports"]["redis"]: one["pid"] for one in self.playground.topology()["processes"] if one["role"] == "broker"}
        members = {member["broker"]: member["run_id"] for member in record["in_sync"]}
        if len(members) < 2 or not all(self._runs(url, run_id) for url, run_id in members.items()):
            return
        victim = record["primary"] if role == "primary" else self.random.choice(sorted(set(members) - {record["primary"]}))
        frozen = self.random.random() < self.freeze
        self.done[f"{'core ' if unit == 'CORE' else ''}{role} {'frozen' if frozen else 'killed'}"] += 1
        self._harm(pids[port_of(victim)], frozen)

    @staticmethod
    def _runs(url, run_id):
        try:
            return f"run_id:{run_id}".encode() in harness.call_broker(port_of(url), "INFO", "server")
        except (OSError, RuntimeError, ValueError):
            return False


def port_of(url):
    return int(url.rsplit(":", 1)[1])


class Books:
    """What all ledgers say, read once."""

    def __init__(self, folder):
        self.accounts, self.outcomes, self.book = {}, {}, {}
        self.messages = {}  # of a payment in the book
        self.entries = collections.defaultdict(list)  # of a payment: (side, user, amount, unit)
        self.twice = []  # what stands in two units
        for path in sorted(folder.glob("*.sqlite")):
            with contextlib.closing(sqlite3.connect(path, timeout=10)) as db:
                db.execute("BEGIN")
                self._read(db, path.stem)

    def _read(self, db, unit):
        self._take(self.accounts, db.execute("SELECT user, balance FROM accounts"))
        self._take(self.outcomes, db.execute("SELECT payment, state FROM outcomes"))
        self._take(self.book, db.execute("SELECT payment, state FROM book"))
        self.messages.update((payment, ids) for payment, *ids in db.execute("SELECT payment, debit, credit FROM book"))
        for payment, side, user, amount in db.execute("SELECT payment, side, user, amount FROM entries"):
            self.entries[payment].append((side, user, amount, unit))

    def _take(self, known, rows):
        for name, value in rows:
            self.twice += [name] if name in known else []
            known[name] = value

    def is_done(self, payment):
        """It has its end, and all that follows from it has happened."""
        state, sides = self.outcomes.get(payment.id), sorted(side for side, *_ in self.entries[payment.id])
        return state == "refused" and not sides or state == "paid" and sides == ["credit", "debit"]

    def is_begun(self, payment):
        return payment.id in self.outcomes or payment.id in self.book or payment.id in self.entries
