#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The functions behind `ldcctl queue`, on a broker."""
import functions_fixture
import unittest


class Operations(functions_fixture.Functions):
    def entries(self, suffix):
        return [(at.decode(), {k.decode(): v.decode() for k, v in zip(fields[0::2], fields[1::2])})
                for at, fields in self.call("XRANGE", self.key(suffix), "-", "+")]

    def bury(self, *ids):
        for id in ids:
            fields = {"id": id, "user": "7", "slot": "1", "epoch": "2", "in_us": "3", "color": "green", "method": "POST",
                      "path": "/p", "headers": "a: b", "body": "x", "n": "1", "st_us": "4", "reply": "r",
                      "reason": "status", "status": "422", "attempts": "1"}
            self.call("XADD", self.key("dead:audit"), "*", *[word for pair in fields.items() for word in pair])

    def redrive(self, id="", most=1000):
        return self.function("redrive", [self.key("dead:audit"), self.key("stream"), self.key("state")], "audit", id, most, 0)

    def reset(self, *args):
        watermark, passed = self.function("reset", self.park_keys(), *args, 0)
        return watermark.decode(), int(passed)

    def test_a_dead_letter_comes_back_for_its_subscription_alone(self):
        self.enqueue()
        self.bury("one", "two", "three")
        self.assertEqual(self.redrive("two"), 1)
        self.assertEqual(self.redrive("nobody"), 0)
        self.assertEqual([fields["id"] for _, fields in self.entries("dead:audit")], ["one", "three"])
        back = self.entries("stream")[-1][1]
        self.assertEqual({key: back[key] for key in ("id", "n", "only", "reply", "body", "color")},
                         {"id": "two", "n": "2", "only": "audit", "reply": "", "body": "x", "color": "green"})
        self.assertNotIn("reason", back)

    def test_many_come_back_in_their_order_up_to_a_limit(self):
        names = [f"m{i}" for i in range(350)]
        self.bury(*names)
        self.assertEqual(self.redrive(most=120), 120)
        self.assertEqual(self.redrive(), 230)
        self.assertEqual([fields["id"] for _, fields in self.entries("stream")], names)
        self.assertEqual(self.call("XLEN", self.key("dead:audit")), 0)

    def test_purged_ones_are_gone(self):
        self.bury("one", "two", "three")
        self.assertEqual(self.function("purge", [self.key("dead:audit")], "two", 10, 0), 1)
        self.assertEqual(self.function("purge", [self.key("dead:audit")], "", 10, 0), 2)
        self.assertEqual(self.entries("stream"), [])

    def test_a_cursor_goes_to_a_message_a_time_or_the_end(self):
        ids = [self.enqueue().decode() for _ in range(4)]
        self.call("HSET", self.key("state"), "owner", "a/1", "floor", 4)
        watermark, passed = self.reset("from", ids[2])
        self.assertEqual(passed, 2)
        behind = self.call("XRANGE", self.key("stream"), "(" + watermark, "+")
        self.assertEqual([at.decode() for at, _ in behind], ids[2:])
        self.assertEqual(self.call("HMGET", self.key("state"), "owner", "lease", "floor"), [None, b"1", b"2"])
        self.assertEqual(self.reset("from", ids[0].split("-")[0])[1], 0)
        self.assertEqual(self.reset("end"), (ids[3], 4))
        self.assertEqual(self.reset("from", "9999999999999"), (ids[3], 4))

    def test_an_empty_partition_has_only_its_beginning(self):
        self.assertEqual(self.reset("end"), ("0-0", 0))
        self.assertEqual(self.reset("from", "5"), ("0-0", 0))


if __name__ == "__main__":
    unittest.main()
