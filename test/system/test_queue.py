#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The queue path against real brokers: what is stored, what is refused and in which words, and that no 202 is lost."""
import asyncio
import contextlib
import signal
import socket
import time
import unittest

import harness
from harness import wait_until

PARTITIONS = 4
TOPICS = {"payments": {"partitions": PARTITIONS}}
FIELDS = [b"id", b"user", b"slot", b"epoch", b"in_us", b"color", b"method", b"path", b"headers", b"body", b"n", b"st_us",
          b"reply"]


def stream(partition, unit="RZ01", topic="payments"):
    return "ldc:{%s/%s/%d}:stream" % (unit, topic, partition)


def stored(broker, unit="RZ01"):
    """All messages of UNIT: (entry id, fields) by message id. Two entries with one id would be a message stored twice."""
    found = {}
    for partition in range(PARTITIONS):
        for entry, fields in broker.call("XRANGE", stream(partition, unit), "-", "+"):
            message = dict(zip(fields[::2], fields[1::2]))
            identity = message[b"id"].decode()
            assert identity not in found, f"{identity} stands twice in its stream"
            found[identity] = entry.decode(), message
    return found


class QueueTest(harness.StackTest):
    def start(self, broker=None, routes=(harness.QUEUE_ROUTE,), units=None, **options):
        self.broker = broker or self.stack.broker()
        self.gateway = self.stack.gateway(wait=False, **options)
        wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")
        self.units = units or {"RZ01": harness.unit("00-99", brokers=[self.broker])}
        self.apply(routes)

    def apply(self, routes=(harness.QUEUE_ROUTE,)):
        text = harness.rules(self.units, routes=routes, topics=TOPICS)
        self.stack.put_rules(self.gateway, text.replace('"1s"', "1s"))  # durations stand without quotes

    def post(self, user="1", body=b"{}", path="/pay/1", headers=(), method="POST"):
        return harness.request(self.gateway.port, method, path, {"X-User-Id": user, **dict(headers)}, body, timeout=30)

    def accepted(self, **options):
        return wait_until(lambda: (answer := self.post(**options)).status == 202 and answer, what="a 202")

    def look_up(self, identity):
        return harness.request(self.gateway.port, "GET", "/-/messages/" + identity)

    def broker_row(self, unit="RZ01"):
        return next(row["broker"] for row in self.gateway.status()["units"] if row["name"] == unit)


