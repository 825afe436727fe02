# SPDX-License-Identifier: Apache-2.0
"""Messages in the streams of a unit, without a gateway."""
import collections
import socket
import time

PARTITIONS = 4
NAMES = [b"id", b"user", b"slot", b"epoch", b"in_us", b"color", b"method", b"path", b"headers", b"body"]


def stream(partition):
    return f"ldc:{{RZ01/payments/{partition}}}:stream"


class Producer:
    """Writes messages as a gateway does. `sent` holds what the broker confirmed, by user and in order."""

    def __init__(self, broker, partitions=PARTITIONS):
        self.broker, self.partitions, self.count, self.confirmed = broker, partitions, 0, set()

    def entry(self, user, color="blue", headers=b"content-type: text/plain", body=b"x", path=b"/pay/1"):
        self.count += 1
        partition = int(user) % self.partitions
        identity = f"RZ01.payments.{partition}.{self.count:024x}"
        values = [identity, user, int(user) % 100, 1, int(time.time() * 1e6), color, "POST", path, headers, body]
        words = ["XADD", stream(partition), "*"]
        for name, value in zip(NAMES, values):
            words += [name, value]
        return identity, words

    def send(self, user, **fields):
        identity, words = self.entry(user, **fields)
        self.broker.call(*words)
        self.confirmed.add(identity)
        return identity

    def send_many(self, users):
        """One pipeline; raises OSError where the broker goes away in the midst."""
        entries = [self.entry(user) for user in users]
        encoded = b"".join(encode(words) for _, words in entries)
        with socket.create_connection(("127.0.0.1", self.broker.port), timeout=10) as sock:
            sock.sendall(encoded)
            with sock.makefile("rb") as answers:
                for identity, _ in entries:
                    size = answers.readline()
                    if not size.startswith(b"$") or not answers.readline().endswith(b"\r\n"):
                        raise OSError(size)
                    self.confirmed.add(identity)

    def stored(self):
        """What stands in the streams: the ids of each user's messages, in order."""
        users = collections.defaultdict(list)
        for partition in range(self.partitions):
            for _, fields in self.broker.call("XRANGE", stream(partition), "-", "+") or []:
                users[fields[3].decode()].append(fields[1].decode())
        return users


def encode(words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
