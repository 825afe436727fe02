#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ingress against raw sockets: what an edge must refuse, and how it takes floods, dawdlers and crowds."""
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest
import warnings

import harness
from harness import SLOW, wait_until

HOST = b"Host: a.example\r\nX-User-Id: 7\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CALM = 11  # ENHANCE_YOUR_CALM


def make_certificate(folder, name):
    """A self-signed certificate and its key: two PEM files, for SIGHUP to replace."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return certificate, key


class Ingress:
    """One application and two gateways for all tests of this file: the second speaks HTTP/2 on clear text."""

    def __init__(self):
        self.stack = harness.Stack()
        try:
            self.start()
        except BaseException:
            print(self.stack.logs())
            self.stack.end()
            raise

    def start(self):
        stack = self.stack
        self.app = stack.app()
        self.tls_port = harness.free_port()
        self.certificate, self.key = stack.folder / "server.pem", stack.folder / "server.key"
        self.show("one.example")
        limits = {"limits__head_timeout": "600ms", "limits__body_timeout": "800ms", "limits__idle_timeout": "3s",
                  "limits__send_timeout": "1s", "limits__body": "64KiB", "limits__bodies_total": "1MiB",
                  "limits__http2_cancels": 50, "limits__http2_frames": 300}
        self.gateway = stack.gateway("gw1", wait=False, **limits, ingress__tls_listen=f"127.0.0.1:{self.tls_port}",
                                     ingress__tls_certificate=self.certificate, ingress__tls_key=self.key)
        wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        units = {"RZ01": harness.unit("00-99", brokers=["redis://127.0.0.1:1"], blue=[self.app])}
        stack.put_rules(self.gateway, harness.rules(units))
        wait_until(self.gateway.ready, what="gw1")
        self.clear = stack.gateway("gw2", ingress__http2_clear="true", **limits)

    def show(self, name):
        """Puts the certificate of NAME where the gateway reads it."""
        certificate, key = make_certificate(self.stack.folder, name)
        os.replace(key, self.key)
        os.replace(certificate, self.certificate)

    def processed(self, path):
        return [record for record in self.app.records() if record["path"].startswith(path)]


def setUpModule():
    global ingress
    ingress = Ingress()


def tearDownModule():
    reports = ingress.stack.stop()
    ingress.stack.end()
    if reports:
        raise AssertionError("a sanitizer reports:\n" + reports[:20000])


def raw(data, port=None, shut=False):
    return harness.raw(port or ingress.gateway.port, data, timeout=5.0, shut=shut)


def statuses(answer):
    """The statuses of the answers in a stream."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


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


class Slow(unittest.TestCase):
    def drip(self, first, every, step=b"x"):
        """Sends FIRST and then STEP again and again; what came back, and the span."""
        began = time.monotonic()
        with harness.Span() as span, socket.create_connection(("127.0.0.1", ingress.gateway.port), timeout=20 * SLOW) as sock:
            sock.sendall(first)
            sock.settimeout(every)
            while time.monotonic() - began < 20 * SLOW:
                try:
                    answer = sock.recv(65536)
                    sock.settimeout(5 * SLOW)
                    return answer + sock.makefile("rb").read(), span
                except TimeoutError:
                    sock.sendall(step)
        self.fail("the connection was not cut")

    def test_slow_heads_are_cut_at_the_head_timeout(self):
        for first, step in ((b"G", b"E"), (b"GET / HTTP/1.1\r\nX: ", b"x"), (b"\r", b"")):
            answer, span = self.drip(first, 0.1, step)
            self.assertEqual(statuses(answer), [408])
            self.assertTrue(0.4 < span.seconds < span.allowed(2), span.seconds)

    def test_slow_bodies_are_cut_at_the_body_timeout(self):
        for coding, first in ((b"Content-Length: 9999", b"x"), (b"Transfer-Encoding: chunked", b"FFF\r\nx")):
            answer, span = self.drip(b"POST /echo/x HTTP/1.1\r\n" + HOST + coding + b"\r\n\r\n" + first, 0.1)
            self.assertEqual(statuses(answer), [408])
            self.assertTrue(0.6 < span.seconds < span.allowed(2.5), span.seconds)
        self.assertEqual(ingress.gateway.metric("request_body_bytes"), 0)

    def test_idle_connections_are_closed_without_a_word(self):
        with socket.create_connection(("127.0.0.1", ingress.gateway.port), timeout=20 * SLOW) as sock:
            began = time.monotonic()
            self.assertEqual(sock.recv(1), b"")
            self.assertTrue(2 < time.monotonic() - began < 6 * SLOW)

    def test_a_tls_handshake_that_does_not_come_is_cut(self):
        failures = ingress.gateway.metric("tls_handshake_failures_total")
        with socket.create_connection(("127.0.0.1", ingress.tls_port), timeout=20 * SLOW) as sock:
            self.assertEqual(sock.recv(1), b"")
        self.assertEqual(ingress.gateway.metric("tls_handshake_failures_total"), failures + 1)

    def test_a_thousand_slow_heads_do_not_keep_others_out(self):
        slow = []
        try:
            for _ in range(1000):
                sock = socket.create_connection(("127.0.0.1", ingress.gateway.port), timeout=10 * SLOW)
                sock.sendall(b"GET /echo/x HTTP/1.1\r\nX: ")
                slow.append(sock)
            self.assertEqual(statuses(raw(b"GET /echo/x HTTP/1.0\r\nX-User-Id: 7\r\n\r\n")), [200])
            for sock in slow:
                self.assertEqual(sock.recv(13), b"HTTP/1.1 408 ")
        finally:
            for sock in slow:
                sock.close()
        wait_until(lambda: ingress.gateway.metric("connections_open") == 0, what="the connections to go")


