# SPDX-License-Identifier: Apache-2.0
"""The demo's third part: a merchant's rate, written once and read in every unit."""
import http.client
import json
import subprocess
import threading
import time

PATH = "/-/c/merchants/m-17"
BUCKETS = 1024
PATIENCE = 30


class Reader:
    """A client of the second gateway, who reads one unit's copy."""

    def __init__(self, authority, unit):
        self.connection, self.unit = http.client.HTTPConnection(authority, timeout=PATIENCE), unit
        self.seen_at = None

    def read(self, **headers):
        self.connection.request("GET", PATH, headers={"LDC-Unit": self.unit, **headers})
        answer = self.connection.getresponse()
        body = answer.read()
        return answer.status, int(answer.getheader("LDC-Version") or 0), body

    def follow(self, version, started):
        """Reads on until it sees VERSION."""
        while self.seen_at is None and time.monotonic() < started + PATIENCE:
            if self.read()[1] >= version:
                self.seen_at = time.monotonic()


class Zone:
    def __init__(self, deployment):
        self.deployment = deployment
        ingress = [url.split("//")[1] for url in deployment.topology()["ingress"]]
        self.writer, self.readers = ingress[0], ingress[-1]

    def status(self, collection="merchants"):
        return json.loads(self.deployment.ctl("zonec", "status", collection, "-o", "json"))["items"]

    def units(self):
        return [item["unit"] for item in self.status() if item["role"] == "copy"]

    def wait(self, condition):
        """How long it took; None: too long."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() > started + PATIENCE:
                return None
            threading.Event().wait(0.05)
        return time.monotonic() - started

    def write(self, fee, **headers):
        connection = http.client.HTTPConnection(self.writer, timeout=PATIENCE)
        try:
            connection.request("PUT", PATH, json.dumps({"fee": fee}), {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            answer.read()
            return answer.status, int((answer.getheader("ETag") or '"0"').strip('"'))
        finally:
            connection.close()

    def redis(self, unit, commands):
        """What redis-cli prints of COMMANDS, a line each, at the unit's primary."""
        units = json.loads(self.deployment.ctl("status", "-o", "json"))["units"]
        primary = next(one for one in units if one["name"] == unit)["broker_record"]["primary"]
        done = subprocess.run(["redis-cli", "-u", primary], input="\n".join(commands) + "\n", text=True,
                              stdout=subprocess.PIPE, check=True, timeout=PATIENCE)
        return done.stdout.split("\n")


def show_write(zone, report):
    """Returns the units, when each has the first value."""
    opened = zone.wait(lambda: all(item["open"] for item in zone.status()))
    units = zone.units()
    status, version = zone.write("1.25")
    readers = [Reader(zone.readers, unit) for unit in units]
    fees = {json.loads(reader.read(**{"LDC-Min-Version": str(version)})[2]).get("fee") for reader in readers}
    report.check(opened is not None and status in (200, 201, 204) and fees == {"1.25"},
                 "a merchant's rate is written once, and every unit has it", ", ".join(units))
    return units, version


def show_lag(zone, report, units, version):
    """The rate changes; who reads in each unit sees it after so many ms from the writer's answer on."""
    readers = [Reader(zone.readers, unit) for unit in units]
    for reader in readers:
        reader.read()
    status, changed = zone.write("1.40", **{"If-Match": f'"{version}"'})
    acknowledged = time.monotonic()
    threads = [threading.Thread(target=reader.follow, args=(changed, acknowledged)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lags = {reader.unit: (reader.seen_at - acknowledged) * 1000 for reader in readers if reader.seen_at}
    report.check(status in (200, 204) and len(lags) == len(units), "it changes, and is read in every unit after",
                 ", ".join(f"{unit} {lag:.1f} ms" for unit, lag in lags.items()))
    refused, _ = zone.write("1.30", **{"If-Match": f'"{version}"'})
    report.check(refused == 412, "who would overwrite the change without having seen it is told so", str(refused))


def show_repair(zone, report, unit):
    """What stands in one broker is changed behind everybody's back."""
    def repaired():
        return next(item for item in zone.status() if item["unit"] == unit)["repaired"]

    at = f"ldc:{{{unit}}}:c/merchants/b"
    found = zone.redis(unit, [f"HEXISTS {at}/{n} m-17" for n in range(BUCKETS)])
    bucket, before = found.index("1"), repaired()
    zone.redis(unit, [f"HDEL {at}/{bucket} m-17"])
    took = zone.wait(lambda: repaired() > before)
    report.check(took is not None, f"a value deleted by hand in {unit}'s broker comes back by itself",
                 "it did not" if took is None else f"after {took:.1f} s")


def show(deployment, report, say):
    """Runs all of it; REPORT counts what is not as it should be."""
    zone = Zone(deployment)
    units, version = show_write(zone, report)
    show_lag(zone, report, units, version)
    show_repair(zone, report, units[0])
    say("$ ldcctl zonec verify merchants")
    said = deployment.ctl("zonec", "verify", "merchants", check=False)
    say("  " + said.rstrip().replace("\n", "\n  "))
    report.check("different" not in said and "not compared" not in said, "all copies are the same, key by key", "")
