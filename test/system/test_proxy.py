#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The proxy against nodes that behave, and against nodes that misbehave on purpose."""
import hashlib
import os
import socket
import subprocess
import threading
import unittest

from harness import wait_until
from proxy_fixture import OK, PATIENCE_S, Node, ProxyTest, answering, header, pass_time, reset


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
                self.expect_problem(self.get(), 502, "node-protocol")
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
        self.gateway(node, timeout="1s")
        conn = self.raw()
        conn.sendall(b"GET /echo/x HTTP/1.0\r\nHost: h\r\nX-User-Id: 1001\r\n\r\n\r\n")  # some send a line more
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
        self.expect_problem(self.get(), 502, "node-reset")


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
                self.expect_problem(self.get(method=method, body=b"pay"), 502, "node-reset")
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
            self.expect_problem(answer, 503, "node-unavailable")
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
        self.expect_problem(self.get(), 502, "node-reset")
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


if __name__ == "__main__":
    unittest.main()
