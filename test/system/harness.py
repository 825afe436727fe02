# SPDX-License-Identifier: Apache-2.0
"""What the system tests stand on: real processes on free loopback ports, ended by pid however the test ends.

    class Spine(harness.StackTest):
        def test_something(self):
            stack = self.stack                      # a folder, and a guard over all that is started
            broker = stack.broker("b1")             # redis-server, append-only file, fsync always
            app = stack.app("RZ01", "blue")         # ldc-sample-app; app.records() reads what it processed
            stack.write_rules(harness.rules({"RZ01": harness.unit("00-99", brokers=[broker], blue=[app])}))
            gateway = stack.gateway("gw1")          # gateway.port, gateway.admin_port
            agent = stack.agent("RZ01")
            answer = harness.request(gateway.port, "POST", "/pay/1", {"X-User-Id": "42"}, b"{}")
            harness.wait_until(lambda: app.records(), what="the delivery")

Every wait is for a condition, with a bound. What a sanitizer writes fails the test. Where a test fails, the ends of all
logs are shown.
"""
import contextlib
import ctypes
import glob
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.parse

from patience import PATIENCE, SLOW, Span, wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("LDC_BUILD", ROOT / "build")).resolve()
PLAIN = BUILD.name == "build"  # a sanitizer keeps for a while what was freed: memory is measured without one
LEAKS = BUILD.name == "build-address"  # a process is searched for leaks when it ends by itself
TOKEN = "test-token-0123456789"
_libc = ctypes.CDLL("libc.so.6", use_errno=True)


_handed_out = set()


def free_port():
    """A loopback port that is free, and that no outgoing connection can be given: below the ephemeral ports."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port


def _child_setup():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives the test


class Process:
    """A started program: name, pid, log."""

    def __init__(self, name, argv, log, env=None):
        self.name, self.argv, self.log = name, [str(word) for word in argv], log
        self.env = env
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                                          preexec_fn=_child_setup, start_new_session=True)
        self.pid = self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def kill(self):
        """kill -9, and wait until it is gone."""
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
        self.popen.wait()

    def freeze(self):
        """SIGSTOP, and wait until it does nothing any more."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: stands_still(self.pid), what=f"{self.name} to stand still", every=0.001)

    def terminate(self, timeout=20.0):
        """SIGTERM; returns the exit code."""
        if self.alive():
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self.popen.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout * PATIENCE:.0f} s of SIGTERM")

    def log_text(self):
        with open(self.log, "rb") as log:
            return log.read().decode(errors="replace")

    def rss_kib(self):
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def grown_kib(self, since):
        """What its memory has grown by since it was SINCE KiB."""
        return self.rss_kib() - since if PLAIN else 0

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Broker(Process):
    """redis-server; `.port`, `.url`, `.call(words...)`."""

    def __init__(self, name, folder, log, port=None, fsync="always", extra=(), fenced=False):
        """FENCED: it serves and follows nobody until an agent says so, as brokers should be started."""
        extra = ("--replicaof", "127.0.0.1 1", *extra) if fenced else extra
        self.port, self.folder = port or free_port(), folder
        os.makedirs(folder, exist_ok=True)
        super().__init__(name, ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
                                "--appendonly", "yes", "--appendfsync", fsync, "--daemonize", "no",
                                "--auto-aof-rewrite-min-size", "1gb", "--repl-diskless-sync-delay", "0", *extra], log)
        self.url = f"redis://127.0.0.1:{self.port}"
        self.wait_ready()

    def start(self):
        super().start()

    def wait_ready(self):
        wait_until(self._answers, what=f"broker {self.name}")

    def restart(self):
        self.start()
        self.wait_ready()

    def _answers(self):
        try:
            return self.call("PING") == b"PONG"
        except (OSError, RuntimeError, ConnectionError):
            return False

    def call(self, *words):
        return call_broker(self.port, *words)


def wire(words):
    """One command as a broker reads it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class BrokerConnection:
    """For many commands; what comes back is bytes, int, None or lists of these, errors are RuntimeError."""

    def __init__(self, port, host="127.0.0.1", password=None):
        self.sock = socket.create_connection((host, port), timeout=10 * PATIENCE)
        self.stream = self.sock.makefile("rb")
        if password:
            self.call("AUTH", password)

    def call(self, *words):
        return self.pipeline([words])[0]

    def pipeline(self, commands):
        return self.exchange(b"".join(map(wire, commands)), len(commands))

    def exchange(self, sent, count):
        """COUNT answers to what stands in SENT, commands as wire() makes them."""
        self.sock.sendall(sent)
        return [_read_reply(self.stream) for _ in range(count)]

    def close(self):
        self.stream.close()
        self.sock.close()


def call_broker(port, *words, **where):
    """One command on a connection of its own."""
    with contextlib.closing(BrokerConnection(port, **where)) as connection:
        return connection.call(*words)


def transaction(port, *commands):
    """The commands between MULTI and EXEC; returns what EXEC answers."""
    with contextlib.closing(BrokerConnection(port)) as connection:
        return connection.pipeline([("MULTI",), *commands, ("EXEC",)])[-1]


def _read_reply(stream):
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the broker closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        length = int(rest)
        return None if length < 0 else stream.read(length + 2)[:-2]
    length = int(rest)
    return None if length < 0 else [_read_reply(stream) for _ in range(length)]


class App(Process):
    """ldc-sample-app; `.url`, `.records()`."""

    def __init__(self, name, unit, color, record, log, port=None):
        self.port, self.unit, self.color, self.record = port or free_port(), unit, color, record
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(name, [BUILD / "ldc-sample-app", "--listen", f"127.0.0.1:{self.port}", "--unit", unit,
                                "--color", color, "--record", record], log, env=_sanitizer_env(log))
        wait_until(lambda: listening(self.port), what=f"app {name}")

    def restart(self):
        self.start()
        wait_until(lambda: listening(self.port), what=f"app {self.name}")

    def order(self, what, **query):
        """Tells it to `fail` or to `delay`."""
        answer = request(self.port, "POST", f"/-/sample/{what}?{urllib.parse.urlencode(query)}")
        assert answer.status == 204, answer.body

    def records(self):
        """What it processed: one dict a request, in order."""
        try:
            with open(self.record, "rb") as record:
                return [json.loads(line) for line in record.read().split(b"\n")[:-1]]
        except FileNotFoundError:
            return []


def metric_in(text, name):
    """The value of `ldcgate_NAME`, of its first line where it has several."""
    for line in text.splitlines():
        if line.split(" ")[0].split("{")[0] == "ldcgate_" + name:
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name}")


class Daemon(Process):
    """ldc-gateway or ldc-agent: `.admin_port`, `.get(path)`, `.status()`."""

    def __init__(self, name, argv, log, admin_port, port=None):
        self.admin_port, self.port = admin_port, port
        super().__init__(name, argv, log, env=_sanitizer_env(log))

    def restart(self):
        self.start()

    def get(self, path, method="GET", body=b"", timeout=30.0):
        return request(self.admin_port, method, path, {"Authorization": f"Bearer {TOKEN}"}, body, timeout)

    def status(self):
        return json.loads(self.get("/v1/status").body)

    def metric(self, name):
        return metric_in(self.get("/metrics").body.decode(), name)

    def epoch(self):
        try:
            return self.status().get("epoch", 0)
        except (OSError, http.client.HTTPException, ValueError):
            return -1

    def ready(self):
        try:
            return self.get("/readyz").status == 200
        except (OSError, http.client.HTTPException):
            return False


def _sanitizer_env(log):
    prefix = str(log) + ".sanitizer"
    common = f"log_path={prefix}:abort_on_error=0"
    return dict(os.environ, ASAN_OPTIONS=f"{common}:detect_leaks=1", LSAN_OPTIONS="print_suppressions=0",
                UBSAN_OPTIONS=f"{common}:print_stacktrace=1",
                TSAN_OPTIONS=f"{common}:suppressions={ROOT}/test/tsan.supp:exitcode=66")


def stands_still(pid):
    """Whether SIGSTOP has reached every thread: on a busy machine some go on for a while."""
    try:
        stats = [path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False  # one that has just ended
    return all(stat.rsplit(")", 1)[1].split()[0] == "T" for stat in stats)


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Stack:
    """Everything that one test starts. Use StackTest.stack, or as a context manager."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ldc-test-"))
        self.store = self.folder / "store"
        self.store.mkdir()
        (self.folder / "token").write_text(TOKEN + "\n")
        (self.folder / "token").chmod(0o600)
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def keep(self, process):
        self.processes.append(process)
        return process

    def log(self, name):
        return self.folder / f"{name}.log"

    def broker(self, name="broker", **options):
        return self.keep(Broker(name, self.folder / f"{name}.data", self.log(name), **options))

    def app(self, unit="RZ01", color="blue", name=None, **options):
        name = name or f"app-{unit}-{color}"
        return self.keep(App(name, unit, color, self.folder / f"{name}.jsonl", self.log(name), **options))

    def gateway(self, name="gw1", wait=True, port=None, admin_port=None, threads=1, **options):
        """OPTIONS: rows of the gateway's configuration, with two underscores for a dot: limits__body="1KiB"."""
        port, admin_port = port or free_port(), admin_port or free_port()
        settings = {"name": name, "threads": threads, "ingress.listen": f"127.0.0.1:{port}",
                    "admin.listen": f"127.0.0.1:{admin_port}", "admin.token_file": self.folder / "token",
                    "store.location": f"dir:{self.store}", "store.cache": self.folder / f"{name}.cache",
                    "datacenter": "dc1"}
        return self._daemon("ldc-gateway", name, settings, options, admin_port, port, wait)

    def agent(self, unit="RZ01", name=None, wait=True, admin_port=None, **options):
        name, admin_port = name or f"agent-{unit}", admin_port or free_port()
        settings = {"name": name, "unit": unit, "admin.listen": f"127.0.0.1:{admin_port}",
                    "admin.token_file": self.folder / "token", "store.location": f"dir:{self.store}",
                    "datacenter": "dc1"}
        return self._daemon("ldc-agent", name, settings, options, admin_port, None, wait)

    def _daemon(self, program, name, settings, options, admin_port, port, wait):
        settings.update({key.replace("__", "."): value for key, value in options.items()})
        argv = [BUILD / program]
        for key, value in settings.items():
            argv += ["--set", f"{key}={value}"]
        daemon = self.keep(Daemon(name, argv, self.log(name), admin_port, port))
        if wait:
            wait_until(lambda: daemon.ready() or not daemon.alive(), what=f"{name} to be ready")
            if not daemon.alive():
                raise AssertionError(f"{name} ended:\n{daemon.log_text()}")
        return daemon

    def ctl(self, *words, gateway=None, stdin=None, timeout=60):
        """ldcctl WORDS; returns the finished process with text output."""
        where = []
        if gateway is not None:
            where = ["--gateway", f"http://127.0.0.1:{gateway.admin_port}", "--token-file", str(self.folder / "token")]
        return subprocess.run([str(BUILD / "ldcctl"), *map(str, words), *where], input=stdin or "", text=True,
                              capture_output=True, timeout=timeout * PATIENCE, env=_sanitizer_env(self.log("ldcctl")))

    def put_rules(self, gateway, text, unfenced=False):
        """Puts TEXT in force by GATEWAY's admin API and waits until it serves them; returns the record. UNFENCED: users
        may move in whatever order. Tried again, as operators do, where a busy machine does not close a unit in time."""
        def put():
            epoch = json.loads(gateway.get("/v1/rules").body)["record"]["epoch"] if gateway.epoch() > 0 else 0
            query = f"expected_epoch={epoch}&by=test&note=test" + ("&unfenced=1" if unfenced else "")
            answer = gateway.get(f"/v1/rules?{query}", "POST", text.encode())
            if answer.status != 200 and b"move-refused" not in answer.body:
                raise AssertionError(f"rules refused: {answer.status} {answer.body.decode(errors='replace')}")
            return answer.status == 200 and json.loads(answer.body)

        record = wait_until(put, what="users to be let go")
        wait_until(lambda: gateway.epoch() >= record["epoch"], what=f"epoch {record['epoch']} at {gateway.name}")
        return record

    def write_rules(self, text):
        """Puts TEXT in force before any gateway runs, with a gateway that lives for that moment."""
        gateway = self.gateway("seed", wait=False)
        wait_until(lambda: gateway.epoch() >= 0, what="the seeding gateway")
        self.put_rules(gateway, text)
        gateway.terminate()

    def stop(self):
        """Ends all processes; returns what the sanitizers have to say about them, "" for nothing."""
        late = self._end_by_themselves() if LEAKS else []
        for process in reversed(self.processes):
            process.kill()
        reports = [pathlib.Path(path).read_text(errors="replace")
                   for path in glob.glob(str(self.folder / "**" / "*.sanitizer*"), recursive=True)]
        return "\n".join([f"{name} does not end at SIGTERM" for name in late] + reports)

    def _end_by_themselves(self):
        """The names of our programs that do not. A second SIGTERM cuts short what they wait for."""
        ours = [process for process in self.processes if not isinstance(process, Broker) and process.alive()]
        for process in ours:
            process.signal(signal.SIGCONT)
        end = time.monotonic() + 20 * PATIENCE
        while any(process.alive() for process in ours) and time.monotonic() < end:
            for process in ours:
                process.signal(signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not any(process.alive() for process in ours), timeout=2 / PATIENCE)
        return [process.name for process in ours if process.alive()]

    def end(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self, lines=30):
        tails = []
        for path in sorted(self.folder.glob("*.log")):
            tails.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]))
        return "\n".join(tails)


class StackTest(unittest.TestCase):
    """A test with a Stack of its own."""

    maxDiff = None

    def run(self, result=None):
        self._result = result
        return super().run(result)

    def expect_problem(self, answer, status, name):
        """The problem document of ANSWER, which must be of this STATUS and NAME; who is to come again hears when."""
        self.assertEqual((answer.status, answer.headers["content-type"]), (status, "application/problem+json"),
                         answer.body[:300])
        self.assertEqual(answer.json()["type"], f"urn:ldcgate:problem:{name}")
        if status == 503:
            self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
        return answer.json()

    def setUp(self):
        self.stack = Stack()

    def tearDown(self):
        failed = any(getattr(test, "test_case", test) is self for test, _ in self._result.failures + self._result.errors)
        reports = self.stack.stop()
        if failed:
            print(self.stack.logs())
        self.stack.end()
        if reports:
            self.fail("a sanitizer reports:\n" + reports[:20000])


# --- rules -----------------------------------------------------------------------------------------------------------

def unit(slots=None, kind="A", datacenter="dc1", brokers=(), blue=(), green=(), weights=None, **more):
    """One unit of a rule file. BROKERS are Broker objects or URLs; BLUE and GREEN are App objects or URLs."""
    fields = {"kind": kind, "datacenter": datacenter}
    if slots is not None:
        fields["slots"] = [slots] if isinstance(slots, str) else list(slots)
    if brokers:
        fields["brokers"] = [getattr(broker, "url", broker) for broker in brokers]
    nodes = {}
    if blue:
        nodes["blue"] = [getattr(app, "url", app) for app in blue]
    if green:
        nodes["green"] = [getattr(app, "url", app) for app in green]
    if nodes:
        fields["nodes"] = nodes
        fields["weights"] = weights or {"blue": 100 if blue else 0, "green": 0 if blue else 100}
    fields.update(more)
    return fields


QUEUE_ROUTE = {"match": {"path": "/pay/*", "methods": ["POST"]}, "zone": "A", "action": "queue", "topic": "payments"}
PROXY_ROUTE = {"match": {"path": "/echo/*"}, "zone": "A", "action": "proxy"}
# A machine that runs tests may hold anybody up, and nobody is to be kept where he died since another one was moved. But
# the gap is shorter than broker.replica_timeout: a primary that is cut off strikes its standby off then, which cannot lead.
PATIENT_RULES = "failover: {gap: 400ms, window: 1s, cooldown: 1s, max_units: 5, clean: 500ms}\n"


def rules(units, routes=(QUEUE_ROUTE, PROXY_ROUTE), sharding=None, identity=None, overrides=None, topics=None):
    """The text of a rule file. JSON is YAML: each argument is a plain structure."""
    document = {"version": 1, "identity": identity or {"sources": ["header:X-User-Id"], "on_missing": "reject"},
                "sharding": sharding or {"hash": "modulo", "slots": 100}, "units": units}
    if topics:
        document["topics"] = topics
    if overrides:
        document["overrides"] = overrides
    document["routes"] = list(routes)
    return "".join(f"{json.dumps(key)}: {json.dumps(value)}\n" for key, value in document.items())


# --- clients ---------------------------------------------------------------------------------------------------------

class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def connection_to(port, timeout):
    """To a PORT of this machine, or to "host:port"."""
    host, port = port.rsplit(":", 1) if isinstance(port, str) else ("127.0.0.1", port)
    return http.client.HTTPConnection(host, int(port), timeout=timeout * SLOW)


def request(port, method, path, headers=None, body=b"", timeout=30.0):
    """One request on a connection of its own."""
    connection = connection_to(port, timeout)
    try:
        connection.request(method, path, body=body or None, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


class Client:
    """A keep-alive connection that reconnects when it was closed between two requests."""

    def __init__(self, port, timeout=30.0):
        self.connection = connection_to(port, timeout)

    def request(self, method, path, headers=None, body=b""):
        self.send(method, path, headers, body)
        return self.receive()

    def send(self, method, path, headers=None, body=b""):
        self.connection.request(method, path, body=body or None, headers=headers or {})

    def receive(self):
        answer = self.connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def close(self):
        self.connection.close()


def raw(port, data, timeout=5.0, shut=False):
    """Sends bytes as they are, and returns all that comes back until the peer closes or TIMEOUT passes in silence."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout * SLOW) as sock:
        try:
            sock.sendall(data)
            if shut:
                sock.shutdown(socket.SHUT_WR)
            while True:
                piece = sock.recv(65536)
                if not piece:
                    break
                received += piece
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
    return received
