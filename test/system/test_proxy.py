#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The proxy against nodes that behave, and against nodes that misbehave on purpose."""
import contextlib
import hashlib
import http.client
import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
import unittest

import harness
from harness import wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENCE_S = 10 * harness.SLOW


class Node:
    """A node whose conversation a test writes: SCRIPT(node, conn, nth) runs for each connection."""

    def __init__(self, script, port=0):
        self.script = script
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(128)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        self.requests = []
        self.open = set()
        self.faults = []
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                nth = self.connections
                self.connections += 1
                self.open.add(conn)
            threading.Thread(target=self.serve, args=(conn, nth), daemon=True).start()

    def serve(self, conn, nth):
        try:
            self.script(self, conn, nth)
        except OSError:
            pass
        except Exception as fault:
            self.faults.append(fault)
        finally:
            with self.lock:
                self.open.discard(conn)
            conn.close()

    def read(self, conn):
        """One request, or None at the end: bytes of the head, bytes of the body."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = conn.recv(65536)
            if not more:
                return None
            data += more
        head, body = data.split(b"\r\n\r\n", 1)
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, value = line.split(b":", 1)
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            more = conn.recv(65536)
            if not more:
                return None
            body += more
        with self.lock:
            self.requests.append((head, body))
        return head, body

    def close(self):
        # shutdown() wakes the thread in accept(), which close() alone would not
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        with self.lock:
            for conn in self.open:
                with contextlib.suppress(OSError):
                    conn.shutdown(socket.SHUT_RDWR)


def pass_time(seconds):
    """For nodes and clients that are slow on purpose, and for spans that are measured."""
    threading.Event().wait(seconds)


def reset(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def answering(answer):
    """A script that answers every request with ANSWER(head, body)."""

    def script(node, conn, nth):
        while True:
            request = node.read(conn)
            if request is None:
                return
            conn.sendall(answer(*request) if callable(answer) else answer)

    return script


def header(head, name):
    for line in head.split(b"\r\n")[1:]:
        key, value = line.split(b":", 1)
        if key.lower() == name.lower().encode():
            return value.strip().decode()
    return None


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body


class ProxyTest(harness.StackTest):
    def gateway(self, *nodes, retries=0, timeout="5s", **options):
        """A gateway with one unit whose nodes are NODES (Node or URL); called again, the same gateway gets new nodes."""
        if not hasattr(self, "gw"):
            self.gw = self.stack.gateway(wait=False, ingress__http2_clear="true", **options)
            wait_until(lambda: self.gw.epoch() >= 0, what="the admin listener")
        route = {"match": {"path": "/echo/*"}, "zone": "A", "action": "proxy", "timeout": timeout, "retries": retries}
        units = {"RZ01": harness.unit("00-99", blue=nodes)}
        text = harness.rules(units, routes=[route]).replace(f'"{timeout}"', timeout)  # YAML wants durations bare
        self.stack.put_rules(self.gw, text)
        wait_until(self.gw.ready, what="the gateway")

    def metric(self, name):
        return self.gw.metric(name)

    def node(self, script, **options):
        node = Node(script, **options)
        self.addCleanup(self.check_node, node)
        return node

    def check_node(self, node):
        node.close()
        self.assertEqual(node.faults, [])

    def client(self):
        conn = http.client.HTTPConnection("127.0.0.1", self.gw.port, timeout=PATIENCE_S)
        self.addCleanup(conn.close)
        return conn

    def get(self, path="/echo/x", method="GET", body=None, headers=(), conn=None):
        conn = conn or self.client()
        conn.request(method, path, body, {"X-User-Id": "1001", **dict(headers)})
        response = conn.getresponse()
        return Answer(response, response.read())

    def raw(self):
        conn = socket.create_connection(("127.0.0.1", self.gw.port), timeout=PATIENCE_S)
        self.addCleanup(conn.close)
        return conn

    def raw_get(self, conn, extra=b""):
        conn.sendall(b"GET /echo/x HTTP/1.1\r\nHost: h\r\nX-User-Id: 1001\r\n" + extra + b"\r\n")

    def assert_problem(self, answer, status, name):
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (status, "application/problem+json"))
        self.assertIn(f'"urn:ldcgate:problem:{name}"', answer.body.decode())

    def assert_unfinished(self, method="GET"):
        """The client must see that the answer is a part only."""
        with self.assertRaises((http.client.IncompleteRead, ConnectionError)) as caught:
            self.get(method=method)
        return caught.exception


class Relay(ProxyTest):
    def test_requests_on_one_client_connection_reuse_one_node_connection(self):
        node = self.node(answering(OK))
        self.gateway(node)
        conn = self.client()
        for _ in range(20):
            answer = self.get(conn=conn)
            self.assertEqual((answer.status, answer.body), (200, b"ok"))
        self.assertEqual(node.connections, 1)
        head = node.requests[-1][0]
        self.assertTrue(head.startswith(b"GET /echo/x HTTP/1.1\r\n"))
        self.assertEqual(header(head, "Host"), f"127.0.0.1:{self.gw.port}")
        self.assertEqual(header(head, "LDC-Unit"), "RZ01")
        self.assertIsNone(header(head, "Connection"))

    def test_bodies_of_every_framing_arrive_whole(self):
        payload = os.urandom(3 << 20)
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part)
                          for part in (payload[at:at + 70001] for at in range(0, len(payload), 70001)))
        answers = {
            b"/echo/length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(payload), payload),
            b"/echo/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nT: v\r\n\r\n",
            b"/echo/close": b"HTTP/1.1 200 OK\r\n\r\n" + payload,
            b"/echo/old": b"HTTP/1.0 200 OK\r\n\r\n" + payload,
        }

        def script(node, conn, nth):
            head, _ = node.read(conn)
            path = head.split(b" ")[1]
            conn.sendall(answers[path])
            if path in (b"/echo/length", b"/echo/chunked"):
                node.read(conn)

        self.gateway(self.node(script))
        for path in answers:
            with self.subTest(path=path):
                self.assertEqual(self.get(path.decode()).body, payload)

    def test_an_answer_may_come_byte_by_byte(self):
        text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"

        def script(node, conn, nth):
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while node.read(conn):
                for byte in text:
                    conn.sendall(bytes([byte]))

        node = self.node(script)
        self.gateway(node)
        for _ in range(3):
            answer = self.get()
            self.assertEqual((answer.status, answer.body, answer.headers["X-A"]), (200, b"hello world", "b"))
        self.assertEqual(node.connections, 1)

    def test_a_chunked_answer_that_came_whole_gets_a_length(self):
        self.gateway(self.node(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")))
        answer = self.get()
        self.assertEqual((answer.body, answer.headers["Content-Length"]), (b"ok", "2"))
        self.assertIsNone(answer.headers["Transfer-Encoding"])

    def test_answers_without_a_body_have_none(self):
        def answer(head, body):
            method, path = head.split(b" ")[:2]
            if method == b"HEAD":
                return b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"
            return (b"HTTP/1.1 204 No Content\r\n\r\n" if path == b"/echo/204"
                    else b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: x\r\n\r\n")

        node = self.node(answering(answer))
        self.gateway(node)
        conn = self.client()
        answer = self.get(method="HEAD", conn=conn)
        self.assertEqual((answer.status, answer.headers["Content-Length"], answer.body), (200, "12345", b""))
        self.assertEqual(self.get("/echo/204", conn=conn).status, 204)
        answer = self.get("/echo/304", conn=conn)
        self.assertEqual((answer.status, answer.headers["ETag"], answer.body), (304, "x", b""))
        self.assertEqual(node.connections, 1)

    def test_informational_answers_are_passed_over(self):
        hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        node = self.node(answering(hints + OK))
        self.gateway(node)
        for _ in range(3):
            answer = self.get()
            self.assertEqual((answer.status, answer.body, answer.headers["Link"]), (200, b"ok", None))
        self.assertEqual(node.connections, 1)

    def test_the_head_of_a_streamed_answer_does_not_wait_for_its_body(self):
        go_on = threading.Event()

        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            go_on.wait(PATIENCE_S)
            conn.sendall(b"5\r\nevent\r\n0\r\n\r\n")
            node.read(conn)

        self.gateway(self.node(script))
        conn = self.client()
        conn.request("GET", "/echo/x", headers={"X-User-Id": "1001"})
        response = conn.getresponse()
        self.assertEqual(response.headers["Content-Type"], "text/event-stream")
        go_on.set()
        self.assertEqual(response.read(), b"event")

    def test_request_bodies_arrive_whole(self):
        node = self.node(answering(lambda head, body: b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n"
                                   + hashlib.sha256(body).hexdigest().encode()))
        self.gateway(node)
        for size in (0, 1, 100, 70000, 1 << 20):
            body = os.urandom(size)
            with self.subTest(size=size):
                self.assertEqual(self.get(method="POST", body=body).body.decode(), hashlib.sha256(body).hexdigest())
        self.assertEqual(node.connections, 1)

    def test_the_nodes_own_words_survive(self):
        self.gateway(self.node(answering(b"HTTP/1.1 418 I'm a teapot\r\nServer: pot/1\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                                         b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nLDC-Unit: forged\r\nContent-Length: 0\r\n\r\n")))
        answer = self.get()
        self.assertEqual((answer.status, answer.headers["Server"]), (418, "pot/1"))
        self.assertEqual(answer.headers.get_all("Set-Cookie"), ["a=1", "b=2"])
        self.assertEqual(answer.headers.get_all("LDC-Unit"), ["RZ01"])
        self.assertEqual(answer.headers.get_all("Date"), ["Thu, 01 Jan 1970 00:00:00 GMT"])

    def test_http2_clients_get_whole_answers_and_see_broken_ones(self):
        payload = os.urandom(2 << 20)

        def script(node, conn, nth):
            head, _ = node.read(conn)
            cut = payload if b"whole" in head else payload[:-1]
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(payload) + cut)

        self.gateway(self.node(script))

        def curl(path):
            return subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-H", "X-User-Id: 1001",
                                   f"http://127.0.0.1:{self.gw.port}{path}"], capture_output=True, check=False)

        whole = curl("/echo/whole")
        self.assertEqual((whole.returncode, whole.stdout), (0, payload))
        self.assertNotEqual(curl("/echo/part").returncode, 0)


class Malformed(ProxyTest):
    def test_malformed_answers_become_502(self):
        start = b"HTTP/1.1 200 OK\r\n"
        answers = [
            start + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            start + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            start + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            start + b"Content-Length: two\r\n\r\nok",
            start + b"Transfer-Encoding: gzip\r\n\r\nok",
            start + b"A: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
            start + b"Transfer-Encoding: chunked\r\n\r\nnot a chunk\r\n",
            start + b"A: " + b"x" * 70000 + b"\r\n\r\n",
            start + b"A: b\r\n" * 101 + b"\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 1000 No\r\n\r\n",
            b"this is not HTTP at all\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ]
        todo = list(answers)
        node = self.node(answering(lambda head, body: todo.pop(0)))
        self.gateway(node)
        for answer in answers:
            with self.subTest(answer=answer[:60]):
                self.assert_problem(self.get(), 502, "node-protocol")
        self.assertEqual(node.connections, len(answers))

    def test_an_answer_that_ends_early_never_looks_whole(self):
        parts = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70000,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ]
        for end in (socket.socket.close, reset):
            for part in parts:
                def script(node, conn, nth):
                    node.read(conn)
                    conn.sendall(part)
                    end(conn)

                self.gateway(self.node(script))
                with self.subTest(part=part[:70], end=end.__name__):
                    self.assert_unfinished()

    def test_a_chunk_that_goes_wrong_later_ends_the_answer_unfinished(self):
        first_seen = threading.Event()

        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            first_seen.wait(PATIENCE_S)
            conn.sendall(b"boom\r\n")
            node.read(conn)

        self.gateway(self.node(script))
        conn = self.raw()
        self.raw_get(conn)
        data = b""
        while b"hello" not in data:
            data += conn.recv(65536)
        first_seen.set()
        while more := conn.recv(65536):
            data += more
        self.assertNotIn(b"\r\n0\r\n", data)

    def test_an_old_client_too_sees_that_its_answer_is_a_part(self):
        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            node.read(conn)
            reset(conn)

        node = self.node(script)
        self.gateway(node, timeout="300ms")
        conn = self.raw()
        conn.sendall(b"GET /echo/x HTTP/1.0\r\nHost: h\r\nX-User-Id: 1001\r\n\r\n")
        data = b""
        with self.assertRaises(ConnectionResetError):
            while more := conn.recv(65536):
                data += more
        self.assertTrue(data.endswith(b"\r\n\r\nhello"))

    def test_what_a_node_sends_behind_its_answer_reaches_nobody(self):
        poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        node = self.node(answering(OK + poison))
        self.gateway(node)
        for _ in range(5):
            self.assertEqual(self.get().body, b"ok")
        self.assertEqual(node.connections, 5)

    def test_an_answer_to_head_that_fills_the_buffer_leaves_nothing_behind(self):
        poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        padded = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Pad: "
        padded += b"p" * (65536 - len(padded) - 4) + b"\r\n\r\n"  # as much as the gateway reads at once
        node = self.node(answering(lambda head, _: padded + poison if head.startswith(b"HEAD") else OK))
        self.gateway(node)
        for _ in range(5):
            conn = self.raw()
            conn.sendall(b"".join(method + b" /echo/x HTTP/1.1\r\nHost: h\r\nX-User-Id: 1001\r\n" + last + b"\r\n"
                                  for method, last in ((b"HEAD", b""), (b"GET", b"Connection: close\r\n"))))
            data = b""
            while more := conn.recv(65536):
                data += more
            self.assertTrue(data.endswith(b"\r\n\r\nok"), data[-200:])
        self.assertEqual(node.connections, 6)

    def test_a_client_cannot_take_the_user_off_the_request(self):
        node = self.node(answering(OK))
        self.gateway(node)
        self.assertEqual(self.get(headers={"Connection": "X-User-Id, Content-Length"}).status, 200)
        self.assertEqual(header(node.requests[-1][0], "X-User-Id"), "1001")
        self.assertEqual(self.get(headers={"X_User_Id": "1002"}).status, 400)
        self.assertEqual(len(node.requests), 1)

    def test_a_trace_context_that_is_none_is_replaced(self):
        node = self.node(answering(OK))
        self.gateway(node)
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
        for flags, kept in (("01", True), ('"x', False), ("0G", False)):
            self.assertEqual(self.get(headers={"traceparent": parent + flags}).status, 200)
            self.assertEqual(header(node.requests[-1][0], "traceparent") == parent + flags, kept)

    def test_a_head_cut_short_is_a_reset_node(self):
        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-")

        self.gateway(self.node(script))
        self.assert_problem(self.get(), 502, "node-reset")


class Retries(ProxyTest):
    @staticmethod
    def dies_on_reuse(node, conn, nth):
        """Answers one request a connection, and ends at the second without a word."""
        node.read(conn)
        conn.sendall(OK)
        if nth > 0 or node.read(conn) is None:
            node.read(conn)
        reset(conn)

    def test_an_idempotent_request_survives_the_death_of_a_reused_connection(self):
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            node = self.node(self.dies_on_reuse)
            self.gateway(node)
            with self.subTest(method=method):
                self.assertEqual(self.get().status, 200)
                self.assertEqual(self.get(method=method).status, 200)
                self.assertEqual(node.connections, 2)

    def test_a_request_that_may_have_been_processed_is_not_sent_again(self):
        for method in ("POST", "PATCH"):
            node = self.node(self.dies_on_reuse)
            self.gateway(node, retries=3)
            with self.subTest(method=method):
                self.assertEqual(self.get().status, 200)
                self.assert_problem(self.get(method=method, body=b"pay"), 502, "node-reset")
                self.assertEqual([body for _, body in node.requests].count(b"pay"), 1)

    def test_a_closed_idle_connection_is_noticed_before_the_next_request(self):
        closed = threading.Event()

        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(OK)
            conn.shutdown(socket.SHUT_WR)
            conn.recv(1)  # until the gateway has closed, too
            closed.set()

        node = self.node(script)
        self.gateway(node)
        for _ in range(20):
            closed.clear()
            self.assertEqual(self.get(method="POST", body=b"x").status, 200)
            self.assertTrue(closed.wait(PATIENCE_S))
        self.assertEqual(node.connections, 20)

    def test_bytes_on_an_idle_connection_are_no_answer(self):
        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(OK)
            pass_time(0.02)  # a node that speaks later, out of turn
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            node.read(conn)

        node = self.node(script)
        self.gateway(node)
        self.get()
        wait_until(lambda: not node.open, what="the idle connection is closed")
        self.assertEqual(self.get().body, b"ok")

    def test_a_dead_node_costs_no_request_of_any_method(self):
        dead = Node(answering(OK))
        dead.close()
        node = self.node(answering(OK))
        self.gateway(dead.url, node)
        for i in range(20):
            self.assertEqual(self.get(method=("GET", "POST")[i % 2], body=b"x" if i % 2 else None).status, 200)
        self.assertEqual(len(node.requests), 20)

    def test_without_nodes_the_client_is_asked_to_come_again(self):
        dead = Node(answering(OK))
        dead.close()
        self.gateway(dead.url)
        for _ in range(3):
            answer = self.get()
            self.assert_problem(answer, 503, "node-unavailable")
            self.assertEqual(answer.headers["Retry-After"], "1")

    def test_nodes_that_come_back_are_used_again(self):
        dead = Node(answering(OK))
        dead.close()
        self.gateway(dead.url, proxy__probe_interval="100ms")
        self.assertEqual(self.get().status, 503)
        self.node(answering(OK), port=dead.port)
        wait_until(lambda: self.get().status == 200, what="the node is used again")

    def test_safe_requests_go_to_another_node_as_often_as_the_route_says(self):
        def script(node, conn, nth):
            node.read(conn)
            reset(conn)

        bad = [self.node(script) for _ in range(3)]
        self.gateway(*bad, retries=1)
        self.assert_problem(self.get(), 502, "node-reset")
        self.assertEqual(sorted(len(node.requests) for node in bad), [0, 1, 1])
        good = self.node(answering(OK))
        self.gateway(bad[0], good, retries=1)
        for _ in range(10):
            self.assertEqual(self.get().status, 200)
        self.gateway(bad[0], good, retries=0)
        self.assertEqual({self.get().status for _ in range(20)}, {200, 502})
        before = sum(len(node.requests) for node in (bad[0], good))
        self.gateway(bad[0], good, retries=3)
        self.assertEqual({self.get(method="POST", body=b"x").status for _ in range(20)}, {200, 502})
        self.assertEqual(sum(len(node.requests) for node in (bad[0], good)), before + 20)

    def test_requests_spread_over_the_nodes(self):
        nodes = [self.node(answering(OK)) for _ in range(4)]
        self.gateway(*nodes)
        for _ in range(200):
            self.get()
        for node in nodes:
            self.assertGreater(len(node.requests), 20)


class Time(ProxyTest):
    def test_a_node_that_does_not_answer_is_a_timeout(self):
        def script(node, conn, nth):
            node.read(conn)
            node.read(conn)

        node = self.node(script)
        self.gateway(node, timeout="200ms", retries=2)
        self.assert_problem(self.get(), 504, "node-timeout")
        self.assertEqual(len(node.requests), 1)
        wait_until(lambda: not node.open, what="the connection is closed")

    def test_a_node_that_stops_within_its_answer_ends_it_unfinished(self):
        def script(node, conn, nth):
            node.read(conn)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            node.read(conn)

        self.gateway(self.node(script), timeout="200ms")
        self.assert_unfinished()

    def test_a_slow_node_is_not_a_dead_one(self):
        def script(node, conn, nth):
            node.read(conn)
            for piece in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 4\r\n\r\n", b"a", b"b", b"c", b"d"):
                pass_time(0.25)
                conn.sendall(piece)
            node.read(conn)

        self.gateway(self.node(script), timeout="800ms")
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
                pass_time(0.05)
            conn.sendall(OK)

        self.gateway(self.node(script), timeout="600ms")
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
        self.assertLess(self.gw.rss_kib() - rss, 4 << 10)
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

        self.gateway(self.node(script), timeout="500ms")
        conn = self.raw()
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.raw_get(conn)
        pass_time(1)  # longer than the node's timeout, which does not run while the client holds things up
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
        self.assertLess(self.gw.rss_kib() - rss, 16 << 10)
        conn.close()

    def test_a_node_may_refuse_to_switch(self):
        node = self.node(answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"))
        self.gateway(node)
        conn, head, rest = self.upgrade()
        self.assertTrue(head.startswith(b"HTTP/1.1 403 Forbidden\r\n"))
        self.raw_get(conn)
        self.read_to(conn, 30)
        self.assertEqual(node.connections, 1)

    def test_a_silent_tunnel_is_closed(self):
        node = self.node(self.echo)
        self.gateway(node, proxy__tunnel_timeout="600ms")
        conn, _, rest = self.upgrade()
        self.read_to(conn, 5, rest)
        for _ in range(4):  # what carries bytes stays
            pass_time(0.2)
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
