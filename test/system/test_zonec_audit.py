#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The audit of test/zonec by which collections are judged after all that was done to them: it finds nothing in a copy that is
right, and each thing that can be wrong with one."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "zonec"))

import audit  # noqa: E402  (puts test/system on the path)
from collections_fixture import Sites, bucket_of  # noqa: E402

KEYS = 40


class Audit(Sites):
    def setUp(self):
        super().setUp()
        self.journal = self.folder() / "journal"
        for n in range(KEYS):
            self.write(n, n + 1)
        self.copy.bootstrap(self.origin)
        for n in range(0, KEYS, 2):
            self.write(n, KEYS + n + 1)
        self.origin.delete(audit.key_name(7))
        self.copy.follow(self.origin)
        self.told("version 1 1 0 put acked", f"version {KEYS + 1} {KEYS + 1} 0 put seen")

    def folder(self):
        return pathlib.Path(self.broker.folder)

    def write(self, key, write):
        self.origin.put(audit.key_name(key), b'{"write":%d,"key":"%s"}' % (write, audit.key_name(key)))

    def told(self, *lines):
        self.journal.write_text("".join(line + "\n" for line in lines))

    def findings(self):
        origin, copy = audit.Held(self.origin), audit.Held(self.copy)
        journal = audit.Journal(self.journal)
        return [*audit.check_held(origin), *audit.check_log(origin, 1), *audit.check_held(copy), *audit.check_same(origin, copy),
                *audit.check_log(copy), *audit.check_logs(origin, copy), *audit.check_told(origin, journal)]

    def assert_found(self, word):
        findings = self.findings()
        self.assertTrue(any(word in finding for finding in findings), f"{word} is not in {findings}")

    def damage(self, site, key, change):
        name, key = f"{site.at}b/{bucket_of(key)}", key
        site.call("HSET", name, key, change(site.call("HGET", name, key)))

    def test_what_is_right_is_found_right(self):
        self.assertEqual(self.findings(), [])

    def test_a_flipped_value(self):
        self.damage(self.copy, audit.key_name(3), lambda packed: packed[:-1] + b"!")
        self.assert_found("is not what was written")

    def test_an_old_value(self):
        old = self.copy.values()[audit.key_name(4)]
        self.write(4, 1000)
        self.copy.follow(self.origin)
        self.damage(self.copy, audit.key_name(4), lambda _: old)
        self.assert_found("has another sum than its values")

    def test_a_deleted_key(self):
        self.copy.call("HDEL", f"{self.copy.at}b/{bucket_of(audit.key_name(5))}", audit.key_name(5))
        self.assert_found("is None, at the origin")

    def test_a_key_that_is_not_listed(self):
        self.copy.call("ZREM", self.copy.at + "keys", audit.key_name(5))
        self.assert_found("the list has")

    def test_a_change_that_the_copy_has_not(self):
        self.write(1, 1000)
        self.assert_found("at the origin")

    def test_a_change_that_the_log_lost(self):
        self.origin.call("XDEL", self.origin.at + "log", "5-0")
        self.assert_found("the log goes from")

    def test_an_acknowledged_write_that_nobody_has(self):
        self.told("version 2 77 1 put acked")
        self.assert_found("was acked as write 77")

    def test_a_value_that_was_read_and_never_written(self):
        self.told("version 999 77 1 put seen")
        self.assert_found("was seen as write 77")

    def test_a_write_that_was_done_twice(self):
        self.write(1, 1)
        self.copy.follow(self.origin)
        self.assert_found("was done twice")

    def test_a_key_that_was_gone_for_a_while(self):
        self.told("gone 0 3 4")
        self.assert_found("nobody deleted it")
        self.told("gone 0 7 8")
        self.assertEqual(self.findings(), [])

    def test_what_clients_saw(self):
        self.told("back 0 1 5 3")
        self.assert_found("a client saw: back")


if __name__ == "__main__":
    unittest.main()
