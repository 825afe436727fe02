# SPDX-License-Identifier: Apache-2.0
"""Reads of collections through a gateway: whose copy, how new, and what where it will not do."""
import json
import os
import signal
import socket
import struct
import unittest
import urllib.parse

import harness
from collections_fixture import bucket_of, pack
from copies_fixture import CORE, CopiesTest, stopped
from harness import wait_until
from http2_client import Http2, field

FAR = "dc2"  # where the core unit stands


class ReadTest(CopiesTest):
    """Two units next door, the core unit far away, and a gateway."""

    def begin(self, units=("RZ01", "RZ02"), collections=None, core_brokers=1, far=(CORE,), **options):
        self.far = far
        self.start(units, collections, core_brokers=core_brokers)
        self.gateway = self.stack.gateway(**{"collections__wait": "2s", **options})  # a disk may keep a broker busy
        for name in self.collections:
            for unit in units:
                wait_until(lambda: self.get("none", name, LDC_Unit=unit).headers.get("ldc-unit") == unit, 30,
                           f"an open copy of {name} in {unit}")

    def write_rules(self):
        units = {name: harness.unit(kind="core" if name == CORE else "C", brokers=unit.brokers,
                                    datacenter=FAR if name in self.far else "dc1") for name, unit in self.units.items()}
        units["RZ90"] = harness.unit("0-99", datacenter="dc3")
        self.put_in_force(harness.rules(units, routes=({"match": {"path": "/-/c/*"}, "zone": "C"},)))

    def put(self, key, value, type=b"text/plain"):
        """Returns the version, when it is in every copy."""
        origin = self.origin
        version = int(origin.function("put", origin.epoch, key, bucket_of(key), "", pack(key, value, type), "")[0])
        for unit in self.units:
            if unit != CORE:
                self.wait_applied(version, unit)
        return version

    def call(self, method, key, headers=None, collection="rates", body=b""):
        return harness.request(self.gateway.port, method, f"/-/c/{collection}/{urllib.parse.quote(key, safe='')}",
                               headers, body)

    def get(self, key, collection="rates", **headers):
        return self.call("GET", key, {name.replace("_", "-"): str(value) for name, value in headers.items()}, collection)

    def wait_from(self, unit, key, collection="rates"):
        wait_until(lambda: self.get(key, collection).headers["ldc-unit"] == unit, what=f"{key} from {unit}")

    def metric(self, name):
        return self.gateway.metric(f"collection_{name}")


