#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the functions of collections cost a broker: docs/COLLECTIONS.md holds the figures.

    collections_bench.py [--build build] [--keys 1000000]

Two brokers, an origin and a copy, without a file, so that the processor alone is measured. A broker is one thread: its
processor time tells how much one core does, however busy the machine is. The pauses are what the broker says of single calls.
"""
import argparse
import os
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))
import collections_fixture  # noqa: E402
import harness  # noqa: E402
from collections_fixture import BUCKETS, bucket_of, pack  # noqa: E402

CHUNK = 10000
VALUE = b'{"rate":"%012d","currency":"EUR","until":"2026-12-31","terms":"net 30","note":"as agreed in writing"}'
TICKS = os.sysconf("SC_CLK_TCK")


def key_of(n):
    return b"merchant/%07d" % n


def packed(n, salt=0):
    key = key_of(n)
    return key, pack(key, (VALUE % (n + salt))[:100], b"application/json")


class Measured:
    """A broker, a connection to it, and what it has used of a processor."""

    def __init__(self, stack, name, unit):
        self.broker = stack.broker(name, extra=("--appendonly", "no"))
        self.connection = harness.BrokerConnection(self.broker.port)
        self.site = collections_fixture.Site(self.connection, unit)
        library = pathlib.Path(harness.BUILD) / "common" / "functions.lua"
        self.connection.call("FUNCTION", "LOAD", "REPLACE", library.read_text())

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.broker.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self):
        info = self.connection.call("INFO", "memory").decode()
        return int(info.split("used_memory:")[1].split("\r")[0])

    def run(self, commands):
        """Processor seconds that the broker needs for COMMANDS, in pipelines of 64."""
        wires = [b"".join(map(harness.wire, commands[i:i + 64])) for i in range(0, len(commands), 64)]
        before = self.cpu()
        for wire, first in zip(wires, range(0, len(commands), 64)):
            self.connection.exchange(wire, min(64, len(commands) - first))
        return self.cpu() - before

    def pauses(self, calls):
        """The least, the median and the longest time in ms that the broker says single CALLS took, and their answers."""
        times, answers = [], []
        for call in calls:
            self.connection.call("CONFIG", "RESETSTAT")
            answers.append(call())
            stats = self.connection.call("INFO", "commandstats").decode().splitlines()
            spent = {line.split(":")[0]: int(line.split("usec=")[1].split(",")[0]) for line in stats if "usec=" in line}
            times.append(spent.get("cmdstat_fcall", spent.get("cmdstat_hgetall")) / 1000)
        times.sort()
        return times[0], times[len(times) // 2], times[-1], answers


def show(what, value):
    print(f"{what:<66} {value}", flush=True)


def put_words(site, n, salt, id=""):
    key, value = packed(n, salt)
    return ("FCALL", "ldc1_c_put", 1, site.at, 0, key, bucket_of(key), "", value, id)


def measure_puts(origin, count, rng):
    before, spent = origin.memory(), 0
    for first in range(0, count, CHUNK):
        spent += origin.run([put_words(origin.site, n, 0) for n in range(first, min(first + CHUNK, count))])
    show("puts of new keys, a second of one core", f"{count / spent:,.0f}")
    whole = origin.memory() - before
    origin.connection.call("XTRIM", origin.site.at + "log", "MAXLEN", 0)
    held = origin.memory() - before
    show("bytes of memory a key, without the log", f"{held / count:.0f}")
    show("bytes of memory an entry of the log", f"{(whole - held) / count:.0f}")
    show("  of these the sorted set", f"{origin.connection.call('MEMORY', 'USAGE', origin.site.at + 'keys') / count:.0f}")
    some = [rng.randrange(count) for _ in range(50000)]
    spent = origin.run([put_words(origin.site, n, 7, f"id-{i}") for i, n in enumerate(some)])
    show("puts of random keys that are there, a second of one core", f"{len(some) / spent:,.0f}")


def measure_reads(origin, count, rng):
    keys = [key_of(rng.randrange(count)) for _ in range(100000)]
    spent = origin.run([("HGET", f"{origin.site.at}b/{bucket_of(key)}", key) for key in keys])
    show("HGET of random keys, a second of one core", f"{len(keys) / spent:,.0f}")
    spent = origin.run([("FCALL", "ldc1_c_get", 1, origin.site.at, 0, key, bucket_of(key)) for key in keys[:50000]])
    show("c_get of random keys, a second of one core", f"{50000 / spent:,.0f}")


def fill_words(site, bucket, seq, flat, most=512):
    """In parts of 256 values."""
    for first in range(0, max(1, len(flat)), most):
        last = first + most >= len(flat)
        part = ("whole" if last else "first") if first == 0 else "last" if last else "next"
        yield ("FCALL", "ldc1_c_fill", 1, site.at, 0, collections_fixture.OWNER, bucket, seq, part, *flat[first:first + most])


def measure_copy(origin, copy):
    copy.site.take()
    copy.site.own("wipe", origin.site.seq)
    read = fill = 0
    for first in range(0, BUCKETS, 64):
        buckets = range(first, first + 64)
        before = origin.cpu()
        answers = origin.connection.pipeline([("FCALL", "ldc1_c_bucket", 1, origin.site.at, n) for n in buckets])
        read += origin.cpu() - before
        fill += copy.run([words for n, (seq, _, flat) in zip(buckets, answers) for words in fill_words(copy.site, n, seq, flat)])
    show("c_bucket of all buckets, seconds of one core", f"{read:.2f}")
    show("c_fill of all buckets, seconds of one core", f"{fill:.2f}")
    assert copy.site.meta("state") == "live"


def measure_apply(origin, copy, count, rng):
    for batch in (1, 16, 128):
        some = 20000 if batch == 1 else 60000
        start = origin.site.seq
        for first in range(0, some, CHUNK):
            origin.run([put_words(origin.site, rng.randrange(count), first + batch) for _ in range(CHUNK)])
        entries = origin.site.log(f"{start}-1")
        commands = [copy.site.apply_words(entries[i:i + batch]) for i in range(0, len(entries), batch)]
        show(f"entries applied in batches of {batch}, a second of one core", f"{len(entries) / copy.run(commands):,.0f}")
    assert copy.site.seq == origin.site.seq


def show_pause(what, measured, calls):
    least, median, longest, answers = measured.pauses(calls)
    show(f"pause of {what}, ms: least, median, longest", f"{least:.2f}, {median:.2f}, {longest:.2f}")
    return answers


def measure_pauses(origin, copy, count, rng):
    buckets = rng.sample(range(BUCKETS), 50)
    show_pause("a digest", origin, [lambda: origin.site.function("digest", 0)] * 30)
    digest = origin.site.log(f"{origin.site.seq}-0")[-1:]
    show_pause("a digest compared", copy, [lambda: copy.site.apply(digest)] * 30)
    assert copy.site.meta("digest_ok") == "1"
    read = show_pause("c_bucket", origin, [lambda n=n: origin.site.function("bucket", n) for n in buckets])
    show_pause("HGETALL of a bucket", copy, [lambda n=n: copy.connection.call("HGETALL", f"{copy.site.at}b/{n}") for n in buckets])
    show_pause("c_repair", copy, [lambda n=n, it=it: copy.site.own("repair", n, it[0], *it[2]) for n, it in zip(buckets, read)])
    origin.run([put_words(origin.site, rng.randrange(count), 3, f"late-{i}") for i in range(20000)])
    key = key_of(1)
    replay = [lambda n=n: origin.site.put(key, b"x", "", f"late-{n}", "replay") for n in range(20)]
    show_pause("c_replay", origin, replay)
    entries = origin.site.log(f"{copy.site.seq}-1")
    batches = [entries[i:i + 128] for i in range(0, len(entries), 128)]
    show_pause("a batch of 128 applied", copy, [lambda b=b: copy.site.apply(b) for b in batches])
    show_pause("trimming", origin, [lambda: origin.site.function("trim", 0, 1000, 60000)] * 20)
    commands = [("HGETALL", f"{copy.site.at}b/{n}") for n in range(BUCKETS)]
    show("HGETALL of all buckets, seconds of one core", f"{copy.run(commands):.2f}")
    show_pause("c_wipe", copy, [lambda: copy.site.own("wipe", 0)])
    copy.site.own("wipe", 0)
    parts = [words for n in range(20) for words in fill_words(copy.site, n, *origin.site.function("bucket", n)[::2])]
    show_pause("c_fill of 256 values", copy, [lambda words=words: copy.connection.call(*words) for words in parts])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--keys", type=int, default=1000000)
    options = parser.parse_args()
    os.environ["LDC_BUILD"] = options.build
    stack, rng = harness.Stack(), random.Random(20261121)
    try:
        origin, copy = Measured(stack, "origin", "CORE"), Measured(stack, "copy", "RZ01")
        show("keys, of 16 bytes, with values of 100", f"{options.keys:,}")
        measure_puts(origin, options.keys, rng)
        measure_reads(origin, options.keys, rng)
        measure_copy(origin, copy)
        measure_apply(origin, copy, options.keys, rng)
        measure_pauses(origin, copy, options.keys, rng)
    finally:
        stack.end()


if __name__ == "__main__":
    main()
