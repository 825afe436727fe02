# SPDX-License-Identifier: Apache-2.0
"""Clients that keep count: each user's requests one after the other, each with a number, and what became of each."""
import http.client
import json
import threading
import time

import harness


class Sent:
    """One request and its answer; status 0: the connection was lost, so nobody knows."""
    __slots__ = ("user", "seq", "status", "unit", "epoch", "id", "seconds", "path")

    def __init__(self, user, seq, path):
        self.user, self.seq, self.path = user, seq, path
        self.status, self.unit, self.epoch, self.id, self.seconds = 0, None, None, None, 0.0


class Load:
    """Threads that send until they are stopped. Each owns some of USERS, so that a user never has two in flight.

    with Load([gateway.port], users, path="/pay/1") as load:
        ... kill something ...
    load.sent
    """

    def __init__(self, ports, users, path="/pay/1", method="POST", threads=4, pause=0.0, payee=False):
        self.ports, self.path, self.method, self.pause = list(ports), path, method, pause
        self.payee = payee  # pays to oneself, for routes that want a participant
        self.stopping = threading.Event()
        self.lists = [[] for _ in range(threads)]
        self.threads = [threading.Thread(target=self._run, args=(users[n::threads], self.lists[n], n), daemon=True)
                        for n in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60 * harness.SLOW)

    @property
    def sent(self):
        return [one for sent in self.lists for one in sent]

    def count(self, status=202):
        return sum(one.status == status for sent in self.lists for one in sent)

    def wait_for(self, more, status=202, timeout=60):
        """Until MORE further requests were answered with STATUS."""
        wanted = self.count(status) + more
        harness.wait_until(lambda: self.count(status) >= wanted, timeout, f"{more} more answers with {status}", 0.05)

    def _run(self, users, sent, number):
        client, turn, seq = None, number, 0
        while not self.stopping.is_set():
            seq += 1
            for user in users:
                if self.stopping.is_set():
                    break
                if client is None:
                    turn += 1
                    client = harness.Client(self.ports[turn % len(self.ports)])
                if not self._send(client, user, seq, sent):
                    client.close()
                    client = None
                if self.pause:
                    self.stopping.wait(self.pause)
        if client is not None:
            client.close()

    def _send(self, client, user, seq, sent):
        one = Sent(user, seq, self.path)
        started = time.perf_counter()
        try:
            answer = client.request(self.method, self.path, {"X-User-Id": user, "Content-Type": "application/json"},
                                    json.dumps({"user": user, "seq": seq, **({"payee": user} if self.payee else {})}).encode())
            one.status, one.unit = answer.status, answer.headers.get("ldc-unit")
            one.epoch, one.id = answer.headers.get("ldc-epoch"), answer.headers.get("ldc-message-id")
        except (OSError, http.client.HTTPException):
            self.stopping.wait(0.02)
        one.seconds = time.perf_counter() - started
        sent.append(one)
        return one.status != 0


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else 0.0


def check_delivery(test, sent, records):
    """Every 202 was processed at least once; no user's accepted messages were ever out of order, duplicates included.
    Returns how many records are duplicates."""
    accepted = {one.id: one for one in sent if one.status == 202}
    seen, last, duplicates = set(), {}, 0
    for record in records:
        if record["via"] != "queue" or record["id"] not in accepted:
            continue
        one = accepted[record["id"]]
        duplicates += record["id"] in seen
        seen.add(record["id"])
        before = last.get(one.user, 0)
        test.assertGreaterEqual(one.seq, before, f"user {one.user}: {one.seq} was processed after {before}")
        last[one.user] = one.seq
        test.assertEqual(record["user"], one.user)
    test.assertEqual(set(accepted) - seen, set(), "accepted and never delivered")
    return duplicates
