# SPDX-License-Identifier: Apache-2.0
"""The demo: a whole deployment on loopback, some thousand users, a rule change and two kill -9 while they go on; then
everything is counted, and held against a calculation that shares no code with the gateway. Exits 1 where a check fails.
"""
import asyncio
import collections
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "ops"), str(ROOT / "test" / "oracle")]
import demo_bank  # noqa: E402
import demo_clients  # noqa: E402
import demo_queue  # noqa: E402
import demo_zonec  # noqa: E402
import oracle  # noqa: E402

USERS = 3000
CONNECTIONS = 32
RATE = 1500  # requests a second
DELIVERY_TIMEOUT = 30


def say(text=""):
    print(text, flush=True)


def title(text):
    say(f"\n== {text}")


def plural(count, what):
    return f"{count:,} {what}{'' if count == 1 else 's'}"


class Failed(Exception):
    """The demo cannot go on."""


class Deployment:
    """A playground, and ldcctl pointed at it."""

    def __init__(self, build, folder):
        self.ctl_path, self.folder = str(pathlib.Path(build).resolve() / "ldcctl"), folder

    def ctl(self, *words, check=True):
        done = subprocess.run([self.ctl_path, *words, "--dir", self.folder], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        if check and done.returncode != 0:
            raise Failed(f"`ldcctl {' '.join(words)}` ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    async def ctl_aside(self, *words):
        """While the clients go on."""
        return await asyncio.get_running_loop().run_in_executor(None, lambda: self.ctl(*words))

    def topology(self):
        with open(f"{self.folder}/topology.json") as file:
            return json.load(file)

    def process(self, name):
        return next(one for one in self.topology()["processes"] if one["name"] == name)

    def kill_primary(self, unit):
        """kill -9 of the broker that leads by the unit's record."""
        with open(f"{self.folder}/store/document-brokers%2f{unit}") as file:
            leads = json.loads(file.read().split("\n", 1)[1])["primary"]
        pid = next(one["pid"] for one in self.topology()["processes"]
                   if one["role"] == "broker" and leads.endswith(f":{one['ports']['redis']}"))
        os.kill(pid, signal.SIGKILL)

    def records(self):
        """What the applications processed, file by file, in order."""
        for path in sorted(glob.glob(f"{self.folder}/apps/*.jsonl")):
            with open(path) as file:
                yield [json.loads(line) for line in file]


# --- the oracle ------------------------------------------------------------------------------------------------------

def units_of(rules):
    """The slots of each A unit, read from the rule file's text by nothing but a pattern."""
    return {name: [slots] for name, slots in re.findall(r'^  (RZ\d+):\n(?:    .*\n)*?    slots: \["([^"]+)"\]', rules, re.M)}


class Oracle:
    """Where a request belongs: by the rules before epoch CHANGED, or by those that it brought. Other changes, such as of
    the brokers in sync, raise the epoch too."""

    def __init__(self, before, after, changed):
        self.changed = changed
        self.before, self.after = ([oracle.unit_of(units, slot) for slot in range(100)] for units in (before, after))

    def is_after(self, sent):
        return sent.epoch >= self.changed

    def unit(self, sent):
        if sent.kind == "search":
            return "BZ01"
        owners = self.after if self.is_after(sent) else self.before
        own = owners[oracle.slot_of("modulo", 100, sent.user)]
        if sent.kind == "queue" and owners[oracle.slot_of("modulo", 100, sent.payee)] != own:
            return "CORE"
        return own

    def moves(self, user):
        slot = oracle.slot_of("modulo", 100, user)
        return self.before[slot] != self.after[slot]


def next_request(user, seq):
    """Of ten requests six are payments inside the unit, one crosses units, two are echoed, one searches."""
    turn = (int(user) + seq) % 10
    if turn < 6:
        return "queue", str(int(user) + 100)  # the same slot
    if turn == 6:
        return "queue", str(int(user) + 50)  # half the ring away
    return ("proxy" if turn < 9 else "search"), None


# --- what happens ----------------------------------------------------------------------------------------------------

async def change_rules(deployment, before_path):
    rules = pathlib.Path(before_path).read_text()
    changed = rules.replace('["00-33"]', '["00-28"]').replace('["34-66"]', '["29-66"]')
    path = f"{deployment.folder}/rules-2.yaml"
    pathlib.Path(path).write_text(changed)
    title("a rule change under load: five slots go from RZ01 to RZ02")
    say("$ ldcctl rules apply rules-2.yaml --note 'five slots to RZ02'")
    out = await deployment.ctl_aside("rules", "apply", path, "--note", "five slots to RZ02")
    say("  " + out.rstrip().replace("\n", "\n  "))
    return Oracle(units_of(rules), units_of(changed), int(re.search(r"in force as epoch (\d+)", out).group(1)))


async def wait_until(condition, timeout, what):
    """CONDITION is asked on a thread of its own, so that the clients go on."""
    def wait():
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise Failed(f"waited {timeout} s for {what}")
            threading.Event().wait(0.05)

    await asyncio.get_running_loop().run_in_executor(None, wait)


async def wait_until_back(deployment, names, old):
    def is_back():
        return (all(deployment.process(name)["pid"] not in (0, old[name]) for name in names)
                and not json.loads(deployment.ctl("status", "-o", "json"))["faults"])

    await wait_until(is_back, 30, f"{' and '.join(names)} to be back")


async def hurt(deployment):
    names = ["RZ02-agent", "RZ03-blue"]
    title("kill -9 of RZ02's agent and of RZ03's application, under load")
    old = {name: deployment.process(name)["pid"] for name in names}
    started = time.monotonic()
    for name in names:
        os.kill(old[name], signal.SIGKILL)
        say(f"  {name} ({old[name]}) is dead")
    await wait_until_back(deployment, names, old)
    say(f"  both are back after {time.monotonic() - started:.1f} s (a supervisor starts them again), and nothing is "
        "amiss in `ldcctl status`")
    return started, time.monotonic()


async def drive(deployment):
    topology = deployment.topology()
    ports = [int(url.rsplit(":", 1)[1]) for url in topology["ingress"]]
    users = [str(1000 + n) for n in range(USERS)]
    clients = demo_clients.Clients(ports, users, CONNECTIONS, RATE, next_request)
    title(f"traffic: {USERS:,} users, {CONNECTIONS} connections to {len(ports)} gateways, about {RATE:,} requests a second")
    say("  POST /pay/* goes to the queue of the user's unit (or to the core, where payer and payee live in two units),")
    say("  GET /echo/* to the user's unit, GET /search/* to the long tail's unit")
    clients.start()
    try:
        await clients.wait_for_more(3 * RATE)
        judge = await change_rules(deployment, topology["rules"])
        await clients.wait_for_more(2 * RATE)
        hurt_window = await hurt(deployment)
        await clients.wait_for_more(RATE)
    finally:
        await clients.stop()
    return clients.sent, judge, hurt_window


async def wait_for_delivery(deployment, accepted):
    delivered = set()

    def all_there():
        delivered.update(record["id"] for records in deployment.records() for record in records)
        return accepted <= delivered

    try:
        await wait_until(all_there, DELIVERY_TIMEOUT, "the deliveries")
    except Failed:
        pass  # the report says what is missing


# --- the report ------------------------------------------------------------------------------------------------------

class Report:
    def __init__(self):
        self.failed = 0

    def check(self, fine, text, detail):
        self.failed += not fine
        say(f"  {'ok  ' if fine else 'FAIL'} {text:<76} {detail}")


def check_landing(report, sent, records, judge):
    processed = {record["id"]: record["unit"] for record in records if record["via"] == "queue"}
    answered = [one for one in sent if one.status in (200, 202)]
    wrong = [one for one in answered if one.unit != judge.unit(one)]
    elsewhere = [one for one in answered
                 if (processed.get(one.id, one.unit) if one.kind == "queue" else one.app_unit) != judge.unit(one)]
    ages = collections.Counter(judge.is_after(one) for one in answered)
    report.check(not wrong and not elsewhere, "every request landed in the unit that an independent calculation names",
                 f"{len(answered):,} requests, {len(wrong) + len(elsewhere)} misrouted")
    report.check(set(ages) == {False, True}, "before the rule change and after it",
                 f"{ages[False]:,} before epoch {judge.changed}, {ages[True]:,} from then on")
    moved = {one.user for one in answered if judge.moves(one.user)}
    report.check(bool(moved), "users that the change moved were among them", plural(len(moved), "user"))


def check_failures(report, sent, judge, window):
    bad = [one for one in sent if one.status not in (200, 202)]
    queue = [one for one in bad if one.kind == "queue"]
    outside = [one for one in bad if one.kind != "queue" and not (
        one.kind == "proxy" and one.epoch and judge.unit(one) == "RZ03" and window[0] - 1 <= one.at <= window[1] + 1)]
    repeated = sum(one.repeats > 0 for one in sent)
    report.check(not queue, "every payment was accepted, also while agent and application were dead",
                 f"{sum(one.kind == 'queue' for one in sent):,} payments, {repeated} of them by a repeat")
    report.check(not outside, "whoever does not live in RZ03 noticed nothing of its application's death",
                 f"{len(bad) - len(outside)} refused for RZ03's users, {len(outside)} for others")


def check_delivery(report, sent, records):
    accepted = {one.id: one for one in sent if one.status == 202}
    seen = collections.Counter(record["id"] for record in records if record["via"] == "queue")
    lost = accepted.keys() - seen.keys()
    strange = seen.keys() - accepted.keys()
    repeats = sum(seen.values()) - len(seen)
    report.check(not lost and not strange, "accepted = delivered, message by message",
                 f"{len(accepted):,} accepted, {len(lost)} lost, {len(strange)} unknown")
    say(f"       {'delivered more than once: the kill cut off an answer, and the id tells':<76} {plural(repeats, 'repeat')}")


def check_order(report, deployment):
    inverted = users = 0
    for records in deployment.records():
        last = {}
        for record in records:
            if record["via"] == "queue":
                seq = json.loads(record["body"])["seq"]
                inverted += seq < last.get(record["user"], 0)
                last[record["user"]] = seq
        users += len(last)
    report.check(inverted == 0, "in each unit, each user's payments were processed in the order of acceptance",
                 f"{users:,} users, {inverted} inversions")


def show_latency(sent):
    for kind, name in (("queue", "queue (on the disks of primary and replica)"), ("proxy", "proxy (answered by the unit)")):
        took = sorted(one.seconds * 1000 for one in sent if one.kind == kind and one.status in (200, 202))
        say(f"       {name:<76} p50 {took[len(took) // 2]:.1f} ms, p99 {took[int(len(took) * 0.99)]:.1f} ms")


def show_next(deployment, build):
    topology = deployment.topology()
    ingress, admin, folder = topology["ingress"][0], topology["admin"][0], deployment.folder
    ctl = f"{os.path.relpath(build)}/ldcctl"
    title("where to look next" if sys.stdin.isatty() else
          f"where to look, had it stayed (on a terminal it does; so does `{ctl} playground up`)")
    say(f"  curl -i -H 'X-User-Id: 1042' {ingress}/echo/hello")
    say(f"  curl -i -H 'X-User-Id: 1042' -d '{{\"payee\": \"1092\"}}' {ingress}/pay/1")
    for words in ("status", "top", "explain --user 1042 --path /pay/1 --method POST", "rules history", "queue lag"):
        say(f"  {ctl} {words} --dir {folder}")
    say(f"  curl -H \"Authorization: Bearer $(cat {folder}/token)\" {admin}/metrics")
    say(f"  {folder}/apps/*.jsonl   what the applications processed")
    say(f"  {folder}/logs/          what everybody says")


async def run(deployment, build):
    say(deployment.ctl("playground", "up", "--core-brokers", "3", "--supervise", "--detach").split("\n\n")[0])
    sent, judge, window = await drive(deployment)
    await wait_for_delivery(deployment, {one.id for one in sent if one.status == 202})
    records = [record for some in deployment.records() for record in some]
    report = Report()
    title(f"what happened to {len(sent):,} requests")
    check_landing(report, sent, records, judge)
    check_delivery(report, sent, records)
    check_order(report, deployment)
    check_failures(report, sent, judge, window)
    show_latency(sent)
    title("what a queue can do with one payment")
    demo_queue.show(deployment, report, say)
    title("global data: written once in the core, read in every unit")
    demo_zonec.show(deployment, report, say)
    title("a payment between users of two units (docs/PAYMENTS.md)")
    demo_bank.show(deployment, report)
    show_next(deployment, build)
    say(f"\n{'All is as it should be.' if not report.failed else plural(report.failed, 'check') + ' FAILED.'}")
    return report.failed == 0


def stay(deployment):
    """Until Ctrl-C."""
    say("\nThe deployment stays up until Ctrl-C.")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    folder = tempfile.mkdtemp(prefix="ldc-demo-")
    deployment = Deployment(build, folder)
    fine = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        fine = asyncio.run(run(deployment, build))
        if sys.stdin.isatty():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            stay(deployment)
    except Failed as failure:
        say(f"\nThe demo failed: {failure}")
    except KeyboardInterrupt:
        say("\nstopped")
    finally:
        deployment.ctl("playground", "down", check=False)
        if fine:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"What it left is in {folder}.")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
