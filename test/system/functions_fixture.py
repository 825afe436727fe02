# SPDX-License-Identifier: Apache-2.0
"""A broker with the library of the build that is tested, for tests that call its functions."""
import os
import pathlib
import unittest

import harness

UNIT, TOPIC, PARTITION = "RZ01", "payments", 3


class Functions(unittest.TestCase):
    FSYNC = "always"

    @classmethod
    def setUpClass(cls):
        cls.stack = harness.Stack()
        cls.addClassCleanup(cls.stack.end)
        cls.broker = cls.stack.broker("functions", fsync=cls.FSYNC)
        library = pathlib.Path(os.environ.get("LDC_BUILD", "build")) / "common" / "functions.lua"
        cls.broker.call("FUNCTION", "LOAD", "REPLACE", library.read_text())

    def setUp(self):
        self.call("FLUSHDB")
        self.unit = f"ldc:{{{UNIT}}}:"
        self.count = 0

    def call(self, *words):
        return self.broker.call(*words)

    def key(self, suffix, partition=PARTITION):
        return f"ldc:{{{UNIT}/{TOPIC}/{partition}}}:{suffix}"

    def id(self, number):
        return f"{UNIT}.{TOPIC}.{PARTITION}.{number:024x}"

    def park_keys(self):
        return [self.key(suffix) for suffix in ("stream", "parked:default", "tries:default", "dead:default",
                                                "park:default:", "cursor:default", "state")]

    def function(self, name, keys, *args):
        return self.call("FCALL", "ldc1_" + name, len(keys), *keys, *args)

    def left(self):
        """The unit's keys, but for the count of writes."""
        return sorted(key for key in self.call("KEYS", f"ldc:{{{UNIT}}}:*") if not key.endswith(b"writes"))

    def refused(self, code):
        return self.assertRaisesRegex(RuntimeError, code)

    def envelope(self, id=None, user="1001", body=b"{}", reply=""):
        self.count += 1
        return [id or f"id{self.count}", user, "1", "1", "1795243875155000", "blue", "POST", "/pay/1", "a: b", body,
                reply]

    def enqueue(self, broker_epoch=0, max_backlog=0, window_ms=300000, fingerprint="0" * 32, idempotency=None, **fields):
        keys = [self.key("stream"), self.key("state"), self.unit + "epoch"]
        keys += [self.key("idem:" + idempotency)] if idempotency else []
        return self.function("enqueue", keys, broker_epoch, max_backlog, window_ms, fingerprint,
                             *self.envelope(**fields))
