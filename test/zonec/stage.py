# SPDX-License-Identifier: Apache-2.0
"""A playground with one collection, what stands in its brokers, and the load on it."""
import contextlib
import http.client
import itertools
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))

import collections_fixture  # noqa: E402
import harness  # noqa: E402
from collections_fixture import bucket_of, pack  # noqa: E402
from harness import wait_until  # noqa: E402
from playground_fixture import Playground, lives  # noqa: E402

CORE = "CORE"
NAME = "merchants"
# Whatever dies is to move as often as it dies; the whole log stays, for the audit.
FAILOVER = {"max_units": 5, "gap": "120ms", "cooldown": "1s", "window": "1s"}
COLLECTION = {"staleness": "2s", "when_stale": "core", "digest": "1s", "keep": "1h", "feed": 100000000}


def pause(seconds):
    threading.Event().wait(seconds)


def flow(mapping):
    """In YAML's flow style: durations stand there without quotes."""
    return "{" + ", ".join(f"{key}: {value}" for key, value in mapping.items()) + "}"


def collection_rules(collection):
    return f"collections: {{{NAME}: {flow(collection)}}}\n"


def value_of(write, key, size):
    """As zonec-load makes it."""
    head = b'{"write":%d,"key":"%s","pad":"' % (write, key)
    return head + b"x" * max(size - len(head) - 2, 0) + b'"}'


def fill(site, keys, first=0, size=100, at_once=500):
    """The keys from FIRST on, each once, in the origin at SITE, past the gateways: a million takes a minute. Yields the
    number of the key that comes next, each time some were written."""
    writes = itertools.count(next(Load.numbers))
    while first < keys:
        names = [b"merchant-%07d" % number for number in range(first, min(first + at_once, keys))]
        site.connection.pipeline([
            site.words("put", site.epoch, key, bucket_of(key), "", pack(key, value_of(next(writes), key, size), b"application/json"),
                       "") for key in names])
        first += len(names)
        yield first


class Load(harness.Process):
    """zonec-load, with what it prints: a line a second, and one a phase. No two of them number writes alike."""

    numbers = itertools.count(1, 20000000)

    def __init__(self, stack, name, targets, units, **options):
        self.journal = stack.folder / f"{name}.journal"
        argv = [harness.BUILD / "test" / "zonec-load", "--collection", NAME, "--journal", self.journal]
        argv += [word for target in targets for word in ("--target", target)]
        argv += [word for unit in units for word in ("--unit", unit)]
        for option, value in {"first": next(self.numbers), **options}.items():
            argv += [f"--{option.replace('_', '-')}"] + ([] if value is True else [value])
        stack.keep(self)
        super().__init__(name, argv, stack.log(name))

    def lines(self):
        found = []
        for line in self.log_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    @property
    def phases(self):
        """Each ended one, the last of all is `final`."""
        return [line for line in self.lines() if "final" in line or "phase" in line]

    def accepted(self):
        """In all phases so far."""
        ended = now = 0
        for line in self.lines():
            now = line["accepted"]
            if "phase" in line:
                ended, now = ended + now, 0
        return ended + now

    def more(self, count, timeout=60):
        goal = self.accepted() + count
        wait_until(lambda: self.accepted() >= goal or not self.alive(), timeout, f"{count} more writes", every=0.1)

    def next_phase(self):
        """Ends the phase, and returns its figures."""
        count = len(self.phases)
        self.signal(signal.SIGUSR1)
        wait_until(lambda: len(self.phases) > count, what="the phase's figures")
        return self.phases[-1]

    def finish(self, timeout=90):
        """All that was begun is accepted; returns the figures of the last phase."""
        code = self.terminate(timeout)
        if code != 0:
            raise AssertionError(f"{self.name} ended with {code}: writes were never accepted\n{self.log_text()[-2000:]}")
        return self.phases[-1]

    def wait(self, timeout):
        """Until it ends by itself."""
        wait_until(lambda: not self.alive(), timeout, f"{self.name} to end", every=0.1)
        return self.phases[-1]


