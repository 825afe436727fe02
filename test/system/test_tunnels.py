#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is upgraded: bytes both ways through the proxy."""
import contextlib
import os
import select
import signal
import socket
import ssl
import subprocess
import threading
import unittest

import harness
from harness import wait_until
from proxy_fixture import OK, PATIENCE_S, ProxyTest, answering, header, pass_time, reset


class Tunnels(ProxyTest):
    UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" \
              b"Sec-WebSocket-Version: 13\r\n"
    SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" \
             b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

    def upgrade(self, early=b"", conn=None):
        conn = conn or self.raw()
        conn.sendall(b"GET /echo/ws HTTP/1.1\r\nHost: h\r\nX-User-Id: 1001\r\n" + self.UPGRADE + b"\r\n" + early)
        data = b""
        while b"\r\n\r\n" not in data:
            more = conn.recv(65536)
            self.assertTrue(more, data)
            data += more
        head, rest = data.split(b"\r\n\r\n", 1)
        return conn, head, rest

    def echo(self, node, conn, nth):
        node.read(conn)
        conn.sendall(self.SWITCH + b"first")
        while data := conn.recv(65536):
            conn.sendall(data)
        conn.sendall(b"last")

    def read_to(self, conn, length, data=b""):
        while len(data) < length:
            more = conn.recv(1 << 20)
            self.assertTrue(more)
            data += more
        return data

    def send_and_read(self, conn, payload):
        """Both ways at once from one thread: an SSL object does not stand two."""
        conn.setblocking(False)
        received, rest = bytearray(), memoryview(payload)
        while len(received) < len(payload):
            select.select([conn], [conn] if rest else [], [], PATIENCE_S)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                rest = rest[conn.send(rest[:65536]):] if rest else rest
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                more = conn.recv(1 << 20)
                self.assertTrue(more)
                received += more
        return bytes(received)

    def test_bytes_flow_both_ways_and_ends_are_passed_on(self):
        node = self.node(self.echo)
        self.gateway(node)
        conn, head, rest = self.upgrade()
        self.assertTrue(head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"))
        self.assertEqual(header(head, "Upgrade"), "websocket")
        self.assertEqual(header(head, "Connection").lower(), "upgrade")
        self.assertEqual(header(head, "Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.assertEqual(header(head, "LDC-Unit"), "RZ01")
        self.assertEqual(header(node.requests[0][0], "Sec-WebSocket-Key"), "dGhlIHNhbXBsZSBub25jZQ==")
        self.assertEqual(header(node.requests[0][0], "Upgrade"), "websocket")
        self.assertEqual(self.read_to(conn, 5, rest), b"first")
        conn.sendall(b"hello")
        self.assertEqual(self.read_to(conn, 5), b"hello")
        conn.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to(conn, 4), b"last")
        self.assertEqual(conn.recv(1), b"")
        wait_until(lambda: not node.open, what="the node's side is closed")
        wait_until(lambda: self.metric("proxy_tunnels_open") == 0, what="0 open tunnels")

    def test_bytes_sent_before_the_answer_are_not_lost(self):
        self.gateway(self.node(self.echo))
        conn, _, rest = self.upgrade(early=b"early")
        self.assertEqual(self.read_to(conn, 10, rest), b"firstearly")

    def test_megabytes_survive_the_tunnel(self):
        self.gateway(self.node(self.echo))
        conn, _, rest = self.upgrade()
        payload = os.urandom(16 << 20)
        sender = threading.Thread(target=conn.sendall, args=(payload,))
        sender.start()
        data = self.read_to(conn, 5 + len(payload), rest)
        sender.join()
        self.assertEqual(data, b"first" + payload)

    def test_a_side_that_does_not_read_holds_the_other_back(self):
        sent = []

        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(self.SWITCH)
            while True:
                sent.append(conn.send(b"x" * 65536))

        self.gateway(self.node(script))
        rss = self.gw.rss_kib()
        conn, _, _ = self.upgrade()
        seen = -1
        while seen != len(sent):
            seen = len(sent)
            pass_time(0.3)
        self.assertLess(self.gw.grown_kib(rss), 16 << 10)
        conn.close()

    def test_a_node_may_refuse_to_switch(self):
        node = self.node(answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"))
        self.gateway(node)
        conn, head, rest = self.upgrade()
        self.assertTrue(head.startswith(b"HTTP/1.1 403 Forbidden\r\n"))
        self.raw_get(conn)
        self.read_to(conn, 30)
        self.assertEqual(node.connections, 1)

    def test_a_node_that_switches_within_the_request_is_refused(self):
        """What the gateway still writes of the request would be gone with it."""
        over = threading.Event()
        self.addCleanup(over.set)

        def early(node, conn, nth):
            conn.recv(1)
            conn.sendall(self.SWITCH)
            over.wait(PATIENCE_S)

        self.gateway(self.node(early), limits__body="64MiB")
        conn, body = self.raw(), bytes(32 << 20)
        conn.sendall(b"GET /echo/ws HTTP/1.1\r\nHost: h\r\nX-User-Id: 1001\r\n" + self.UPGRADE +
                     b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.assertTrue(self.read_to(conn, 20).startswith(b"HTTP/1.1 502 "))
        self.assertEqual(self.metric("proxy_tunnels_open"), 0)

    def test_a_silent_tunnel_is_closed(self):
        node = self.node(self.echo)
        self.gateway(node, proxy__tunnel_timeout="2s")
        conn, _, rest = self.upgrade()
        self.read_to(conn, 5, rest)
        for _ in range(5):  # what carries bytes stays
            pass_time(0.5)
            conn.sendall(b"ping")
            self.assertEqual(self.read_to(conn, 4), b"ping")
        self.assertEqual(conn.recv(1), b"")
        wait_until(lambda: not node.open, what="the node's side is closed")

    def test_a_client_that_resets_ends_the_tunnel(self):
        node = self.node(self.echo)
        self.gateway(node)
        conn, _, _ = self.upgrade()
        wait_until(lambda: self.metric("proxy_tunnels_open") == 1, what="1 open tunnels")
        reset(conn)
        wait_until(lambda: not node.open, what="the node's side is closed")
        wait_until(lambda: self.metric("proxy_tunnels_open") == 0, what="0 open tunnels")

    def test_a_tunnel_may_finish_while_the_gateway_drains(self):
        self.gateway(self.node(self.echo), drain_timeout="30s")
        conn, _, rest = self.upgrade()
        self.read_to(conn, 5, rest)
        self.gw.signal(signal.SIGTERM)
        wait_until(lambda: "gateway.draining" in self.gw.log_text(), what="the drain to begin")
        conn.sendall(b"still here")
        self.assertEqual(self.read_to(conn, 10), b"still here")
        conn.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_to(conn, 4), b"last")
        self.assertEqual(self.gw.terminate(), 0)

    def test_a_gateway_ends_whose_clients_do_not_take_the_switch(self):
        def script(node, conn, nth):
            while request := node.read(conn):
                if header(request[0], "Upgrade"):
                    conn.sendall(self.SWITCH)
                    conn.recv(1)
                    return
                size = int(header(request[0], "X-Size"))
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

        self.gateway(self.node(script), drain_timeout="300ms")
        for size in range(2000, 44000, 700):  # at some, what a client's kernel and ours keep is full behind the answer
            conn = socket.socket()
            self.addCleanup(conn.close)
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 536)
            conn.connect(("127.0.0.1", self.gw.port))
            conn.sendall(b"GET /echo/x HTTP/1.1\r\nHost: h\r\nX-User-Id: 1001\r\nX-Size: %d\r\n\r\n" % size +
                         b"GET /echo/ws HTTP/1.1\r\nHost: h\r\nX-User-Id: 1001\r\n" + self.UPGRADE + b"\r\n")
        before, now = None, self.metric("requests_in_flight")
        while now != before or self.metric("proxy_tunnels_open") == 0:
            pass_time(0.3)
            before, now = now, self.metric("requests_in_flight")
        self.assertEqual(self.gw.terminate(), 0)

    def test_a_tunnel_does_not_outlive_the_drain(self):
        node = self.node(self.echo)
        self.gateway(node, drain_timeout="300ms")
        conn, _, rest = self.upgrade()
        self.read_to(conn, 5, rest)
        self.assertEqual(self.gw.terminate(), 0)
        self.assertEqual(conn.recv(1), b"")
        wait_until(lambda: not node.open, what="the node's side is closed")

    def test_a_tunnel_outlives_its_rules(self):
        node = self.node(self.echo)
        self.gateway(node)
        conn, _, rest = self.upgrade()
        self.read_to(conn, 5, rest)
        self.gateway(self.node(answering(OK)))
        self.assertEqual(self.get().body, b"ok")
        conn.sendall(b"as before")
        self.assertEqual(self.read_to(conn, 9), b"as before")

    def test_tls_clients_have_tunnels_too(self):
        folder, port = self.stack.folder, harness.free_port()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
                       check=True, capture_output=True)
        node = self.node(self.echo)
        self.gateway(node, ingress__tls_listen=f"127.0.0.1:{port}", ingress__tls_certificate=folder / "cert.pem",
                     ingress__tls_key=folder / "key.pem")
        context = ssl.create_default_context(cafile=folder / "cert.pem")
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        conn, _, rest = self.upgrade(conn=context.wrap_socket(plain, server_hostname="localhost"))
        self.assertEqual(header(node.requests[0][0], "X-Forwarded-Proto"), "https")
        self.read_to(conn, 5, rest)
        payload = os.urandom(4 << 20)
        self.assertEqual(self.send_and_read(conn, payload), payload)
        conn.close()
        wait_until(lambda: not node.open, what="the node's side is closed")


if __name__ == "__main__":
    unittest.main()
