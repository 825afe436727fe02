# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 by hand: a client that sends what it is told to."""
import contextlib
import socket
import ssl
import threading

from harness import SLOW

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CALM = 11  # ENHANCE_YOUR_CALM
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def field(name, value):
    """A literal field without indexing, in clear."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Http2:
    """A client that sends what it is told to."""

    def __init__(self, port=None, sock=None):
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout=10 * SLOW)
        self.out, self.input = bytearray(PREFACE + frame(SETTINGS, 0, 0)), b""
        self.next, self.goaway, self.answers = 1, None, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def put(self, *arguments):
        self.out += frame(*arguments)

    def put_request(self, method, path, body=None, fields=b""):
        stream, self.next = self.next, self.next + 2
        block = field(b":method", method.encode()) + field(b":scheme", b"http") + field(b":path", path.encode()) + \
            field(b":authority", b"a.example") + field(b"x-user-id", b"7") + fields
        self.put(HEADERS, END_HEADERS | (END_STREAM if body is None else 0), stream, block)
        if body is not None:
            self.put(DATA, END_STREAM, stream, body)
        return stream

    def put_reset(self, stream):
        self.put(RST_STREAM, 0, stream, b"\0\0\0\x08")

    def flush(self):
        data, self.out = bytes(self.out), bytearray()
        self.sock.sendall(data)

    def take(self):
        """One frame into `answers` or `goaway`; false at the end of the connection."""
        while len(self.input) < 9 or len(self.input) < 9 + int.from_bytes(self.input[:3], "big"):
            try:
                piece = self.sock.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece:
                return False
            self.input += piece
        size = 9 + int.from_bytes(self.input[:3], "big")
        self.see(self.input[3], self.input[4], int.from_bytes(self.input[5:9], "big"), self.input[9:size])
        self.input = self.input[size:]
        return True

    def see(self, kind, flags, stream, payload):
        answer = self.answers.setdefault(stream, {"status": None, "body": b"", "over": False})
        if kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == HEADERS:
            indexed = {0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500}
            answer["status"] = indexed.get(payload[0]) or int(payload[2:5])
        elif kind == DATA:
            answer["body"] += payload
        elif kind == RST_STREAM:
            answer["over"] = True
        answer["over"] |= kind in (DATA, HEADERS) and bool(flags & END_STREAM)

    def answer(self, stream):
        while not self.answers.get(stream, {}).get("over"):
            if not self.take():
                raise AssertionError(f"the connection ended before stream {stream} did")
        return self.answers[stream]["status"], self.answers[stream]["body"]

    def ask(self, method, path, body=None, fields=b""):
        stream = self.put_request(method, path, body, fields)
        self.flush()
        return self.answer(stream)

    def flush_until_closed(self, told=False):
        """Sends all there is, reading meanwhile, until the server has closed the connection, or TOLD that it will."""
        data, self.out = bytes(self.out), bytearray()
        sender = None
        if not isinstance(self.sock, ssl.SSLSocket):  # which two threads must not share
            sender = threading.Thread(target=self.send_what_goes, args=(data,))
            sender.start()
        else:
            self.send_what_goes(data)
        while self.take():
            if told and self.goaway is not None:
                with contextlib.suppress(OSError):  # closed already
                    self.sock.shutdown(socket.SHUT_RDWR)
                break
        if sender:
            sender.join()

    def send_what_goes(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass
