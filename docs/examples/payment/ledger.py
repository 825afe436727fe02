# SPDX-License-Identifier: Apache-2.0
"""What the units' apps write down: a database for each unit, which all apps of that unit share. In the units' are the
accounts, and what was entered there; in the core's is the book of payments between units.

Everything is done once, however often it is asked for: what was decided stands beside what it changed, in one
transaction, and whoever asks again gets the answer of the first time."""
import sqlite3
import threading

SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts(user TEXT PRIMARY KEY, balance INTEGER NOT NULL CHECK(balance >= 0));
CREATE TABLE IF NOT EXISTS entries(payment TEXT, side TEXT, user TEXT NOT NULL, amount INTEGER NOT NULL,
                                   PRIMARY KEY(payment, side));
CREATE TABLE IF NOT EXISTS outcomes(payment TEXT PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS book(payment TEXT PRIMARY KEY, payer TEXT NOT NULL, payee TEXT NOT NULL,
                                amount INTEGER NOT NULL, debit TEXT NOT NULL, credit TEXT NOT NULL, state TEXT);
"""
BOOKED = "payment", "payer", "payee", "amount", "debit", "credit", "state"


class Ledger:
    """Of one unit. Threads take turns, and so do processes."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.executescript(SCHEMA)

    def __enter__(self):
        self.lock.acquire()
        try:
            self.db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            self.lock.release()
            raise
        return self

    def __exit__(self, failed, *_):
        try:
            self.db.execute("ROLLBACK" if failed else "COMMIT")
        finally:
            self.lock.release()

    def _one(self, query, *words):
        return self.db.execute(query, words).fetchone()

    # --- accounts ---

    def open_account(self, user, balance):
        """An account that is there keeps what it has."""
        with self:
            self.db.execute("INSERT OR IGNORE INTO accounts VALUES(?, ?)", (user, balance))

    def balance(self, user):
        """None: no such account."""
        with self:
            found = self._one("SELECT balance FROM accounts WHERE user = ?", user)
        return found[0] if found else None

    def _enter(self, payment, side, user, amount):
        self.db.execute("INSERT INTO entries VALUES(?, ?, ?, ?)", (payment, side, user, amount))
        self.db.execute("INSERT OR IGNORE INTO accounts VALUES(?, 0)", (user,))
        self.db.execute("UPDATE accounts SET balance = balance + ? WHERE user = ?", (amount, user))

    def _decide(self, payment, payer, amount):
        """Whether the payer can pay, decided once: `paid` or `refused`, and whether that is new."""
        known = self._one("SELECT state FROM outcomes WHERE payment = ?", payment)
        if known:
            return known[0], False
        account = self._one("SELECT balance FROM accounts WHERE user = ?", payer)
        state = "paid" if account and account[0] >= amount else "refused"
        self.db.execute("INSERT INTO outcomes VALUES(?, ?)", (payment, state))
        if state == "paid":
            self._enter(payment, "debit", payer, -amount)
        return state, True

    def debit(self, payment, payer, amount):
        with self:
            return self._decide(payment, payer, amount)[0]

    def credit(self, payment, payee, amount):
        with self:
            if not self._one("SELECT 1 FROM entries WHERE payment = ? AND side = 'credit'", payment):
                self._enter(payment, "credit", payee, amount)

    def transfer(self, payment, payer, payee, amount):
        """Both live here."""
        with self:
            state, new = self._decide(payment, payer, amount)
            if new and state == "paid":
                self._enter(payment, "credit", payee, amount)
        return state

    def outcome(self, payment):
        """None: nothing was decided yet."""
        with self:
            found = self._one("SELECT state FROM outcomes WHERE payment = ?", payment)
        return found[0] if found else None

    # --- the core's book ---

    def booked(self, payment):
        """None: it is not in the book. `state` is None until the payer's unit has decided."""
        with self:
            found = self._one("SELECT * FROM book WHERE payment = ?", payment)
        return dict(zip(BOOKED, found)) if found else None

    def book(self, payment, payer, payee, amount, debit, credit):
        """Whoever comes first: the ids of the two messages that count."""
        with self:
            self.db.execute("INSERT OR IGNORE INTO book VALUES(?, ?, ?, ?, ?, ?, NULL)",
                            (payment, payer, payee, amount, debit, credit))
        return self.booked(payment)

    def settle(self, payment, state):
        with self:
            self.db.execute("UPDATE book SET state = ? WHERE payment = ? AND state IS NULL", (state, payment))
        return self.booked(payment)
