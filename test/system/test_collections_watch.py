#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The change feed of collections: every change once and in order, over reconnects, slow reading, and copies that are made
anew; and what it costs the gateway."""
import signal
import socket
import time
import unittest

import watch_fixture
from collections_fixture import Site, bucket_of, pack
from harness import SLOW, Span, wait_until
from http2_client import SETTINGS, WINDOW_UPDATE, Http2
from watch_fixture import Watch, blocks, connect, dial, receive_to


class Feed(watch_fixture.WatchTest):
    def test_changes_are_told_as_they_come(self):
        self.start(collections={"rates": {}, "goods": {}})
        watch, goods = self.watch(), self.watch("/-/c/goods?watch")
        self.assertEqual((watch.headers["content-type"], watch.headers["cache-control"], watch.headers["ldc-unit"]),
                         ("text/event-stream", "no-store", "RZ01"))
        self.assertEqual(watch.start.id, 0)
        origin = self.origin
        origin.put(b"eur", b"1.08")
        origin.put('"\u20ac"\n'.encode(), b"1.09")
        origin.delete(b"eur")
        events = watch.events(3)
        self.assertEqual([event.told() for event in events], [("put", 1, "eur"), ("put", 2, '"\u20ac"\n'), ("del", 3, "eur")])
        self.assertEqual([(event.data["version"], event.data["was"]) for event in events], [(1, 0), (2, 0), (3, 1)])
        self.assertRegex(events[0].data["at"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.site("CORE", "goods").put(b"tea", b"green")
        self.assertEqual(goods.told(1), [("put", 1, "tea")])
        self.check_prefixes(origin)
        self.check_refusals()
        self.check_latency(watch, origin)

    def check_prefixes(self, origin):
        watch = self.watch("/-/c/rates?watch&prefix=a%2Fb")
        for key in (b"a", b"a/b", b"b", b"a/bc", b"a/c", b"a/b/1"):
            origin.put(key, b"1")
        self.assertEqual([key for _, _, key in watch.told(3)], ["a/b", "a/bc", "a/b/1"])

    def check_refusals(self):
        for path, headers, status, problem in (
                ("/-/c/nothing?watch", {}, 404, "no-collection"), ("/-/c/rates?watch&after=x", {}, 400, "bad-request"),
                ("/-/c/rates?watch&prefix=%zz", {}, 400, "bad-request"),
                ("/-/c/rates?watch", {"Last_Event_ID": "17-0"}, 400, "bad-request"),
                ("/-/c/rates?watch", {"LDC_Unit": "RZ99"}, 404, "not-found")):
            with self.subTest(path), Watch(self.gateway.port, path, **headers) as watch:
                self.assertEqual((watch.status, watch.problem()["type"]), (status, "urn:ldcgate:problem:" + problem))

    def check_latency(self, watch, origin):
        times = []
        self.assertEqual(watch.told(6)[-1], ("put", 9, "a/b/1"))
        with Span() as span:
            for n in range(50):
                began = time.monotonic()
                origin.put(b"timed", b"%d" % n)
                watch.event()
                times.append((time.monotonic() - began) * 1000)
        print(f"from the write at the origin to its event in the unit: median {sorted(times)[25]:.1f} ms, "
              f"most {max(times):.1f} ms")
        self.assertLess(sorted(times)[25], 1000 * span.allowed(0.1))

    def test_who_comes_back_is_told_what_was_missed(self):
        self.start()
        origin = self.origin
        self.write(5000)
        wait_until(lambda: self.copy().seq == 5000, what="the copy")
        for place in ({"Last_Event_ID": 4990}, {"path": "/-/c/rates?watch&after=4990"},
                      {"path": "/-/c/rates?watch&after=1", "Last_Event_ID": 4990}):
            with self.watch(**place) as watch:
                self.assertEqual(watch.start.id, 4990)
                self.assertEqual([event.id for event in watch.events(10)], list(range(4991, 5001)))
        self.assertEqual(self.gateway.metric("watch_past_reads_total"), 0)
        with self.watch(Last_Event_ID=0) as old, self.watch(path="/-/c/rates?watch&prefix=key-499", Last_Event_ID=0) as some:
            self.assertEqual([event.id for event in old.events(5000)], list(range(1, 5001)))
            self.assertEqual([event.id for event in some.events(11)], [500, *range(4991, 5001)])
            origin.put(b"key-499", b"new")
            self.assertEqual((old.event().id, some.event().id), (5001, 5001))
        self.assertGreater(self.gateway.metric("watch_past_reads_total"), 20)
        self.check_trimmed()
        self.check_ahead(origin)

    def check_trimmed(self):
        copy = self.copy()
        copy.call("XTRIM", copy.at + "log", "MINID", "4000")
        with self.watch(Last_Event_ID=17) as watch:
            self.assertEqual(watch.told(1), [("reset", 5001)])
            self.origin.put(b"next", b"1")
            self.assertEqual(watch.told(1), [("put", 5002, "next")])
        self.assertGreater(self.gateway.metric("watch_resets_total"), 0)

    def test_what_was_mended_at_one_time_is_told_once_however_much_it_was(self):
        """Also to who has to read it from the log, which shows so many entries at a time; and when the changes in between are
        gone from there."""
        self.start()
        self.write(20)
        wait_until(lambda: self.copy().seq == 20, what="the copy")
        copy, packed = self.copy(), pack(b"key-1", b"1", version=2)
        copy.connection.pipeline([("XADD", copy.at + "log", "20-*", "op", "repair", "key", f"mended-{n}", "bucket", 0, "was", 0,
                                   "us", 1, "value", packed) for n in range(500)])
        self.write(2500)
        wait_until(lambda: self.copy().seq == 2520, what="the copy")
        with self.watch(Last_Event_ID=20) as watch:
            self.assertEqual([event.data["key"] for event in watch.events(500)], [f"mended-{n}" for n in range(500)])
            self.assertEqual([event.id for event in watch.events(2500)], list(range(21, 2521)))
        self.units["RZ01"].agent.kill()
        copy.call("XADD", copy.at + "log", "2520-7", "op", "digest", "us", 1, "value", "")
        copy.call("XTRIM", copy.at + "log", "MINID", "2520-7")
        with self.watch(Last_Event_ID=20) as watch:
            self.assertEqual(watch.told(1), [("reset", 2520)])

    def check_ahead(self, origin):
        """Whoever comes from where more is known is waited with; who knows what never was, is told so."""
        with self.watch(Last_Event_ID=5003) as near, self.watch(Last_Event_ID=99999) as far:
            for n in range(3):
                origin.put(b"later", b"%d" % n)
            self.assertEqual(near.told(2), [("put", 5004, "later"), ("put", 5005, "later")])
            self.assertEqual(far.told(1), [("reset", 5005)])

    def test_a_copy_that_is_made_anew_and_one_that_is_mended_are_told(self):
        self.start(collections={"rates": {"digest": "1s"}})
        self.write(20)
        watch, copy = self.watch(Last_Event_ID=20), self.copy()
        wait_until(lambda: copy.seq == 20, what="the copy")
        copy.call("HDEL", f"{copy.at}b/{bucket_of(b'key-3')}", "key-3")
        mended = watch.event()
        self.assertEqual((mended.told(), mended.data["version"], mended.data["repaired"]), (("put", 20, "key-3"), 4, True))
        agent = self.units["RZ01"].agent
        agent.kill()
        copy.call("UNLINK", *copy.call("KEYS", copy.at + "*"))
        self.write(5, first=20)
        agent.restart()
        wait_until(agent.ready, what="the agent")
        self.assertEqual(watch.told(1), [("reset", 25)])
        self.origin.put(b"after", b"1")
        self.assertEqual(watch.told(1), [("put", 26, "after")])

    def test_who_finds_a_copy_closed_watches_another_one_or_the_origin(self):
        self.start(units=("RZ01", "RZ02"), gateway={"failover__hold": "200ms"})
        self.assertEqual(self.watch().headers["ldc-unit"], "RZ01")
        for unit, instead in (("RZ01", "RZ02"), ("RZ02", "CORE")):
            self.units[unit].agent.kill()
            copy = self.copy_of_dead(unit)
            copy.call("HDEL", copy.at + "meta", "epoch")
            self.gateway.terminate()
            self.gateway.restart()
            wait_until(self.gateway.ready, what="the gateway")
            wait_until(lambda: self.watch().headers.get("ldc-unit") == instead, what=f"a watcher at {instead}")
        closed = self.watch(LDC_Unit="RZ01")
        self.assertEqual((closed.status, closed.problem()["type"]), (503, "urn:ldcgate:problem:stale-copy"))

    def copy_of_dead(self, unit):
        broker = self.connect(self.units[unit].brokers[0])
        return Site(broker, unit, self.stamp(broker, unit))

    def test_the_origin_tells_too_what_is_covered(self):
        self.start(core_brokers=2)
        watch = self.watch(LDC_Unit="CORE")
        self.assertEqual(watch.headers["ldc-unit"], "CORE")
        origin = self.origin
        origin.put(b"eur", b"1")
        origin.function("digest", origin.epoch)
        origin.delete(b"eur")
        self.assertEqual(watch.told(2), [("put", 1, "eur"), ("del", 2, "eur")])


class Clients(watch_fixture.WatchTest):
    def test_the_gateway_ends_streams_when_it_ends_or_the_collection_goes(self):
        self.start(collections={"rates": {}, "goods": {}}, gateway={"watch__heartbeat": "200ms"})
        watch, goods = self.watch("/-/c/rates?watch&prefix=none"), self.watch("/-/c/goods?watch")
        self.write(7)
        wait_until(lambda: watch.block().id == 7, what="a heartbeat that says where to go on")
        del self.collections["goods"]
        self.write_rules()
        goods.to_end()
        self.assertEqual(self.watch("/-/c/goods?watch").status, 404)
        self.assertIsNotNone(watch.block())
        with Span() as span:
            self.gateway.signal(signal.SIGTERM)
            watch.to_end()
            self.assertEqual(self.gateway.popen.wait(20 * SLOW), 0)
        self.assertLess(span.seconds, span.allowed(5))

    def test_who_still_waits_is_answered_when_the_collection_goes(self):
        self.start(collections={"rates": {}, "goods": {}}, gateway={"failover__hold": "1m"})
        self.units["RZ01"].agent.kill()
        copy = self.connect(self.units["RZ01"].brokers[0])
        copy.call("HDEL", "ldc:{RZ01}:c/goods/meta", "epoch")
        copy.call("HDEL", "ldc:{RZ01}:c/rates/meta", "epoch")
        goods, rates = (connect(self.gateway.port, f"/-/c/{name}?watch", "LDC-Unit: RZ01\r\n") for name in ("goods", "rates"))
        wait_until(lambda: self.watchers() == 2, what="both to wait")
        del self.collections["goods"]
        self.write_rules()
        self.assertIn(b" 503 ", goods.recv(4096))
        self.assertEqual(self.watchers(), 1)
        copy.call("HSET", "ldc:{RZ01}:c/rates/meta", "epoch", self.stamp(copy, "RZ01"))
        self.assertIn(b" 200 ", rates.recv(4096))
        goods.close()
        rates.close()

    def test_there_are_limits(self):
        self.start(gateway={"watch__clients": 2})
        first, _ = self.watch(), self.watch()
        refused = self.watch()
        self.assertEqual((refused.status, refused.problem()["type"]), (503, "urn:ldcgate:problem:watchers-full"))
        self.assertIn("retry-after", refused.headers)
        first.close()
        wait_until(lambda: self.watch().status == 200, what="a place")

    def test_http2_carries_many_streams(self):
        self.start(gateway={"ingress__http2_clear": "true"})
        with Http2(self.gateway.port) as client:
            streams = [client.put_request("GET", f"/-/c/rates?watch&prefix=key-{n}") for n in range(10)]
            client.flush()
            while sum(b"\n\n" in client.answers.get(stream, {}).get("body", b"") for stream in streams) < 10:
                self.assertTrue(client.take())
            self.write(10)
            while sum(b"event: put" in client.answers[stream]["body"] for stream in streams) < 10:
                self.assertTrue(client.take())
            told = [blocks(client.answers[stream]["body"].decode())[1].data["key"] for stream in streams]
            self.assertEqual(told, [f"key-{n}" for n in range(10)])
            for stream in streams[5:]:
                client.put_reset(stream)
            client.flush()
            wait_until(lambda: self.watchers() == 5, what="the cancelled streams to be forgotten")
        wait_until(lambda: self.watchers() == 0, what="all streams to be forgotten")

    def test_a_stream_whose_end_is_held_up_ends_once(self):
        """It stands behind what other streams send, and the log that it had asked for is told meanwhile."""
        self.start(collections={"rates": {}, "goods": {}},
                   gateway={"ingress__http2_clear": "true", "threads": 1, "broker__timeout": "10s"})
        self.write(6000)
        wait_until(lambda: self.copy().seq == 6000, what="the copy")
        other, broker = self.watch(), self.units["RZ01"].brokers[0]
        self.assertEqual(other.start.id, 6000, "who comes new begins behind what is there")
        with Http2(sock=dial(self.gateway.port, receive=4096)) as client:
            client.put(SETTINGS, 0, 0, b"\0\4\x7f\xff\xff\xff")
            client.put(WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\0")
            broker.freeze()
            old = client.put_request("GET", "/-/c/rates?watch&after=1")
            client.flush()
            wait_until(lambda: self.gateway.metric("watch_past_reads_total") == 1, what="the log to be asked")
            others = [client.put_request("GET", "/-/c/rates?watch&after=4000") for _ in range(20)]
            client.flush()
            wait_until(lambda: self.watchers() == 22 and self.gateway.metric("watch_events_total") > 4000, what="a full connection")
            del self.collections["rates"]
            self.write_rules()
            other.to_end()
            broker.signal(signal.SIGCONT)
            self.wait_readable("RZ01")
            self.assertLess(self.gateway.metric("watch_events_total"), 40000, "it was full")
            for stream in (old, *others):
                self.assertEqual(client.answer(stream)[0], 200)
        wait_until(lambda: self.watchers() == 0, what="all streams to be forgotten")

    def test_slow_and_hostile_clients_cost_no_more_than_their_place(self):
        self.start(gateway={"limits__send_timeout": "10m", "watch__heartbeat": "1s"})
        slow = connect(self.gateway.port, receive=4096)
        self.addCleanup(slow.close)
        fast = self.watch()
        hostile = [connect(self.gateway.port, receive=4096, headers=headers) for headers in [""] * 20 + ["Last-Event-ID: 0\r\n"] * 20]
        pipelined = connect(self.gateway.port)
        pipelined.sendall(b"GET /-/c/rates?watch HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        half = connect(self.gateway.port)
        half.shutdown(socket.SHUT_WR)
        wait_until(lambda: self.watchers() >= 43, what="all to watch")
        before = self.gateway.rss_kib()
        self.write(10000, size=800)
        self.assertEqual([event.id for event in fast.events(10000)], list(range(1, 10001)))
        grown = self.gateway.grown_kib(before)
        print(f"10,000 changes to 42 clients who read nothing: the gateway has grown by {grown} KiB")
        self.assertLess(grown, 20000)
        for number, sock in enumerate(hostile):
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        pipelined.close()
        half.close()
        wait_until(lambda: self.watchers() == 2, timeout=30, what="those who left to be forgotten")
        self.check_slow(slow)

    def check_slow(self, slow):
        """It gets all of it when it reads on, from the log."""
        text = receive_to(slow, b"id: 10000\n")
        ids = [int(line[4:]) for line in text.split(b"\n") if line.startswith(b"id: ")]
        changes = text.count(b"event: put")
        self.assertEqual(changes, 10000)
        self.assertEqual(ids, sorted(ids))

    def test_thousands_watch(self):
        self.start(gateway={"watch__clients": 5000, "threads": 2})
        count = 2000
        socks = [connect(self.gateway.port) for _ in range(count)]
        self.addCleanup(lambda: [sock.close() for sock in socks])
        for sock in socks:
            self.assertIn(b"id: 0\n", receive_to(sock, b"\n\n"), "from the start")
        self.assertEqual(self.watchers(), count)
        rss, cpu = self.gateway.rss_kib(), self.gateway.cpu_seconds()
        began = time.monotonic()
        self.write(1)
        for sock in socks:
            receive_to(sock, b"event: put")
        first = time.monotonic() - began
        self.write(200, first=1)
        for sock in socks:
            receive_to(sock, b"id: 201\n")
        took = time.monotonic() - began
        cpu = self.gateway.cpu_seconds() - cpu
        print(f"{count} clients: {rss / count:.1f} KiB each at most; one change to all in {first * 1000:.0f} ms; 201 changes "
              f"to all in {took * 1000:.0f} ms, {cpu * 1e6 / count / 201:.2f} us of the gateway's processor a change and client")
        self.assertEqual(self.gateway.metric("watch_events_total"), 201 * count)
        self.assertLess(cpu, 20 * SLOW)


if __name__ == "__main__":
    unittest.main()
