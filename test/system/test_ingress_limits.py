#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ingress against dawdlers and crowds, and how it ends."""
import os
import resource
import select
import signal
import socket
import time
import unittest

import harness
from harness import PATIENCE, SLOW, wait_until
from http2_client import Http2
from ingress_fixture import HOST, ingress, raw, setUpModule, statuses, tearDownModule


ingress.head_timeout, ingress.body_timeout = "600ms", "800ms"


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
            with harness.Span() as span:
                self.assertEqual(sock.recv(1), b"")
            self.assertTrue(2 < span.seconds < span.allowed(6), span.seconds)

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
        gateway = ingress.stack.gateway("gw-bodies", limits__body="64KiB", limits__bodies_total="1MiB")
        head = b"POST /echo/x HTTP/1.1\r\n" + HOST + b"Content-Length: 65536\r\n\r\n"
        crowd = []
        for _ in range(17):
            sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=10 * SLOW)
            sock.sendall(head + b"x" * 62000)
            crowd.append(sock)
        told, _, _ = select.select(crowd, [], [], 20 * PATIENCE)
        self.assertEqual({sock.recv(13) for sock in told}, {b"HTTP/1.1 503 "})
        for sock in crowd:
            sock.close()
        wait_until(lambda: gateway.metric("request_body_bytes") == 0, what="the bodies to be let go")
        self.assertEqual(gateway.terminate(), 0)

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
        ingress.app.signal(signal.SIGSTOP)
        try:
            busy.sendall(b"GET /echo/busy HTTP/1.1\r\n" + HOST + b"\r\n")
            stream = streams.put_request("GET", "/echo/busy")
            streams.flush()
            wait_until(lambda: gateway.metric("requests_in_flight") == 2, what="the requests to be under way")
            gateway.signal(signal.SIGTERM)
            while idle.recv(65536):
                pass
            ingress.app.signal(signal.SIGCONT)
            with busy.makefile("rb") as answer:
                text = answer.read()
            self.assertEqual(statuses(text), [200])
            self.assertIn(b"Connection: close\r\n", text)
            self.assertEqual(streams.answer(stream)[0], 200)
            self.assertEqual(streams.goaway, 0)
        finally:
            ingress.app.signal(signal.SIGCONT)
            streams.close()
            idle.close()
            busy.close()
        self.assertEqual(gateway.popen.wait(20 * SLOW), 0)


if __name__ == "__main__":
    unittest.main()
