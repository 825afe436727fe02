# SPDX-License-Identifier: Apache-2.0
"""A core unit and units that keep copies of its collections, by the real agents and brokers; tests write at the origin."""
import contextlib
import json
import signal

import harness
from collections_fixture import BUCKETS, Site, bucket_of, pack
from harness import wait_until

CORE = "CORE"


class Unit:
    """One with BROKERS, the primary first, and an agent."""

    def __init__(self, stack, name, brokers, extra):
        self.file = stack.store / f"document-brokers%2f{name}"
        self.brokers = [stack.broker(f"{name}-{n}", fsync="everysec", extra=extra, fenced=n > 0) for n in range(brokers)]
        self.agent = None

    def record(self):
        """As it stands in the store, whoever lives."""
        return json.loads(self.file.read_text().split("\n", 1)[1])

    def primary(self):
        """The broker that the record names."""
        url = self.record()["primary"]
        return next(broker for broker in self.brokers if broker.url == url)


class CopiesTest(harness.StackTest):
    """start() makes the units; `origin` and `copy(unit)` look into their brokers."""

    routes = ()

    def start(self, units=("RZ01",), collections=None, brokers=1, core_brokers=1, extra=(), **options):
        self.units = {CORE: Unit(self.stack, CORE, core_brokers, ())}
        self.units.update({name: Unit(self.stack, name, brokers, extra) for name in units})
        self.collections, self.connections = collections or {"rates": {}}, {}
        self.write_rules()
        for name, unit in self.units.items():
            unit.agent = self.stack.agent(name, **options)
        for name, unit in self.units.items():
            wait_until(lambda: unit.file.exists() and len(unit.record()["in_sync"]) == len(unit.brokers),
                       what=f"all brokers of {name} in sync")

    def write_rules(self):
        units = {CORE: harness.unit(kind="core", brokers=self.units[CORE].brokers)}
        names = [name for name in self.units if name != CORE]
        for n, name in enumerate(names):
            slots = f"{100 * n // len(names)}-{100 * (n + 1) // len(names) - 1}"
            units[name] = harness.unit(slots, brokers=self.units[name].brokers)
        self.put_in_force(harness.rules(units, routes=self.routes))

    def put_in_force(self, text):
        """TEXT with the collections behind it."""
        self.stack.write_rules(f"{text}{harness.PATIENT_RULES}collections: " + json.dumps(self.collections).replace('"', "") + "\n")

    def connect(self, broker):
        if broker.port not in self.connections:
            self.connections[broker.port] = harness.BrokerConnection(broker.port)
            self.addCleanup(self.connections[broker.port].close)
        return self.connections[broker.port]

    def site(self, unit, name="rates"):
        """Of the unit's primary as it is now."""
        connection = self.connect(self.units[unit].primary())
        return Site(connection, unit, self.stamp(connection, unit), name)

    @staticmethod
    def stamp(connection, unit):
        return int(connection.call("GET", f"ldc:{{{unit}}}:epoch") or 0)

    @property
    def origin(self):
        return self.site(CORE)

    def copy(self, unit="RZ01", name="rates"):
        return self.site(unit, name)

    def write(self, count, first=0, size=20, origin=None):
        """COUNT keys, in one pipeline."""
        origin = origin or self.origin
        keys = [b"key-%d" % n for n in range(first, first + count)]
        origin.connection.pipeline([origin.words("put", origin.epoch, key, bucket_of(key), "", pack(key, key * (size // 8)), "")
                                    for key in keys])
        return origin.seq

    def is_open(self, unit="RZ01", name="rates"):
        """For the epoch that its broker is stamped with."""
        copy = self.copy(unit, name)
        return copy.meta("state") == "live" and copy.meta("epoch") == str(copy.epoch)

    def wait_open(self, unit="RZ01", name="rates", timeout=20):
        wait_until(lambda: self.is_open(unit, name), timeout, what=f"an open copy in {unit}")

    def wait_applied(self, seq, unit="RZ01", name="rates", timeout=20):
        wait_until(lambda: self.copy(unit, name).seq >= seq, timeout, what=f"{seq} in {unit}")

    def assert_same(self, unit="RZ01", name="rates"):
        """Every value, every sum, and the list of keys."""
        copy, origin = self.copy(unit, name), self.site(CORE, name)
        self.wait_applied(origin.seq, unit, name)
        (values, wrong), (expected, _) = copy.look(), origin.look()
        self.assertEqual((wrong, len(values)), ([], len(expected)))
        self.assertEqual(values, expected)
        self.assertEqual(copy.call("ZCARD", copy.at + "keys"), len(values))


@contextlib.contextmanager
def stopped(process):
    """It does nothing meanwhile."""
    process.freeze()
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)
