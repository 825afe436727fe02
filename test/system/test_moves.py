#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Users who move to another unit by new rules, while they pay: no request fails, what a user sent earlier is delivered
earlier, whatever the unit that they left still had to do, and whoever dies on the way. How long requests waited is
printed, not judged."""
import json
import re
import signal
import time
import unittest

import harness
import load
from harness import wait_until
from playground_fixture import Playground
from unit_fixture import HOLD_S

RUNS_ALONE = "each request's time is printed, and gateways and agents of three units want to run"

USERS = [str(user) for user in range(100)]  # one in each slot


class Payers(load.Load):
    """Each user's next request goes by the next gateway."""

    def __init__(self, playground, users=USERS, threads=6, path="/pay/1", **options):
        super().__init__([playground.ingress(i) for i in range(3)], users, path, threads=threads, payee=True, **options)

    def _run(self, users, sent, number):
        clients = [harness.Client(port, timeout=30) for port in self.ports]
        seq = 0
        while not self.stopping.is_set():
            seq += 1
            for user in users:
                if not self.stopping.is_set():
                    self._send(clients[(seq + number) % len(clients)], user, seq, sent)
        for client in clients:
            client.close()

    def failed(self):
        """But for who waited for all of failover.hold, as only a machine that stands still makes one."""
        return [(one.user, one.seq, one.status) for one in self.sent
                if one.status not in (200, 202) and (one.status == 0 or one.seconds < HOLD_S)]


