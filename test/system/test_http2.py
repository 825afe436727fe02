#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 clients that keep the server busy with nothing, or say what a node would read otherwise."""
import json
import unittest

from http2_client import (CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, SETTINGS, WINDOW_UPDATE,
                          Http2, field)
from ingress_fixture import ingress, setUpModule, tearDownModule


ingress.head_timeout, ingress.body_timeout = "1s", "1s"  # a connection that floods is let go after it


class Floods(unittest.TestCase):
    """HTTP/2 clients that keep the server busy with nothing."""

    def flooded(self, prepare, count=3000):
        closes = ingress.clear.metric("http2_guard_closes_total")
        with Http2(ingress.clear.port) as client:
            stream = client.put_request("POST", "/echo/flood", b"")
            for _ in range(count):
                prepare(client, stream)
            client.flush_until_closed(told=True)
            self.assertEqual(client.goaway, CALM)
        self.assertEqual(ingress.clear.metric("http2_guard_closes_total"), closes + 1)

    def test_pings(self):
        self.flooded(lambda client, _: client.put(PING, 0, 0, b"01234567"))

    def test_settings(self):
        self.flooded(lambda client, _: client.put(SETTINGS, 0, 0, b"\0\4\0\0\xff\xff"))

    def test_priorities(self):
        self.flooded(lambda client, stream: client.put(PRIORITY, 0, stream, b"\0\0\0\0\x10"))

    def test_window_updates(self):
        self.flooded(lambda client, _: client.put(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))

    def test_resets_of_streams_that_are_over(self):
        self.flooded(lambda client, stream: client.put_reset(stream))

    def test_unknown_frames(self):
        self.flooded(lambda client, _: client.put(0xfe, 0, 0, b"x"))

    def test_empty_data(self):
        closes = ingress.clear.metric("http2_guard_closes_total")
        with Http2(ingress.clear.port) as client:
            client.put(HEADERS, END_HEADERS, 1, field(b":method", b"POST") + field(b":scheme", b"http") +
                       field(b":path", b"/echo/flood") + field(b":authority", b"a"))
            for _ in range(3000):
                client.put(DATA, 0, 1, b"")
            client.flush_until_closed(told=True)
            self.assertEqual(client.goaway, CALM)
        self.assertEqual(ingress.clear.metric("http2_guard_closes_total"), closes + 1)

    def test_continuations(self):
        for piece in (b"", field(b"x", b"y" * 100) * 10):
            with Http2(ingress.clear.port) as client:
                client.put(HEADERS, END_STREAM, 1, field(b":method", b"GET"))
                for _ in range(3000):
                    client.put(CONTINUATION, 0, 1, piece)
                client.flush_until_closed(told=True)
                self.assertEqual(client.goaway, CALM)

    def test_resets_that_the_server_is_made_to_send(self):
        before = len(ingress.app.records())
        with Http2(ingress.clear.port) as client:
            for _ in range(5000):
                client.put(WINDOW_UPDATE, 0, client.put_request("GET", "/echo/made"), b"\0\0\0\0")
            client.flush_until_closed(told=True)
            self.assertEqual(client.goaway, CALM)
        self.assertLessEqual(len(ingress.app.records()) - before, 60)

    def test_a_client_that_works_is_left_alone(self):
        with Http2(ingress.clear.port) as client:
            for _ in range(300):
                self.assertEqual(client.ask("POST", "/echo/work", b"hello")[0], 200)
            for _ in range(200):
                client.put_reset(client.put_request("GET", "/echo/cancelled"))
            self.assertEqual(client.ask("GET", "/echo/work")[0], 200)
            self.assertIsNone(client.goaway)


class Http2Requests(unittest.TestCase):
    def test_fields_that_a_node_would_read_otherwise(self):
        for fields in (field(b"connection", b"close"), field(b"transfer-encoding", b"chunked"), field(b"keep-alive", b"1"),
                       field(b"x", b"a\r\nX-User-Id: 8"), field(b"x", b"a\0"), field(b"x", b" a"), field(b"X", b"a"),
                       field(b"x y", b"a"), field(b"content-length", b"7"), field(b":path", b"/echo/b")):
            with self.subTest(fields=fields), Http2(ingress.clear.port) as client:
                before = len(ingress.app.records())
                try:
                    self.assertIn(client.ask("GET", "/echo/odd", None, fields)[0], (400, None))
                except AssertionError:
                    self.assertIsNotNone(client.goaway)
                self.assertEqual(len(ingress.app.records()), before)

    def test_large_and_slow_bodies_are_answered(self):
        with Http2(ingress.clear.port) as client:
            stream = client.put_request("POST", "/echo/large", b"x" * 16384, field(b"content-length", b"99999"))
            client.flush()
            self.assertEqual(client.answer(stream)[0], 413)
            client.put(HEADERS, END_HEADERS, client.next, field(b":method", b"POST") + field(b":scheme", b"http") +
                       field(b":path", b"/echo/slow") + field(b":authority", b"a"))
            client.put(DATA, 0, client.next, b"x")
            client.flush()
            status, body = client.answer(client.next)
            self.assertEqual((status, json.loads(body)["type"]), (408, "urn:ldcgate:problem:too-slow"))

    def test_trailers_do_not_become_fields(self):
        with Http2(ingress.clear.port) as client:
            block = field(b":method", b"POST") + field(b":scheme", b"http") + field(b":path", b"/echo/trailers") + \
                field(b":authority", b"a")
            client.put(HEADERS, END_HEADERS, 1, block + field(b"x-user-id", b"7"))
            client.put(DATA, 0, 1, b"hello")
            client.put(HEADERS, END_HEADERS | END_STREAM, 1, field(b"x-user-id", b"8"))
            client.flush()
            self.assertEqual(client.answer(1)[0], 200)
        self.assertEqual([record["user"] for record in ingress.processed("/echo/trailers")], ["7"])


if __name__ == "__main__":
    unittest.main()
