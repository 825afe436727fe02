# SPDX-License-Identifier: Apache-2.0
"""Clients of the change feed of collections: what they are told, as events; and a gateway over units that keep copies."""
import http.client
import json
import socket

import copies_fixture
import harness
from harness import SLOW, wait_until

ROUTE = {"match": {"path": "/-/c/*"}, "zone": "C"}


class Event:
    """One block of the stream."""

    def __init__(self, lines):
        self.comment, self.event, self.id, self.retry, self.data = None, None, None, None, None
        for line in lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "":
                self.comment = value
            elif name == "data":
                self.data = json.loads(value)
            else:
                assert name in ("event", "id", "retry"), line
                setattr(self, name, value if name == "event" else int(value))

    def told(self):
        """(event, id, key) of a change, (event, id) of a reset."""
        return (self.event, self.id) + ((self.data["key"],) if "key" in self.data else ())

    def __repr__(self):
        return repr(vars(self))


def blocks(text):
    return [Event(block.split("\n")) for block in text.split("\n\n") if block]


class Watch:
    """GET of a collection's feed over HTTP/1.1; the first block has been read."""

    def __init__(self, port, path="/-/c/rates?watch", timeout=20, **headers):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * SLOW)
        self.connection.request("GET", path, headers={name.replace("_", "-"): str(value) for name, value in headers.items()})
        self.answer = self.connection.getresponse()
        self.status, self.headers = self.answer.status, {name.lower(): value for name, value in self.answer.getheaders()}
        self.seen = None  # the last id
        self.start = self.block() if self.status == 200 else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def problem(self):
        return json.loads(self.answer.read())

    def block(self):
        """The next one; None at the end of the stream."""
        lines = []
        while True:
            line = self.answer.readline().decode()
            if line == "\n":
                break
            if line == "":
                assert not lines, f"the stream ends within a block: {lines}"
                return None
            lines.append(line[:-1])
        event = Event(lines)
        self.seen = self.seen if event.id is None else event.id
        return event

    def event(self):
        """The next one that is no heartbeat; None at the end."""
        return wait_until(lambda: [one for one in [self.block()] if one is None or one.event], what="more than heartbeats", every=0)[0]

    def to_end(self):
        wait_until(lambda: self.block() is None, what="the end of the stream", every=0)

    def events(self, count):
        return [self.event() for _ in range(count)]

    def told(self, count):
        return [event.told() for event in self.events(count)]


def receive_to(sock, what):
    """All up to WHAT, however many heartbeats come instead."""
    text = bytearray()

    def is_there():
        piece = sock.recv(65536)
        assert piece, f"the stream ends: {text[-1000:]}"
        text.extend(piece)
        return what in text

    wait_until(is_there, what=repr(what), every=0)
    return bytes(text)


def dial(port, receive=None):
    """A socket that has room for RECEIVE bytes."""
    sock = socket.socket()
    if receive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    sock.settimeout(20 * SLOW)
    sock.connect(("127.0.0.1", port))
    return sock


def connect(port, path="/-/c/rates?watch", headers="", receive=None):
    """A socket that has sent its request."""
    sock = dial(port, receive)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n".encode())
    return sock


class WatchTest(copies_fixture.CopiesTest):
    def start(self, gateway=(), routes=(ROUTE,), **options):
        self.routes = routes
        super().start(**options)
        self.gateway = self.stack.gateway(**dict(gateway))
        for name in self.units:
            if name != copies_fixture.CORE:
                self.wait_readable(name)

    def wait_readable(self, unit):
        """By the gateway."""
        def is_read(name):
            answer = harness.request(self.gateway.port, "GET", f"/-/c/{name}/none", {"LDC-Unit": unit})
            return (answer.status, answer.headers.get("ldc-unit")) == (404, unit)

        for name in self.collections:
            wait_until(lambda: is_read(name), what=f"an open copy of {name} in {unit}")

    def watch(self, path="/-/c/rates?watch", **headers):
        watch = Watch(self.gateway.port, path, **headers)
        self.addCleanup(watch.close)
        return watch

    def watchers(self):
        return self.gateway.metric("watchers")
