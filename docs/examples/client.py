#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client of a unit's broker, on Python's standard library alone. docs/PROTOCOL.md explains what it does and why.

    client.py follow  --broker HOST:PORT --unit U --topic T --partitions N --name NAME [--replicas N] [--count N]
    client.py group   ...the same; several at once share the messages
    client.py enqueue --broker HOST:PORT --unit U --topic T --partitions N --slots N --user U [--key K] [--replicas N] BODY
    client.py dead    --broker HOST:PORT --unit U --topic T --partitions N [--subscription S]

Each message is a line of JSON on the standard output.
"""
import argparse
import hashlib
import json
import os
import socket
import sys
import time


class Redis:
    """One connection that speaks RESP2. An error of the server is a value, so that a pipeline can hold some."""

    def __init__(self, address, password=None):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)))
        self.stream = self.socket.makefile("rb")
        if password:
            self.call("AUTH", password)

    def pipeline(self, *commands):
        """All commands leave in one write; returns a reply for each."""
        request = b""
        for words in commands:
            words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            request += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(request)
        return [self.reply() for _ in commands]

    def call(self, *words):
        answer = self.pipeline(words)[0]
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    def reply(self):
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the broker closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            return RuntimeError(rest.decode())
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self.stream.read(int(rest) + 2)[:-2]
        return [self.reply() for _ in range(int(rest))]


def key_of(options, partition, suffix):
    return "ldc:{%s/%s/%d}:%s" % (options.unit, options.topic, partition, suffix)


def envelope(words):
    return {name.decode(): value.decode("utf-8", "replace") for name, value in zip(words[::2], words[1::2])}


def handle(message):
    """What an application does with a message. It may come twice: `id` tells."""
    print(json.dumps({name: message[name] for name in ("id", "user", "n", "method", "path", "body")}), flush=True)


def wait_covered(broker, replicas):
    """What was read may still be lost with the primary: hand it over when the replicas have it. PING makes WAIT mean all
    that the broker holds now; never do this on the connection that blocks in XREAD."""
    while replicas and broker.pipeline(["PING"], ["WAIT", replicas, 1000])[1] < replicas:
        pass


def follow(options):
    """One reader that keeps its own cursor: for each partition the last entry that was handled, in a key of its own."""
    reader, other = Redis(options.broker, options.password), Redis(options.broker, options.password)
    streams = [key_of(options, number, "stream") for number in range(options.partitions)]
    cursors = ["%s:{%s/%s/%d}:cursor" % (options.name, options.unit, options.topic, number)
               for number in range(options.partitions)]
    last = [known.decode() if known else "0-0" for known in other.pipeline(*(["GET", key] for key in cursors))]
    while options.count > 0:
        found = reader.call("XREAD", "COUNT", 100, "BLOCK", 1000, "STREAMS", *streams, *last)
        if not found:
            continue
        wait_covered(other, options.replicas)
        for stream, entries in found:
            partition = streams.index(stream.decode())
            for entry, words in entries[:options.count]:
                handle(envelope(words))
                last[partition] = entry.decode()
                options.count -= 1
            other.call("SET", cursors[partition], last[partition])  # the acknowledgement: behind the work, never before


def group(options):
    """Readers that share the messages of a consumer group. No order is kept between them."""
    reader, other = Redis(options.broker, options.password), Redis(options.broker, options.password)
    consumer = "%s-%d" % (socket.gethostname(), os.getpid())
    streams = [key_of(options, number, "stream") for number in range(options.partitions)]
    other.pipeline(*(["XGROUP", "CREATE", stream, options.name, "0", "MKSTREAM"] for stream in streams))
    while options.count > 0:
        found = [[stream.encode(), other.call("XAUTOCLAIM", stream, options.name, consumer, 60000, "0", "COUNT", 100)[1]]
                 for stream in streams]  # what a reader that died left behind
        found += reader.call("XREADGROUP", "GROUP", options.name, consumer, "COUNT", min(options.count, 100),
                             "BLOCK", 1000, "STREAMS", *streams, *[">"] * len(streams)) or []
        wait_covered(other, options.replicas)
        for stream, entries in found:
            for entry, words in entries:
                handle(envelope(words))
                other.call("XACK", stream, options.name, entry)
                options.count -= 1


def enqueue(options):
    """One message, as a gateway would store it. Exit code 0: stored; 1: not stored; 4: unknown, repeat with the same key."""
    broker = Redis(options.broker, options.password)
    slot = int(options.user) % options.slots  # where the rules say `hash: modulo`
    partition = slot % options.partitions
    now_us = time.time_ns() // 1000
    message = "%s.%s.%d.%012x%s" % (options.unit, options.topic, partition, now_us // 1000, os.urandom(6).hex())
    fingerprint = hashlib.blake2b(("POST\n%s\n%s" % (options.path, options.body)).encode(), digest_size=16).hexdigest()
    epoch_key = "ldc:{%s}:epoch" % options.unit
    keys = [key_of(options, partition, "stream"), key_of(options, partition, "state"), epoch_key]
    if options.key:
        escaped = options.key.replace("%", "%25").replace("/", "%2F")
        keys.append(key_of(options, partition, "idem:%s/%s" % (options.user, escaped)))
    epoch = (broker.call("GET", epoch_key) or b"0").decode()
    fields = [message, options.user, slot, 0, now_us, "blue", "POST", options.path, "content-type: text/plain", options.body]
    stored, replicas = broker.pipeline(
        ["FCALL", "ldc1_enqueue", len(keys), *keys, epoch, 0, 300000, fingerprint, *fields, ""],
        ["WAIT", options.replicas, 1000])
    if isinstance(stored, RuntimeError):
        print(json.dumps({"refused": str(stored)}))
        return 1
    replayed = isinstance(stored, list)  # the key was known: ["replay", the first one's id]
    known = {"id": stored[1].decode() if replayed else message, "replayed": replayed}
    print(json.dumps(known if replicas >= options.replicas else {"unknown": known["id"]}))
    return 0 if replicas >= options.replicas else 4


def dead(options):
    """The dead letters: envelopes with the reason why no retry could help."""
    broker = Redis(options.broker, options.password)
    for partition in range(options.partitions):
        for _, words in broker.call("XRANGE", key_of(options, partition, "dead:" + options.subscription), "-", "+"):
            letter = envelope(words)
            print(json.dumps({name: letter[name] for name in ("id", "user", "body", "reason", "status", "attempts")}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["follow", "group", "enqueue", "dead"])
    parser.add_argument("body", nargs="?", default="")
    for name in ("broker", "unit", "topic"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=0, help="how many must hold a message before it counts")
    parser.add_argument("--count", type=int, default=sys.maxsize, help="messages after which a reader ends")
    parser.add_argument("--name", default="example", help="of the reader or of the group")
    parser.add_argument("--subscription", default="default")
    parser.add_argument("--user", default="1")
    parser.add_argument("--path", default="/")
    parser.add_argument("--key", help="the idempotency key")
    options = parser.parse_intermixed_args()
    options.password = os.environ.get("BROKER_PASSWORD")
    return {"follow": follow, "group": group, "enqueue": enqueue, "dead": dead}[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
