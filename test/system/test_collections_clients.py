#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients of collections who leave at any moment, in any way, while rules, copies and brokers change under their requests:
nothing of them is left behind. What the sanitizers see of it counts most."""
import os
import random
import socket
import threading
import unittest

import watch_fixture
from copies_fixture import stopped
from harness import wait_until
from http2_client import Http2, field

HEADERS = {"Last-Event-ID": ("0", "1", "480", "18446744073709551615", "x"), "LDC-Unit": ("RZ01", "RZ02", "CORE", "no", ""),
           "LDC-Min-Version": ("1", "500", "18446744073709551615", "x"), "Cache-Control": ("no-cache", "max-age=1", "=,,\""),
           "If-None-Match": ("*", '"5"', '"'), "If-Match": ("*", 'W/"7", "8"', ","), "Idempotency-Key": ("a", "b")}
LINES = (b'{"key":"key-1","value":"x"}\n', b'{"key":"key-2","delete":true}\r\n', b"no json\n", b"\n", b"{" * 3000 + b"\n",
         b'{"key":"\xff","value":1}\n', b'{"key":"a","value":1,"if_match":5}\n')
RESET = b"\1\0\0\0\0\0\0\0"


class Leavers(watch_fixture.WatchTest):
    THREADS, CLIENTS = 4, 20

    def test_clients_that_leave_at_any_moment_leave_nothing_behind(self):
        seed = int(os.environ.get("SEED", random.randrange(10**6)))
        print(f"SEED={seed}")
        self.start(units=("RZ01", "RZ02"), collections={"rates": {"digest": "1s"}, "goods": {"staleness": "1s"}},
                   gateway={"ingress__http2_clear": "true", "threads": 2, "watch__heartbeat": "200ms", "failover__hold": "500ms",
                            "collections__wait": "50ms", "collections__core_wait": "100ms"})
        self.write(500)
        threads = [threading.Thread(target=self.come_and_go, args=(random.Random(seed + n),)) for n in range(self.THREADS)]
        for thread in threads:
            thread.start()
        self.harm(random.Random(seed - 1), threads)
        wait_until(lambda: self.watchers() == 0, timeout=30, what="all who watched to be forgotten")
        wait_until(lambda: self.gateway.metric("requests_in_flight") == 0, what="all requests to be forgotten")
        wait_until(lambda: self.watch(Last_Event_ID=0).status == 200, timeout=30, what="a client that stays")

    def harm(self, rng, threads):
        goods = self.collections["goods"]
        while any(thread.is_alive() for thread in threads):
            unit = rng.choice(list(self.units))
            if rng.random() < 0.5:
                self.collections = {"rates": {"digest": "1s"}} if "goods" in self.collections else self.collections | {"goods": goods}
                self.write_rules()
            elif unit != "CORE":
                self.connect(self.units[unit].brokers[0]).call("DEL", f"ldc:{{{unit}}}:c/rates/meta")
            with stopped(self.units[unit].brokers[0]):
                threads[0].join(rng.random() / 2)

    def come_and_go(self, rng):
        for _ in range(self.CLIENTS):
            try:
                rng.choice((self.plain, self.streams))(rng)
            except OSError:
                pass  # it was cut off

    @staticmethod
    def request(rng):
        """Method, path, header fields and body."""
        name = rng.choice(("rates", "rates", "goods"))
        method = rng.choice(("GET", "GET", "GET", "HEAD", "PUT", "DELETE", "POST"))
        headers = {name: rng.choice(values) for name, values in HEADERS.items() if rng.random() < 0.2}
        if method == "POST":
            body = b"".join(rng.choice(LINES) for _ in range(rng.choice((1, 2000))))
            return method, f"/-/c/{name}", headers | {"Content-Type": "application/x-ndjson"}, body
        query = rng.choice(("?watch", "?watch&after=490", "?watch&prefix=key-4", "?limit=1000", f"/key-{rng.randrange(600)}"))
        return method, f"/-/c/{name}{query}", headers, bytes(rng.choice((0, 50000))) if method == "PUT" else b""

    def plain(self, rng):
        """Some requests, one behind the other; the last one may be cut."""
        data = b""
        for _ in range(rng.choice((1, 1, 8))):
            method, path, headers, body = self.request(rng)
            lines = [f"{method} {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            data += "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        with socket.create_connection(("127.0.0.1", self.gateway.port), timeout=rng.random()) as sock:
            sock.sendall(data[:rng.choice((len(data), rng.randrange(1, len(data))))])
            for _ in range(rng.randrange(4)):
                sock.recv(rng.choice((1, 70000)))
            if rng.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def streams(self, rng):
        """Many at once, some of which are reset."""
        with Http2(self.gateway.port) as client:
            client.sock.settimeout(rng.random())
            streams = []
            for _ in range(rng.choice((1, 30))):
                method, path, headers, body = self.request(rng)
                fields = b"".join(field(name.lower().encode(), value.encode()) for name, value in headers.items())
                streams.append(client.put_request(method, path, body[:16000] or None, fields))
                if rng.random() < 0.2:
                    client.put_reset(rng.choice(streams))
            client.flush()
            for _ in range(rng.randrange(20)):
                if client.take() and rng.random() < 0.3:
                    client.put_reset(rng.choice(streams))
                    client.flush()


if __name__ == "__main__":
    unittest.main()
