# SPDX-License-Identifier: Apache-2.0
"""What payment people count: clients that repeat a payment under its Idempotency-Key until it is accepted, somebody who
kills processes at random meanwhile, and an audit that finds every accepted message again by its id."""
import collections
import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import threading

import harness
import load
from playground_fixture import lives


class Payment:
    """One payment: `ids` are those of all its 202s, and of the answers that said that the outcome is unknown."""
    __slots__ = ("user", "seq", "ids", "maybe", "accepted", "tries")

    def __init__(self, user, seq):
        self.user, self.seq, self.ids, self.maybe, self.accepted, self.tries = user, seq, set(), set(), False, 0


class Payers(load.Load):
    """Threads, each with users of its own, who pay one thing after the other: the next only when the one before was
    accepted. They change gateways after each failure."""

    def __init__(self, ports, users, threads=4, path="/pay/1"):
        super().__init__(ports, users, path, threads=threads)
        self.refusals = collections.Counter()

    @property
    def payments(self):
        return self.sent

    def accepted(self):
        return sum(payment.accepted for payments in self.lists for payment in payments)

    def _run(self, users, payments, number):
        client, turn, seq = None, number, 0
        while not self.stopping.is_set():
            seq += 1
            for user in users:
                payment = Payment(user, seq)
                payments.append(payment)
                while not payment.accepted and not self.stopping.is_set():
                    if client is None:
                        turn += 1
                        client = harness.Client(self.ports[turn % len(self.ports)], timeout=5)
                    if not self._try(client, payment):
                        client.close()
                        client = None
                        self.stopping.wait(0.02)
        if client is not None:
            client.close()

    def _try(self, client, payment):
        headers = {"X-User-Id": payment.user, "Content-Type": "application/json",
                   "Idempotency-Key": f"{payment.user}-{payment.seq}"}
        body = json.dumps({"user": payment.user, "seq": payment.seq, "payee": payment.user}).encode()
        payment.tries += 1
        try:
            answer = client.request("POST", self.path, headers, body)
        except (OSError, http.client.HTTPException):
            self.refusals["connection"] += 1
            return False
        if answer.status == 202:
            payment.ids.add(answer.headers["ldc-message-id"])
            payment.accepted = True
            return True
        problem = answer.json()
        self.refusals[problem["type"].rsplit(":", 1)[1]] += 1
        if problem.get("message"):
            payment.maybe.add(problem["message"])
        return False


class Chaos:
    """Kills (or freezes, for a while) a process of the playground at random, again and again; and lets applications
    refuse a user's message. It must run under --supervise, so that the killed come back."""

    REFUSALS = ("status=500&times=1", "status=422&times=1", "status=503&times=2&retry_after=1")

    def __init__(self, playground, seed, users, pause=(0.3, 2.0), roles=("gateway", "agent", "app", "broker"), freeze=0.2):
        self.playground, self.random, self.users = playground, random.Random(seed), users
        self.pause, self.roles, self.freeze = pause, roles, freeze
        self.stopping = threading.Event()
        self.done = collections.Counter()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(30)

    def _run(self):
        while not self.stopping.wait(self.random.uniform(*self.pause)):
            self.strike(self.random.choice(self.roles))

    def victims(self, role):
        return [one for one in self.playground.topology()["processes"] if one["role"] == role]

    def name_of(self, role, victim):
        """What a victim is counted as."""
        return "replica" if role == "broker" and not victim["primary"] else role

    def strike(self, role):
        victims = sorted(self.victims(role), key=lambda one: one["name"])
        victim, frozen = self.random.choice(victims or [None]), self.random.random() < self.freeze
        if victim is None:
            return
        if role == "app" and self.random.random() < 0.5:
            self._refuse(victim["ports"]["http"], self.random.choice(self.users), self.random.choice(self.REFUSALS))
        elif lives(victim["pid"]):
            self.done[f"{self.name_of(role, victim)} {'frozen' if frozen else 'killed'}"] += 1
            self._harm(victim["pid"], frozen)

    def _refuse(self, port, user, how):
        try:
            harness.request(port, "POST", f"/-/sample/fail?user={user}&{how}", timeout=1)
            self.done["user refused"] += 1
        except (OSError, http.client.HTTPException):
            pass  # it is dead or frozen just now

    def _harm(self, pid, frozen):
        try:
            os.kill(pid, signal.SIGSTOP if frozen else signal.SIGKILL)
            if frozen:
                self.stopping.wait(self.random.uniform(0.1, 3.0))
                os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


