# SPDX-License-Identifier: Apache-2.0
"""Many messages that wait: clients that put them aside, senders that are asked about them, somebody who kills what
serves them, and what must be true in the end."""
import collections
import http.client
import http.server
import json
import random
import threading
import time
import urllib.parse

import harness


def in_threads(items, work, threads=8):
    """WORK(client state dict, item) for each of ITEMS; raises what any of them raised."""
    faults, queue = [], collections.deque(items)

    def run():
        state = {}
        try:
            while True:
                work(state, queue.popleft())
        except IndexError:
            pass
        except BaseException as fault:  # pylint: disable=broad-except
            faults.append(fault)
        finally:
            if state.get("client") is not None:
                state["client"].close()

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if faults:
        raise faults[0]


def insist(state, port, method, path, headers, wanted, refused=(), body=b"{}", patience=120):
    """The same request until its status is one of WANTED; anything that is no refusal for a while is a fault."""
    give_up = time.monotonic() + patience * harness.SLOW
    while time.monotonic() < give_up:
        try:
            if state.get("client") is None:
                state["client"] = harness.Client(port, timeout=5)
            answer = state["client"].request(method, path, headers, body)
            if answer.status in wanted:
                return answer
            assert answer.status == 503 or answer.status in refused, (answer.status, answer.body)
        except (OSError, http.client.HTTPException):
            if state.get("client") is not None:
                state["client"].close()
            state["client"] = None
        state.setdefault("pause", threading.Event()).wait(0.02)
    raise AssertionError(f"{method} {path} was not answered with {wanted}")


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Senders(http.server.ThreadingHTTPServer):
    """Answers checks: `say[id]` is a list of states, of which the last one stays; `asked` counts."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        self.say, self.asked, self.status = {}, collections.Counter(), 200
        self.default = ["unknown"]
        self.queries = []
        super().__init__(("127.0.0.1", 0), _Sender)
        self.url = "http://127.0.0.1:%d/check" % self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # an agent that was killed hangs up

    def end(self):
        self.shutdown()
        self.server_close()


class _Sender(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        server = self.server
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        identity = query["message"][0]
        states = server.say.get(identity, server.default)
        state = states[min(server.asked[identity], len(states) - 1)]
        server.asked[identity] += 1
        server.queries.append((identity, query, dict(self.headers.items())))
        body = state if isinstance(state, bytes) else json.dumps({"state": state}).encode()
        self.send_response(server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def kill_during(work, processes, seed, pause=(0.2, 1.0)):
    """WORK() in a thread of its own, and meanwhile kill -9 and restart of one of PROCESSES at random, again and again.
    Returns what WORK did, and the kills. (In the thread that calls, for a process ends with the thread that made it.)"""
    draw, kills, done, outcome = random.Random(seed), collections.Counter(), threading.Event(), []

    def run():
        try:
            outcome.append(work())
        finally:
            done.set()

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    while not done.wait(draw.uniform(*pause)):
        victim = draw.choice(processes)
        victim.kill()
        done.wait(draw.uniform(0, 0.1))
        victim.restart()
        kills[victim.name] += 1
    assert outcome, "the work failed"
    return outcome[0], kills


def schedule_many(port, count, shortest_s, longest_s, seed):
    """{id: due in microseconds} of COUNT timers, spread over that time from now on."""
    draw, due = random.Random(seed), {}
    latest = time.time() + longest_s

    def one(state, item):
        number, share = item
        soonest = time.time() + shortest_s
        at = soonest + share * max(latest - soonest, 0)
        seconds = at - time.time()
        headers = {"X-User-Id": str(number % 997), "Content-Type": "application/json", "Idempotency-Key": f"timer-{number}"}
        if number % 2:
            headers["LDC-Deliver-At"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(at))) + f".{at % 1:.6f}"[2:] + "Z"
        else:
            headers["LDC-Delay"] = f"{max(int(seconds * 1000), 0)}ms"
        answer = insist(state, port, "POST", "/pay/1", headers, {202})
        told = answer.json()
        due[told["id"]] = parse_us(told["due"]) if "due" in told else 0

    in_threads([(number, draw.random()) for number in range(count)], one)
    return due


def parse_us(text):
    """Of RFC 3339 as the gateway writes it."""
    seconds = time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")
    return (int(time.mktime(seconds)) - time.timezone) * 1000000 + int(text[20:26])


class Transactions:
    """COUNT transactions: their clients commit, roll back, do both at once, or stay silent, so that their senders are
    asked. `prepared` are all ids; `told` is what clients were told of their ends."""

    PLANS = ("commit", "rollback", "race", "silent commit", "silent rollback", "late commit")

    def __init__(self, port, senders, count, seed):
        self.port, self.senders, self.count = port, senders, count
        self.random = random.Random(seed)
        self.plans, self.told, self.lock = {}, collections.defaultdict(set), threading.Lock()

    def run(self):
        in_threads([(number, self.random.choice(self.PLANS)) for number in range(self.count)], self._one)

    def _one(self, state, item):
        number, plan = item
        headers = {"X-User-Id": str(number % 997), "Content-Type": "application/json",
                   "Idempotency-Key": f"transaction-{number}", "LDC-Transaction": "prepare",
                   "LDC-Check-Url": self.senders.url + "?plan=1"}
        identity = insist(state, self.port, "POST", "/pay/1", headers, {202}).json()["id"]
        with self.lock:
            self.plans[identity] = plan
        if plan.startswith("silent"):
            self.senders.say[identity] = ["unknown", plan.split()[1]]
        elif plan == "race":
            self.senders.say[identity] = ["rollback"]
            other = threading.Thread(target=self._end_alone, args=(identity, "rollback"), daemon=True)
            other.start()
            self._end(state, identity, "commit")
            other.join()
        else:
            self._end(state, identity, plan.split()[-1])

    def _end_alone(self, identity, verb):
        state = {}
        try:
            self._end(state, identity, verb)
        finally:
            if state.get("client") is not None:
                state["client"].close()

    def _end(self, state, identity, verb):
        answer = insist(state, self.port, "POST", f"/-/messages/{identity}/{verb}", {}, {200, 409}, body=b"")
        with self.lock:
            self.told[identity].add(answer.json()["state"])

    def judge(self, test, find, delivered):
        """Each in one terminal state, which is what everybody was told; what is committed is delivered, and nothing else.
        FIND(id) as the broker's function says; DELIVERED: ids that reached the app."""
        states = {identity: find(identity)[0] for identity in self.plans}
        test.assertEqual(len(states), self.count)
        test.assertLessEqual(set(states.values()), {"committed", "rolled-back"})
        for identity, told in self.told.items():
            test.assertEqual(told, {states[identity]}, (identity, self.plans[identity]))
        committed = {identity for identity, state in states.items() if state == "committed"}
        test.assertEqual(committed, set(delivered))
        for identity, plan in self.plans.items():
            if plan != "race":
                wanted = "rolled-back" if "rollback" in plan else "committed"
                test.assertEqual(states[identity], wanted, plan)
        return collections.Counter(states.values())
