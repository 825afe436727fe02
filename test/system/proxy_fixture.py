# SPDX-License-Identifier: Apache-2.0
"""Nodes whose conversation a test writes, and a gateway with a unit of them."""
import contextlib
import http.client
import socket
import struct
import threading

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
        self.listener.bind(("127.0.0.1", port or harness.free_port()))
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
        return harness.Answer(response.status, response.headers, response.read())

    def raw(self):
        conn = socket.create_connection(("127.0.0.1", self.gw.port), timeout=PATIENCE_S)
        self.addCleanup(conn.close)
        return conn

    def raw_get(self, conn, extra=b""):
        conn.sendall(b"GET /echo/x HTTP/1.1\r\nHost: h\r\nX-User-Id: 1001\r\n" + extra + b"\r\n")

    def assert_unfinished(self, method="GET"):
        """The client must see that the answer is a part only."""
        with self.assertRaises((http.client.IncompleteRead, ConnectionError)) as caught:
            self.get(method=method)
        return caught.exception
