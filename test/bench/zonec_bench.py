#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Collections on loopback: how many writes a second one gateway takes, how long after its acknowledgement a write can be
read in every unit, and what a read costs the gateway beside webdis, which serves the same values in the same run.

    zonec_bench.py [--build build] [--keys 1000000] [--seconds 20] [--rounds 5] [--only writes,reads]
                   [--fsync always] [--folder /dev/shm]

A core unit of two brokers and four units of one, an agent each, one gateway with one thread; the load (zonec-load) reads
every unit through it. Prints a table and writes BUILD/bench/zonec.json. A million keys take about 4 GB of memory.

A write is readable in a unit from when the first read begins that finds it there: one is begun some 300 us after the
answer of the one before, so it may have been so earlier. Read there it is when that is answered.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import bench
import peers

sys.path.insert(0, str(bench.ROOT / "test" / "zonec"))

UNITS = ("RZ01", "RZ02", "RZ03", "RZ04")
WRITERS = 128
WANTED_RATE = 5000
PLAIN = 10000  # keys that are read


def read_load(path):
    """PATH with a %07d for the number of a key."""
    return f"""
function request()
  return string.format("GET {path} HTTP/1.1\\r\\nHost: app.test\\r\\nUser-Agent: bench\\r\\nAccept: */*\\r\\n\\r\\n",
    math.random(0, {PLAIN - 1}))
end
""" + peers.DONE