class Values(ReadTest):
    def test_a_value_comes_from_the_copy_next_door_with_its_version_and_how_old_that_may_be(self):
        self.begin()
        version = self.put(b"eur", b"\x00\x01 1.25", b"application/x-rate; v=1")
        answer = wait_until(lambda: (answer := self.get("eur")).headers["age"] == "0" and answer, what="a copy that is up to date")
        self.assertEqual((answer.status, answer.body), (200, b"\x00\x01 1.25"))
        self.assertEqual(answer.headers["content-type"], "application/x-rate; v=1")
        self.assertEqual((answer.headers["etag"], answer.headers["ldc-version"]), (f'"{version}"', str(version)))
        self.assertEqual(answer.headers["ldc-unit"], "RZ01")
        self.assertEqual((answer.headers["ldc-collection-sequence"], answer.headers["age"]), (str(version), "0"))
        self.assertRegex(answer.headers["ldc-zone-lag"], r"^(seq=0, )?ms=\d+$")
        self.assertNotIn("warning", answer.headers)
        self.assertNotIn("ldc-color", answer.headers)
        self.check_methods(version)
        self.check_conditions(version)
        self.check_units()
        self.check_refusals()

    def check_methods(self, version):
        head = self.call("HEAD", "eur")
        self.assertEqual((head.status, head.body, head.headers["content-length"], head.headers["etag"]),
                         (200, b"", "7", f'"{version}"'))
        other = self.call("PATCH", "eur", body=b"x")
        self.expect_problem(other, 405, "method-not-allowed")
        self.assertIn("GET, HEAD", other.headers["allow"])
        gone = self.get("usd")
        self.expect_problem(gone, 404, "no-key")
        self.assertEqual((gone.headers["ldc-collection-sequence"], gone.headers["ldc-unit"]), (str(version), "RZ01"))

    def check_conditions(self, version):
        for known in (f'"{version}"', f'"7777", W/"{version}"', "*"):
            answer = self.get("eur", If_None_Match=known)
            self.assertEqual((answer.status, answer.body, answer.headers["etag"]), (304, b"", f'"{version}"'))
        for other in (f'"{version}0"', '"', f'"{version}'):
            self.assertEqual(self.get("eur", If_None_Match=other).status, 200)
        self.assertEqual(self.get("eur", If_Match=f'"7777", "{version}"', If_None_Match='"7777"').status, 200)
        self.assertEqual(self.call("HEAD", "eur", {"If-Match": "*", "If-None-Match": "*"}).status, 304)
        for other in ('"7777"', f'W/"{version}"', str(version)):
            answer = self.get("eur", If_Match=other)
            self.expect_problem(answer, 412, "condition-failed")
            self.assertEqual(answer.headers["etag"], f'"{version}"')
        self.expect_problem(self.get("usd", If_Match="*"), 404, "no-key")

    def check_units(self):
        for unit in ("RZ01", "RZ02", CORE):
            answer = self.get("eur", LDC_Unit=unit)
            self.assertEqual((answer.status, answer.headers["ldc-unit"]), (200, unit))
        self.expect_problem(self.get("eur", LDC_Unit="RZ77"), 404, "not-found")
        self.assertEqual(self.get("eur", LDC_Unit="RZ90").headers["ldc-unit"], CORE)  # a unit without a broker

    def check_refusals(self):
        self.expect_problem(self.get("eur", collection="no"), 404, "no-collection")
        self.expect_problem(self.get("eur", LDC_Min_Version="-1"), 400, "bad-request")
        for path in ("/-/c/rates/", "/-/c/rates/%00", "/-/c/rates/a%0ab", "/-/c/rates/%ff", "/-/c/rates/a/%2e%2e/b",
                     "/-/c/rates/" + 1025 * "k"):
            self.expect_problem(harness.request(self.gateway.port, "GET", path), 400, "bad-request")
        self.expect_problem(harness.request(self.gateway.port, "GET", "/-%2fc/rates/eur"), 404, "no-collection")

    def test_keys_and_values_of_every_shape_come_back_as_they_are(self):
        self.begin(units=("RZ01",))
        shapes = {"a b": b"", "a/b/c": b"1", "100%": b"2", "a+b?c#d&e=f": b"3", "Grüße/漢字": "漢".encode(), "k" * 1024: b"4",
                  "...": b"5", "big": os.urandom(700_000), "..a": b"6"}
        for key, value in shapes.items():
            self.put(key.encode(), value, b"" if key == "a b" else b"application/octet-stream")
        for key, value in shapes.items():
            answer = self.get(key)
            self.assertEqual((answer.status, len(answer.body)), (200, len(value)), key)
            self.assertEqual(answer.body, value)
        self.assertNotIn("content-type", self.get("a b").headers)
        plain = harness.request(self.gateway.port, "GET", "/-/c/rates/a/b/c?x=y")
        self.assertEqual((plain.status, plain.body), (200, b"1"))


class Lists(ReadTest):
    def pages(self, path, **headers):
        """Follows the pages from PATH on; returns their keys."""
        pages = []
        while path:
            answer = harness.request(self.gateway.port, "GET", path, headers)
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"), answer.body)
            pages.append(answer.json())
            path = pages[-1].get("next")
            self.assertLess(len(pages), 50)
        return [page["keys"] for page in pages]

    def test_keys_are_listed_by_prefix_page_by_page(self):
        self.begin(units=("RZ01",), collections={"rates": {"digest": "1h"}})
        keys = sorted(["a", "b/1", "b/2", "b/20", "b/ü", "b&c=d+e %", "bz", "c\U0010ffff", "\U0010ffff"],
                      key=lambda key: key.encode())
        for key in keys:
            version = self.put(key.encode(), b"1")
        for headers, unit in (({}, "RZ01"), ({"LDC-Unit": CORE}, CORE)):
            self.assertEqual(self.pages("/-/c/rates", **headers), [keys])
            self.assertEqual(self.pages("/-/c/rates?prefix=b%2F", **headers), [["b/1", "b/2", "b/20", "b/ü"]])
            self.assertEqual(self.pages("/-/c/rates?limit=2", **headers), [keys[n:n + 2] for n in range(0, len(keys), 2)])
            self.assertEqual(self.pages("/-/c/rates?after=b/2&prefix=b/&limit=3", **headers), [["b/20", "b/ü"]])
            self.assertEqual(self.pages("/-/c/rates?after=a&prefix=b/1", **headers), [["b/1"]])
            for none in ("prefix=x", "after=b0&prefix=b/", "after=%F4%8F%BF%BF"):
                self.assertEqual(self.pages(f"/-/c/rates?{none}", **headers), [[]], none)
            answer = harness.request(self.gateway.port, "GET", "/-/c/rates?prefix=a", headers)
            self.assertEqual((answer.headers["ldc-unit"], answer.json()["sequence"]), (unit, version))
            self.assertEqual(answer.headers["ldc-collection-sequence"], str(version))
        self.check_hostile()

    def check_hostile(self):
        for query in ("limit=0", "limit=1001", "limit=x", "prefix=%zz", "after=%00", "prefix=" + 1025 * "k"):
            self.expect_problem(harness.request(self.gateway.port, "GET", f"/-/c/rates?{query}"), 400, "bad-request")
        head = harness.request(self.gateway.port, "HEAD", "/-/c/rates")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertGreater(int(head.headers["content-length"]), 100)
        other = harness.request(self.gateway.port, "PATCH", "/-/c/rates")
        self.expect_problem(other, 405, "method-not-allowed")
        broker = self.units["RZ01"].brokers[0].port
        before = sum(self.pages("/-/c/rates?limit=3"), [])
        for wrong in (b"b/\xff\xfe", b"\xff\xff", b"b/\n", b"b/.."):
            harness.call_broker(broker, "ZADD", "ldc:{RZ01}:c/rates/keys", "0", wrong)
        for limit in (1, 2, 3, 1000):  # what is there by hand stands in nobody's way
            self.assertEqual(sum(self.pages(f"/-/c/rates?limit={limit}"), []), before)