class Crowds(unittest.TestCase):
    def test_connections_beyond_the_limit_wait(self):
        gateway = ingress.stack.gateway("gw-crowd", limits__connections=20)
        crowd = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(20)]
        wait_until(lambda: gateway.metric("connections_open") == 20, what="the crowd to be let in")
        late = socket.create_connection(("127.0.0.1", gateway.port))
        late.sendall(b"GET /echo/late HTTP/1.0\r\nX-User-Id: 7\r\n\r\n")
        late.settimeout(0.3)
        self.assertRaises(TimeoutError, late.recv, 1)
        crowd.pop().close()
        late.settimeout(10 * SLOW)
        self.assertEqual(late.recv(13), b"HTTP/1.1 200 ")
        for sock in crowd + [late]:
            sock.close()
        self.assertEqual(gateway.terminate(), 0)

    def test_connections_of_one_untrusted_peer_are_limited(self):
        gateway = ingress.stack.gateway("gw-peer", limits__connections_each_peer=5, threads=2,
                                        ingress__trusted_peers="10.0.0.0/8")
        crowd = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(5)]
        wait_until(lambda: gateway.metric("connections_open") == 5, what="the crowd to be let in")
        self.assertEqual(raw(b"GET /echo/x HTTP/1.0\r\n\r\n", gateway.port), b"")
        self.assertEqual(gateway.metric("connections_refused_total"), 1)
        other = socket.create_connection(("127.0.0.1", gateway.port), source_address=("127.0.0.2", 0))
        other.sendall(b"GET /echo/x HTTP/1.0\r\nX-User-Id: 7\r\n\r\n")
        self.assertEqual(other.recv(13), b"HTTP/1.1 200 ")
        crowd.pop().close()
        wait_until(lambda: statuses(raw(b"GET /echo/x HTTP/1.0\r\nX-User-Id: 7\r\n\r\n", gateway.port)) == [200],
                   what="a place to be free")
        for sock in crowd + [other]:
            sock.close()
        self.assertEqual(gateway.terminate(), 0)

    def test_bodies_of_all_connections_are_limited(self):
        head = b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Content-Length: 65536\r\n\r\n"
        crowd = []
        for _ in range(17):
            sock = socket.create_connection(("127.0.0.1", ingress.gateway.port), timeout=10 * SLOW)
            sock.sendall(head + b"x" * 62000)
            crowd.append(sock)
        answers = [sock.recv(13) for sock in crowd]
        self.assertIn(b"HTTP/1.1 503 ", answers)
        self.assertTrue(set(answers) <= {b"HTTP/1.1 503 ", b"HTTP/1.1 408 "})
        for sock in crowd:
            sock.close()
        wait_until(lambda: ingress.gateway.metric("request_body_bytes") == 0, what="the bodies to be let go")

    def test_running_out_of_descriptors_sheds_and_recovers(self):
        gateway = ingress.stack.gateway("gw-fd")
        used = len(os.listdir(f"/proc/{gateway.pid}/fd"))
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
        crowd = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(40)]
        cpu = gateway.cpu_seconds()
        wait_until(lambda: "out of file descriptors" in gateway.log_text(), what="the gateway to say so")
        for sock in crowd:
            sock.close()
        wait_until(lambda: statuses(raw(b"GET /echo/x HTTP/1.0\r\nX-User-Id: 7\r\n\r\n", gateway.port)) == [200],
                   what="the gateway to recover")
        self.assertLess(gateway.cpu_seconds() - cpu, 2 * SLOW)
        self.assertEqual(gateway.terminate(), 0)

    def test_clients_leave_descriptors_to_nodes_and_operators(self):
        gateway = ingress.stack.gateway("gw-half")
        gateway.terminate()
        gateway.argv = ["prlimit", "--nofile=100:160", *gateway.argv]  # it raises the soft limit itself
        gateway.restart()
        wait_until(gateway.ready, what="the gateway")
        crowd = [socket.create_connection(("127.0.0.1", gateway.port), timeout=10 * SLOW) for _ in range(200)]
        wait_until(lambda: gateway.metric("connections_open") == 80, what="as many as there is room for")
        for sock in crowd[:40]:
            sock.sendall(b"GET /echo/half HTTP/1.0\r\nX-User-Id: 7\r\n\r\n")
        for sock in crowd[:40]:
            self.assertEqual(sock.recv(13), b"HTTP/1.1 200 ")
        self.assertEqual(gateway.metric("connections_refused_total"), 0)
        for sock in crowd:
            sock.close()
        self.assertIn("raise LimitNOFILE, now 160", gateway.log_text())
        self.assertEqual(gateway.terminate(), 0)

    def test_a_port_that_is_taken_is_named(self):
        for taken in (ingress.gateway.port, ingress.app.port):
            gateway = ingress.stack.gateway("gw-taken", wait=False, port=taken)
            self.assertNotEqual(gateway.popen.wait(20 * SLOW), 0)
            self.assertIn(f"cannot listen on 127.0.0.1:{taken}", gateway.log_text())
            self.assertIn("another process listens there", gateway.log_text())


class Draining(unittest.TestCase):
    def test_sigterm_finishes_what_is_under_way(self):
        gateway = ingress.stack.gateway("gw-drain", ingress__http2_clear="true")
        idle = socket.create_connection(("127.0.0.1", gateway.port), timeout=10 * SLOW)
        idle.sendall(b"GET /echo/idle HTTP/1.1\r\n" + HOST + b"\r\n")
        self.assertEqual(idle.recv(13), b"HTTP/1.1 200 ")
        busy = socket.create_connection(("127.0.0.1", gateway.port), timeout=10 * SLOW)
        streams = Http2(gateway.port)
        harness.request(ingress.app.port, "POST", "/-/sample/delay?ms=700")
        try:
            busy.sendall(b"GET /echo/busy HTTP/1.1\r\n" + HOST + b"\r\n")
            stream = streams.put_request("GET", "/echo/busy")
            streams.flush()
            wait_until(lambda: gateway.metric("requests_in_flight") == 2, what="the requests to be under way")
            gateway.signal(signal.SIGTERM)
            while idle.recv(65536):
                pass
            with busy.makefile("rb") as answer:
                text = answer.read()
            self.assertEqual(statuses(text), [200])
            self.assertIn(b"Connection: close\r\n", text)
            self.assertEqual(streams.answer(stream)[0], 200)
            self.assertEqual(streams.goaway, 0)
        finally:
            harness.request(ingress.app.port, "POST", "/-/sample/delay?ms=0")
            streams.close()
            idle.close()
            busy.close()
        self.assertEqual(gateway.popen.wait(20 * SLOW), 0)


