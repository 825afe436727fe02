# SPDX-License-Identifier: Apache-2.0
"""A network between a gateway and a broker, of which a test decides what it does to each connection."""
import contextlib
import socket
import struct
import threading


class Link:
    """One connection through the relay. `kept`: what its client has sent since the relay withholds."""

    def __init__(self, client, server):
        self.client, self.server, self.withheld, self.kept = client, server, False, b""
        threading.Thread(target=self._forward, daemon=True).start()
        threading.Thread(target=self._back, daemon=True).start()

    def _forward(self):
        with contextlib.suppress(OSError):
            while data := self.client.recv(65536):
                if self.withheld:
                    self.kept += data
                else:
                    self.server.sendall(data)
        if not self.withheld:
            with contextlib.suppress(OSError):
                self.server.shutdown(socket.SHUT_RDWR)

    def _back(self):
        with contextlib.suppress(OSError):
            while data := self.server.recv(65536):
                self.client.sendall(data)
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)

    def reset(self):
        """The client's half ends; the server hears nothing of it."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RD)
        self.client.close()


class Relay:
    """In front of the server at PORT of this machine; `.port`, `.url`."""

    def __init__(self, port):
        self.target, self.links = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.links.append(Link(client, server))

    def withhold(self):
        """What the clients of today's connections send from now on stays on its way. Returns those connections."""
        links = list(self.links)
        for link in links:
            link.withheld = True
        return links

    @staticmethod
    def deliver(links):
        """What was withheld arrives after all, for servers that still listen."""
        for link in links:
            with contextlib.suppress(OSError):
                link.server.sendall(link.kept)

    def close(self):
        self.listener.close()
        for link in self.links:
            with contextlib.suppress(OSError):
                link.server.close()


class BehindRelay:
    """Of a test: gateways know the broker "primary" by its relay, everybody else by its port."""
    def setUp(self):
        super().setUp()
        self.broker_of = self.stack.broker
        self.stack.broker = self.relayed

    def relayed(self, name, **options):
        broker = self.broker_of(name, **options)
        if name == "primary":
            self.relay = Relay(broker.port)
            self.addCleanup(self.relay.close)
            broker.url = self.relay.url
        return broker
