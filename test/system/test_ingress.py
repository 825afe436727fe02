#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ingress against raw sockets: what an edge must refuse, and what it must not."""
import json
import socket
import unittest

from harness import SLOW
from http2_client import CALM, PREFACE, Http2, field, frame
from ingress_fixture import HOST, ingress, raw, setUpModule, statuses, tearDownModule


class Refusing(unittest.TestCase):
    """Each answer is the only one on its connection, which is then closed, and nothing reaches the application."""

    def refused(self, status, data, port=None):
        before = len(ingress.app.records())
        answer = raw(data, port)
        self.assertEqual(statuses(answer), [status], (data[:300], answer))
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nConnection: close", head)
        self.assertIn(b"\r\nContent-Type: application/problem+json", head)
        document = json.loads(body)
        self.assertEqual(document["status"], status)
        self.assertTrue(document["type"].startswith("urn:ldcgate:problem:"))
        self.assertEqual(len(ingress.app.records()), before)
        return document


class Table(Refusing):
    """What libh2o 2.2.5 takes and the ingress must not, row by row."""

    smuggled = b"GET /echo/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"

    def test_two_different_content_lengths(self):
        for first, second in ((5, len(self.smuggled) + 5), (len(self.smuggled) + 5, 5)):
            self.refused(400, b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\nContent-Length: %d\r\n\r\nhello"
                         % (first, second) + self.smuggled)

    def test_two_equal_content_lengths(self):
        self.refused(400, b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello")

    def test_content_length_and_transfer_encoding(self):
        lengths, codings = b"Content-Length: 6\r\n", b"Transfer-Encoding: chunked\r\n"
        for both in (lengths + codings, codings + lengths):
            self.refused(400, b"POST /echo/x HTTP/1.1\r\n" + HOST + both + b"\r\n0\r\n\r\n" + self.smuggled)

    def test_transfer_encoding_on_http_1_0(self):
        self.refused(400, b"POST /echo/x HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    def test_no_host_and_two_hosts(self):
        self.refused(400, b"GET /echo/x HTTP/1.1\r\nX-User-Id: 7\r\n\r\n")
        self.refused(400, b"GET /echo/x HTTP/1.1\r\n" + HOST + b"Host: a.example\r\n\r\n")
        self.refused(400, b"GET /echo/x HTTP/1.1\r\n" + HOST + b"Host: b.example\r\n\r\n")

    def test_folded_fields_and_bare_line_feeds(self):
        self.refused(400, b"GET /echo/x HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n")
        self.refused(400, b"GET /echo/x HTTP/1.1\r\n" + HOST + b"X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n")
        self.refused(400, b"GET /echo/x HTTP/1.1\n" + HOST.replace(b"\r", b"") + b"\n")
        self.refused(400, b"GET /echo/x HTTP/1.1\r\n" + HOST + b"X: a\nY: b\r\n\r\n")

    def test_a_header_block_of_200_kilobytes(self):
        self.refused(431, b"GET /echo/x HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 200 * 1024 + b"\r\n\r\n")
        self.refused(431, b"GET /echo/x HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 4000)
                                                                       for i in range(50)) + b"\r\n")

    def test_a_chunk_extension_of_20_kilobytes(self):
        self.refused(400, b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 20 * 1024 +
                     b"\r\nhello\r\n0\r\n\r\n")

    def test_the_rest_of_the_table(self):
        for fields in (b"Transfer-Encoding: gzip\r\n", b"X: a\0b\r\n", b"X: a\rb\r\n", b"Content-Length: +3\r\n", b"X : a\r\n",
                       b"Content-Length : 3\r\n", b"".join(b"X-%d: y\r\n" % i for i in range(200))):
            self.refused(400, b"POST /echo/x HTTP/1.1\r\n" + HOST + fields + b"\r\n")
        for size in (b"FFFFFFFFFFFFFFFFF", b"10000000000000000", b"8000000000000000"):
            self.refused(400, b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + size +
                         b"\r\nhello\r\n0\r\n\r\n")

    def test_http2_with_prior_knowledge_on_clear_text(self):
        self.assertEqual(statuses(raw(PREFACE + frame(4, 0, 0))), [505])
        with Http2(ingress.clear.port) as client:
            self.assertEqual(client.ask("GET", "/echo/known")[0], 200)

    def test_http2_open_and_reset_in_a_loop(self):
        before, closes = len(ingress.app.records()), ingress.clear.metric("http2_guard_closes_total")
        with Http2(ingress.clear.port) as client:
            for _ in range(20000):
                client.put_reset(client.put_request("GET", "/echo/rapid"))
            client.flush_until_closed()
            self.assertEqual(client.goaway, CALM)
        self.assertEqual(ingress.clear.metric("http2_guard_closes_total"), closes + 1)
        self.assertLessEqual(len(ingress.app.records()) - before, 60)
        with Http2(ingress.clear.port) as client:
            self.assertEqual(client.ask("GET", "/echo/after")[0], 200)


class Tricks(Refusing):
    """Things that two parsers could read in two ways, and things that are none of an edge's business."""

    def test_request_lines(self):
        for line in (b"GET /echo/x", b"GET  /echo/x HTTP/1.1", b"GET /echo/x  HTTP/1.1", b"GET /echo/x HTTP/1.1 ",
                     b"GET\t/echo/x HTTP/1.1", b"GET /echo/a b HTTP/1.1", b"GET /echo/x#f HTTP/1.1", b"GET echo/x HTTP/1.1",
                     b"GET /echo/\xc3\xa4 HTTP/1.1", b"GET /echo/\x00 HTTP/1.1", b"GET /echo/\x7f HTTP/1.1",
                     b"G(T /echo/x HTTP/1.1", b" GET /echo/x HTTP/1.1", b"GET /echo/x http/1.1", b"GET /echo/x HTTP/1.10",
                     b"GET /echo/x HTTP/11", b"GET * HTTP/1.1", b"CONNECT a.example:443 HTTP/1.1", b"CONNECT /x HTTP/1.1",
                     b"GET ftp://a.example/ HTTP/1.1", b"GET http:///echo/x HTTP/1.1", b"GET http://u@a.example/ HTTP/1.1",
                     b"\r\n\r\nGET /echo/x HTTP/1.1", b"GET /echo/x HTTP/1.1\r", b"\x16\x03\x01\x02\x00\x01\x00\x01"):
            with self.subTest(line=line):
                self.refused(400, line + b"\r\n" + HOST + b"\r\n")

    def test_versions(self):
        for version in (b"HTTP/0.9", b"HTTP/2.0", b"HTTP/3.1"):
            self.refused(505, b"GET /echo/x " + version + b"\r\n" + HOST + b"\r\n")

    def test_hosts(self):
        for host in (b"", b"a b", b"a,b", b"a/b", b"u@a", b"a:b", b"a:1:2", b"a:99999", b"[::1", b"[::1]x", b"a\\b", b"\xc3\xa4",
                     b"a.example\x0b", b":80"):
            with self.subTest(host=host):
                self.refused(400, b"GET /echo/x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")

    def test_fields(self):
        for field in (b": a", b"X", b"X\tY: a", b"X\0: a", b"\xc3\xa4: a", b"X: a\x01b", b"X: a\x7fb", b"X: \x1b[2J", b"(X): a",
                      b"Content-Length: 1,1", b"Content-Length: 0x1", b"Content-Length: 1e1", b"Content-Length: -1",
                      b"Content-Length:", b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked, chunked",
                      b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: \x0bchunked",
                      b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: \"chunked\"",
                      b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding:"):
            with self.subTest(field=field):
                self.refused(400, b"POST /echo/x HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n0\r\n\r\n")

    def test_chunks(self):
        for body in (b"\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n",
                     b"5 \r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello!\r\n0\r\n\r\n",
                     b"5;a\nhello\r\n0\r\n\r\n", b"5;\0\r\nhello\r\n0\r\n\r\n", b"0\r\nX: a\r\n b\r\n\r\n", b"0\r\n: a\r\n\r\n",
                     b"0\r\nGET /echo/smuggled HTTP/1.1\r\n\r\n", b"0\r\n\n", b"-1\r\n\r\n", b"g\r\n",
                     b"0\r\nX: " + b"y" * 20000 + b"\r\n\r\n"):
            with self.subTest(body=body[:40]):
                self.refused(400, b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body)

    def test_too_much_is_refused_by_name(self):
        self.refused(414, b"GET /echo/" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        self.refused(414, b"GET /echo/" + b"x" * 900000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        self.refused(413, b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Content-Length: 65537\r\n\r\n" + b"x" * 65537)
        self.refused(413, b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Content-Length: 9999999999999\r\n\r\n")
        self.refused(413, b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" +
                     b"1000\r\n" + b"x" * 4096 + b"\r\n" + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 100 + b"0\r\n\r\n")
        self.refused(417, b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: tea\r\n\r\nhello")

    def test_noise_is_refused_or_closed_and_the_gateway_lives(self):
        seed = 1
        for _ in range(200):
            noise = bytearray()
            for _ in range(200):
                seed = (seed * 6364136223846793005 + 1442695040888963407) % 2 ** 64
                noise.append(seed >> 56)
            answer = raw(bytes(noise) + b"\r\n\r\n", shut=True)
            self.assertTrue(answer == b"" or statuses(answer)[0] >= 400, (noise, answer))
        self.assertTrue(ingress.gateway.alive())


class Speaking(unittest.TestCase):
    """What is well-formed is served, however it comes."""

    def test_forms_that_are_fine(self):
        for data in (b"\r\nGET /echo/f HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
                     b"GET /echo/f HTTP/1.0\r\nX-User-Id: 7\r\n\r\n",
                     b"GET /echo/f HTTP/1.7\r\n" + HOST + b"Connection: close\r\n\r\n",
                     b"GET http://b.example:81/echo/f HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
                     b"GET /echo/f HTTP/1.1\r\nHost:a.example:8080\r\nX-User-Id:\t7 \r\nX:\r\nConnection: x, CLOSE\r\n\r\n",
                     b"POST /echo/f HTTP/1.1\r\n" + HOST + b"Content-Length: 0005\r\nConnection: close\r\n\r\nhello",
                     b"POST /echo/f HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: CHUNKED\r\nConnection: close\r\n\r\n"
                     b"0003;a=\"b\"\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n"):
            with self.subTest(data=data):
                self.assertEqual(statuses(raw(data)), [200])

    def test_pipelined_requests_are_answered_in_order(self):
        data = b""
        for i in range(200):
            body = b"body %d" % i
            if i % 2:
                data += b"POST /echo/pipe-%d HTTP/1.1\r\n" % i + HOST + b"Content-Length: %d\r\n" % len(body)
                tail = body
            else:
                data += b"POST /echo/pipe-%d HTTP/1.1\r\n" % i + HOST + b"Transfer-Encoding: chunked\r\n"
                tail = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            data += (b"Connection: close\r\n" if i == 199 else b"") + b"\r\n" + tail
        self.assertEqual(statuses(raw(data)), [200] * 200)
        records = ingress.processed("/echo/pipe-")
        self.assertEqual([record["path"] for record in records], [f"/echo/pipe-{i}" for i in range(200)])

    def test_a_bad_request_behind_good_ones_is_refused_in_its_turn(self):
        good = b"GET /echo/turn HTTP/1.1\r\n" + HOST + b"\r\n"
        answer = raw(good * 3 + b"GET /echo/turn HTTP/1.1\r\n\r\n" + good)
        self.assertEqual(statuses(answer), [200, 200, 200, 400])

    def test_a_client_that_ends_its_side_gets_its_answers(self):
        good = b"GET /echo/shut HTTP/1.1\r\n" + HOST + b"\r\n"
        self.assertEqual(statuses(raw(good * 2, shut=True)), [200, 200])

    def test_one_byte_at_a_time(self):
        with socket.create_connection(("127.0.0.1", ingress.gateway.port), timeout=5 * SLOW) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in (b"POST /echo/drip HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                         b"5\r\nhello\r\n0\r\n\r\n"):
                sock.sendall(bytes([byte]))
            self.assertEqual(statuses(sock.makefile("rb").read()), [200])

    def test_100_continue(self):
        head = b"POST /echo/continue HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n"
        with socket.create_connection(("127.0.0.1", ingress.gateway.port), timeout=5 * SLOW) as sock:
            stream = sock.makefile("rb")
            sock.sendall(head % 5)
            self.assertEqual(stream.readline() + stream.readline(), b"HTTP/1.1 100 Continue\r\n\r\n")
            sock.sendall(b"hello")
            self.assertEqual(stream.readline()[:13], b"HTTP/1.1 200 ")
        self.assertEqual(statuses(raw(head % 65537)), [413])

    def test_requests_each_connection(self):
        gateway = ingress.stack.gateway("gw-few", limits__requests_each_connection=3)
        answer = raw((b"GET /echo/few HTTP/1.1\r\n" + HOST + b"\r\n") * 5, gateway.port)
        self.assertEqual(statuses(answer), [200] * 3)
        self.assertEqual(answer.count(b"Connection: close"), 1)
        gateway.terminate()


if __name__ == "__main__":
    unittest.main()
