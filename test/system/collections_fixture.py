# SPDX-License-Identifier: Apache-2.0
"""A collection's origin and copies of it, each on a broker of its own, and the agent between them in a few lines."""
import ctypes
import struct

import functions_fixture
import harness

HEADER = struct.Struct("<BQQQH")
BUCKETS = 1024
OWNER = "agent-a/1"
_xxh = ctypes.CDLL("libxxhash.so.0")
_xxh.XXH3_64bits.restype = ctypes.c_uint64
_xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def hash_of(text):
    return _xxh.XXH3_64bits(text, len(text))


def check_of(key, type, value):
    return hash_of(struct.pack("<I", len(key)) + key + struct.pack("<H", len(type)) + type + value)


def pack(key, value, type=b"text/plain", version=0, us=0):
    """As common/collection_value.c does it."""
    return HEADER.pack(1, version, us, check_of(key, type, value), len(type)) + type + value


def unpack(packed):
    """(version, us, type, value)."""
    _, version, us, _, length = HEADER.unpack_from(packed)
    rest = packed[HEADER.size:]
    return version, us, rest[:length], rest[length:]


def share(packed):
    if len(packed) < HEADER.size:
        return 0
    _, version, _, check, _ = HEADER.unpack_from(packed)
    low = check % 2**48
    return (low + version % 2**32 * (low % 2**20 | 1)) % 2**48


def is_sound(key, packed):
    """Whether the value is the one that was written under the key."""
    _, _, type, value = unpack(packed)
    return HEADER.unpack_from(packed)[3] == check_of(key, type, value)


def bucket_of(key):
    return hash_of(key) % BUCKETS


def pairs(flat):
    return dict(zip(flat[0::2], flat[1::2]))


class Site:
    """A unit's broker with a collection: its origin, or a copy."""

    def __init__(self, connection, unit, epoch=0, name="rates"):
        self.connection, self.epoch = connection, epoch
        self.at = f"ldc:{{{unit}}}:c/{name}/"
        self.unit = f"ldc:{{{unit}}}:"

    def call(self, *words):
        return self.connection.call(*words)

    def words(self, name, *args):
        return ("FCALL", "ldc1_c_" + name, 1, self.at, *args)

    def function(self, name, *args):
        return self.call(*self.words(name, *args))

    def meta(self, field):
        value = self.call("HGET", self.at + "meta", field)
        return None if value is None else value.decode()

    @property
    def seq(self):
        return int(self.meta("seq") or 0)

    def buckets(self):
        return [pairs(flat) for flat in self.connection.pipeline([("HGETALL", f"{self.at}b/{n}") for n in range(BUCKETS)])]

    def look(self):
        """Every key's packed value, and the buckets whose sum is not that of their entries."""
        values, wrong, sums = {}, [], self.call("GET", self.at + "sums")
        for number, bucket in enumerate(self.buckets()):
            if self.sum(number, sums) != sum(map(share, bucket.values())) % 2**48:
                wrong.append(number)
            values.update(bucket)
        return values, wrong

    def sum(self, bucket, sums=None):
        sums = sums or self.call("GET", self.at + "sums") or b""
        return int.from_bytes(sums[6 * bucket:6 * bucket + 6], "little")

    def set_sum(self, bucket, value):
        """By hand."""
        self.call("SETRANGE", self.at + "sums", 6 * bucket, value.to_bytes(6, "little"))

    def values(self):
        return self.look()[0]

    def wrong_sums(self):
        return self.look()[1]

    def log(self, start="-"):
        return [(entry.decode(), pairs(fields)) for entry, fields in self.call("XRANGE", self.at + "log", start, "+")]

    # --- origin

    def put(self, key, value, condition="", id="", name="put"):
        packed = b"" if value is None else pack(key, value)
        answer = self.function(name, self.epoch, key, bucket_of(key), condition, packed, id)
        return [word.decode() if isinstance(word, bytes) else word for word in answer]

    def delete(self, key, condition="", id=""):
        return self.put(key, None, condition, id)

    # --- copy

    def take(self):
        self.call("FCALL", "ldc1_beat", 1, self.unit + "agents", *OWNER.split("/"), 60000, "")
        self.call("FCALL", "ldc1_take", 2, self.unit + "agents", self.at + "meta", OWNER)

    def own(self, name, *args):
        return self.function(name, self.epoch, OWNER, *args)

    def fill(self, origin, bucket):
        seq, _, flat = origin.function("bucket", bucket)
        return self.own("fill", bucket, seq, "whole", *flat)

    def apply_words(self, entries):
        words = ["FCALL", "ldc1_c_apply", 1, self.at, self.epoch, OWNER]
        for id, fields in entries:
            words += [id.split("-")[0]]
            words += [fields.get(name, b"") for name in (b"op", b"key", b"bucket", b"was", b"us", b"value")]
        return words

    def apply(self, entries):
        seq, state, bad = self.call(*self.apply_words(entries))
        return seq, state.decode(), bad.decode()

    def follow(self, origin):
        """All that is new in the origin's log."""
        return self.apply(origin.log(f"{self.seq}-1"))

    def bootstrap(self, origin):
        self.own("wipe", origin.seq)
        answers = self.connection.pipeline([origin.words("bucket", n) for n in range(BUCKETS)])
        self.connection.pipeline([self.words("fill", self.epoch, OWNER, n, seq, "whole", *flat)
                                  for n, (seq, _, flat) in enumerate(answers)])
        return self.follow(origin)

    def repair(self, origin, bucket):
        seq, _, flat = origin.function("bucket", bucket)
        return self.own("repair", bucket, seq, *flat)


class Sites(functions_fixture.Functions):
    FSYNC = "no"

    def setUp(self):
        super().setUp()
        connection = harness.BrokerConnection(self.broker.port)  # thousands of calls would use up the ports
        self.addCleanup(connection.close)
        self.origin, self.copy = Site(connection, "CORE"), Site(connection, "RZ01")
        self.copy.take()

    def assert_whole(self, site):
        values, wrong = site.look()
        self.assertEqual(wrong, [])
        self.assertEqual(site.call("ZRANGE", site.at + "keys", 0, -1), sorted(values))
        return values

    def assert_same(self):
        self.assertEqual(self.assert_whole(self.copy), self.assert_whole(self.origin))
