#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The queue under strain: many partitions, a deep backlog, a poisoned user, and how long a message takes to its app.

Real gateway, agent, app and brokers on loopback. Each figure stands beside the undisturbed one of the same run.

    queue_bench.py --build build [--only partitions,backlog,delivery,poison] [--messages 5000000] [--seconds 3]
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time

import bench
import peers

sys.path.insert(0, str(bench.ROOT / "test" / "system"))

UNIT_PARTITIONS = 8
TEN_THOUSAND_USERS = peers.QUEUE_LOAD.replace("(n % 100000)", "(n % 10000)")


class QueueBench(bench.Bench):
    def gateway_for(self, name, broker, partitions=16, **topic):
        port, admin = self.h.free_port(), self.h.free_port()
        store = self.dir / f"store-{name}"
        store.mkdir()
        gateway = self.stack.gateway(name, wait=False, port=port, admin_port=admin, store__location=f"dir:{store}")
        self.h.wait_until(lambda: gateway.epoch() >= 0, what="the gateway")
        unit = self.h.unit("0-16383", brokers=[broker], blue=[self.app] if getattr(self, "app", None) else ())
        self.stack.put_rules(gateway, self.h.rules({"RZ01": unit}, routes=[self.h.QUEUE_ROUTE],
                                                   sharding={"hash": "modulo", "slots": 16384},
                                                   topics={"payments": {"partitions": partitions, **topic}}))
        self.h.wait_until(lambda: self.pay(gateway, 1) == 202, what="a first 202")
        return gateway

    def pay(self, gateway, user):
        return self.h.request(gateway.port, "POST", "/pay/1", {"X-User-Id": str(user)}, b"x").status

    def p99(self, gateway, script):
        requests, _, p99, rps, errors = bench.put_load(gateway.port, script, self.options.seconds)
        if errors:
            raise SystemExit(f"{errors} of {requests} requests were not accepted")
        return p99, rps

    def compare(self, text, plain, strained, wanted, script):
        """Interleaved rounds; the median of the ratios of the p99 of accepting a message."""
        ratios = []
        for number in range(self.options.rounds + 1):
            (a, rate), (b, strained_rate) = self.p99(plain, script), self.p99(strained, script)
            if number:
                ratios.append(b / a)
        self.rows += [{"case": text, "program": "plain", "version": self.own_version, "cpu_us": 0, "p50_us": 0,
                       "p99_us": a, "rps": round(rate)},
                      {"case": text, "program": "strained", "version": self.own_version, "cpu_us": 0, "p50_us": 0,
                       "p99_us": b, "rps": round(strained_rate)}]
        self.targets.append((f"{text}: p99 / plain p99", statistics.median(ratios), wanted))

    # --- the cases ---

    def partitions(self):
        few, many = self.stack.broker("few"), self.stack.broker("many")
        script = self.write("partitions.lua", peers.QUEUE_LOAD)
        plain, strained = self.gateway_for("gw-few", few), self.gateway_for("gw-many", many, partitions=16384)
        self.prime(many, 20000)
        self.compare("20,000 partitions", plain, strained, 2.0, script)
        for process in (plain, strained, few, many):
            process.kill()

    def prime(self, broker, count):
        """A message in each of COUNT partitions, by the same function."""
        for first in range(0, count, 1000):
            lines = "".join(" ".join(self.call_words(number)) + "\n" for number in range(first, first + 1000))
            subprocess.run(["redis-cli", "-p", str(broker.port)], input=lines, text=True, capture_output=True, check=True)

    def call_words(self, partition, body="x"):
        key = f"ldc:{{RZ01/payments/{partition}}}"
        return ["FCALL", "ldc1_enqueue", "3", key + ":stream", key + ":state", "ldc:{RZ01}:epoch", "0", "0", "300000",
                "0" * 32, f"RZ01.payments.{partition}.0123456789abcdef01234567", "123456", "42", "1", "1700000000000000",
                "blue", "POST", "/pay/1", "content-type:application/json", body, ""][:21]

    def fill(self, broker, count):
        argv = ["redis-benchmark", "-p", str(broker.port), "-n", str(count // 16), "-c", "4", "-P", "64", "-q"]
        for partition in range(16):
            done = subprocess.run([*argv, *self.call_words(partition, peers.BODY)], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)

    def memory_of(self, broker):
        info = broker.call("INFO", "memory").decode()
        return int(next(line for line in info.splitlines() if line.startswith("used_memory:")).split(":")[1])

    def backlog(self):
        empty, deep = self.stack.broker("empty"), self.stack.broker("deep")
        script = self.write("backlog.lua", peers.QUEUE_LOAD)
        plain, strained = self.gateway_for("gw-empty", empty), self.gateway_for("gw-deep", deep)
        before = self.memory_of(deep)
        self.fill(deep, self.options.messages)
        each = (self.memory_of(deep) - before) / self.options.messages
        print(f"a backlog of {self.options.messages:,} messages of {len(peers.BODY)} bytes: {each:.0f} bytes of memory each")
        self.compare("a deep backlog", plain, strained, 1.2, script)
        for process in (plain, strained, empty, deep):
            process.kill()

    def delivery_rate(self, gateway, agent):
        """Messages a second that gateway, broker, agent and app take together when nothing holds them back."""
        script = self.write("peak.lua", TEN_THOUSAND_USERS)
        before, started = agent.status()["counters"]["agent_acknowledged_total"], time.monotonic()
        bench.put_load(gateway.port, script, self.options.seconds)
        self.wait_settled()
        return (agent.status()["counters"]["agent_acknowledged_total"] - before) / (time.monotonic() - started)

    def undelivered(self):
        """By the broker's own figures: what an agent says of it is as old as its last look."""
        keys = [f"ldc:{{RZ01/payments/{number}}}:" for number in range(UNIT_PARTITIONS)]
        stored = sum(int(self.broker.call("HGET", key + "state", "n") or 0) for key in keys)
        return stored - sum(int(self.broker.call("HGET", key + "cursor:default", "passed") or 0) for key in keys)

    def wait_settled(self):
        self.h.wait_until(lambda: self.undelivered() == 0, 120, "the deliveries")

    def paced(self, gateway, agent, rate):
        """p50 and p99, in microseconds, from the whole request at the gateway to the app's 2xx; and the rate reached. A
        fresh agent, for a histogram that begins."""
        agent.terminate()
        agent.restart()
        self.h.wait_until(agent.ready, what="the agent")
        script = self.write("paced.lua", TEN_THOUSAND_USERS +
                            f"function delay() return math.random(0, {max(round(2000 * bench.CONNECTIONS / rate), 1)}) end\n")
        reached = bench.put_load(gateway.port, script, self.options.seconds)[3]
        self.wait_settled()
        latency = agent.status()["latency_us"]
        return latency["p50"], latency["p99"], reached

    def delivery(self):
        gateway, agent = self.start_unit()
        peak = statistics.median(self.delivery_rate(gateway, agent) for _ in range(3))
        rounds = [self.paced(gateway, agent, peak / 2) for _ in range(self.options.rounds)]
        p50, p99, reached = (statistics.median(column) for column in zip(*rounds))
        self.rows.append({"case": "delivery", "program": "half its peak", "version": self.own_version, "cpu_us": 0,
                          "p50_us": p50, "p99_us": p99, "rps": round(reached)})
        self.targets.append((f"delivery at half of {peak:.0f}/s: p99 to the app's 2xx, ms", p99 / 1000, 5))
        self.end_unit()

    def poison(self):
        gateway, agent = self.start_unit()
        rate = statistics.median(self.delivery_rate(gateway, agent) for _ in range(3)) / 2
        ratios = []
        for _ in range(self.options.rounds):
            plain = self.paced(gateway, agent, rate)
            self.app_control("fail?status=500&times=1000000000&user=7777")
            self.h.wait_until(lambda: self.pay(gateway, 7777) == 202, what="a message of the poisoned user")
            poisoned = self.paced(gateway, agent, rate)
            self.app.kill()
            self.app.restart()  # which forgets that it was to fail
            ratios.append(poisoned[1] / plain[1])
        self.rows.append({"case": "poison", "program": "others' delivery", "version": self.own_version, "cpu_us": 0,
                          "p50_us": poisoned[0], "p99_us": poisoned[1], "rps": round(poisoned[2])})
        self.targets.append(("one poisoned user of 10,000: the others' p99 / undisturbed", statistics.median(ratios), 1.5))
        self.end_unit()

    def app_control(self, target):
        if self.h.request(self.app.port, "POST", "/-/sample/" + target).status >= 300:
            raise SystemExit(f"the sample app does not take {target}")

    def start_unit(self):
        self.app = self.stack.app("RZ01", "blue")
        self.broker = self.stack.broker("unit", extra=("--auto-aof-rewrite-min-size", "1gb"))  # as docs/QUEUE.md has it
        gateway = self.gateway_for("gw-unit", self.broker, partitions=UNIT_PARTITIONS)
        return gateway, self.stack.agent(store__location=f"dir:{self.dir}/store-gw-unit")

    def end_unit(self):
        for process in reversed(self.stack.processes):
            process.kill()
        shutil.rmtree(self.dir / "store-gw-unit")
        shutil.rmtree(self.broker.folder)  # its data are stamped with an epoch that the next store does not know
        (self.dir / "gw-unit.cache").unlink()

    def run(self):
        wanted = self.options.only.split(",")
        try:
            for case in (self.partitions, self.backlog, self.delivery, self.poison):
                if case.__name__ in wanted:
                    print(f"{case.__name__} ...", file=sys.stderr, flush=True)
                    case()
        finally:
            self.stack.end()
        self.print_results()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=5000000)
    parser.add_argument("--only", default="partitions,backlog,delivery,poison")
    options = parser.parse_args()
    os.environ["LDC_BUILD"] = str((bench.ROOT / options.build).resolve())
    QueueBench(options).run()


if __name__ == "__main__":
    main()
