# SPDX-License-Identifier: Apache-2.0
"""A gateway, a primary and replicas, and the broker record written by the test: so that it says just what a test needs,
also what no keeper would write."""
import contextlib
import json
import os

import harness
from harness import wait_until

TOPICS = {"payments": {"partitions": 4}}


def info(broker, *sections):
    text = broker.call("INFO", *sections).decode()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


class DurableTest(harness.StackTest):
    version = 0
    KIND = "A"

    def start(self, replicas=1, routes=(harness.QUEUE_ROUTE,), topics=None, record=True, **options):
        self.primary = self.stack.broker("primary", extra=("--repl-diskless-sync-delay", "0"))
        self.replicas = [self.replica(f"replica{i}") for i in range(1, replicas + 1)]
        self.wait_attached(replicas)
        if record:
            self.write_record()
        self.gateway = self.stack.gateway(wait=False, **options)
        wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        self.apply(routes, topics)

    def apply(self, routes=(harness.QUEUE_ROUTE,), topics=None):
        units = {} if self.KIND == "A" else {"RZ02": harness.unit("00-99")}
        units["RZ01"] = harness.unit(None if units else "00-99", self.KIND, brokers=[self.primary, *self.replicas])
        text = harness.rules(units, routes=routes, topics={"payments": dict(TOPICS["payments"], **(topics or {}))})
        self.stack.put_rules(self.gateway, text.replace('"100ms"', "100ms").replace('"2s"', "2s"))

    def replica(self, name):
        return self.stack.broker(name, extra=("--replicaof", f"127.0.0.1 {self.primary.port}"))

    def wait_attached(self, count):
        def attached():
            state = info(self.primary, "replication")
            online = sum("state=online" in value for key, value in state.items() if key.startswith("slave"))
            return online == count

        wait_until(attached, what=f"{count} replicas online")

    def write_record(self, members=None, **changes):
        """Names MEMBERS (all brokers), the primary first, as the primary stands now; CHANGES are what is to be wrong."""
        members = members or [self.primary, *self.replicas]
        now = info(self.primary, "server", "replication", "stats")
        record = {"dataset": "0" * 32, "primary": self.primary.url, "run_id": now["run_id"],
                  "sync_full": int(now["sync_full"]), "sync_partial": int(now["sync_partial_ok"]),
                  "wait": len(members) - 1, "at_us": 1, "by": "test",
                  "in_sync": [{"broker": member.url, "run_id": info(member, "server")["run_id"]} for member in members]}
        record.update(changes)
        if "run_id" in changes:
            record["in_sync"][0]["run_id"] = changes["run_id"]
        self.put_record(record)

    def put_record(self, record):
        self.version += 1
        self.record = record
        path = self.stack.store / "document-brokers%2fRZ01"
        path.with_suffix(".new").write_text(f"{self.version}\n{json.dumps(record)}")
        os.rename(path.with_suffix(".new"), path)
        self.stamp()

    def epoch(self):
        """What gateways send to the primary by the newest record."""
        return self.version

    def stamp(self):
        """As the primary's agent does; a broker that is down, or slow, is none that serves."""
        with contextlib.suppress(OSError, RuntimeError, ConnectionError):
            harness.call_broker(int(self.record["primary"].rsplit(":", 1)[1]), "SET", "ldc:{RZ01}:epoch", self.epoch())

    def wait_followed(self):
        wait_until(lambda: f"RZ01: version {self.version}," in self.gateway.log_text(), what="the gateway to follow")

    # --- clients ---

    def post(self, user="1", body=b"{}", path="/pay/1", key=None, headers=()):
        headers = {"X-User-Id": user, **dict(headers), **({"Idempotency-Key": key} if key else {})}
        return harness.request(self.gateway.port, "POST", path, headers, body, timeout=30)

    def accepted(self, **options):
        return wait_until(lambda: (answer := self.post(**options)).status == 202 and answer, what="a 202")

    def stored(self, broker=None):
        """All messages: fields by (partition, entry id)."""
        found = {}
        for partition in range(TOPICS["payments"]["partitions"]):
            key = "ldc:{RZ01/payments/%d}:stream" % partition
            for entry, fields in (broker or self.primary).call("XRANGE", key, "-", "+"):
                found[partition, entry] = dict(zip(fields[::2], fields[1::2]))
        return found

    def ids(self, broker=None):
        return sorted(message[b"id"].decode() for message in self.stored(broker).values())
