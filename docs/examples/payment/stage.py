#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts the bank of the worked example into a playground that runs: an app for each unit beside the ones that are there,
and rules that lead to them (docs/PAYMENTS.md). The rules before are put back when it ends.

    build/ldcctl playground up --dir DIR &
    python3 docs/examples/payment/stage.py build/ldcctl DIR
"""
import http.client
import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOPICS = """\
  transfers: {partitions: 4, retry: {ladder: [200ms, 500ms, 1s], attempts: 1000}}
  ledger: {partitions: 4, retry: {ladder: [200ms, 500ms, 1s], attempts: 1000}}
  settlements: {partitions: 4, retry: {ladder: [200ms, 500ms, 1s], attempts: 1000}}
"""
ROUTES = """\
  # where payer and payee live in one unit that unit does it all, else the core sees it through
  - match: {path: "/payments", methods: [POST]}
    zone: A
    action: queue
    topic: transfers
    durability: quorum  # no unit accepts it alone: of two brokers both have it, of three two
    participants: ["json:/payee"]
    cross_unit: core
  # what the core's app sends to the two units, and what the payer's unit answers
  - {match: {path: "/ledger/*", methods: [POST]}, zone: A, action: queue, topic: ledger, durability: quorum}
  - {match: {path: "/settlements", methods: [POST]}, zone: core, action: queue, topic: settlements,
     durability: quorum}
  # what is asked of the payer's unit
  - {match: {path: "/payments/*", methods: [GET]}, zone: A, action: proxy}
  - {match: {path: "/accounts", methods: [GET, PUT]}, zone: A, action: proxy}
"""


class App:
    """One process; it keeps its address when it is started again."""

    def __init__(self, unit, data, gateways, log):
        self.log = log
        self.argv = [sys.executable, str(HERE / "bank.py"), "--unit", unit, "--data", str(data)]
        for gateway in gateways:
            self.argv += ["--gateway", gateway]
        self.start()
        self.argv += ["--listen", self.url.split("//")[1]]

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"{' '.join(self.argv)} did not start: see {self.log}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def with_bank(rules, apps):
    """The text of RULES, by which APPS (unit: App) are the units' nodes."""
    for unit, app in apps.items():
        rules, count = re.subn(rf"(?m)(^  {unit}:\n(?:    .*\n)*?)    nodes: .*\n    weights: .*\n",
                               rf'\g<1>    nodes: {{blue: ["{app.url}"]}}\n    weights: {{blue: 100, green: 0}}\n', rules)
        if count != 1:
            raise RuntimeError(f"these rules are not a playground's: no nodes of {unit}")
    return rules.replace("topics:\n", "topics:\n" + TOPICS, 1).replace("routes:\n", "routes:\n" + ROUTES, 1)


class Stage:
    """`apps` by unit; `data`: the folder of the ledgers. MORE: text that the rules get besides."""

    def __init__(self, ctl, folder, more=""):
        self.ctl_path, self.folder, self.more = str(ctl), pathlib.Path(folder), more
        topology = json.loads((self.folder / "topology.json").read_text())
        self.gateways = [url.split("//")[1] for url in topology["ingress"]]
        self.before = self.ctl("rules", "show")
        self.data = self.folder / "bank"
        self.data.mkdir(exist_ok=True)
        units = sorted({one["unit"] for one in topology["processes"] if one["role"] == "app"})
        self.apps = {unit: App(unit, self.data, self.gateways, self.folder / "logs" / f"{unit}-bank.log") for unit in units}

    def ctl(self, *words):
        done = subprocess.run([self.ctl_path, *map(str, words), "--dir", str(self.folder)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"ldcctl {' '.join(map(str, words))}: {done.stdout}")
        return done.stdout

    def apply(self, rules, note):
        path = self.folder / "bank.yaml"
        path.write_text(rules)
        self.ctl("rules", "apply", path, "--note", note)

    def open(self):
        self.apply(with_bank(self.before, self.apps) + self.more, "the bank opens")

    def end_apps(self):
        for app in self.apps.values():
            app.kill()

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *_):
        try:
            self.apply(self.before, "the bank closes")
        finally:
            self.end_apps()

    def waits(self):
        """What is not at its end: messages in streams and parks, messages that were made ready and not ended, and dead
        letters."""
        lag = json.loads(self.ctl("queue", "lag", "-o", "json"))["queues"]
        return (sum(one["pending"] + one["parked"] for one in lag),
                *(len(json.loads(self.ctl("queue", *words, "list", "-o", "json"))["items"])
                  for words in (("transactions",), ("dead",))))

    def send(self, method, path, user, body=None, key=None, turn=0):
        """(status, headers, body) of the gateway number TURN."""
        connection = http.client.HTTPConnection(self.gateways[turn % len(self.gateways)], timeout=10)
        headers = {"X-User-Id": user, "Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.loads(text or b"{}")
        finally:
            connection.close()


def main():
    if len(sys.argv) != 3 or not (pathlib.Path(sys.argv[2]) / "topology.json").exists():
        sys.exit("usage: stage.py LDCCTL FOLDER, where `LDCCTL playground up --core-brokers 3 --dir FOLDER` is ready")
    with Stage(sys.argv[1], sys.argv[2]) as stage:
        print(f"The bank is open at {', '.join(stage.gateways)}; Ctrl-C closes it.", flush=True)
        try:
            next(iter(stage.apps.values())).process.wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
