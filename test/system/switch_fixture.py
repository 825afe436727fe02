# SPDX-License-Identifier: Apache-2.0
"""Units that change their broker under load: clients that note what each gateway answered, and when; the test itself
decides, as gateways, keeper and warden would, by writing the record and by promoting the standby."""
import collections
import http.client
import threading
import time

import durable_fixture
import harness
from durable_fixture import info
from harness import wait_until


class Payers:
    """Threads that post one payment after the other, each by a gateway of its own: `answers` holds the time of each
    request and answer, the status, the id and the body."""

    Answer = collections.namedtuple("Answer", "asked at status id body problem")

    def __init__(self, gateways, threads=6, path="/pay/1"):
        self.path, self.answers, self.stopping = path, [], threading.Event()
        self.threads = [threading.Thread(target=self._pay, args=(gateways[n % len(gateways)].port, n), daemon=True)
                        for n in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.more(200)
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30 * harness.SLOW)

    def request(self, client, thread, body):
        """(status, id, problem) of one."""
        answer = client.request("POST", self.path, {"X-User-Id": str(thread)}, body.encode())
        document = answer.json()
        return answer.status, document.get("id") or document.get("message"), document.get("type")

    def _pay(self, port, thread):
        client, number = harness.Client(port, timeout=30), 0
        while not self.stopping.is_set():
            body, number, asked = f"{thread}/{number}", number + 1, time.monotonic()
            try:
                status, identity, problem = self.request(client, thread, body)
                self.answers.append(self.Answer(asked, time.monotonic(), status, identity, body, problem))
            except (OSError, http.client.HTTPException) as fault:
                self.answers.append(self.Answer(asked, time.monotonic(), 0, None, body, str(fault)))
                client.close()
                client = harness.Client(port, timeout=30)
        client.close()

    def more(self, count):
        goal = len(self.accepted()) + count
        wait_until(lambda: len(self.accepted()) >= goal, timeout=60, what=f"{count} more 202s")

    def accepted(self):
        return [answer for answer in self.answers if answer.status in (200, 202)]

    def refused(self):
        return [answer for answer in self.answers if answer.status not in (200, 202)]

    def longest_ms(self, since):
        return max((answer.at - answer.asked for answer in self.answers if answer.at >= since), default=0) * 1000


class Visitors(Payers):
    """The same with requests that are proxied; the id is the unit of the node."""

    def request(self, client, thread, body):
        answer = client.request("GET", "/echo/x", {"X-User-Id": str(thread)})
        return answer.status, answer.json().get("unit"), None if answer.status == 200 else answer.body.decode()


