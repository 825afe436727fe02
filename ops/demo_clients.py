# SPDX-License-Identifier: Apache-2.0
"""Clients for the demo: keep-alive connections that send at an even pace and write down what became of each request.

Each user belongs to one connection, so that no user ever has two requests in flight: then the order in which they were
accepted is the order in which they were sent. A payment has an Idempotency-Key, and is repeated under it until it is
accepted: that is all that a client has to do for its money.
"""
import asyncio
import json
import time


MOST_REPEATS = 100


class Sent:
    """One request and its answer. status 0: the connection was lost, so nobody knows."""
    __slots__ = ("kind", "user", "payee", "seq", "at", "seconds", "status", "unit", "epoch", "id", "app_unit", "repeats")

    def __init__(self, kind, user, payee, seq):
        self.kind, self.user, self.payee, self.seq = kind, user, payee, seq
        self.at, self.seconds, self.status = time.monotonic(), 0.0, 0
        self.unit = self.epoch = self.id = self.app_unit = None
        self.repeats = 0


def request_bytes(sent):
    if sent.kind == "queue":
        body = json.dumps({"payee": sent.payee, "seq": sent.seq})
        return (f"POST /pay/{sent.seq} HTTP/1.1\r\nHost: demo\r\nX-User-Id: {sent.user}\r\n"
                f"Idempotency-Key: {sent.user}-{sent.seq}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()
    path = "/echo/" if sent.kind == "proxy" else "/search/"
    return f"GET {path}{sent.seq} HTTP/1.1\r\nHost: demo\r\nX-User-Id: {sent.user}\r\n\r\n".encode()


async def exchange(reader, writer, sent):
    writer.write(request_bytes(sent))
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    sent.status = int(head[0].split(" ", 2)[1])
    sent.unit, sent.id = fields.get("ldc-unit"), fields.get("ldc-message-id")
    sent.epoch = int(fields.get("ldc-epoch", 0))
    if sent.status == 200:
        sent.app_unit = json.loads(body)["unit"]


class Clients:
    """CONNECTIONS keep-alive connections, spread over PORTS, that share USERS and send RATE requests a second in all.
    NEXT_REQUEST(user, n) -> (kind, payee): what a user's n-th request is."""

    def __init__(self, ports, users, connections, rate, next_request):
        self.ports, self.users, self.connections = ports, users, connections
        self.interval, self.next_request = connections / rate, next_request
        self.sent, self.stopping, self.tasks = [], asyncio.Event(), []

    def start(self):
        self.tasks = [asyncio.create_task(self._run(n)) for n in range(self.connections)]

    async def stop(self):
        self.stopping.set()
        await asyncio.gather(*self.tasks)

    async def wait_for_more(self, count):
        """Until COUNT more requests were sent."""
        wanted = len(self.sent) + count
        while len(self.sent) < wanted and not self.stopping.is_set():
            await self._pause(0.05)

    async def _pause(self, seconds):
        """Shorter where the clients are told to stop meanwhile."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except asyncio.TimeoutError:
            pass

    async def _run(self, number):
        users, port = self.users[number::self.connections], self.ports[number % len(self.ports)]
        streams, due, turn = None, time.monotonic() + self.interval * number / self.connections, 0
        while not self.stopping.is_set():
            if due > time.monotonic():
                await self._pause(due - time.monotonic())
            due = max(due + self.interval, time.monotonic() - 1)
            user, seq = users[turn % len(users)], turn // len(users) + 1
            turn += 1
            one = Sent(*self._request(user, seq))
            self.sent.append(one)
            streams = await self._try(streams, port, one)
            while one.kind == "queue" and one.status != 202 and one.repeats < MOST_REPEATS and not self.stopping.is_set():
                one.repeats += 1
                await self._pause(0.1)
                streams = await self._try(streams, port, one)
            one.seconds = time.monotonic() - one.at
        if streams:
            streams[1].close()

    async def _try(self, streams, port, one):
        one.status = 0
        try:
            streams = streams or await asyncio.open_connection("127.0.0.1", port)
            await exchange(*streams, one)
        except (OSError, EOFError, asyncio.IncompleteReadError):
            return None
        return streams

    def _request(self, user, seq):
        kind, payee = self.next_request(user, seq)
        return kind, user, payee, seq
