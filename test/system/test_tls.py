#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS from end to end: HTTP/2 by ALPN through both carriers, and certificates that change under open connections."""
import hashlib
import http.client
import signal
import socket
import ssl
import subprocess
import unittest

import harness


def make_certificate(folder, name):
    """A self-signed pair; returns the certificate's SHA-256 as the client sees it."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt", "-days", "2", "-subj", f"/CN={name}"],
                   check=True, capture_output=True)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert((folder / f"{name}.crt").read_text())).hexdigest()


class Tls(harness.StackTest):
    def setUp(self):
        super().setUp()
        stack = self.stack
        self.prints = {name: make_certificate(stack.folder, name) for name in ("first", "second")}
        self.use("first")
        self.tls_port = harness.free_port()
        self.broker, self.app = stack.broker(), stack.app()
        self.gateway = stack.gateway(wait=False, ingress__tls_listen=f"127.0.0.1:{self.tls_port}",
                                     ingress__tls_certificate=stack.folder / "crt", ingress__tls_key=stack.folder / "key")
        harness.wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        units = {"RZ01": harness.unit("00-99", brokers=[self.broker], blue=[self.app])}
        stack.put_rules(self.gateway, harness.rules(units))
        harness.wait_until(lambda: harness.request(self.gateway.port, "POST", "/pay/0", {"X-User-Id": "1"}).status == 202,
                           what="a first 202")

    def use(self, name, key=None):
        (self.stack.folder / "crt").write_text((self.stack.folder / f"{name}.crt").read_text())
        (self.stack.folder / "key").write_text((self.stack.folder / f"{key or name}.key").read_text())

    def connect(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.tls_port), timeout=10 * harness.SLOW))

    def shown(self):
        with self.connect() as sock:
            return hashlib.sha256(sock.getpeercert(True)).hexdigest()

    def ask(self, sock):
        sock.sendall(b"GET /echo/tls HTTP/1.1\r\nHost: a\r\nX-User-Id: 1\r\n\r\n")
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        answer.read()
        return answer.status

    def test_http2_is_spoken_by_both_carriers(self):
        base = f"https://127.0.0.1:{self.tls_port}"
        form = "%{http_version} %{http_code} %header{ldc-unit}"
        for words, wanted in ((["-d", "{}", f"{base}/pay/1"], "2 202 RZ01"), ([f"{base}/echo/1"], "2 200 RZ01"),
                              (["--http1.1", f"{base}/echo/1"], "1.1 200 RZ01"), ([f"{base}/nowhere"], "2 404 ")):
            done = subprocess.run(["curl", "-sk", "--http2", "-o", "/dev/null", "-w", form, "-H", "X-User-Id: 7", *words],
                                  capture_output=True, text=True, timeout=30 * harness.SLOW)
            self.assertEqual(done.stdout, wanted, words)

    def test_a_new_certificate_is_shown_after_sighup_and_open_connections_stay(self):
        self.assertEqual(self.shown(), self.prints["first"])
        with self.connect() as before:
            self.assertEqual(self.ask(before), 200)
            self.use("second")
            self.assertEqual(self.shown(), self.prints["first"], "nothing changes before SIGHUP")
            self.gateway.signal(signal.SIGHUP)
            harness.wait_until(lambda: self.shown() == self.prints["second"], what="the second certificate")
            self.assertEqual(self.ask(before), 200, "a connection from before goes on")

    def test_a_key_that_does_not_fit_changes_nothing_and_is_told(self):
        self.use("first", key="second")
        self.gateway.signal(signal.SIGHUP)
        fault = harness.wait_until(lambda: self.gateway.status()["reload_fault"], what="the fault")
        self.assertIn(str(self.stack.folder / "key"), fault)
        self.assertEqual(self.shown(), self.prints["first"])


if __name__ == "__main__":
    unittest.main()
