# SPDX-License-Identifier: Apache-2.0
"""Gateways whose admin API is spoken to in full, and HTTP nodes that hold a request as long as a test wants."""
import http.client
import http.server
import threading
import urllib.parse

import harness


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


class Gateway(harness.Process):
    """One ldc-gateway of a StackTest, with a configuration file; OPTIONS as for Stack.gateway;
    None leaves one to the file."""

    def __init__(self, stack, name, wait=True, env=None, **options):
        self.port, self.admin_port, self.token = harness.free_port(), harness.free_port(), None
        self.config, self.cache = stack.folder / (name + ".yaml"), stack.folder / (name + ".cache")
        self.access_log = stack.folder / (name + ".access")
        if not self.config.exists():
            self.config.write_text("# empty\n")
        values = {"name": name, "threads": 2, "ingress.listen": f"127.0.0.1:{self.port}",
                  "admin.listen": f"127.0.0.1:{self.admin_port}", "store.location": f"dir:{stack.store}",
                  "store.cache": self.cache, "log.access": self.access_log}
        values.update({key.replace("__", "."): value for key, value in options.items()})
        argv = [harness.BUILD / "ldc-gateway", "--config", self.config]
        for key, value in values.items():
            if value is not None:
                argv += ["--set", f"{key}={value}"]
        environment = dict(harness._sanitizer_env(stack.log(name)), **(env or {}))
        super().__init__(name, argv, stack.log(name), env=environment)
        stack.keep(self)
        if wait:
            harness.wait_until(self.answers, what="the admin listener of " + name)

    def answers(self):
        if not self.alive():
            raise AssertionError("the gateway ended: " + self.log_text())
        try:
            return self.call("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def call(self, method, path, body=b"", token=None):
        """(status, JSON or text)"""
        token = token or self.token
        headers = {"Authorization": "Bearer " + token} if token else {}
        answer = harness.request(self.admin_port, method, path, headers, body)
        if "json" in answer.headers.get("content-type", ""):
            return answer.status, answer.json()
        return answer.status, answer.body.decode()

    def get(self, path):
        status, answer = self.call("GET", path)
        assert status == 200, (status, answer)
        return answer

    def status(self):
        return self.get("/v1/status")

    def epoch(self):
        return self.status()["epoch"]

    def metric(self, name):
        return harness.metric_in(self.get("/metrics"), name)

    def put(self, expected, rules, **query):
        query = urllib.parse.urlencode(dict(query, expected_epoch=expected))
        return self.call("POST", "/v1/rules?" + query, rules)

    def request(self, user, path="/echo/x"):
        """A request through the ingress."""
        return harness.request(self.port, "GET", path, {"X-User-Id": str(user)})