class Freshness(ReadTest):
    def test_a_version_is_waited_for_and_then_read_from_the_core(self):
        self.begin(units=("RZ01",), collections={"rates": {"staleness": "1h"}}, collections__wait="50ms")
        version = self.put(b"eur", b"1")
        self.assertEqual(self.get("eur", LDC_Min_Version=version).headers["ldc-unit"], "RZ01")
        with stopped(self.units["RZ01"].agent):
            origin = self.origin
            newer = int(origin.function("put", origin.epoch, b"eur", bucket_of(b"eur"), "", pack(b"eur", b"2"), "")[0])
            self.assertEqual(self.get("eur").body, b"1")
            answer = self.get("eur", LDC_Min_Version=newer)
            self.assertEqual((answer.body, answer.headers["ldc-unit"]), (b"2", CORE))
            self.assertEqual(self.get("eur").headers["ldc-unit"], CORE)  # who has seen 2 does not see 1 again
            gone = self.get("usd", LDC_Min_Version=newer)
            self.assertEqual((gone.status, gone.headers["ldc-collection-sequence"]), (404, str(newer)))
            self.expect_problem(self.get("eur", LDC_Min_Version=newer + 1), 503, "stale-copy")
        self.wait_applied(newer)
        self.assertEqual(self.get("eur", LDC_Min_Version=newer).headers["ldc-unit"], "RZ01")
        self.assertGreater(self.metric("reads_waited_total"), 0)

    def test_a_copy_behind_its_bound_says_so_or_the_core_is_asked_or_nobody_answers(self):
        kinds = {"core": "core", "serve": "serve", "refuse": "refuse"}
        self.begin(units=("RZ01",), collections={name: {"staleness": "1s", "when_stale": name} for name in kinds})
        for name in kinds:
            site = self.site(CORE, name)
            site.function("put", site.epoch, b"k", bucket_of(b"k"), "", pack(b"k", name.encode()), "")
            wait_until(lambda: (answer := self.get("k", name)).status == 200 and "warning" not in answer.headers and
                       answer.headers["ldc-unit"] == "RZ01", what=f"{name} in its copy")
        with stopped(self.units["RZ01"].agent):
            wait_until(lambda: self.get("k", "refuse").status == 503, what="a copy behind its bound")
            refused = self.get("k", "refuse")
            self.expect_problem(refused, 503, "stale-copy")
            self.assertEqual((refused.headers["warning"][:3], refused.headers["ldc-unit"]), ("110", "RZ01"))
            self.assertEqual((self.get("k", "core").headers["ldc-unit"], self.get("k", "core").body), (CORE, b"core"))
            wait_until(lambda: self.get("k", "serve").headers["age"] != "0", what="a value that ages")
            old = self.get("k", "serve")
            self.assertEqual((old.body, old.headers["ldc-unit"], old.headers["warning"][:3]), (b"serve", "RZ01", "110"))
            self.assertGreater(self.metric("reads_stale_total"), 0)
            self.check_without_core()
        wait_until(lambda: self.get("k", "refuse").status == 200, what="a copy that has caught up")

    def check_without_core(self):
        """An old value is better than none, unless somebody wants none."""
        with stopped(self.units[CORE].brokers[0]):
            old = self.get("k", "core")
            self.assertEqual((old.status, old.headers["ldc-unit"], old.headers["warning"][:3]), (200, "RZ01", "111"))
            self.expect_problem(self.get("k", "core", LDC_Min_Version=1000), 503, "stale-copy")
            self.expect_problem(self.get("k", "core", LDC_Unit=CORE), 503, "stale-copy")

    def test_a_client_bounds_the_age_itself(self):
        self.begin(units=("RZ01",), collections={"rates": {"staleness": "1h"}})
        self.put(b"eur", b"1")
        self.assertEqual(self.get("eur", Cache_Control="max-age=5").headers["ldc-unit"], "RZ01")
        for bound in ("no-cache", "max-age=0", "private, MAX-AGE=\"0\"", "max-age=nonsense"):
            self.assertEqual(self.get("eur", Cache_Control=bound).headers["ldc-unit"], CORE, bound)
        with stopped(self.units["RZ01"].agent):
            wait_until(lambda: self.get("eur", Cache_Control="max-age=1").headers["ldc-unit"] == CORE, what="a second's age")
            self.assertEqual(self.get("eur", Cache_Control="max-age=100").headers["ldc-unit"], "RZ01")


    def test_who_is_not_trusted_has_the_newest_while_the_core_has_time(self):
        self.begin(units=("RZ01",), ingress__trusted_peers="10.0.0.0/8", collections={"rates": {"staleness": "1h"}})
        self.put(b"eur", b"1")
        self.assertEqual(self.get("eur", LDC_Unit=CORE, LDC_Min_Version="x").headers["ldc-unit"], "RZ01")
        self.assertEqual(self.get("eur", Cache_Control="no-cache").headers["ldc-unit"], CORE)
        with stopped(self.units[CORE].brokers[0]):
            clients = [harness.Client(self.gateway.port) for _ in range(70)]
            for client in clients:
                self.addCleanup(client.close)
                client.send("GET", "/-/c/rates/eur", {"Cache-Control": "no-cache"})
            answers = [client.receive() for client in clients]
            self.assertEqual(sorted(answer.status for answer in answers), 6 * [200] + 64 * [503])
            self.assertEqual({answer.headers["warning"][:3] for answer in answers}, {"110"})
        wait_until(lambda: self.get("eur", Cache_Control="no-cache").headers["ldc-unit"] == CORE, what="the core again")

    def test_http2_reads_as_http1_does(self):
        self.begin(units=("RZ01",), ingress__http2_clear="true")
        version = self.put(b"eur", b"1.25")
        with Http2(self.gateway.port) as client:
            self.assertEqual(client.ask("GET", "/-/c/rates/eur"), (200, b"1.25"))
            self.assertEqual(client.ask("HEAD", "/-/c/rates/eur"), (200, b""))
            known = field(b"if-none-match", b'"%d"' % version)
            self.assertEqual(client.ask("GET", "/-/c/rates/eur", fields=known), (304, b""))
            self.assertEqual(client.ask("GET", "/-/c/rates/usd")[0], 404)
            self.assertEqual(json.loads(client.ask("GET", "/-/c/rates")[1])["keys"], ["eur"])


class Choice(ReadTest):
    def test_the_next_copy_stands_in_and_nobody_sees_a_version_go_back(self):
        self.begin(collections={"rates": {"staleness": "1h"}})
        self.put(b"old", b"0")
        first = self.put(b"eur", b"1")
        self.assertEqual(self.get("eur").headers["ldc-unit"], "RZ01")
        with stopped(self.units["RZ02"].agent):
            origin = self.origin
            second = int(origin.function("put", origin.epoch, b"eur", bucket_of(b"eur"), "", pack(b"eur", b"2"), "")[0])
            self.wait_applied(second, "RZ01")
            self.assertEqual(self.get("eur").headers["ldc-version"], str(second))
            self.assertEqual(self.get("eur", LDC_Unit="RZ02").headers["ldc-version"], str(first))
            self.close_copy("RZ01")
            self.assertEqual(self.get("old").headers["ldc-unit"], CORE)
            answer = self.get("eur")  # RZ02 is open, and older than what was seen
            self.assertEqual((answer.headers["ldc-unit"], answer.headers["ldc-version"]), (CORE, str(second)))
        self.wait_applied(second, "RZ02")
        self.wait_from("RZ02", "eur")

    def test_a_gateway_ends_while_a_copy_is_read(self):
        """Of which it knew a moment before that it is open."""
        self.begin(units=("RZ01",), broker__timeout="1m")
        self.put(b"eur", b"1")
        client, broker = harness.Client(self.gateway.port), self.units["RZ01"].brokers[0]
        client.request("GET", "/-/c/rates/eur")
        broker.signal(signal.SIGSTOP)
        client.send("GET", "/-/c/rates/eur")
        wait_until(lambda: self.gateway.metric("requests_in_flight") >= 1, what="the read")
        self.gateway.signal(signal.SIGTERM)
        wait_until(lambda: "gateway.draining" in self.gateway.log_text(), what="the gateway to drain")
        self.gateway.signal(signal.SIGTERM)
        self.assertEqual(self.gateway.popen.wait(30 * harness.SLOW), 0)
        broker.signal(signal.SIGCONT)
        client.close()

    def test_a_broker_that_says_nothing_is_gone_around(self):
        self.begin(collections={"rates": {"staleness": "1h"}, "strict": {"staleness": "1h", "when_stale": "refuse"}},
                   collections__wait="250ms")
        self.put(b"eur", b"1")
        self.wait_from("RZ01", "eur")
        with stopped(self.units["RZ01"].brokers[0]):
            with harness.Span() as span:
                self.wait_from("RZ02", "eur")
                self.assertEqual(self.get("eur", LDC_Unit="RZ01").headers["ldc-unit"], CORE)
                self.expect_problem(self.get("eur", "strict", LDC_Unit="RZ01"), 503, "stale-copy")
            self.assertLess(span.seconds, span.allowed(1.9))  # the broker's own time is 2 s
        self.wait_from("RZ01", "eur")

    def test_values_that_nobody_takes_leave_room_for_others(self):
        self.begin(units=("RZ01",), limits__bodies_total="6MiB")
        self.put(b"big", bytes(4 << 20))
        self.put(b"small", b"1")
        slow = socket.create_connection(("127.0.0.1", self.gateway.port))
        self.addCleanup(slow.close)
        slow.sendall(b"GET /-/c/rates/big HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: self.gateway.metric("requests_in_flight") > 0, what="a client that does not read")
        wait_until(lambda: self.get("big").status == 503, what="no room for another one")
        self.expect_problem(self.get("big"), 503, "answers-full")
        self.assertEqual(self.get("big", If_None_Match="*").status, 304)
        self.assertEqual(self.get("small").status, 200)
        slow.close()
        wait_until(lambda: self.get("big").status == 200, what="room again")

    def close_copy(self, unit):
        """For ever: its agent is gone."""
        self.units[unit].agent.kill()
        harness.call_broker(self.units[unit].brokers[0].port, "HDEL", f"ldc:{{{unit}}}:c/rates/meta", "epoch")
        wait_until(lambda: self.get("eur", LDC_Unit=unit).headers["ldc-unit"] == CORE, what=f"{unit}'s copy to be closed")

    def test_values_by_hand_are_never_shown(self):
        self.begin(units=("RZ01",), collections={"rates": {"digest": "1h"}})
        version = self.put(b"eur", b"1.25")
        broker, bucket = self.units["RZ01"].brokers[0].port, f"ldc:{{RZ01}}:c/rates/b/{bucket_of(b'eur')}"
        with stopped(self.units["RZ01"].agent):
            packed = harness.call_broker(broker, "HGET", bucket, "eur")
            for wrong in (packed[:-1] + b"6", b"", b"short", b"\x02" + packed[1:], packed[:25] + b"\xff\xff" + packed[27:],
                          packed[:1] + struct.pack("<Q", 2**40 + version) + packed[9:]):
                harness.call_broker(broker, "HSET", bucket, "eur", wrong)
                answer = self.get("eur")
                self.assertEqual((answer.status, answer.body, answer.headers["ldc-unit"]), (200, b"1.25", CORE), wrong)
                self.assertEqual(answer.headers["etag"], f'"{version}"')
            harness.call_broker(broker, "SET", bucket, "no hash")
            self.assertEqual(self.get("eur").body, b"1.25")
            self.assertEqual(self.metric("values_bad_total"), 7)
            at = f"ldc:{{{CORE}}}:c/rates/b/{bucket_of(b'eur')}"
            harness.call_broker(self.units[CORE].brokers[0].port, "HSET", at, "eur", packed[:-1] + b"6")
            self.expect_problem(self.get("eur"), 502, "bad-value")


if __name__ == "__main__":
    unittest.main()
