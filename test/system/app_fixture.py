# SPDX-License-Identifier: Apache-2.0
"""An app inside of the test, which answers what the test wants."""
import http.server
import threading


class App(http.server.ThreadingHTTPServer):
    """Answers each path as `answers` says: (status, headers, body) or a function of the request that returns that."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self):
        self.answers, self.seen, self.arrived, self.release = {}, [], threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", 0), AppHandler)
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # an agent that was killed hangs up

    def end(self):
        self.release.set()
        self.shutdown()
        self.server_close()


class AppHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.path, dict(self.headers), body))
        if self.path == "/pay/held":
            self.server.arrived.set()
            self.server.release.wait(30)
        answer = self.server.answers.get(self.path, (200, {"Content-Type": "text/plain"}, b"echo " + body))
        status, headers, text = answer(self.headers, body) if callable(answer) else answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if status != 204:
            self.wfile.write(text)

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass
