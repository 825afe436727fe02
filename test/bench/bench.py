#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gateway beside nginx, HAProxy and webdis: one run, on loopback, one thread each, the same backend and load.

Five interleaved rounds; medians. CPU is what the server's own threads ran (schedstat, nanoseconds) divided by the
requests that the load generator completed; the load generator and the backend share the other processor. Prints a
table and writes BUILD/bench/bench.json: [{"case", "program", "version", "cpu_us", "p50_us", "p99_us", "rps"}].

    bench.py --build build [--rounds 5] [--seconds 2] [--only proxy,queue,durable,batch,route,memory]
"""
import argparse
import glob
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys

import peers

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "test" / "system"))

CONNECTIONS = 64


def cpu_ns(pids):
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with open(path) as schedstat:
                total += int(schedstat.read().split()[0])
    return total


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as listing:
        return [int(child) for child in listing.read().split()]


def version(*argv):
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True)
    found = re.search(r"\d+\.\d+[\w.~+-]*", done.stdout + done.stderr)
    return found.group(0) if found else "?"


def package_version(name):
    done = subprocess.run(["dpkg-query", "-W", "-f=${Version}", name], capture_output=True, text=True)
    return done.stdout or "?"


def on_cpu(cpu, argv):
    argv = list(map(str, argv))
    return ["taskset", "-c", str(cpu), *argv] if os.cpu_count() > 1 else argv


def put_load(port, script, seconds, connections=CONNECTIONS):
    """Completed requests, p50 and p99 in microseconds, requests a second, and how many answers were no success."""
    argv = on_cpu(1, ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s", script,
                      f"http://127.0.0.1:{port}/"])
    text = subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) (\d+)", text)
    if not found:
        raise SystemExit(f"the load generator failed:\n{text}")
    requests, p50, p99, rps, errors = found.groups()
    return int(requests), int(p50), int(p99), float(rps), int(errors)


class Bench:
    def __init__(self, options):
        import harness
        self.h, self.options = harness, options
        self.stack = harness.Stack()
        self.dir = self.stack.folder
        self.rows, self.targets, self.samples = [], [], {}
        self.own_version = version(harness.BUILD / "ldc-gateway", "--version")

    # --- the stage ---

    def spawn(self, name, argv, cpu, port):
        process = self.stack.keep(self.h.Process(name, on_cpu(cpu, argv), self.stack.log(name)))
        self.h.wait_until(lambda: self.h.listening(port) or not process.alive(), what=name)
        if not process.alive():
            raise SystemExit(f"{name} did not start:\n{process.log_text()}")
        return process

    def write(self, name, text):
        (self.dir / name).write_text(text)
        return self.dir / name

    def start_backend(self):
        port = self.h.free_port()
        conf = self.write("backend.conf", peers.BACKEND.format(dir=self.dir, port=port, pad="." * 100))
        self.spawn("backend", ["nginx", "-p", self.dir, "-c", conf], 1, port)
        return port

    def start_gateway(self, name, units, route, overrides=None, slots=100):
        port, admin = self.h.free_port(), self.h.free_port()
        store = self.dir / f"store-{name}"
        store.mkdir(exist_ok=True)
        argv = on_cpu(0, [self.h.BUILD / "ldc-gateway"])
        for setting in (f"name={name}", "threads=1", f"ingress.listen=127.0.0.1:{port}",
                        f"admin.listen=127.0.0.1:{admin}", f"admin.token_file={self.dir}/token",
                        f"store.location=dir:{store}"):
            argv += ["--set", setting]
        gateway = self.stack.keep(self.h.Daemon(name, argv, self.stack.log(name), admin, port))
        self.h.wait_until(lambda: gateway.epoch() >= 0, what="the gateway's admin listener")
        text = self.h.rules(units, sharding={"hash": "modulo", "slots": slots}, overrides=overrides,
                            routes=[route], topics={"payments": {"partitions": 16}})
        self.stack.put_rules(gateway, text)
        self.h.wait_until(gateway.ready, what="the gateway")
        return gateway

    # --- measuring ---

    def measure(self, case, program, pids, port, script, connections=CONNECTIONS, messages=1):
        """MESSAGES are in each request, and are what is counted."""
        before = cpu_ns(pids)
        requests, p50, p99, rps, errors = put_load(port, script, self.options.seconds, connections)
        spent = cpu_ns(pids) - before
        if errors > requests * 0.001 + CONNECTIONS:
            raise SystemExit(f"{case}: {program} answered {errors} of {requests} requests with errors")
        self.samples.setdefault((case, program), []).append((spent / max(requests * messages, 1) / 1000, p50, p99,
                                                             rps * messages))

    def run_rounds(self, case, programs, versions, after_each=lambda: None):
        """PROGRAMS: name -> (pids, port, load script). A warm-up, then the rounds, each program once a round."""
        for number in range(self.options.rounds + 1):
            for program, (pids, port, script) in programs.items():
                self.measure(case, program, pids, port, script)
                after_each()
                if number == 0:
                    self.samples[(case, program)].clear()
        self.add_rows(case, {program: versions[program] for program in programs})

    def add_rows(self, case, versions):
        for program in versions:
            cpu, p50, p99, rps = (statistics.median(column) for column in zip(*self.samples[(case, program)]))
            self.rows.append({"case": case, "program": program, "version": versions[program], "cpu_us": round(cpu, 2),
                              "p50_us": round(p50), "p99_us": round(p99), "rps": round(rps)})

    def hold_ratio(self, text, case, other, wanted):
        """The median of the ratios round by round: what the machine does to one, it does to its neighbour."""
        pairs = zip(self.samples[(case, "ldc-gateway")], self.samples[(case, other)])
        self.targets.append((text, statistics.median(own[0] / peer[0] for own, peer in pairs), wanted))

    # --- the cases ---

    def proxy(self):
        backend = self.start_backend()
        port, tcp_port, nginx_port = self.h.free_port(), self.h.free_port(), self.h.free_port()
        gateway = self.start_gateway("gw-proxy", {"RZ01": self.h.unit("00-99", blue=[f"http://127.0.0.1:{backend}"])},
                                     self.h.PROXY_ROUTE)
        conf = self.write("haproxy.cfg", peers.HAPROXY.format(port=port, tcp_port=tcp_port, backend=backend))
        haproxy = self.spawn("haproxy", ["haproxy", "-db", "-f", conf], 0, port)
        conf = self.write("nginx.conf", peers.NGINX.format(dir=self.dir, port=nginx_port, backend=backend))
        nginx = self.spawn("nginx", ["nginx", "-p", self.dir, "-c", conf], 0, nginx_port)
        script = self.write("proxy.lua", peers.PROXY_LOAD)
        haproxy_version = version("haproxy", "-v")
        self.run_rounds("proxy", {"ldc-gateway": ([gateway.pid], gateway.port, script),
                                  "nginx": (children(nginx.pid), nginx_port, script),
                                  "haproxy-http": ([haproxy.pid], port, script),
                                  "haproxy-tcp": ([haproxy.pid], tcp_port, script)},
                        {"ldc-gateway": self.own_version, "nginx": version("nginx", "-v"),
                         "haproxy-http": haproxy_version, "haproxy-tcp": haproxy_version})
        self.hold_ratio("proxy: CPU a request / HAProxy's (http)", "proxy", "haproxy-http", 1.0)
        self.hold_ratio("proxy: CPU a request / nginx's", "proxy", "nginx", 1.05)
        for process in (gateway, haproxy, nginx):
            process.kill()

    def queue(self):
        broker, port = self.stack.broker("broker"), self.h.free_port()
        conf = self.write("webdis.json", json.dumps(peers.webdis(port, broker.port, f"{self.dir}/webdis.out")))
        webdis = self.spawn("webdis", ["webdis", conf], 0, port)
        gateway = self.start_gateway("gw-queue", {"RZ01": self.h.unit("00-99", brokers=[broker])}, self.h.QUEUE_ROUTE)
        self.h.wait_until(lambda: self.h.request(gateway.port, "POST", "/pay/1", {"X-User-Id": "1"}, b"x").status == 202,
                          what="a first 202")

        def empty_streams():
            for key in broker.call("KEYS", "ldc:*"):
                broker.call("DEL", key)

        self.run_rounds("queue", {"ldc-gateway": ([gateway.pid], gateway.port, self.write("q.lua", peers.QUEUE_LOAD)),
                                  "webdis": ([webdis.pid], port, self.write("w.lua", peers.WEBDIS_LOAD))},
                        {"ldc-gateway": self.own_version, "webdis": package_version("webdis")}, empty_streams)
        self.hold_ratio("queue: CPU a message / webdis's", "queue", "webdis", 0.65)
        for process in (gateway, webdis):
            process.kill()

    def durable(self):
        """Two brokers that sync each write, and a gateway that waits for both."""
        self.beside_ceiling("durable", peers.QUEUE_LOAD, 256, 1, 2)
        own = self.samples[("durable", "ldc-gateway")]
        self.targets.append(("durable: CPU a message, us", statistics.median(row[0] for row in own), 12))

    def batch(self):
        """The same, a thousand CloudEvents in each request."""
        self.beside_ceiling("batch", peers.batch_load(1000), 4, 1000, 1 / 0.6)

    def beside_ceiling(self, case, load, connections, messages, wanted):
        """The ceiling is redis-benchmark on the same two brokers in the same round, with the same function and bytes: two
        connections with pipelines of 128, as the gateway has, but without a WAIT, which redis-benchmark cannot pipeline.
        So it is higher than what can be reached. MESSAGES are in each request."""
        primary = self.stack.broker("primary", extra=("--repl-diskless-sync-delay", "0"))
        replica = self.stack.broker("replica", extra=("--replicaof", f"127.0.0.1 {primary.port}"))
        units = {"RZ01": self.h.unit("00-99", brokers=[primary, replica])}
        gateway = self.start_gateway(f"gw-{case}", units, self.h.QUEUE_ROUTE)
        self.write_broker_record(gateway, f"gw-{case}")
        script = self.write(f"{case}.lua", load)
        for number in range(self.options.rounds + 1):
            self.measure(case, "ldc-gateway", [gateway.pid], gateway.port, script, connections, messages)
            rps = self.call_function(primary)
            self.samples.setdefault((case, "redis-benchmark"), []).append((0, 0, 0, rps))
            for key in primary.call("KEYS", "ldc:*payments*"):
                primary.call("DEL", key)
            if number == 0:
                self.samples.clear()
        self.add_rows(case, {"ldc-gateway": self.own_version,
                             "redis-benchmark": version("redis-benchmark", "--version")})
        own, ceiling = self.samples[(case, "ldc-gateway")], self.samples[(case, "redis-benchmark")]
        self.targets.append((f"{case}: ceiling's messages a second / the gateway's",
                             statistics.median(peer[3] / row[3] for row, peer in zip(own, ceiling)), round(wanted, 2)))
        for process in (gateway, replica, primary):
            process.kill()

    def write_broker_record(self, gateway, name):
        """By the unit's agent, which goes again: its reading of the streams is another figure."""
        agent = self.stack.agent(name=f"agent-{name}", store__location=f"dir:{self.dir}/store-{name}")

        def is_replicated():
            answer = self.h.request(gateway.port, "POST", "/pay/1", {"X-User-Id": "1"}, b"x")
            return (answer.status, answer.headers.get("ldc-durability")) == (202, "replicated")

        self.h.wait_until(is_replicated, what="a first message that both brokers hold")
        agent.kill()

    def call_function(self, broker):
        """Messages a second."""
        part, count = "ldc:{RZ01/payments/1}", 20000 * self.options.seconds
        fields = peers.message_fields("RZ01.payments.1.0123456789abcdef01234567", "__rand_int__")
        argv = on_cpu(0, ["redis-benchmark", "-p", broker.port, "-c", 2, "-P", 128, "-n", count, "-r", 100000, "--csv",
                          "FCALL", "ldc1_enqueue", 3, f"{part}:stream", f"{part}:state", "ldc:{RZ01}:epoch",
                          (broker.call("GET", "ldc:{RZ01}:epoch") or b"0").decode(), 0, 300000, "", *fields, ""])
        text = subprocess.run(argv, capture_output=True, text=True, timeout=120).stdout
        return float(text.splitlines()[-1].split('","')[1])

    def route(self):
        done = subprocess.run(on_cpu(0, [self.h.BUILD / "test" / "route"]), capture_output=True, text=True, timeout=120)
        figures = json.loads(done.stdout)
        self.targets.append(("route: one decision, ns", figures["route_ns"], 100))
        self.targets.append(("a million overrides: a look-up, ns", figures["override_ns"], 200))
        self.targets.append(("a million overrides: bytes each", figures["override_bytes"], 100))
        self.rows.append({"case": "route", "program": "ldc-gateway", "version": self.own_version,
                          "cpu_us": round(figures["route_ns"] / 1000, 4), "p50_us": 0, "p99_us": 0,
                          "rps": round(1e9 / figures["route_ns"])})

    def memory(self):
        overrides = [{"users": [str(1000000 + n) for n in range(1000)], "unit": "RZ01"}]
        units = {"RZ01": self.h.unit("0-8191", brokers=["redis://127.0.0.1:1"]),
                 "RZ02": self.h.unit("8192-16383", brokers=["redis://127.0.0.1:2"])}
        gateway = self.start_gateway("gw-memory", units, self.h.QUEUE_ROUTE, overrides, 16384)
        idle_kib, sockets, wanted = gateway.rss_kib(), [], 2000
        for _ in range(wanted):
            sock = socket.create_connection(("127.0.0.1", gateway.port))
            sock.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a\r\nX-User-Id: 1\r\n\r\n")
            sockets.append(sock)
        for sock in sockets:
            sock.recv(65536)
        each = (gateway.rss_kib() - idle_kib) * 1024 / wanted
        for sock in sockets:
            sock.close()
        self.targets.append(("memory: idle, 16,384 slots, 1,000 overrides, MB (RSS)", idle_kib * 1024 / 1e6, 24))
        self.targets.append(("memory: an idle keep-alive connection, KB", each / 1000, 16))
        gateway.kill()

    # --- results ---

    def run(self):
        wanted = self.options.only.split(",")
        try:
            for case in (self.proxy, self.queue, self.durable, self.batch, self.route, self.memory):
                if case.__name__ in wanted:
                    print(f"{case.__name__} ...", file=sys.stderr, flush=True)
                    case()
        finally:
            self.stack.end()
        self.print_results()
        self.write_results()

    def print_results(self):
        print(f"{'case':8} {'program':14} {'version':18} {'CPU us':>8} {'p50 us':>8} {'p99 us':>8} {'per s':>9}")
        for row in self.rows:
            print(f"{row['case']:8} {row['program']:14} {row['version']:18} {row['cpu_us']:8.2f} {row['p50_us']:8} "
                  f"{row['p99_us']:8} {row['rps']:9}")
        print()
        for text, reached, wanted in self.targets:
            print(f"{text:56} {reached:10.3f}   wanted <= {wanted:<6} {'ok' if reached <= wanted else 'MISSED'}")

    def write_results(self, name="bench.json"):
        out = self.h.BUILD / "bench" / name
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(self.rows, indent=1) + "\n")
        print(f"\nwritten: {out}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--only", default="proxy,queue,durable,batch,route,memory")
    options = parser.parse_args()
    os.environ["LDC_BUILD"] = str((ROOT / options.build).resolve())
    Bench(options).run()


if __name__ == "__main__":
    main()
