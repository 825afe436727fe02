# SPDX-License-Identifier: Apache-2.0
"""Pulses as common/pulse.h describes them, written a second time."""
import hashlib
import hmac
import socket
import struct
import time

import harness

AGENT, GATEWAY, RECORD = 0x80, 1, 2


def key_of(secret=harness.TOKEN):
    return hashlib.sha256(b"ldcgate pulse\0" + secret.encode()).digest()


def name(text):
    return bytes([len(text)]) + text.encode()


def sealed(body, key):
    return body + hmac.new(key, body, "sha256").digest()[:16]


class Sender:
    """One who has the key, or another one."""

    def __init__(self, called, place="RZ01", secret=harness.TOKEN):
        self.called, self.place, self.key = called, place, key_of(secret)
        self.incarnation, self.seq = int(time.time() * 1e6), 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def body(self, kind, part):
        self.seq += 1
        head = struct.pack("<QQQI", self.incarnation, self.seq, int(time.time() * 1e6), 0)
        return b"LDCP" + bytes([1, kind]) + name(self.called) + name(self.place) + head + part

    def agent(self, up=1):
        """The pulse of an agent that guards nothing; of its unit's nodes UP of 1 are up."""
        return sealed(self.body(AGENT, struct.pack("<Q4HB", 0, up, 1, 0, 0, 0)), self.key)

    def send(self, datagram, daemon):
        host, port = daemon.status()["pulses"]["address"].rsplit(":", 1)
        self.socket.sendto(datagram, (host, int(port)))

    def close(self):
        self.socket.close()