class Audit:
    """Where every message is: processed by the apps, as they wrote down themselves, or still in a broker."""

    def __init__(self, playground):
        self.playground = playground
        self.records = []
        for path in sorted((playground.dir / "apps").glob("*.jsonl")):
            with open(path, "rb") as lines:
                self.records += [json.loads(line) for line in lines if line.endswith(b"\n")]
        self.records = [record for record in self.records if record["via"] == "queue"]
        self.records.sort(key=lambda record: record["us"])
        self.delivered = {record["id"] for record in self.records}
        self.parked, self.dead = set(), set()
        for process in playground.topology()["processes"]:
            if process["role"] == "broker" and process["primary"]:
                self._look_into(process["ports"]["redis"])

    def _look_into(self, port):
        def call(*words):
            return harness.call_broker(port, *words)
        for suffix, found in ("park", self.parked), ("dead", self.dead):
            cursor = b"0"
            while cursor is not None:
                cursor, keys = call("SCAN", cursor, "MATCH", f"ldc:*:{suffix}:*", "COUNT", 10000)
                cursor = None if cursor == b"0" else cursor
                for key in keys:
                    for _, fields in call("XRANGE", key, "-", "+"):
                        found.add(dict(zip(fields[0::2], fields[1::2]))[b"id"].decode())

    def missing(self, payments):
        return {id for payment in payments if payment.accepted for id in payment.ids} - \
            self.delivered - self.parked - self.dead


def explain(playground, ids):
    """What the brokers say of the partitions of IDS, for whoever looks into a failure."""
    brokers = {one["unit"]: one["ports"]["redis"] for one in playground.topology()["processes"]
               if one["role"] == "broker" and one["primary"]}
    units = {id.split(".")[0] for id in ids}
    for one in playground.topology()["processes"]:
        if one["role"] == "agent" and one["unit"] in units:
            print(pathlib.Path(one["log"]).read_text()[-6000:])
            with contextlib.suppress(OSError):
                token = (playground.dir / "token").read_text().strip()
                answer = harness.request(one["ports"]["admin"], "GET", "/v1/status", {"Authorization": f"Bearer {token}"})
                print(one["name"], answer.body.decode())
    for partition, count in collections.Counter(tuple(id.split(".")[:3]) for id in ids).items():
        keys = harness.call_broker(brokers[partition[0]], "KEYS", f"ldc:{{{'/'.join(partition)}}}:*")
        print(f"{partition}: {count} missing")
        for key in sorted(keys):
            kind = harness.call_broker(brokers[partition[0]], "TYPE", key).decode()
            if kind == "hash":
                print(" ", key.decode(), harness.call_broker(brokers[partition[0]], "HGETALL", key))
            elif kind in ("stream", "zset"):
                size = {"stream": "XLEN", "zset": "ZCARD"}[kind]
                print(" ", key.decode(), kind, harness.call_broker(brokers[partition[0]], size, key))


def settle(playground, payments, timeout=60):
    """Waits until every accepted message is accounted for; returns the audit."""
    audit = None

    def settled():
        nonlocal audit
        try:
            audit = Audit(playground)
        except (OSError, RuntimeError):
            return False  # a broker that was killed last is still on its way back
        return not audit.missing(payments) and not audit.parked
    try:
        harness.wait_until(settled, timeout, "every accepted message", every=0.5)
    except AssertionError:
        pass  # the audit says what is missing
    return audit


def check(test, payments, audit):
    """Nothing lost, one id a payment, duplicates only under the same id, no user's order inverted. Returns how many
    deliveries were repeats."""
    test.assertEqual(audit.missing(payments), set(), "accepted and in no place")
    by_id = {}
    for payment in payments:
        test.assertLessEqual(len(payment.ids), 1, f"{payment.user} {payment.seq} was accepted under two ids")
        by_id.update(dict.fromkeys(payment.ids | payment.maybe, payment))
    last, ids, repeats = collections.defaultdict(int), {}, 0
    for record in audit.records:
        body = json.loads(record["body"])
        user, seq = body["user"], body["seq"]
        known = ids.setdefault((user, seq), record["id"])
        test.assertEqual(known, record["id"], f"payment {seq} of user {user} was delivered under two ids")
        test.assertGreaterEqual(seq, last[user], f"user {user}: {seq} was processed after {last[user]}")
        repeats += seq == last[user]
        last[user] = max(seq, last[user])
    test.assertEqual(audit.delivered & audit.dead, set(), "delivered and dead")
    return repeats


def run(test, stack, playground, seed, seconds, users=200, threads=4, **chaos):
    """One whole run; prints and returns its figures. SEED 0: any."""
    seed = seed or random.SystemRandom().randrange(1, 1 << 31)
    ports = [playground.ingress(i) for i in range(len(playground.topology()["ingress"]))]
    print(f"seed {seed}", flush=True)
    names = [str(1000 + i) for i in range(users)]
    with Payers(ports, names, threads) as payers:
        harness.wait_until(lambda: payers.accepted() > users, 60, "the first payments")
        with Chaos(playground, seed, names, **chaos) as harm:
            harm.stopping.wait(seconds)
        before = payers.accepted()
        harness.wait_until(lambda: payers.accepted() > before + users, 60, "payments after the last kill", 0.1)
    payments = payers.payments
    audit = settle(playground, payments)
    explain(playground, audit.missing(payments))
    repeats = check(test, payments, audit)
    accepted = sum(payment.accepted for payment in payments)
    print(f"seed {seed}: {accepted} accepted = {len(audit.delivered)} delivered (some of them of unknown outcome) + "
          f"{len(audit.dead)} dead + {len(audit.parked)} parked; {repeats} repeats under the same id, 0 lost, 0 inverted; "
          f"{dict(harm.done)}; refused meanwhile: {dict(payers.refusals)}", flush=True)
    return accepted, audit, harm