class ZonecBench(bench.Bench):
    def broker(self, name, *extra):
        """One that makes no new file of its commands meanwhile: six of them at once would be all that is measured."""
        return self.stack.broker(name, fsync=self.options.fsync, extra=("--auto-aof-rewrite-percentage", "0", *extra))

    def start(self):
        self.core = self.broker("core")
        self.standby = self.broker("core-standby", "--replicaof", f"127.0.0.1 {self.core.port}")
        self.brokers = {unit: self.broker(unit) for unit in UNITS}
        units = {"CORE": self.h.unit(kind="core", brokers=[self.core, self.standby])}
        for number, unit in enumerate(UNITS):
            units[unit] = self.h.unit(f"{25 * number:02}-{25 * number + 24:02}", brokers=[self.brokers[unit]],
                                      datacenter=f"dc{number + 1}")
        text = self.h.rules(units, routes=[{"match": {"path": "/-/c/*"}, "zone": "C"}])
        text += self.z.collection_rules({"staleness": "2s", "feed": 100000, "digest": "1m"}) + "failover: {auto: false}\n"
        self.gateway = self.stack.gateway("gateway", wait=False)
        self.h.wait_until(lambda: self.gateway.epoch() >= 0, what="the gateway's admin listener")
        self.stack.put_rules(self.gateway, text)
        self.agents = [self.stack.agent("CORE")]
        self.h.wait_until(self.gateway.ready, what="the gateway")
        self.h.wait_until(self.is_replicated, 60, "a first write that both brokers hold")

    def is_replicated(self):
        answer = self.h.request(self.gateway.port, "PUT", f"/-/c/{self.z.NAME}/first", {"Content-Type": "text/plain"}, b"x")
        return answer.status in (201, 204) and answer.headers["ldc-durability"] == "replicated"

    def shows(self, unit, key):
        """By its own copy."""
        answer = self.h.request(self.gateway.port, "GET", f"/-/c/{self.z.NAME}/{key}", {"LDC-Unit": unit})
        return answer.status == 200 and answer.headers.get("ldc-unit") == unit

    def fill(self):
        """The origin first, then all copies at once."""
        connection = self.h.BrokerConnection(self.core.port)
        epoch = int(connection.call("GET", "ldc:{CORE}:epoch"))
        for _ in self.z.fill(self.z.collections_fixture.Site(connection, "CORE", epoch, self.z.NAME), self.options.keys):
            pass
        connection.close()
        began = time.monotonic()
        self.agents += [self.stack.agent(unit) for unit in UNITS]
        last = "merchant-%07d" % (self.options.keys - 1)
        self.h.wait_until(lambda: all(self.shows(unit, last) for unit in UNITS), 600, "the last key in all units", every=0.1)
        print(f"{self.options.keys} keys were copied to {len(UNITS)} units at once in {time.monotonic() - began:.1f} s", flush=True)

    # --- the cases

    def load(self, name, units=UNITS, **options):
        return self.z.Load(self.stack, name, [self.gateway.port], units, keys=self.options.keys, **options)

    def timed(self, name, seconds, **options):
        """The figures of SECONDS of a load, after a while of it; and what each kind of process spent on a write."""
        load = self.load(name, **options)
        load.more(1)
        self.z.pause(3)
        load.next_phase()
        kinds = {"gateway": [self.gateway], "origin": [self.core], "its standby": [self.standby],
                 "a unit's broker": self.brokers.values(), "a unit's agent": self.agents[1:], "the core's agent": self.agents[:1],
                 "the load": [load]}
        before = {kind: bench.cpu_ns([one.pid for one in ones]) for kind, ones in kinds.items()}
        self.z.pause(seconds)
        figures = load.next_phase()
        spent = {kind: (bench.cpu_ns([one.pid for one in ones]) - before[kind]) / len(ones) for kind, ones in kinds.items()}
        print(f"{name}: CPU us a write: " + ", ".join(f"{kind} {ns / 1000 / max(figures['accepted'], 1):.1f}"
                                                      for kind, ns in spent.items()), flush=True)
        load.finish()
        return figures

    def writes(self):
        seconds = self.options.seconds
        figures = self.timed("peak", seconds, writers=WRITERS, units=[])
        peak = figures["accepted"] / figures["seconds"]
        self.tell("peak", figures)
        self.targets.append((f"writes a second wanted / at peak ({peak:.0f})", WANTED_RATE / peak, 1.0))
        for rate in (int(peak / 2), WANTED_RATE):
            figures = self.timed(f"rate-{rate}", seconds, writers=WRITERS, rate=rate, probe_rate=100, probers=4)
            self.tell(f"{rate} writes/s", figures)
            if rate != WANTED_RATE:  # the later of the two moments: nobody can say more than that it was readable by then
                self.targets.append((f"acknowledged -> read in all units, p99 ms at {rate}/s",
                                     figures["everywhere"]["p99_us"] / 1000, 5.0))

    def tell(self, case, figures):
        rate = figures["accepted"] / figures["seconds"]
        for program, measured in (("acknowledged", figures["writes"]), ("when due", figures["waits"]),
                                  ("readable in all units", figures["readable"]),
                                  ("and read there", figures["everywhere"])):
            if measured["count"]:
                self.rows.append({"case": case, "program": program, "version": self.own_version, "cpu_us": 0,
                                  "p50_us": measured["p50_us"], "p99_us": measured["p99_us"], "rps": round(rate)})

    def pin(self, process, cpu):
        if os.cpu_count() > 1:
            subprocess.run(["taskset", "-a", "-cp", str(cpu), str(process.pid)], check=True, stdout=subprocess.DEVNULL)

    def reads(self):
        """The first unit's copy and plain values of the same bytes on the same broker, by the same load."""
        broker, port = self.brokers[UNITS[0]], self.h.free_port()
        connection = self.h.BrokerConnection(broker.port)
        value = self.h.request(self.gateway.port, "GET", f"/-/c/{self.z.NAME}/merchant-{0:07}").body
        connection.pipeline([("SET", f"plain-{number:07}", value) for number in range(PLAIN)])
        connection.close()
        conf = self.write("webdis.json", json.dumps(peers.webdis(port, broker.port, f"{self.dir}/webdis.out")))
        webdis = self.spawn("webdis", ["webdis", conf], 0, port)
        self.pin(self.gateway, 0)
        for process in (*self.brokers.values(), *self.agents):
            self.pin(process, 1)
        own = self.write("own.lua", read_load(f"/-/c/{self.z.NAME}/merchant-%07d"))
        theirs = self.write("webdis.lua", read_load("/GET/plain-%07d.txt"))
        self.run_rounds("read", {"ldc-gateway": ([self.gateway.pid], self.gateway.port, own),
                                 "webdis": ([webdis.pid], port, theirs)},
                        {"ldc-gateway": self.own_version, "webdis": bench.package_version("webdis")})
        self.hold_ratio("read: CPU a read / webdis's", "read", "webdis", 1.0)

    # --- results

    def run(self):
        import stage
        self.z = stage
        wanted = self.options.only.split(",")
        try:
            self.start()
            print("fill ...", file=sys.stderr, flush=True)
            self.fill()
            for case in (self.writes, self.reads):
                if case.__name__ in wanted:
                    print(f"{case.__name__} ...", file=sys.stderr, flush=True)
                    case()
        except AssertionError:
            print(self.stack.logs())
            raise
        finally:
            self.stack.end()
        self.print_results()
        self.write_results("zonec.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--keys", type=int, default=1000000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--only", default="writes,reads")
    parser.add_argument("--fsync", default="always")
    parser.add_argument("--folder", help="where the brokers write: /dev/shm, where the disk is not what is to be measured")
    options = parser.parse_args()
    tempfile.tempdir = options.folder
    os.environ["LDC_BUILD"] = str((bench.ROOT / options.build).resolve())
    ZonecBench(options).run()


if __name__ == "__main__":
    main()
