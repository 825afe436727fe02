#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ingress under TLS."""
import os
import signal
import socket
import ssl
import unittest
import warnings

import harness
from harness import SLOW, wait_until
from http2_client import CALM, Http2
from ingress_fixture import HOST, ingress, make_certificate, raw, setUpModule, statuses, tearDownModule


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


if __name__ == "__main__":
    unittest.main()
