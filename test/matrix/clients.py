# SPDX-License-Identifier: Apache-2.0
"""Payers of the matrix: each pays one thing after the other, and repeats a payment under its key until it is accepted."""
import collections
import http.client
import json
import threading
import time

Answer = collections.namedtuple("Answer", "asked at status id user seq gateway epoch problem")


class Payers:
    """Threads with users of their own. GATEWAYS: {name: (host, port)}; who fails at one goes to the next."""

    def __init__(self, gateways, users, threads=3, pause=0.003, timeout=5.0):
        self.gateways, self.pause, self.timeout = gateways, pause, timeout
        self.answers = [[] for _ in range(threads)]
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(n, users[n::threads]), daemon=True) for n in range(threads)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    @property
    def all(self):
        return sorted((answer for answers in self.answers for answer in answers), key=lambda answer: answer.at)

    def accepted(self):
        return sum(answer.status == 202 for answers in self.answers for answer in list(answers))

    def _run(self, number, users):
        names, turn, seq, connection = sorted(self.gateways), number, 0, None
        while not self.stopping.is_set():
            seq += 1
            for user in users:
                accepted = False
                while not accepted and not self.stopping.is_set():
                    name = names[turn % len(names)]
                    connection = connection or http.client.HTTPConnection(*self.gateways[name], timeout=self.timeout)
                    answer = self._pay(connection, name, user, seq)
                    self.answers[number].append(answer)
                    accepted = answer.status == 202
                    if not accepted:
                        connection.close()
                        connection, turn = None, turn + 1
                    self.stopping.wait(self.pause if accepted else 0.02)
        if connection is not None:
            connection.close()

    def _pay(self, connection, gateway, user, seq):
        headers = {"X-User-Id": user, "Content-Type": "application/json", "Idempotency-Key": f"{user}-{seq}"}
        asked = time.monotonic()
        try:
            connection.request("POST", "/pay/1", json.dumps({"user": user, "seq": seq, "payee": user}), headers)
            response = connection.getresponse()
            body, problem = response.read(), ""
        except (OSError, http.client.HTTPException) as fault:
            return Answer(asked, time.monotonic(), 0, None, user, seq, gateway, 0, type(fault).__name__)
        identity, epoch = response.headers.get("LDC-Message-Id"), int(response.headers.get("LDC-Epoch") or 0)
        if response.status != 202:
            document = json.loads(body)
            problem, identity = document["type"].rsplit(":", 1)[1], document.get("message")
        return Answer(asked, time.monotonic(), response.status, identity, user, seq, gateway, epoch, problem)


def quantile_ms(answers, q):
    times = sorted(answer.at - answer.asked for answer in answers if answer.status == 202)
    return 1000 * times[min(len(times) - 1, int(q * len(times)))] if times else 0.0


def longest_silence_ms(answers):
    """Between two 202s of one user's payments in turn."""
    last, longest = {}, 0.0
    for answer in answers:
        if answer.status == 202:
            longest = max(longest, answer.at - last.get(answer.user, answer.at))
            last[answer.user] = answer.at
    return 1000 * longest
