# SPDX-License-Identifier: Apache-2.0
"""Whether all units hold what the origin holds, and whether that is what clients were told. Each check yields its
findings as sentences; none means that it holds. Keys and values are read out of every broker and judged by themselves,
not by what the functions say of them."""
import json
import re

import stage  # noqa: F401  (puts test/system on the path)
from collections_fixture import BUCKETS, bucket_of, is_sound, share, unpack

def write_of(packed):
    """The number of the write that the load made this value by."""
    found = re.match(rb'\{"write":(\d+),', unpack(packed)[3])
    return int(found.group(1)) if found else None


class Held:
    """What one broker holds of the collection."""

    def __init__(self, site, log=True):
        self.name, self.seq = site.unit, site.seq
        self.buckets = site.buckets()
        self.sums = (site.call("GET", site.at + "sums") or b"").ljust(BUCKETS * 6, b"\0")
        self.keys = site.call("ZRANGE", site.at + "keys", 0, -1)
        self.log = site.log() if log else []
        self.values = {key: packed for bucket in self.buckets for key, packed in bucket.items()}

    def sum(self, bucket):
        return int.from_bytes(self.sums[6 * bucket:6 * bucket + 6], "little")

    def changes(self):
        """(sequence, fields) of each change in the log."""
        return [(int(id.split("-")[0]), fields) for id, fields in self.log if fields[b"op"] in (b"put", b"del")]


def check_held(held):
    """Each broker by itself: buckets, checks, sums, list."""
    for number, bucket in enumerate(held.buckets):
        for key, packed in bucket.items():
            if bucket_of(key) != number:
                yield f"{held.name}: {key} stands in bucket {number}"
            if not is_sound(key, packed):
                yield f"{held.name}: {key} is not what was written"
        if held.sum(number) != sum(map(share, bucket.values())) % 2**48:
            yield f"{held.name}: bucket {number} has another sum than its values"
    if held.keys != sorted(held.values):
        yield f"{held.name}: the list has {len(held.keys)} keys, the buckets {len(held.values)}"


def check_same(origin, copy):
    """Every key and every sum."""
    if copy.seq != origin.seq:
        yield f"{copy.name} is at {copy.seq}, the origin at {origin.seq}"
    for key in origin.values.keys() | copy.values.keys():
        if origin.values.get(key) != copy.values.get(key):
            yield f"{copy.name}: {key} is {copy.values.get(key)}, at the origin {origin.values.get(key)}"
    if copy.sums != origin.sums:
        yield f"{copy.name}: the sums differ from the origin's"


def check_log(held, first=None):
    """One number after the other, and the values are what they lead to."""
    changes, values = held.changes(), {}
    numbers = [seq for seq, _ in changes]
    first = numbers[0] if first is None and numbers else first or 1
    if numbers != list(range(first, held.seq + 1)):
        yield f"{held.name}: the log goes from {numbers[:1]} to {numbers[-1:]} with {len(numbers)} changes, the copy is at {held.seq}"
    for seq, fields in changes:
        if fields[b"op"] == b"put":
            values[fields[b"key"]] = fields[b"value"]
            if unpack(fields[b"value"])[0] != seq:
                yield f"{held.name}: change {seq} carries the version {unpack(fields[b'value'])[0]}"
        else:
            values[fields[b"key"]] = None
    for key, value in values.items():
        if held.values.get(key) != value:
            yield f"{held.name}: {key} is not what the log says"


def check_logs(origin, copy):
    """What the copy's log has is what the origin's has under the same number."""
    theirs = dict(origin.changes())
    for seq, fields in copy.changes():
        if theirs.get(seq) != fields:
            yield f"{copy.name}: change {seq} is another one than the origin's"


class Journal:
    """What a load wrote down."""

    def __init__(self, path):
        self.versions, self.gone, self.faults, self.open = {}, [], [], []
        with open(path) as lines:
            for line in lines:
                words = line.split()
                if words[0] == "version":
                    self.versions[int(words[1])] = (int(words[2]), int(words[3]), words[4], words[5])
                elif words[0] == "gone":
                    self.gone.append(tuple(map(int, words[1:])))
                elif words[0] == "open":
                    self.open.append(words[1:])
                else:
                    self.faults.append(line.strip())

    def acked(self):
        return sum(source == "acked" for _, _, _, source in self.versions.values())


def key_name(number):
    return b"merchant-%07d" % number


def check_told(origin, journal):
    """Nothing that was acknowledged is missing, nothing that was read is untrue, and nothing was done twice."""
    yield from (f"a client saw: {fault}" for fault in journal.faults)
    changes, by_write, deleted = dict(origin.changes()), {}, {}
    for seq, fields in changes.items():
        if fields[b"op"] == b"put":
            write = write_of(fields[b"value"])
            if by_write.setdefault(write, seq) != seq:
                yield f"write {write} was done twice: {by_write[write]} and {seq}"
        else:
            deleted.setdefault(fields[b"key"], []).append(seq)
    for version, (write, key, op, source) in journal.versions.items():
        fields = changes.get(version)
        if not fields or fields[b"key"] != key_name(key) or fields[b"op"].decode() != op or \
                (op == "put" and write_of(fields[b"value"]) != write):
            yield f"version {version} was {source} as write {write} of key {key} ({op}), the log has {fields and fields[b'key']}"
    for unit, key, had in journal.gone:
        if not any(seq > had for seq in deleted.get(key_name(key), [])):
            yield f"unit {unit} showed key {key} in version {had}, then not at all, and nobody deleted it"


def audit(on, journals=(), logs=True, most=20):
    """The findings about a stage at rest, MOST of them; prints a line of figures."""
    with on.site(stage.CORE) as site:
        origin = Held(site)
    findings = [*check_held(origin)]
    if logs:
        findings += [*check_log(origin, 1)]
    for unit in on.copies():
        with on.site(unit) as site:
            copy = Held(site, logs)
        findings += [*check_held(copy), *check_same(origin, copy)]
        if logs:
            findings += [*check_log(copy), *check_logs(origin, copy)]
    acked = 0
    for journal in map(Journal, journals):
        findings += check_told(origin, journal)
        acked += journal.acked()
    print(f"audit: {len(origin.values)} keys in {1 + len(on.copies())} brokers at {origin.seq}, {acked} acknowledged writes, "
          f"{len(findings)} findings", flush=True)
    return findings[:most]


def describe(figures):
    """A load's figures in a line."""
    return json.dumps({name: value for name, value in figures.items() if not isinstance(value, dict)})