class SwitchTest(durable_fixture.DurableTest):
    def start(self, gateways=3, **options):
        """Requests are held for as long as a busy machine lets the test decide."""
        options = {"failover__hold": "30s", "broker__timeout": "30s", **options}
        super().start(replicas=1, routes=(harness.QUEUE_ROUTE, harness.PROXY_ROUTE), **options)
        self.standby = self.replicas[0]
        self.gateways = [self.gateway] + [self.stack.gateway(f"gw{n}", **options) for n in range(2, gateways + 1)]
        for gateway in self.gateways:
            wait_until(lambda: harness.request(gateway.port, "POST", "/pay/1", {"X-User-Id": "0"}, b"first").status == 202,
                       what=f"a 202 of {gateway.name}")
            wait_until(lambda: f"{self.standby.url} is connected" in gateway.log_text(), what="the standby's line")

    def decide(self, primary, members, **changes):
        """The compare-and-set: from now on gateways may hear of it."""
        now = info(primary, "server", "stats")
        self.put_record({"dataset": "0" * 32, "primary": primary.url, "run_id": now["run_id"],
                         "sync_full": int(now["sync_full"]), "sync_partial": int(now["sync_partial_ok"]),
                         "wait": len(members) - 1, "at_us": 1, "by": "test", "why": "the test wants it",
                         "in_sync": [{"broker": member.url, "run_id": info(member, "server")["run_id"]}
                                     for member in members], **changes})
        return time.monotonic()

    def stamp(self):
        pass  # promote() does, or the first record's writer

    def write_record(self, **options):
        super().write_record(**options)
        self.stamp_now()

    def apply(self, routes=(harness.QUEUE_ROUTE, harness.PROXY_ROUTE), topics=None):
        """RZ02 has nodes and no users."""
        self.apps = {name: self.stack.app(name) for name in ("RZ01", "RZ02")}
        units = {"RZ01": harness.unit("00-99", brokers=[self.primary, *self.replicas], blue=[self.apps["RZ01"]]),
                 "RZ02": harness.unit(kind="B", datacenter="dc2", blue=[self.apps["RZ02"]])}
        self.stack.put_rules(self.gateway, harness.rules(units, routes=routes,
                                                         topics={"payments": durable_fixture.TOPICS["payments"]}))

    def hold(self):
        return self.decide(self.primary, [self.primary, self.standby], hold=True)

    def fence(self):
        """No writes any more, and the standby has all there were."""
        self.primary.call("CLIENT", "PAUSE", 10000, "WRITE")

        def equal():
            return info(self.primary, "replication")["master_repl_offset"] == \
                info(self.standby, "replication")["slave_repl_offset"]

        wait_until(equal, what="equal offsets", every=0.0002)

    def switch(self, **changes):
        """From the hold to the release; returns when it began."""
        since = self.hold()
        self.stamp_now()
        self.wait_all_followed()
        self.fence()
        self.decide(self.standby, [self.standby], **changes)
        self.promote(self.standby)
        self.primary.call("CLIENT", "UNPAUSE")
        self.primary.call("REPLICAOF", "127.0.0.1", self.standby.port)
        return since

    def wait_all_followed(self):
        for gateway in self.gateways:
            wait_until(lambda: self.known_to(gateway) == self.version, what="the new record", every=0.0005)

    @staticmethod
    def known_to(gateway):
        """Records come from the store, and from other gateways."""
        return next(unit for unit in gateway.status()["units"] if unit["name"] == "RZ01")["broker_record"]["version"]

    def stamp_now(self):
        self.primary.call("SET", "ldc:{RZ01}:epoch", self.epoch())

    def promote(self, broker):
        harness.transaction(broker.port, ("REPLICAOF", "NO", "ONE"), ("EVAL", "redis.call('SET', KEYS[1], ARGV[1])", 1,
                                                                     "ldc:{RZ01}:epoch", self.epoch()))

    def audit(self, payers, broker):
        """Each 202 is there, by its id, and nothing is there twice."""
        stored, ids = collections.defaultdict(set), set()
        for message in self.stored(broker).values():
            ids.add(message[b"id"].decode())
            stored[message[b"body"].decode()].add(message[b"id"].decode())
        lost = [answer for answer in payers.accepted() if answer.id not in ids]
        self.assertEqual(lost, [], "accepted and lost")
        entries = [message[b"id"] for message in self.stored(broker).values()]
        self.assertEqual(len(entries), len(set(entries)), "a message was stored again by its replay")
        twice = {body: ids for body, ids in stored.items() if len(ids) > 1 and body != "first"}
        self.assertEqual(twice, {}, "stored under two ids")

    def tell(self, what, payers, since):
        first = min(answer.at for answer in payers.accepted() if answer.at >= since)
        by_gateway = [sum(gateway.metric(name) for gateway in self.gateways)
                      for name in ("failover_held_total", "failover_replayed_total")]
        print(f"\n{what}: {1000 * (first - since):.1f} ms to the first 202, longest request "
              f"{payers.longest_ms(since):.1f} ms, {len(payers.accepted())} accepted, {len(payers.refused())} refused, "
              f"{by_gateway[0]:.0f} held, {by_gateway[1]:.0f} sent again", end=" ", flush=True)
