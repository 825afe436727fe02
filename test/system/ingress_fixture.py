# SPDX-License-Identifier: Apache-2.0
"""One application and two gateways for all ingress tests of a file, and raw words to them."""
import os
import re
import subprocess

import harness
from harness import wait_until

HOST = b"Host: a.example\r\nX-User-Id: 7\r\n"


def make_certificate(folder, name):
    """A self-signed certificate and its key: two PEM files, for SIGHUP to replace."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return certificate, key


class Ingress:
    """One application and two gateways for all tests of a file: the second speaks HTTP/2 on clear text. They give clients
    more time than a machine takes that is busy; a file that tests how slow they may be asks for less."""

    head_timeout, body_timeout = "5s", "3s"

    def begin(self):
        self.stack = harness.Stack()
        try:
            self.start(self.stack)
        except BaseException:
            print(self.stack.logs())
            self.stack.end()
            raise

    def start(self, stack):
        self.app = stack.app()
        self.tls_port = harness.free_port()
        self.certificate, self.key = stack.folder / "server.pem", stack.folder / "server.key"
        self.show("one.example")
        limits = {"limits__head_timeout": self.head_timeout, "limits__body_timeout": self.body_timeout,
                  "limits__idle_timeout": "3s", "limits__send_timeout": "5s", "limits__body": "64KiB", "limits__bodies_total": "1MiB",
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


ingress = Ingress()


def setUpModule():
    ingress.begin()


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
