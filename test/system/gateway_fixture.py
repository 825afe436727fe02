# SPDX-License-Identifier: Apache-2.0
"""Real ldc-gateway processes and HTTP nodes for the system tests."""
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

BUILD = os.environ.get("LDC_BUILD", "build")
GATEWAY = os.path.join(BUILD, "ldc-gateway")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=15):
    """The value of CONDITION once it is true."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError("not in time: " + what)
        threading.Event().wait(0.01)


class Node(http.server.ThreadingHTTPServer):
    """An HTTP node: answers with its name; holds requests to /echo/slow until `release` is set."""

    daemon_threads = True

    def __init__(self, name, port=0):
        self.name = name
        self.arrived, self.release = threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", port), NodeHandler)
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # a gateway that was ended hangs up

    def end(self):
        self.release.set()
        self.shutdown()
        self.server_close()


class NodeHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/echo/slow"):
            self.server.arrived.set()
            self.server.release.wait(30)
        body = self.server.name.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Gateway:
    """One ldc-gateway process; ends with the test."""

    def __init__(self, case, name, ready=True, env=None, **options):
        self.folder = os.path.join(case.folder, name)
        os.makedirs(self.folder, exist_ok=True)
        self.port, self.admin_port = free_port(), free_port()
        self.token = options.pop("token", None)
        self.config = os.path.join(self.folder, "gateway.yaml")
        self.access_log = os.path.join(self.folder, "access.log")
        self.log = os.path.join(self.folder, "log")
        self.cache = os.path.join(self.folder, "cache.yaml")
        values = {
            "name": name,
            "threads": 2,
            "ingress.listen": "127.0.0.1:%d" % self.port,
            "admin.listen": "127.0.0.1:%d" % self.admin_port,
            "store.location": "dir:" + case.store,
            "store.cache": self.cache,
            "log.access": self.access_log,
        }
        values.update({key.replace("__", "."): value for key, value in options.items()})
        if not os.path.exists(self.config):
            with open(self.config, "w") as config:
                config.write("# empty\n")
        command = [GATEWAY, "--config", self.config]
        for key, value in values.items():
            command += ["--set", "%s=%s" % (key, value)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stderr=log, env=dict(os.environ, **(env or {})))
        case.addCleanup(self.end)
        if ready:
            wait_for(self.alive, "the admin listener of " + name)

    def alive(self):
        if self.process.poll() is not None:
            raise AssertionError("the gateway ended: " + self.logged())
        try:
            return self.call("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def logged(self):
        with open(self.log) as log:
            return log.read()

    def end(self):
        """Stops it as an operator would, and looks at how it went."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("SIGTERM did not end the gateway")
        for mark in ("ERROR: AddressSanitizer", "runtime error:", "WARNING: ThreadSanitizer", "broken invariant"):
            if mark in self.logged():
                raise AssertionError(self.logged())

    def kill(self):
        self.process.kill()
        self.process.wait()

    def call(self, method, path, body=None, token=None, timeout=20):
        """(status, JSON or text)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=timeout)
        token = token or self.token
        headers = {"Authorization": "Bearer " + token} if token else {}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if "json" in answer.getheader("Content-Type", ""):
            return answer.status, json.loads(text)
        return answer.status, text

    def get(self, path):
        status, answer = self.call("GET", path)
        assert status == 200, (status, answer)
        return answer

    def status(self):
        return self.get("/v1/status")

    def epoch(self):
        return self.status()["epoch"]

    def metric(self, name):
        for line in self.get("/metrics").splitlines():
            if line.startswith("ldcgate_" + name + " "):
                return float(line.split()[-1])
        raise AssertionError("no metric " + name)

    def put(self, expected, rules, **query):
        query = urllib.parse.urlencode(dict(query, expected_epoch=expected))
        return self.call("POST", "/v1/rules?" + query, rules)

    def request(self, user, path="/echo/x"):
        """(status, headers, body) of a request through the ingress."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers={"X-User-Id": str(user)})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()