class Tls(unittest.TestCase):
    def connect(self, protocols=(), **options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if protocols:
            context.set_alpn_protocols(list(protocols))
        for name, value in options.items():
            setattr(context, name, value)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", ingress.tls_port), timeout=10 * SLOW))

    def name_shown(self, sock):
        """The common name, as it stands in the certificate's bytes."""
        certificate = sock.getpeercert(binary_form=True)
        return next(name for name in ("one.example", "two.example") if name.encode() in certificate)

    def ask(self, sock):
        """The first bytes of an answer, which is read whole."""
        sock.sendall(b"GET /echo/tls HTTP/1.1\r\n" + HOST + b"\r\n")
        text = b""
        while not text.endswith(b"}\n"):
            piece = sock.recv(65536)
            self.assertNotEqual(piece, b"")
            text += piece
        return text[:13]

    def test_the_protocol_is_chosen_by_alpn(self):
        for offered, chosen in (((), None), (("http/1.1",), "http/1.1"), (("h2", "http/1.1"), "h2"), (("x",), None)):
            with self.connect(offered) as sock:
                self.assertEqual(sock.selected_alpn_protocol(), chosen)
                if chosen != "h2":
                    self.assertEqual(self.ask(sock), b"HTTP/1.1 200 ")
                else:
                    with Http2(sock=sock) as client:
                        self.assertEqual(client.ask("POST", "/echo/tls", b"hello")[0], 200)

    def test_tls_1_2_is_spoken_and_older_ones_are_not(self):
        with self.connect(maximum_version=ssl.TLSVersion.TLSv1_2) as sock:
            self.assertEqual((sock.version(), self.ask(sock)), ("TLSv1.2", b"HTTP/1.1 200 "))
        failures = ingress.gateway.metric("tls_handshake_failures_total")
        with self.assertRaises((ssl.SSLError, OSError)), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # to name the old ones is deprecated too
            self.connect(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
        answer = raw(b"GET / HTTP/1.1\r\n\r\n", ingress.tls_port)
        self.assertNotIn(b"HTTP/1.1", answer)
        wait_until(lambda: ingress.gateway.metric("tls_handshake_failures_total") >= failures + 1, what="the failures")

    def test_large_messages_go_both_ways(self):
        with self.connect() as sock:
            sock.sendall(b"POST /echo/tls HTTP/1.1\r\n" + HOST + b"Content-Length: 65536\r\nConnection: close\r\n\r\n" +
                         b"x" * 65536)
            self.assertEqual(statuses(sock.makefile("rb").read()), [200])

    def test_refusals_reach_clients_that_still_send(self):
        with self.connect() as sock:
            sock.sendall(b"GET /echo/x HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 200 * 1024 + b"\r\n\r\n")
            self.assertEqual(sock.recv(13), b"HTTP/1.1 431 ")

    def test_rapid_reset_over_tls(self):
        with self.connect(("h2",)) as sock, Http2(sock=sock) as client:
            for _ in range(5000):
                client.put_reset(client.put_request("GET", "/echo/rapid"))
            client.flush_until_closed()
            self.assertEqual(client.goaway, CALM)

    def test_sighup_shows_a_new_certificate_and_keeps_connections(self):
        before = self.connect()
        self.assertEqual((self.name_shown(before), self.ask(before)), ("one.example", b"HTTP/1.1 200 "))
        ingress.show("two.example")
        ingress.gateway.signal(signal.SIGHUP)

        def shown():
            with self.connect() as sock:
                return self.name_shown(sock)
        wait_until(lambda: shown() == "two.example", what="the new certificate")
        self.assertEqual(self.ask(before), b"HTTP/1.1 200 ")
        before.close()
        self.refuses_a_key_that_does_not_fit()
        self.assertEqual(shown(), "two.example")

    def refuses_a_key_that_does_not_fit(self):
        _, key = make_certificate(ingress.stack.folder, "other.example")
        os.replace(key, ingress.key)
        ingress.gateway.signal(signal.SIGHUP)
        wait_until(lambda: f"the key in {ingress.key} does not fit the certificate in {ingress.certificate}" in
                   ingress.gateway.log_text(), what="the refusal of the key")

    def test_a_start_without_certificate_says_what_is_missing(self):
        port = harness.free_port()
        for options, text in (({}, "ingress.tls_certificate and ingress.tls_key"),
                              ({"ingress__tls_certificate": "/nowhere.pem", "ingress__tls_key": ingress.key}, "/nowhere.pem"),
                              ({"ingress__tls_certificate": ingress.key, "ingress__tls_key": ingress.key}, str(ingress.key))):
            gateway = ingress.stack.gateway("gw-bare", wait=False, ingress__tls_listen=f"127.0.0.1:{port}", **options)
            self.assertNotEqual(gateway.popen.wait(20 * SLOW), 0)
            self.assertIn(text, gateway.log_text())


# --- HTTP/2 by hand ----------------------------------------------------------------------------------------------------

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def field(name, value):
    """A literal field without indexing, in clear."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Http2:
    """A client that sends what it is told to."""

    def __init__(self, port=None, sock=None):
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout=10 * SLOW)
        self.out, self.input = bytearray(PREFACE + frame(SETTINGS, 0, 0)), b""
        self.next, self.goaway, self.answers = 1, None, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def put(self, *arguments):
        self.out += frame(*arguments)

    def put_request(self, method, path, body=None, fields=b""):
        stream, self.next = self.next, self.next + 2
        block = field(b":method", method.encode()) + field(b":scheme", b"http") + field(b":path", path.encode()) + \
            field(b":authority", b"a.example") + field(b"x-user-id", b"7") + fields
        self.put(HEADERS, END_HEADERS | (END_STREAM if body is None else 0), stream, block)
        if body is not None:
            self.put(DATA, END_STREAM, stream, body)
        return stream

    def put_reset(self, stream):
        self.put(RST_STREAM, 0, stream, b"\0\0\0\x08")

    def flush(self):
        data, self.out = bytes(self.out), bytearray()
        self.sock.sendall(data)

    def take(self):
        """One frame into `answers` or `goaway`; false at the end of the connection."""
        while len(self.input) < 9 or len(self.input) < 9 + int.from_bytes(self.input[:3], "big"):
            try:
                piece = self.sock.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece:
                return False
            self.input += piece
        size = 9 + int.from_bytes(self.input[:3], "big")
        self.see(self.input[3], self.input[4], int.from_bytes(self.input[5:9], "big"), self.input[9:size])
        self.input = self.input[size:]
        return True

    def see(self, kind, flags, stream, payload):
        answer = self.answers.setdefault(stream, {"status": None, "body": b"", "over": False})
        if kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == HEADERS:
            indexed = {0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500}
            answer["status"] = indexed.get(payload[0]) or int(payload[2:5])
        elif kind == DATA:
            answer["body"] += payload
        elif kind == RST_STREAM:
            answer["over"] = True
        answer["over"] |= kind in (DATA, HEADERS) and bool(flags & END_STREAM)

    def answer(self, stream):
        while not self.answers.get(stream, {}).get("over"):
            if not self.take():
                raise AssertionError(f"the connection ended before stream {stream} did")
        return self.answers[stream]["status"], self.answers[stream]["body"]

    def ask(self, method, path, body=None, fields=b""):
        stream = self.put_request(method, path, body, fields)
        self.flush()
        return self.answer(stream)

    def flush_until_closed(self):
        """Sends all there is, reading meanwhile, until the server has closed the connection."""
        data, self.out = bytes(self.out), bytearray()
        sender = None
        if not isinstance(self.sock, ssl.SSLSocket):  # which two threads must not share
            sender = threading.Thread(target=self.send_what_goes, args=(data,))
            sender.start()
        else:
            self.send_what_goes(data)
        while self.take():
            pass
        if sender:
            sender.join()

    def send_what_goes(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass


class Floods(unittest.TestCase):
    """HTTP/2 clients that keep the server busy with nothing."""

    def flooded(self, prepare, count=3000):
        closes = ingress.clear.metric("http2_guard_closes_total")
        with Http2(ingress.clear.port) as client:
            stream = client.put_request("POST", "/echo/flood", b"")
            for _ in range(count):
                prepare(client, stream)
            client.flush_until_closed()
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
            client.flush_until_closed()
            self.assertEqual(client.goaway, CALM)
        self.assertEqual(ingress.clear.metric("http2_guard_closes_total"), closes + 1)

    def test_continuations(self):
        for piece in (b"", field(b"x", b"y" * 100) * 10):
            with Http2(ingress.clear.port) as client:
                client.put(HEADERS, END_STREAM, 1, field(b":method", b"GET"))
                for _ in range(3000):
                    client.put(CONTINUATION, 0, 1, piece)
                client.flush_until_closed()
                self.assertEqual(client.goaway, CALM)

    def test_resets_that_the_server_is_made_to_send(self):
        before = len(ingress.app.records())
        with Http2(ingress.clear.port) as client:
            for _ in range(5000):
                client.put(WINDOW_UPDATE, 0, client.put_request("GET", "/echo/made"), b"\0\0\0\0")
            client.flush_until_closed()
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
