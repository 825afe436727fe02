#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The matrix's own eyes, in a process of its own that goes before others: it asks each broker all the time who it is and
what it has taken, and reads each record that the store's folder gets.

    watch.py PLAN       PLAN: JSON {brokers: [{name, host, port, unit, password, pace, namespace}], folder, out, processor}

Lines of `out`, JSON, times of the monotonic clock: what one broker was from its first to its last answer of that kind
(`kind: was`), from when to when one that kept a question said nothing (`silent`), what a record came to be (`record`),
when this process itself was held up (`late`).
"""
import ctypes
import json
import os
import pathlib
import selectors
import signal
import socket
import sys
import time

STEP_S = 0.004
LATE_S = 0.010    # an answer, or this process itself
GIVEN_UP_S = 2.0  # then the connection is made anew
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in map(str.encode, words))


def parse(data, at=0):
    """(reply, where it ends) of what begins at AT; None where more is to come. Errors are strings that begin with "-"."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, rest, at = data[at:at + 1], data[at + 1:end], end + 2
    if kind in b"+-":
        return (kind + rest if kind == b"-" else rest).decode(), at
    if kind == b":":
        return int(rest), at
    if kind == b"$":
        size = int(rest)
        if size < 0:
            return "", at
        return (data[at:at + size].decode(errors="replace"), at + size + 2) if len(data) >= at + size + 2 else None
    replies = []
    for _ in range(max(int(rest), 0)):
        found = parse(data, at)
        if found is None:
            return None
        replies.append(found[0])
        at = found[1]
    return replies, at


def socket_within(namespace):
    """In the network of NAMESPACE, beside the broker: what gets lost between hosts does not concern it."""
    if not namespace:
        return socket.socket()
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        enter(there)
        try:
            return socket.socket()
        finally:
            enter(home)


def enter(network):
    if libc.setns(network.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Eye:
    """One broker's connection: one question at a time."""

    def __init__(self, broker, tell, selector):
        self.broker, self.tell, self.selector = broker, tell, selector
        self.sock, self.run, self.was, self.silent_since, self.last_at, self.answered_at = None, "", None, None, 0.0, None
        self.question = b"".join((command("MULTI"), command("ROLE"), command("GET", "ldc:{%s}:epoch" % broker["unit"]),
                                  command("GET", "ldc:{%s}:writes" % broker["unit"]), command("EXEC")))

    def connect(self, now):
        self.sock = socket_within(self.broker["namespace"])
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.replies, self.asked_at, self.run = b"", [], now, ""
        self.selector.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        self.greeting = (command("AUTH", self.broker["password"]) if self.broker["password"] else b"") + command("INFO", "server")
        self.greeted = 1 + bool(self.broker["password"])
        self.sock.connect_ex((self.broker["host"], self.broker["port"]))

    def close(self, now):
        """Refused, reset or given up."""
        self.silent_since = self.silent_since or self.asked_at
        self.end_was()
        self.selector.unregister(self.sock)
        self.sock.close()
        self.sock, self.asked_at = None, now

    def step(self, now):
        if self.sock is None:
            if now - self.asked_at >= LATE_S:
                self.connect(now)
        elif self.asked_at is not None and now - self.asked_at > GIVEN_UP_S:
            self.close(now)
        elif self.asked_at is None and not self.greeting and now - self.last_at >= self.broker["pace"]:
            self.asked_at = self.last_at = now
            self.send(self.question, now)

    def send(self, data, now):
        try:
            self.sock.send(data)
        except OSError:
            self.close(now)

    def on_ready(self, events, now):
        if events & selectors.EVENT_WRITE and self.greeting:
            if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.close(now)
                return
            self.selector.modify(self.sock, selectors.EVENT_READ, self)
            greeting, self.greeting = self.greeting, b""
            self.send(greeting, now)
            return
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.close(now)
            return
        self.data += data
        while self.sock is not None and (found := parse(self.data)) is not None:
            self.data = self.data[found[1]:]
            self.on_reply(found[0], now)

    def on_reply(self, reply, now):
        self.replies.append(reply)
        if not self.run:
            if len(self.replies) == self.greeted:
                run = [line for line in str(reply).splitlines() if line.startswith("run_id:")]
                self.run = run[0].split(":")[1] if run else ""
                self.replies = []
                self.asked_at = self.asked_at if not self.run else None
            return
        if len(self.replies) == 5:
            self.on_answer(reply, now)
            self.replies = []
            self.asked_at = None

    def on_answer(self, reply, now):
        """Of EXEC: [role, stamp, writes]."""
        self.tell_silence(now)
        self.silent_since, self.answered_at = None, now
        if not isinstance(reply, list) or not isinstance(reply[0], list):
            return  # it loads
        what = (self.run, reply[0][0], reply[1])
        if self.was is None or self.was[0] != what:
            self.end_was()
            self.was = [what, now, now, int(reply[2] or 0), int(reply[2] or 0)]
        self.was[2], self.was[4] = now, int(reply[2] or 0)

    def tell_silence(self, now):
        """It may have fallen silent right after its last answer, and was asked by others before us."""
        since = self.silent_since or self.asked_at
        if since is not None and now - since > LATE_S:
            self.tell({"kind": "silent", "broker": self.broker["name"], "from": self.answered_at or since, "to": now})

    def end_was(self):
        if self.was is not None:
            (run, role, stamp), first, last, before, after = self.was
            self.tell({"kind": "was", "broker": self.broker["name"], "unit": self.broker["unit"], "run": run, "role": role,
                       "stamp": int(stamp) if stamp.isdigit() else 0, "from": first, "to": last, "writes": [before, after]})
        self.was = None


class Records:
    """The documents of a store's folder, as each comes to be."""

    def __init__(self, folder, units, tell):
        self.tell = tell
        self.known = {pathlib.Path(folder) / f"document-brokers%2f{unit}": (unit, None) for unit in units} if folder else {}

    def look(self, now):
        for path, (unit, before) in self.known.items():
            try:
                inode = os.stat(path)
                if (inode.st_ino, inode.st_mtime_ns) == before:
                    continue
                version, text = path.read_text().split("\n", 1)
                self.known[path] = (unit, (inode.st_ino, inode.st_mtime_ns))
                self.tell({"kind": "record", "unit": unit, "at": now, "version": int(version), "record": json.loads(text)})
            except (OSError, ValueError):
                continue  # the folder is away


def main():
    plan = json.loads(pathlib.Path(sys.argv[1]).read_text())
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    os.sched_setaffinity(0, [plan["processor"]])
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
    except OSError:
        pass  # then `late` says more
    with open(plan["out"], "a", buffering=1) as out:
        def tell(what):
            out.write(json.dumps(what) + "\n")
        selector = selectors.DefaultSelector()
        eyes = [Eye(broker, tell, selector) for broker in plan["brokers"]]
        records = Records(plan["folder"], {broker["unit"] for broker in plan["brokers"]}, tell)
        before = time.monotonic()
        for eye in eyes:
            eye.connect(before)
        while not stopping:
            ready = selector.select(STEP_S)
            now = time.monotonic()
            if now - before > LATE_S:
                tell({"kind": "late", "from": before, "to": now})
            before = now
            for key, events in ready:
                if key.data.sock is key.fileobj:
                    key.data.on_ready(events, now)
            for eye in eyes:
                eye.step(now)
            records.look(now)
        for eye in eyes:
            eye.tell_silence(now)
            eye.end_was()


if __name__ == "__main__":
    main()