class Envelopes(QueueTest):
    def test_the_stream_holds_the_whole_request_in_the_order_of_the_fields(self):
        self.start()
        body = bytes(range(256)) + b"\r\n\0\xff"
        trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
        before_us = time.time() * 1e6
        answer = self.accepted(user="142", body=body, path="/pay/a%20b?x=1&y=%2f", headers={
            "Content-Type": "application/octet-stream", "Idempotency-Key": "k-1", "traceparent": trace,
            "X-Odd": "caf\u00e9"})
        identity, partition = answer.json()["id"], answer.json()["partition"]
        self.assertEqual(answer.json(), {"id": identity, "unit": "RZ01", "topic": "payments", "partition": 42 % PARTITIONS})
        self.assertEqual(answer.headers["ldc-message-id"], identity)
        self.assertEqual(answer.headers["location"], "/-/messages/" + identity)
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual((answer.headers["ldc-unit"], answer.headers["ldc-epoch"]), ("RZ01", "1"))
        (_, words), = self.broker.call("XRANGE", stream(partition), "-", "+")
        self.assertEqual(words[::2], FIELDS)
        message = dict(zip(words[::2], words[1::2]))
        self.assertEqual(message[b"id"].decode(), identity)
        self.assertEqual((message[b"user"], message[b"slot"], message[b"epoch"]), (b"142", b"42", b"1"))
        self.assertEqual((message[b"color"], message[b"method"]), (b"blue", b"POST"))
        self.assertEqual(message[b"path"], b"/pay/a%20b?x=1&y=%2f")
        self.assertEqual(message[b"body"], body)
        self.assertTrue(before_us <= int(message[b"in_us"]) <= time.time() * 1e6)
        self.assertEqual(int(identity.split(".")[3][:12], 16), int(message[b"in_us"]) // 1000)
        lines = message[b"headers"].split(b"\n")
        for line in (b"content-type: application/octet-stream", b"idempotency-key: k-1", b"x-user-id: 142",
                     b"x-odd: caf\xe9", b"traceparent: " + trace.encode()):
            self.assertIn(line, lines)

    def test_what_is_of_one_hop_or_secret_is_not_stored(self):
        self.start()
        self.accepted(headers={"Connection": "keep-alive, X-Hop", "X-Hop": "1", "Keep-Alive": "1", "TE": "trailers",
                               "Authorization": "Bearer secret-token", "Cookie": "sid=secret-cookie", "Prefer": "respond-async",
                               "X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.1", "Proxy-Authorization": "x",
                               "LDC-Color": "blue", "LDC-Unit": "RZ09", "Expect": "100-continue", "Upgrade": "x",
                               "X-Kept": "1"})
        (_, message), = stored(self.broker).values()
        names = sorted(line.split(b":")[0] for line in message[b"headers"].split(b"\n"))
        self.assertEqual([name for name in names if name not in (b"accept-encoding", b"user-agent")],
                         [b"traceparent", b"via", b"x-kept", b"x-user-id"])
        self.assertNotIn(b"secret", b"".join(message.values()))

    def test_an_empty_body_and_a_large_one_are_stored_as_they_are(self):
        self.start(limits__body="32MiB", broker__timeout="20s")
        large = bytes(range(251)) * (20 * 1024 * 1024 // 251)
        self.accepted(user="1", body=b"")
        self.accepted(user="2", body=large)
        self.accepted(user="3", body=b"behind")
        bodies = {message[b"user"]: message[b"body"] for _, message in stored(self.broker).values()}
        self.assertEqual(bodies[b"1"], b"")
        self.assertTrue(bodies[b"2"] == large)
        self.assertEqual(bodies[b"3"], b"behind")

    def test_messages_across_units_stand_in_the_core(self):
        core = self.stack.broker("core")
        route = dict(harness.QUEUE_ROUTE, participants=["json:/payee"], cross_unit="core")
        other = self.stack.broker("b2")
        broker = self.stack.broker("b1")
        self.start(broker, [route], {"RZ01": harness.unit("00-49", brokers=[broker]),
                                     "RZ02": harness.unit("50-99", brokers=[other]),
                                     "CORE": harness.unit(kind="core", brokers=[core])})
        within = self.accepted(user="1", body=b'{"payee": "2"}')
        across = self.accepted(user="1", body=b'{"payee": "51"}')
        self.assertEqual((within.json()["unit"], across.json()["unit"]), ("RZ01", "CORE"))
        self.assertEqual(set(stored(broker)), {within.json()["id"]})
        self.assertEqual(set(stored(core, "CORE")), {across.json()["id"]})
        self.assertEqual(stored(other, "RZ02"), {})


class Refusals(QueueTest):
    def test_a_broker_that_keeps_no_file_gets_no_message_and_is_named_in_the_status(self):
        self.start(self.stack.broker(extra=("--appendonly", "no")))
        wait_until(lambda: "appendonly yes" in self.broker_row()["fault"], what="the advice in the status")
        self.expect_problem(self.post(), 503, "broker-unavailable")
        self.assertEqual(self.broker.call("KEYS", "*"), [])
        self.broker.call("CONFIG", "SET", "appendonly", "yes")
        self.accepted()
        self.assertTrue(self.broker_row()["up"])

    def test_a_broker_that_never_syncs_is_refused(self):
        self.start(self.stack.broker(fsync="no"))
        wait_until(lambda: "appendfsync" in self.broker_row()["fault"], what="the advice in the status")
        self.expect_problem(self.post(), 503, "broker-unavailable")

    def test_a_full_broker_is_told_and_forgotten(self):
        self.start()
        self.accepted()
        before, refused = set(stored(self.broker)), self.gateway.metric("queue_refused_total")
        self.broker.call("CONFIG", "SET", "maxmemory", "1")
        for _ in range(50):
            answer = self.post()
            problem = self.expect_problem(answer, 503, "broker-full")
            self.assertEqual(answer.headers["retry-after"], "1")
            self.assertNotIn("message", problem)
        self.assertEqual(set(stored(self.broker)), before)
        self.assertEqual(self.gateway.metric("queue_refused_total") - refused, 50)
        told = self.gateway.log_text().count("broker.refuses")
        self.assertTrue(1 <= told < 25, f"{told} lines in the log")
        self.broker.call("CONFIG", "SET", "maxmemory", "0")
        self.accepted()

    def test_a_replica_gets_no_message_until_it_is_the_primary_again(self):
        self.start()
        self.accepted()
        before = set(stored(self.broker))
        self.broker.call("REPLICAOF", "127.0.0.1", "1")
        self.expect_problem(self.post(), 503, "broker-unavailable")
        wait_until(lambda: "replica" in self.broker_row()["fault"], what="the fault in the status")
        self.assertEqual(set(stored(self.broker)), before)
        self.broker.call("REPLICAOF", "NO", "ONE")
        self.accepted()

    def test_a_password_is_used_and_never_told(self):
        account = ("--user", "gate", "on", ">open-sesame", "~ldc:*", "+@all", "-config")
        secret = self.stack.folder / "broker.password"
        secret.write_text("wrong-guess\n")
        secret.chmod(0o600)
        broker = self.stack.broker(extra=account)
        self.start(broker, broker__user="gate", broker__password_file=secret)
        wait_until(lambda: "user and password" in self.broker_row()["fault"], what="the fault in the status")
        self.expect_problem(self.post(), 503, "broker-unavailable")
        secret.write_text("open-sesame\n")
        self.gateway.terminate()
        self.gateway.restart()
        wait_until(self.gateway.ready, what="the gateway")
        self.accepted()
        told = self.gateway.log_text() + self.gateway.get("/v1/status").body.decode() + \
            self.gateway.get("/v1/config").body.decode()
        self.assertNotIn("sesame", told)
        self.assertNotIn("wrong-guess", told)

    def test_a_unit_without_a_ready_broker_does_not_disturb_another(self):
        dead = f"redis://127.0.0.1:{harness.free_port()}"
        broker = self.stack.broker()
        self.start(broker, units={"RZ01": harness.unit("00-49", brokers=[broker]),
                                  "RZ02": harness.unit("50-99", brokers=[dead])})
        self.accepted(user="1")
        self.expect_problem(self.post(user="51"), 503, "broker-unavailable")
        self.assertEqual(self.post(user="1").status, 202)
        self.assertIn("refused", self.broker_row("RZ02")["fault"])


class Silence(QueueTest):
    """A broker that takes bytes and says nothing: stopped, as by a stalled disk."""

    def stopped(self, **options):
        self.start(**options)
        self.accepted()
        self.broker.signal(signal.SIGSTOP)

    def test_beyond_the_brokers_time_the_outcome_is_unknown_and_can_be_looked_up(self):
        self.stopped(broker__timeout="1s")
        unknown, began = self.gateway.metric("queue_unknown_total"), time.monotonic()
        answer = self.post(user="2")
        self.assertGreater(time.monotonic() - began, 0.99)
        identity = self.expect_problem(answer, 503, "outcome-unknown")["message"]
        self.assertEqual(self.gateway.metric("queue_unknown_total"), unknown + 1)
        wait_until(lambda: not self.broker_row()["up"], what="the connection to be given up")
        self.expect_problem(self.post(user="2"), 503, "broker-unavailable")
        self.broker.signal(signal.SIGCONT)
        self.accepted(user="2")
        self.assertEqual(self.look_up(identity).status, 200 if identity in stored(self.broker) else 404)

    def test_a_route_that_waits_for_less_costs_nobody_the_connection(self):
        hasty = dict(harness.QUEUE_ROUTE, match={"path": "/pay/hasty", "methods": ["POST"]}, timeout="1s")
        self.stopped(broker__timeout="20s", routes=[hasty, harness.QUEUE_ROUTE])
        identity = self.expect_problem(self.post(path="/pay/hasty"), 503, "outcome-unknown")["message"]
        with Pending(self.gateway.port, 1) as patient:
            self.assertTrue(self.broker_row()["up"])
            self.broker.signal(signal.SIGCONT)
            self.assertEqual(patient.statuses(), [202])
        self.assertIn(identity, stored(self.broker))
        self.assertNotIn("broker.away", self.gateway.log_text())

    def test_a_client_that_goes_away_leaves_its_message_on_its_way(self):
        self.stopped(broker__timeout="20s")
        with Pending(self.gateway.port, 20) as pending:
            wait_until(lambda: self.gateway.metric("requests_in_flight") == 20, what="the requests")
        wait_until(lambda: self.gateway.metric("requests_in_flight") == 0, what="the gateway to notice")
        del pending
        self.broker.signal(signal.SIGCONT)
        wait_until(lambda: len(stored(self.broker)) == 21, what="all messages to be stored")
        wait_until(lambda: self.gateway.metric("queue_accepted_total") == 21, what="all messages to be confirmed")
        self.assertEqual(self.post().status, 202)

    def test_what_waits_for_a_broker_is_bounded(self):
        self.stopped(broker__timeout="60s", limits__body="4MiB", limits__bodies_total="1GiB")
        before = self.gateway.metric("queue_refused_total")  # while the connection was made
        with Pending(self.gateway.port, 20, b"x" * (4 << 20)) as pending:
            wait_until(lambda: self.gateway.metric("queue_refused_total") - before == 4, what="all beyond 64 MiB to be refused")
            self.broker.signal(signal.SIGCONT)
            self.assertEqual(sorted(pending.statuses()), [202] * 16 + [503] * 4)
        self.assertEqual(len(stored(self.broker)), 17)


class Pending:
    """COUNT clients, each with one request on its way."""

    def __init__(self, port, count, body=b"{}"):
        self.sockets = []
        for user in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=60)
            sock.sendall(b"POST /pay/1 HTTP/1.1\r\nHost: a\r\nX-User-Id: %d\r\nContent-Length: %d\r\n\r\n%s" %
                         (user, len(body), body))
            self.sockets.append(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock in self.sockets:
            sock.close()

    def statuses(self):
        return [int(sock.recv(65536).split()[1]) for sock in self.sockets]


class Flood:
    """CLIENTS connections with a request in flight each, until stop(): deep pipelines to the broker."""

    def __init__(self, port, clients=64):
        self.port, self.clients = port, clients
        self.accepted, self.others = [], []
        self.stopping = asyncio.Event()

    async def pause(self, seconds):
        """Until stop(), SECONDS at most."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    async def client(self, number):
        while not self.stopping.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await self.pause(0.01)
                continue
            try:
                await self.talk(reader, writer, number)
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

    async def talk(self, reader, writer, number):
        body = b"y" * 100
        while not self.stopping.is_set():
            writer.write(b"POST /pay/1 HTTP/1.1\r\nHost: a\r\nX-User-Id: %d\r\nContent-Length: %d\r\n\r\n%s" %
                         (number, len(body), body))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in head[1:-2])
            await reader.readexactly(int(fields["content-length"]))
            if head[0].split()[1] == "202":
                self.accepted.append(fields["ldc-message-id"])
            else:
                self.others.append(head[0].split()[1])
                await self.pause(0.005)

    async def until(self, condition, what, timeout=60.0):
        end = time.monotonic() + timeout * harness.SLOW
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited for {what}")
            await self.pause(0.005)

    async def more(self, count):
        wanted = len(self.accepted) + count
        await self.until(lambda: len(self.accepted) >= wanted, f"{count} more messages to be accepted")

    def run(self, scenario):
        """SCENARIO(flood) is a coroutine: what happens while the clients send."""
        async def all_of_it():
            clients = [asyncio.create_task(self.client(number)) for number in range(self.clients)]
            try:
                await scenario(self)
            finally:
                self.stopping.set()
                await asyncio.gather(*clients)
        asyncio.run(all_of_it())


class Kills(QueueTest):
    """kill -9 under 64 clients. Message ids are upper-case in unit names, which the flood lowers: so are these."""

    def missing(self, flood, *brokers):
        found = {identity.lower() for broker in brokers for identity in stored(broker)}
        self.assertGreater(len(flood.accepted), 1000)
        self.assertEqual(len(flood.accepted), len(set(flood.accepted)))
        return set(flood.accepted) - found

    async def in_thread(self, function):
        return await asyncio.get_running_loop().run_in_executor(None, function)

    def test_no_202_is_lost_when_the_broker_is_killed(self):
        self.start(threads=2)
        self.accepted()

        async def scenario(flood):
            for _ in range(4):
                await flood.more(400)
                await self.in_thread(self.broker.kill)
                await flood.until(lambda: flood.others[-20:] == ["503"] * 20, "503s")
                self.broker.start()  # not from a thread that ends: the broker would end with it
                await self.in_thread(self.broker.wait_ready)
                del flood.others[:]

        flood = Flood(self.gateway.port)
        flood.run(scenario)
        self.assertEqual(self.missing(flood, self.broker), set(), "accepted, and not in the append-only file")
        print(f"  {len(flood.accepted)} accepted over four kills, none lost", flush=True)

    def test_no_202_is_lost_when_the_gateway_is_killed(self):
        self.start(threads=2)
        self.accepted()

        async def scenario(flood):
            for _ in range(3):
                await flood.more(400)
                await self.in_thread(self.gateway.kill)
                self.gateway.restart()

        flood = Flood(self.gateway.port)
        flood.run(scenario)
        self.assertEqual(self.missing(flood, self.broker), set(), "accepted, and not stored")

    def test_a_unit_moves_to_another_broker_under_load_without_a_fault(self):
        self.start(threads=2)
        self.accepted()
        second = self.stack.broker("second")

        async def scenario(flood):
            for broker in (second, self.broker, second):
                await flood.more(400)
                self.units = {"RZ01": harness.unit("00-99", brokers=[broker])}
                await self.in_thread(self.apply)
            await flood.more(400)

        flood = Flood(self.gateway.port)
        flood.run(scenario)
        self.assertEqual(self.missing(flood, self.broker, second), set())
        self.assertEqual(set(flood.others) - {"503"}, set())
        self.assertGreater(len(stored(second)), 400)


class LookUps(QueueTest):
    def test_a_message_is_pending_then_delivered_then_forgotten(self):
        app = self.stack.app()
        broker = self.stack.broker()
        self.start(broker, units={"RZ01": harness.unit("00-99", brokers=[broker], blue=[app])})
        identity = self.accepted(user="7").json()["id"]
        answer = self.look_up(identity)
        self.assertEqual(answer.status, 200)
        entry, _ = stored(broker)[identity]
        wanted = {"id": identity, "unit": "RZ01", "topic": "payments", "partition": 7 % PARTITIONS, "entry": entry}
        self.assertEqual({key: answer.json()[key] for key in [*wanted, "state"]}, dict(wanted, state="pending"))
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.stack.agent()
        wait_until(lambda: self.look_up(identity).json()["state"] == "delivered", what="the delivery")
        broker.call("XTRIM", stream(7 % PARTITIONS), "MAXLEN", "0")
        traces = stream(7 % PARTITIONS).replace(":stream", ":trace")
        wait_until(lambda: broker.call("XLEN", traces), what="the traces")
        self.assertEqual(self.look_up(identity).json()["state"], "delivered")
        broker.call("DEL", traces)
        self.expect_problem(self.look_up(identity), 404, "not-found")

    def test_what_is_no_message_is_not_found(self):
        self.start()
        identity = self.accepted().json()["id"]
        unit, topic, partition, unique = identity.split(".")
        for other in ("", "x", identity + "0", identity[:-1], identity.upper(), f"RZ77.{topic}.{partition}.{unique}",
                      f"{unit}.nothing.{partition}.{unique}", f"{unit}.{topic}.99999.{unique}",
                      f"{unit}.{topic}.{partition}." + "0" * 24, f"{unit}.{topic}.{partition}." + "f" * 24):
            self.expect_problem(self.look_up(other), 404, "not-found")
        self.assertEqual(self.look_up(identity).status, 200)

    def put(self, partition, made_ms, number, entry="*"):
        """A message as a gateway whose clock says MADE_MS would store it."""
        identity = "RZ01.payments.%d.%012x%012x" % (partition, made_ms, number)
        values = [identity, "1", "", "1", made_ms * 1000, "blue", "POST", "/pay/1", "", "b"]
        self.broker.call("XADD", stream(partition), entry, *[word for pair in zip(FIELDS, values) for word in pair])
        return identity

    def test_clocks_may_differ_and_the_stream_may_be_busy(self):
        self.start()
        self.accepted()
        now_ms = int(time.time() * 1000)
        for number in range(1500):
            self.put(1, now_ms, number, f"{now_ms + 1 + number // 10}-{1 + number % 10}")
        behind = self.put(1, now_ms + 3000, 7001, f"{now_ms + 200}-1")
        ahead = self.put(1, now_ms - 3000, 7002, f"{now_ms + 300}-1")
        for identity in (behind, ahead, "RZ01.payments.1.%012x%012x" % (now_ms, 1499)):
            answer = self.look_up(identity)
            self.assertEqual((answer.status, answer.json().get("state")), (200, "pending"), identity)
        self.expect_problem(self.look_up("RZ01.payments.1.%012x%012x" % (now_ms, 9999)), 404, "not-found")

    def test_a_broker_that_is_away_is_503(self):
        self.start()
        identity = self.accepted().json()["id"]
        self.broker.kill()
        wait_until(lambda: not self.broker_row()["up"], what="the gateway to notice")
        self.expect_problem(self.look_up(identity), 503, "broker-unavailable")


if __name__ == "__main__":
    unittest.main()
