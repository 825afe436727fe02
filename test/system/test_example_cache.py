#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example of a cache that follows the change feed of a collection, as it stands, against a real deployment."""
import json
import subprocess
import sys
import unittest

import harness
import watch_fixture
from harness import SLOW, wait_until

EXAMPLE = harness.ROOT / "docs/examples/cached_collection.py"


class Cache(watch_fixture.WatchTest):
    def setUp(self):
        super().setUp()
        self.start()
        self.cache = subprocess.Popen([sys.executable, EXAMPLE, f"http://127.0.0.1:{self.gateway.port}", "rates"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.cache.communicate, timeout=10 * SLOW)
        wait_until(lambda: self.get("none")["kept"], what="the stream")

    def get(self, key):
        print(key, file=self.cache.stdin, flush=True)
        return json.loads(self.cache.stdout.readline())

    def value(self, key):
        answer = self.get(key)
        return answer["value"] and answer["value"]["value"], answer["kept"]

    def wait_told(self, seq):
        wait_until(lambda: self.get("none")["sequence"] >= seq, what="the change to be told")

    def test_what_is_kept_is_forgotten_when_it_changes(self):
        origin = self.origin
        self.wait_told(origin.put(b"eur", b"1.08")[0])
        self.assertEqual([self.value("eur"), self.value("eur")], [("1.08", False), ("1.08", True)])
        self.wait_told(origin.put(b"usd", b"1")[0])
        self.assertEqual(self.value("eur"), ("1.08", True))
        self.wait_told(origin.put(b"eur", b"1.09")[0])
        self.assertEqual([self.value("eur"), self.value("eur")], [("1.09", False), ("1.09", True)])
        self.wait_told(origin.delete(b"eur")[0])
        self.assertEqual([self.value("eur"), self.value("eur")], [(None, False), (None, True)])

    def test_it_never_shows_less_than_it_was_told(self):
        origin = self.origin
        for n in range(200):
            seq = origin.put(b"eur", b"%d" % n)[0]
            answer = self.get("eur")
            if answer["sequence"] >= seq:
                self.assertEqual(answer["value"]["version"], seq)
        self.wait_told(seq)
        self.assertEqual(self.value("eur")[0], "199")

    def test_it_outlives_its_gateway(self):
        origin = self.origin
        self.wait_told(origin.put(b"eur", b"1")[0])
        self.value("eur")
        self.gateway.kill()
        seq = origin.put(b"eur", b"2")[0]
        self.gateway.restart()
        wait_until(self.gateway.ready, what="the gateway")
        self.wait_told(seq)
        self.assertEqual([self.value("eur"), self.value("eur")], [("2", False), ("2", True)])


if __name__ == "__main__":
    unittest.main()
