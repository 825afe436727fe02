#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The functions that move messages to parks, back to life and to the dead letters, on a broker."""
import functions_fixture
import random
import unittest

FOREVER = 10 ** 9


class Park(functions_fixture.Functions):
    def setUp(self):
        super().setUp()
        self.serial, self.owner = 0, "a/1"
        self.call("HSET", self.key("state"), "owner", self.owner)

    def park(self, *moves, watermark="0-0", done="", passed=0, beyond=0, serial=None, owner=None):
        """A move: (kind, entry, serial (None: this one's), user, attempts, wait or status, reason)."""
        if serial is None:
            self.serial += 1
        serial = serial or self.serial
        words = [word if word is not None else serial for move in moves for word in move]
        return self.function("park", self.park_keys(), serial, len(moves), *words, owner or self.owner, watermark, done, passed,
                             beyond, serial)

    def head(self, entry, user, attempts=1, wait=0, serial=None):
        return ("park", entry, serial, user, attempts, wait, "")

    def follower(self, entry, user, serial=None):
        return ("park", entry, serial, user, 0, "", "")

    def dead(self, entry, user, status=422, serial=None):
        return ("dead", entry, serial, user, 1, status, "status")

    def due(self, *passed_over, most=10):
        return self.function("parked", self.park_keys(), self.owner, most, *passed_over)

    def users_due(self, *passed_over, most=10):
        return [(user.decode(), attempts, entry[0].decode()) for user, attempts, entry in
                self.due(*passed_over, most=most)[1:]]

    def after(self, name, *args):
        count, *heads = self.function(name, self.park_keys(), self.owner, 77, *args)
        return count, [(user.decode(), attempts, entry[0].decode()) for user, attempts, entry in heads if user]

    def unpark(self, user, entry):
        return self.after("unpark", user, entry)

    def bury(self, user, entry, attempts=16, status=500, reason="attempts"):
        return self.after("bury", user, entry, attempts, status, reason)

    def not_taken(self, user, entry, attempts, wait):
        return self.function("fail", self.park_keys(), self.owner, 78, user, entry, attempts, wait)

    def entries(self, suffix):
        return [(at.decode(), {k.decode(): v.decode() for k, v in zip(fields[0::2], fields[1::2])})
                for at, fields in self.call("XRANGE", self.key(suffix), "-", "+")]

    def ids(self, suffix):
        return [at for at, _ in self.entries(suffix)]

    def produce(self, count, user="7"):
        return [self.enqueue(user=user).decode() for _ in range(count)]

    def left(self):
        """Keys of the park, but for the cursor's and the partition's."""
        return {key.decode().split("}:")[1] for key in self.call("KEYS", "*")} - {
            "stream", "state", "cursor:default", "writes"}

    # --- into the park -----------------------------------------------------------------------------------------------

    def test_a_user_is_parked_together_with_the_cursor(self):
        one, two = self.produce(2)
        self.assertEqual(self.park(self.head(one, "7", 3, FOREVER), self.follower(two, "7"), watermark=two, passed=2), 2)
        self.assertEqual(self.entries("park:default:7"), self.entries("stream"))
        self.assertEqual(self.call("HGET", self.key("tries:default"), "7"), b"3")
        self.assertEqual(self.call("HMGET", self.key("cursor:default"), "watermark", "passed", "parked"),
                         [two.encode(), b"2", b"2"])
        self.assertEqual(self.call("HGET", self.key("state"), "floor"), b"2")
        wait, *heads = self.due()
        self.assertEqual(heads, [])
        self.assertTrue(FOREVER - 10000 < wait <= FOREVER)

    def test_another_agent_moves_nothing(self):
        one, = self.produce(1)
        self.park(self.head(one, "7"))
        before = self.entries("park:default:7")
        for name, args in (("unpark", [9, "7", one]), ("bury", [9, "7", one, 1, 500, "attempts"]),
                           ("fail", [9, "7", one, 1, 5]), ("parked", [5])):
            with self.refused("LDC_LEASE"):
                self.function(name, self.park_keys(), "b/1", *args)
        with self.refused("LDC_LEASE"):
            self.park(self.dead(one, "7"), owner="b/1", watermark=one)
        self.assertEqual(self.entries("park:default:7"), before)
        self.assertEqual(self.ids("dead:default"), [])
        self.assertEqual(self.call("HMGET", self.key("cursor:default"), "watermark", "call"), [b"0-0", b"a/1 1"])

    def test_a_write_that_comes_again_moves_nothing_twice(self):
        one, two, three = self.produce(3)
        self.park(self.head(one, "7"), self.dead(two, "8"), serial=1)
        self.assertEqual(self.park(self.head(one, "7", serial=1), self.dead(two, "8", serial=1), self.follower(three, "7"),
                                   watermark=three, serial=2), 2)
        self.assertEqual(self.ids("park:default:7"), [one, three])
        self.assertEqual(len(self.ids("dead:default")), 1)
        self.assertEqual(self.unpark("7", one)[1], [("7", 0, three)])
        self.assertEqual(self.unpark("7", three), (0, []))
        with self.refused("LDC_LEASE"):  # late, from a connection that is given up
            self.park(self.head(one, "7"), serial=1)
        self.assertEqual(self.left(), {"dead:default"})
        self.assertEqual(self.call("HGET", self.key("cursor:default"), "watermark"), three.encode())

    def test_a_new_owner_counts_its_writes_from_the_beginning(self):
        one, two = self.produce(2)
        self.park(self.head(one, "7"), serial=900)
        self.call("HSET", self.key("state"), "owner", "a/2")
        self.assertEqual(self.park(self.follower(two, "7"), serial=1, owner="a/2"), 2)
        self.assertEqual(self.ids("park:default:7"), [one, two])

    def test_what_is_not_in_the_stream_any_more_is_passed_over(self):
        one, two = self.produce(2)
        self.call("XDEL", self.key("stream"), one)
        self.assertEqual(self.park(self.head(one, "7"), self.dead(one, "7"), watermark=one), 0)
        self.assertEqual(self.left(), set())

    # --- out of it ---------------------------------------------------------------------------------------------------

    def test_a_user_leaves_with_its_last_message(self):
        one, two, three = self.produce(3)
        self.park(self.head(one, "7", 2), self.follower(two, "7"), watermark=two)
        self.assertEqual(self.users_due(), [("7", 2, one)])
        self.assertEqual(self.unpark("7", one), (1, [("7", 0, two)]))
        self.assertEqual(self.unpark("7", one), (1, [("7", 0, two)]))  # again: the answer was lost
        self.assertEqual(self.unpark("7", two), (0, []))
        self.assertEqual(self.unpark("7", two), (0, []))
        self.assertEqual(self.left(), set())
        self.park(self.follower(three, "7"), watermark=three)  # behind the agent's back, so to speak
        self.assertEqual(self.users_due(), [("7", 0, three)])

    def test_a_failure_raises_the_attempts_and_waits(self):
        one, two = self.produce(2)
        self.park(self.head(one, "7"), self.follower(two, "7"))
        self.not_taken("7", one, 2, FOREVER)
        self.assertEqual(self.users_due(), [])
        self.not_taken("7", one, 2, 0)
        self.not_taken("7", two, 9, FOREVER)  # not the head
        self.not_taken("7", "1-1", 5, FOREVER)
        self.assertEqual(self.users_due(), [("7", 2, one)])

    def test_a_dead_letter_has_everything_and_the_user_goes_on(self):
        one, two = self.produce(2)
        self.park(self.head(one, "7", 15), self.follower(two, "7"))
        for _ in range(2):  # the second time the answer was lost
            self.assertEqual(self.bury("7", one), (1, [("7", 0, two)]))
        (_, letter), = self.entries("dead:default")
        stored = self.entries("stream")[0][1]
        self.assertEqual({key: letter[key] for key in stored}, stored)
        self.assertEqual({key: letter[key] for key in ("reason", "status", "attempts", "entry")},
                         {"reason": "attempts", "status": "500", "attempts": "16", "entry": one})
        self.assertLess(abs(int(letter["dead_us"]) - int(stored["st_us"])), 60_000_000)

    def test_those_that_are_due_come_in_the_order_of_their_time_and_in_portions(self):
        users = [f"u{i}" for i in range(40)]
        for i, user in enumerate(users):
            self.park(self.head(self.produce(1, user)[0], user, 1, 0 if i < 30 else FOREVER))
        first = [user for user, _, _ in self.users_due(most=8)]
        self.assertEqual(len(first), 8)
        self.assertEqual(self.due(most=8)[0], 0)  # there are more
        rest = [user for user, _, _ in self.users_due(*first, most=100)]
        self.assertEqual(set(first) | set(rest), set(users[:30]))
        self.assertEqual(len(rest), 22)
        self.assertGreater(self.due(*users[:30], most=8)[0], FOREVER - 60000)

    def test_a_user_whose_park_was_emptied_by_hand_is_let_go(self):
        one, = self.produce(1)
        self.park(self.head(one, "7"))
        self.call("DEL", self.key("park:default:7"))
        self.assertEqual(self.users_due(), [])
        self.assertEqual(self.left(), set())

    def test_a_full_broker_parks_and_lets_go(self):
        one, two, three = self.produce(3)
        self.call("CONFIG", "SET", "maxmemory", 1)
        self.addCleanup(self.call, "CONFIG", "SET", "maxmemory", 0)
        with self.refused("OOM"):
            self.enqueue()
        self.park(self.head(one, "7"), self.follower(two, "7"), self.dead(three, "8"), watermark=three)
        self.assertEqual(self.users_due(), [("7", 1, one)])
        self.not_taken("7", one, 2, 0)
        self.assertEqual(self.bury("7", one)[0], 1)
        self.assertEqual(self.unpark("7", two), (0, []))

    # --- back by an operator's word ----------------------------------------------------------------------------------

    def reset(self, *args):
        self.function("reset", self.park_keys(), *args, 0)
        self.call("HSET", self.key("state"), "owner", self.owner)

    def test_a_reset_lets_a_park_take_again_what_was_delivered_from_it(self):
        one, two, three = self.produce(3)
        other, = self.produce(1, "8")
        moves = self.head(one, "7", 2), self.follower(two, "7"), self.follower(three, "7")
        self.park(*moves, self.head(other, "8"), watermark=other, passed=4)
        self.unpark("7", one)
        self.reset("from", one)
        self.assertEqual(self.left(), set())
        self.assertEqual(self.call("HMGET", self.key("cursor:default"), "parked", "passed"), [b"0", b"0"])
        self.assertEqual(self.park(*[move[:2] + (None,) + move[3:] for move in moves], watermark=three, passed=3), 3)
        self.assertEqual(self.ids("park:default:7"), [one, two, three])
        self.assertEqual(self.users_due(), [("7", 2, one)])

    def test_a_reset_leaves_parked_what_lies_before_it(self):
        one, two, three, four = self.produce(4)
        self.park(self.head(one, "7", 2), *[self.follower(entry, "7") for entry in (two, three, four)], watermark=four)
        self.call("XDEL", self.key("stream"), one)  # trimmed: the park alone has it
        self.unpark("7", one)
        self.not_taken("7", two, 3, 0)
        self.reset("from", three)
        self.assertEqual(self.users_due(), [("7", 3, two)])
        self.assertEqual(self.call("HGET", self.key("cursor:default"), "parked"), b"1")
        self.park(self.follower(three, "7"), self.follower(four, "7"), watermark=four)
        self.assertEqual(self.ids("park:default:7"), [two, three, four])
        self.reset("end")
        self.assertEqual(self.ids("park:default:7"), [two, three, four])

    # --- all together ------------------------------------------------------------------------------------------------

    def test_each_message_is_in_exactly_one_place_after_any_calls(self):
        """Random calls, some of them made twice as if an answer had been lost, against a model."""
        for seed in range(6):
            self.call("FLUSHDB")
            self.serial = 0
            self.call("HSET", self.key("state"), "owner", self.owner)
            self.random_calls(random.Random(seed))

    def random_calls(self, rng):
        live, parked, dead, done = [], {}, [], set()
        for _ in range(300):
            action = rng.choice(["produce", "park", "dead", "done", "fail", "unpark", "bury"])
            repeat = rng.random() < 0.2
            users = sorted(parked)
            if action == "produce":
                user = f"u{rng.randrange(5)}"
                live.append((user, self.produce(1, user)[0]))
            elif action in ("park", "dead") and live:
                user, entry = live.pop(0)
                move = self.head(entry, user, 1, 0) if action == "park" else self.dead(entry, user)
                if action == "park" and user in parked:
                    move = self.follower(entry, user)
                move = move[:2] + (self.serial + 1,) + move[3:]
                self.park(move)
                if repeat:
                    self.park(move)
                if action == "park":
                    heads = parked.setdefault(user, [])
                    heads.append([entry, 0 if heads else 1])
                else:
                    dead.append(entry)
            elif action == "done" and live:
                done.add(live.pop(0)[1])
            elif users and action in ("fail", "unpark", "bury"):
                user = rng.choice(users)
                entry, attempts = parked[user][0]
                if action == "fail":
                    parked[user][0][1] = attempts + 1
                    self.not_taken(user, entry, attempts + 1, 0)
                    continue
                call = {"unpark": self.unpark, "bury": self.bury}[action]
                answer = call(user, entry)
                if repeat:
                    self.assertEqual(call(user, entry), answer)
                parked[user].pop(0)
                if action == "bury":
                    dead.append(entry)
                else:
                    done.add(entry)
                if not parked[user]:
                    del parked[user]
                self.assertEqual(answer, (sum(map(len, parked.values())),
                                          [(user, 0, parked[user][0][0])] if user in parked else []))
        self.assertEqual(sorted(self.users_due(most=100)),
                         sorted((user, heads[0][1], heads[0][0]) for user, heads in parked.items()))
        for user, heads in parked.items():
            self.assertEqual(self.ids("park:default:" + user), [entry for entry, _ in heads])
        self.assertEqual([letter["entry"] for _, letter in self.entries("dead:default")], dead)
        everything = [entry for _, entry in live] + [entry for heads in parked.values() for entry, _ in heads] + dead
        self.assertEqual(sorted(everything + list(done)), self.ids("stream"))


if __name__ == "__main__":
    unittest.main()