class Stage:
    """COLLECTION: keys of the rules that are other than usual."""

    def __init__(self, stack, *flags, failover=None, **collection):
        self.stack = stack
        self.play = Playground(stack, *flags)
        self.hosts = "namespaces" in flags
        self.topology = self.play.topology()
        self.token = self.topology["token"]
        self._apply({**COLLECTION, **collection}, {**FAILOVER, **(failover or {})})
        wait_until(self.is_whole, 60, "every broker in sync", every=0.1)

    def _apply(self, collection, failover):
        text = (self.play.dir / "rules.yaml").read_text()
        text = re.sub(r"^(collections|failover):.*\n(?:[ ].*\n)*", "", text, flags=re.M)
        text += collection_rules(collection) + f"failover: {flow(failover)}\n"
        path = self.stack.folder / "zonec.yaml"
        path.write_text(text)
        done = self.play.ctl("rules", "apply", path, "--max-move", "100")
        if done.returncode:
            raise AssertionError(f"rules refused: {done.stderr}{done.stdout}")

    # --- what it is

    def processes(self, **wanted):
        """As they are now, by their fields."""
        return [one for one in self.play.topology()["processes"]
                if all(one.get(key) == value for key, value in wanted.items())]

    def units(self):
        return sorted({one["unit"] for one in self.topology["processes"] if one["role"] == "broker"})

    def copies(self):
        return [unit for unit in self.units() if unit != CORE]

    def address(self, process, port):
        return process.get("address", "127.0.0.1"), process["ports"][port]

    def targets(self):
        return ["%s:%d" % self.address(one, "ingress") for one in self.processes(role="gateway")]

    def get(self, unit, key, **headers):
        return harness.request(self.targets()[0], "GET", f"/-/c/{NAME}/{key}", {"LDC-Unit": unit, **headers})

    def statuses(self):
        """What each gateway that answers says of each unit."""
        for gateway in self.processes(role="gateway"):
            host, port = self.address(gateway, "admin")
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                answer = harness.request(f"{host}:{port}", "GET", "/v1/status", {"Authorization": f"Bearer {self.token}"},
                                         timeout=2)
                yield {unit["name"]: unit for unit in answer.json()["units"]}

    def records(self):
        """Each unit's record, as the gateway has it that knows the newest; {} where none answers."""
        newest = {}
        for units in self.statuses():
            for name, unit in units.items():
                record = unit.get("broker_record")
                if record and record["version"] >= newest.get(name, record)["version"]:
                    newest[name] = record
        return newest

    def may_move(self, unit):
        """Every gateway trusts the unit's standby."""
        return all(units[unit]["failover"]["vote"]["standby_healthy"] for units in self.statuses())

    def primary(self, unit, records=None):
        """The process that leads; None where nobody knows."""
        record = (records or self.records()).get(unit)
        if not record:
            return None
        where = record["primary"].removeprefix("redis://")
        return next(one for one in self.processes(role="broker") if "%s:%d" % self.address(one, "redis") == where)

    def is_covered(self, unit, records=None):
        """Every broker of the unit lives and is in sync."""
        brokers, record = self.processes(role="broker", unit=unit), (records or self.records()).get(unit)
        return bool(record) and len(record["in_sync"]) == len(brokers) and all(lives(one["pid"]) for one in brokers)

    def has_majority(self, unit, records):
        """More than half of the unit's brokers are in sync, and live."""
        brokers, record = self.processes(role="broker", unit=unit), records.get(unit)
        there = [one for one in brokers if record and "redis://%s:%d" % self.address(one, "redis") in record["in_sync"]]
        return 2 * sum(lives(one["pid"]) for one in there) > len(brokers)

    def is_whole(self):
        """Every process lives, and every broker is in sync."""
        records = self.records()
        return all(lives(one["pid"]) for one in self.processes()) and \
            all(self.is_covered(unit, records) for unit in self.units())

    def connect(self, broker):
        host, port = self.address(broker, "redis")
        return harness.BrokerConnection(port, host, self.token if self.hosts else None)

    @contextlib.contextmanager
    def site(self, unit):
        """What the unit's primary holds, as collections_fixture.Site."""
        connection = self.connect(self.primary(unit))
        try:
            yield collections_fixture.Site(connection, unit, int(connection.call("GET", f"ldc:{{{unit}}}:epoch") or 0), NAME)
        finally:
            connection.close()

    def rewrite_nothing(self):
        """No broker makes its append-only file anew from now on: with two processors that is all one would see."""
        for broker in self.processes(role="broker"):
            with contextlib.closing(self.connect(broker)) as connection:
                connection.call("CONFIG", "SET", "auto-aof-rewrite-percentage", "0")

    def meta(self, unit):
        with self.site(unit) as site:
            flat = [word.decode() for word in site.call("HGETALL", site.at + "meta")]
            return {**dict(zip(flat[0::2], flat[1::2])), "stamp": str(site.epoch)}

    def is_level(self, unit):
        """The copy has all that the origin has, is open, and has compared that."""
        with contextlib.suppress(OSError, RuntimeError, AttributeError):
            meta, origin = self.meta(unit), self.meta(CORE)
            return meta.get("state") == "live" and meta["seq"] == origin.get("seq") and meta.get("epoch") == meta["stamp"] \
                and meta.get("digest_seq") == origin["seq"] and meta.get("digest_ok") == "1"
        return False

    def wait_level(self, timeout=60, units=None):
        for unit in units or self.copies():
            wait_until(lambda: self.is_level(unit), timeout, f"the copy of {unit} to be level", every=0.05)

    # --- load

    def load(self, name="load", units=None, **options):
        return Load(self.stack, name, self.targets(), self.copies() if units is None else units, **options)

    def fill(self, keys, patience=20):
        """Also where the core unit changes its broker meanwhile."""
        first = 0
        while first < keys:
            try:
                with self.site(CORE) as site:
                    for first in fill(site, keys, first):
                        pass
            except (OSError, RuntimeError, AttributeError):
                patience -= 1
                if patience == 0:
                    raise
                pause(1)

    def tell(self):
        """For whoever looks into a failure."""
        for unit in self.units():
            with contextlib.suppress(OSError, RuntimeError, AttributeError):
                print(unit, self.meta(unit), flush=True)
        for unit, record in self.records().items():
            print(unit, json.dumps(record), flush=True)
