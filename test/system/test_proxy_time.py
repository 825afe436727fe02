#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The proxy between nodes and clients that are slow, silent or gone."""
import contextlib
import os
import socket
import threading
import unittest

from harness import wait_until
from proxy_fixture import OK, PATIENCE_S, ProxyTest, answering, pass_time, reset


class Time(ProxyTest):
    def test_a_node_that_does_not_answer_is_a_timeout(self):
        def script(node, conn, nth):
            node.read(conn)
            node.read(conn)

        node = self.node(script)
        self.gateway(node, timeout="200ms", retries=2)
        self.expect_problem(self.get(), 504, "node-timeout")
        wait_until(lambda: len(node.requests) == 1, what="the node has read it")
        wait_until(lambda: not node.open, what="the connection is closed")
        self.assertEqual(len(node.requests), 1)

    def test_a_node_that_stops_within_its_answer_ends_it_unfinished(self):
        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            node.read(conn)

        self.gateway(self.node(script), timeout="1s")
        self.assert_unfinished()

    def test_a_slow_node_is_not_a_dead_one(self):
        def script(node, conn, nth):
            node.read(conn)
            for piece in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 4\r\n\r\n", b"a", b"b", b"c", b"d"):
                pass_time(0.5)
                conn.sendall(piece)
            node.read(conn)

        self.gateway(self.node(script), timeout="2500ms")
        self.assertEqual(self.get().body, b"abcd")

    def test_a_node_that_does_not_take_connections_is_left(self):
        full = socket.socket()
        self.addCleanup(full.close)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        clogs = []
        for _ in range(4):  # the backlog is full now: further connects get no answer
            clog = socket.socket()
            clog.setblocking(False)
            clog.connect_ex(full.getsockname())
            clogs.append(clog)
            self.addCleanup(clog.close)
        good = self.node(answering(OK))
        self.gateway(f"http://127.0.0.1:{full.getsockname()[1]}", good, proxy__connect_timeout="200ms")
        for _ in range(10):
            self.assertEqual(self.get(method="POST", body=b"x").status, 200)
        self.assertEqual(len(good.requests), 10)

    def test_a_large_body_may_take_its_time_while_the_node_takes_it(self):
        def script(node, conn, nth):
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            taken = 0
            while taken < 1 << 20:
                taken += len(conn.recv(65536))
                pass_time(0.15)
            conn.sendall(OK)

        self.gateway(self.node(script), timeout="2s")
        self.assertEqual(self.get(method="PUT", body=b"x" * (1 << 20)).status, 200)

    def test_an_answer_may_come_before_the_body_was_taken(self):
        def script(node, conn, nth):
            conn.recv(1000)  # and closes with the rest unread
            conn.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")

        node = self.node(script)
        self.gateway(node)
        for _ in range(3):
            answer = self.get(method="POST", body=b"x" * (1 << 20))
            self.assertEqual((answer.status, answer.body), (413, b"big"))

    def test_a_connection_that_still_owes_a_body_takes_no_other_request(self):
        over = threading.Event()
        self.addCleanup(over.set)

        def script(node, conn, nth):
            conn.recv(1000)
            conn.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            over.wait(PATIENCE_S)

        node = self.node(script)
        self.gateway(node)
        for _ in range(3):
            self.assertEqual(self.get(method="POST", body=b"x" * (1 << 20)).status, 413)
        self.assertEqual(node.connections, 3)


class Pressure(ProxyTest):
    def test_a_client_that_does_not_read_holds_its_node_back(self):
        sent = []

        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                sent.append(conn.send(b"x" * 65536))

        self.gateway(self.node(script))
        rss = self.gw.rss_kib()
        conn = self.raw()
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.raw_get(conn)
        seen = -1
        while seen != len(sent):  # until the node is held back
            seen = len(sent)
            pass_time(0.3)
        self.assertLess(sum(sent), 64 << 20)
        self.assertLess(self.gw.grown_kib(rss), 4 << 10)
        cpu = self.gw.cpu_seconds()
        pass_time(0.5)
        self.assertLess(self.gw.cpu_seconds() - cpu, 0.2)
        while len(sent) == seen:
            self.assertTrue(conn.recv(1 << 20))

    def test_a_slow_client_gets_all_of_a_large_answer(self):
        payload = os.urandom(24 << 20)

        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(payload) + payload)
            node.read(conn)

        self.gateway(self.node(script), timeout="2s")
        conn = self.raw()
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.raw_get(conn)
        pass_time(2.5)  # longer than the node's timeout, which does not run while the client holds things up
        data = b""
        while len(data) < len(payload):
            more = conn.recv(1 << 20)
            self.assertTrue(more)
            data += more
        while b"\r\n\r\n" not in data or len(data.split(b"\r\n\r\n", 1)[1]) < len(payload):
            data += conn.recv(1 << 20)
        self.assertEqual(data.split(b"\r\n\r\n", 1)[1], payload)

    def test_a_node_that_resets_while_its_client_is_slow_costs_no_cpu(self):
        cut = threading.Event()

        def script(node, conn, nth):
            node.read(conn)
            conn.settimeout(1)
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    conn.sendall(b"x" * 65536)
            except TimeoutError:
                reset(conn)
                cut.set()

        self.gateway(self.node(script))
        conn = self.raw()
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.raw_get(conn)
        self.assertTrue(cut.wait(PATIENCE_S))
        cpu = self.gw.cpu_seconds()
        pass_time(0.5)
        self.assertLess(self.gw.cpu_seconds() - cpu, 0.2)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while more := conn.recv(1 << 20):
                data = data[-10:] + more
        self.assertFalse(data.endswith(b"0\r\n\r\n"))

    def test_clients_that_go_away_release_their_nodes(self):
        def script(node, conn, nth):
            node.read(conn)
            if nth % 2:
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                while True:
                    conn.sendall(b"x" * 65536)
            node.read(conn)

        node = self.node(script)
        self.gateway(node)
        for nth in range(10):
            conn = self.raw()
            self.raw_get(conn)
            wait_until(lambda: len(node.requests) == nth + 1, what="the node has the request")
            if nth % 2:
                conn.recv(1000)
            conn.close()
        wait_until(lambda: not node.open, what="all connections are closed")


if __name__ == "__main__":
    unittest.main()