class Senders(Payers):
    """Batches: two messages of each of some users."""

    def _run(self, users, sent, number):
        clients, seq = [harness.Client(port, timeout=30) for port in self.ports], 0
        while not self.stopping.is_set():
            self.post(clients[seq // 2 % len(clients)], [(user, seq + n) for user in users for n in (1, 2)], sent)
            seq += 2
        for client in clients:
            client.close()

    def post(self, client, items, sent):
        lines = [json.dumps({"subject": user, "specversion": "1.0", "id": f"{user}-{seq}", "source": "/test", "type": "paid",
                             "data": {"user": user, "seq": seq, "payee": user}}) for user, seq in items]
        began = time.perf_counter()
        answer = client.request("POST", "/pay/batch", {"Content-Type": "application/cloudevents-batch+json"},
                                f"[{','.join(lines)}]".encode())
        for (user, seq), item in zip(items, answer.json()["items"]):
            one = load.Sent(user, seq, "/pay/batch")
            one.status, one.id, one.seconds = item["status"], item.get("id"), time.perf_counter() - began
            sent.append(one)


class MovesTest(harness.StackTest):
    def start(self, *flags):
        self.playground = Playground(self.stack, "--units", "3", "--gateways", "3", *flags)
        self.playground.be_patient()
        wait_until(self.is_kept, 60, "a record of each unit")
        self.text = self.playground.ctl("rules", "show").stdout
        self.units = {name: set(range(int(first), int(last) + 1)) for name, first, last in
                      re.findall(r'^  (RZ\d+):\n(?:    .*\n)*?    slots: \["(\d+)-(\d+)"\]', self.text, re.M)}

    def is_kept(self):
        done, status = self.playground.ctl_json("status")
        return done.returncode == 0 and all(unit["broker_record"]["version"] > 0 and len(unit["broker_record"]["in_sync"]) > 1
                                            for unit in status["units"])

    def rules(self, **slots):
        """With these slots in place of those that the playground gave to the unit."""
        text = self.text
        for name, ranges in slots.items():
            text = re.sub(rf'(^  {name}:\n(?:    .*\n)*?    slots: )\[.*\]', rf'\1["{ranges}"]', text, flags=re.M)
        return text

    def apply(self, **slots):
        return self.put(self.rules(**slots))

    def write(self, text):
        path = self.stack.folder / "moved.yaml"
        path.write_text(text)
        return path

    def put(self, text):
        """What `ldcctl` tells of the move; tried again, as operators do, where a busy machine does not close a unit in time."""
        path = self.write(text)

        def apply():
            done = self.playground.ctl("rules", "apply", path, "--max-move", "100", "--timeout", "60", "-o", "json")
            if done.returncode != 0:
                self.assertIn("(409 from", done.stderr)
            return done.returncode == 0 and json.loads(done.stdout)["moved"]

        return wait_until(apply, what="users to be let go")

    def records(self):
        """What all apps took, in the order of time."""
        return sorted((record for process in self.playground.topology()["processes"] if process["role"] == "app"
                       for record in self.playground.records(process["name"])), key=lambda record: record["us"])

    def check(self, payers):
        self.assertEqual(payers.failed(), [])
        accepted = {one.id for one in payers.sent if one.status == 202}
        wait_until(lambda: not accepted - {record["id"] for record in self.records()}, 60, "what was accepted to be delivered", 0.1)
        return load.check_delivery(self, payers.sent, self.records())

    def tell(self, what, payers, held_ms):
        slowest = 1000 * max(one.seconds for one in payers.sent)
        usual = 1000 * load.quantile([one.seconds for one in payers.sent], 0.99)
        print(f"\n{what}: gateway held for {held_ms:.0f} ms, longest request {slowest:.0f} ms, p99 {usual:.0f} ms, "
              f"{len(payers.sent)} requests", end=" ", flush=True)

    def document(self, name):
        path = self.playground.dir / "store" / f"document-{name.replace('/', '%2f')}"
        return json.loads(path.read_text().split("\n", 1)[1]) if path.exists() else {}

    def wait_arrived(self):
        wait_until(lambda: not any(self.document(f"arrivals/{name}").get("from") for name in self.units), 30,
                   "nobody to wait any more")


class UnderLoad(MovesTest):
    def test_a_third_of_the_users_moves_without_an_error_and_in_order(self):
        self.start()
        with Payers(self.playground) as payers:
            payers.wait_for(300)
            moved = self.apply(RZ01="00-03", RZ02="04-66")
            payers.wait_for(600)
        self.check(payers)
        self.tell("30 % of the slots", payers, moved["held_ms"])
        self.assertEqual(moved["units"], 1)
        last = {one.user: one.unit for one in payers.sent}
        self.assertEqual((last["3"], last["4"], last["33"]), ("RZ01", "RZ02", "RZ02"))

    def test_batches_requests_and_pinned_users_move_too(self):
        self.start()
        batched, proxied = [str(user) for user in range(100, 120)], [str(user) for user in range(200, 230)]
        with Senders(self.playground, batched, threads=2) as senders, \
                Payers(self.playground, proxied, threads=2, path="/echo/x") as visitors:
            for text in (self.rules(RZ01="00-03", RZ02="04-66"), self.pinned("102", "210"), self.rules()):
                senders.wait_for(200)
                visitors.wait_for(100, 200)
                self.put(text)
            senders.wait_for(200)
        self.check(senders)
        self.assertEqual(visitors.failed(), [])
        units = [one.unit for one in visitors.sent if one.user == "210"]
        self.assertEqual([unit for unit, before in zip(units, [None] + units) if unit != before],
                         ["RZ01", "RZ02", "RZ03", "RZ01"])

    def pinned(self, *users):
        return self.rules(RZ01="00-03", RZ02="04-66") + f"overrides: [{{users: {json.dumps(users)}, unit: RZ03}}]\n"


class Backlog(MovesTest):
    """Users 4 to 33 move from RZ01 to RZ02, which both have others as well."""

    STAY, MOVE, THERE = ["1", "2"], ["10", "20"], ["40", "50"]

    def go(self):
        return self.apply(RZ01="00-03", RZ02="04-66")

    def back(self):
        return self.apply()

    def pay(self, seconds=0.5):
        """What was sent is kept for the audit."""
        with Payers(self.playground, self.STAY + self.MOVE + self.THERE, threads=3) as payers:
            payers.wait_for(30)
        self.rounds.append(payers)
        return payers

    def setUp(self):
        super().setUp()
        self.start("--supervise")
        self.rounds = []

    def taken(self, user):
        return sum(record["user"] == user for record in self.records())

    def audit(self):
        """Each round's numbers begin with 1."""
        sent = []
        for payers in self.rounds:
            last = max([one.seq for one in sent], default=0)
            for one in payers.sent:
                one.seq += last
            sent += payers.sent
        self.assertEqual([fault for payers in self.rounds for fault in payers.failed()], [])
        accepted = {one.id for one in sent if one.status == 202}
        wait_until(lambda: not accepted - {record["id"] for record in self.records()}, 60, "everything to be delivered", 0.1)
        load.check_delivery(self, sent, self.records())
        self.wait_arrived()

    def pause(self, unit="RZ01"):
        self.assertEqual(self.playground.ctl("queue", "pause", "payments", "--unit", unit).returncode, 0)

    def resume(self, unit="RZ01"):
        self.assertEqual(self.playground.ctl("queue", "resume", "payments", "--unit", unit).returncode, 0)

    def test_who_moves_waits_for_what_is_left_behind_and_nobody_else_does(self):
        self.pause()
        self.pay()
        with harness.Span() as span:
            moved = self.go()
        before = {user: self.taken(user) for user in self.MOVE + self.THERE}
        self.pay()
        wait_until(lambda: all(self.taken(user) > before[user] + 3 for user in self.THERE), what="those who were there before")
        self.assertEqual([self.taken(user) for user in self.MOVE], [0, 0])
        self.assertLess(moved["held_ms"], 1000 * span.allowed(2))
        self.resume()
        self.audit()

    def test_an_operator_can_end_the_wait(self):
        self.pause()
        self.pay()
        self.go()
        self.pay()
        self.assertIn("RZ02 waits for what RZ01 has", self.playground.ctl("rules", "arrivals").stdout)
        self.assertEqual([self.taken(user) for user in self.MOVE], [0, 0])
        self.playground.ctl("rules", "arrivals", "--open", "RZ02")
        wait_until(lambda: all(self.taken(user) > 3 for user in self.MOVE), what="those who came")
        self.assertIn("no unit waits", self.playground.ctl("rules", "arrivals").stdout)

    def test_who_moves_back_at_once_is_in_order_too(self):
        self.pause()
        self.pay()
        self.go()
        self.pay()
        self.back()
        self.pay()
        self.resume()
        self.audit()

    def test_an_agent_that_starts_while_the_store_is_away_goes_on_waiting(self):
        self.pause()
        self.pay()
        self.go()
        self.pay()
        self.playground.hide_store()
        self.playground.replace("RZ02-agent")
        before = {user: self.taken(user) for user in self.THERE}
        self.pay()
        wait_until(lambda: all(self.taken(user) > before[user] + 3 for user in self.THERE), 60, "those who were there before")
        self.assertEqual([self.taken(user) for user in self.MOVE], [0, 0])
        self.playground.show_store()
        self.resume()
        self.audit()

    def break_app(self, unit, user, times):
        """The unit's app does not take what is of USER."""
        port = int(re.search(rf"^  {unit}:\n(?:    .*\n)*?    nodes: {{blue: \[\"http://127.0.0.1:(\d+)", self.text, re.M).group(1))
        token = (self.playground.dir / "token").read_text().strip()
        answer = harness.request(port, "POST", f"/-/sample/fail?user={user}&status=500&times={times}", {"Authorization": f"Bearer {token}"})
        self.assertEqual(answer.status, 204, answer.body)

    def test_a_parked_user_waits_alone(self):
        parked, other = self.MOVE
        self.text = self.text.replace("payments: {partitions: 4}", "payments: {partitions: 4, retry: {ladder: [300ms]}}")
        self.back()
        self.break_app("RZ01", parked, 1000)
        self.pay()
        self.go()
        before = self.taken(other)
        self.pay()
        wait_until(lambda: self.taken(other) > before + 3, what="who came with the one that is parked")
        self.assertEqual(self.taken(parked), 0)
        self.break_app("RZ01", parked, 0)
        self.audit()


class Deaths(MovesTest):
    def test_who_begins_a_move_and_dies_holds_nobody_up(self):
        self.start()
        with Payers(self.playground) as payers:
            payers.wait_for(100)
            self.begin_and_kill("gateway-1")
            payers.ports.pop(0)
            payers.wait_for(600)
        failed = [one for one in payers.failed() if one[2] != 0]  # gateway-1's own connections
        self.assertEqual(failed, [])
        slowest = max(one.seconds for one in payers.sent)
        print(f"longest request {1000 * slowest:.0f} ms", end=" ")
        self.assertEqual(self.playground.ctl("rules", "show").stdout, self.text)
        self.assertIn("who began it did not go on", self.playground.ctl("rules", "history").stdout)

    def is_under_way(self):
        """RZ01 is told that users leave it, and the rules are still to come."""
        moving = self.document("brokers/RZ01").get("moving")
        return moving and moving["rules"] == json.loads((self.playground.dir / "store/current").read_text())["rules_epoch"]

    def begin_and_kill(self, name):
        """In the midst of a move, which is over before it is seen where this test has to wait for a processor: then another
        one is begun."""
        def begun():
            ctl = self.begin()
            wait_until(lambda: self.is_under_way() or not ctl.alive(), what="the move to begin", every=0.0005)
            self.playground.signal(name, signal.SIGSTOP)
            if self.is_under_way():
                return ctl
            self.playground.signal(name, signal.SIGCONT)
            ctl.popen.wait(30 * harness.PATIENCE)
            self.apply()
            return None

        ctl = wait_until(begun, what="a move that is under way")
        self.playground.kill(name)
        ctl.popen.wait(30 * harness.PATIENCE)

    def begin(self):
        return self.stack.keep(harness.Process("apply", [
            harness.BUILD / "ldcctl", "rules", "apply", self.write(self.rules(RZ01="00-03", RZ02="04-66")), "--max-move", "100",
            "--gateway", self.playground.topology()["admin"][0], "--token-file", self.playground.dir / "token"],
            self.stack.log("apply")))


if __name__ == "__main__":
    unittest.main()
