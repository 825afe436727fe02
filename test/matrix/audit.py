# SPDX-License-Identifier: Apache-2.0
"""What is left of a scene when it is over: where each message is, what each broker was, who moved what and why."""
import collections
import datetime
import json
import pathlib
import re

from harness import wait_until

Move = collections.namedtuple("Move", "at unit epoch gateway matter why voters votes needed")


class Audit:
    def __init__(self, scene):
        self.scene = scene
        self.answers = {who: scene.answers(who) for who in ("hit", "others")}
        everything = self.answers["hit"] + self.answers["others"]
        self.accepted = {answer.id for answer in everything if answer.status == 202}
        self.ids = collections.defaultdict(set)  # of a payment: of its 202s, and of outcomes that were called unknown
        for answer in everything:
            if answer.status == 202:
                self.ids[answer.user, answer.seq].add(answer.id)
        self._logs = {}
        self.delivered, self.kept, self.stored, self.records, self.counted = set(), set(), [], [], 0
        self._settle()
        self.moves = sorted(self._find_moves(), key=lambda move: move.at)

    # --- messages ---

    def _settle(self):
        def settled():
            try:
                self._read()
            except (OSError, RuntimeError):
                return False  # a broker is not there
            return not self.missing()
        try:
            wait_until(settled, 30, "everything to be delivered", every=0.3)
        except AssertionError:
            pass  # missing() says what

    def _read(self):
        self.records = []
        for path in sorted((self.scene.play.dir / "apps").glob("*.jsonl")):
            with open(path, "rb") as lines:
                self.records += [json.loads(line) for line in lines if line.endswith(b"\n")]
        self.records = sorted((one for one in self.records if one["via"] == "queue"), key=lambda one: one["us"])
        self.delivered = {one["id"] for one in self.records}
        self.stored, self.kept, self.counted = [], set(), 0
        for unit in ("RZ01", "RZ02", "RZ03"):
            self._read_broker(self.scene.broker_at(self.scene.record(unit)["primary"]), unit)

    def _read_broker(self, name, unit):
        for key in self._keys(name, "ldc:{%s/*:stream" % unit):
            self.stored += self._stream_ids(name, key)
        for pattern in ("ldc:*:park:*", "ldc:*:dead:*"):
            for key in self._keys(name, pattern):
                self.kept |= set(self._stream_ids(name, key))
        for key in self._keys(name, "ldc:{%s/*:state" % unit):
            self.counted += int(self.scene.call(name, "HGET", key, "n") or 0)

    # In small steps: a broker that one long answer keeps from all others is silent to them, and is moved.

    def _keys(self, name, pattern):
        found, cursor = set(), None
        while cursor != b"0":
            cursor, keys = self.scene.call(name, "SCAN", cursor or "0", "MATCH", pattern, "COUNT", "1000")
            found.update(keys)
        return sorted(found)

    def _stream_ids(self, name, key):
        ids, after = [], "-"
        while entries := self.scene.call(name, "XRANGE", key, after, "+", "COUNT", "500"):
            ids += [dict(zip(fields[0::2], fields[1::2]))[b"id"].decode() for _, fields in entries]
            after = b"(" + entries[-1][0]
        return ids

    def missing(self):
        return self.accepted - self.delivered - self.kept

    # --- who moved what ---

    def logged(self, gateway):
        """(monotonic time, event, text) of what its log says of units."""
        if gateway not in self._logs:
            self._logs[gateway] = list(self._read_log(gateway))
        return self._logs[gateway]

    def _read_log(self, gateway):
        for line in pathlib.Path(self.scene.processes[gateway]["log"]).read_text().splitlines():
            if line.startswith("{") and '"unit.' in line:
                entry = json.loads(line)
                at = datetime.datetime.fromisoformat(entry["time"].replace("Z", "+00:00")).timestamp()
                yield self.scene.clock_of(gateway, at), entry["event"], entry.get("text", "")

    def _find_moves(self):
        for gateway in self.scene.of(role="gateway"):
            proposed = {}
            for at, event, text in self.logged(gateway):
                unit, epoch = re.match(r"(\w*)(?:, epoch (\d+))?", text).groups()
                if event == "unit.proposed":
                    proposed[unit] = text.split(": ", 1)[1]
                elif event == "unit.won":
                    yield self._move(at, unit, int(epoch), gateway, proposed.get(unit, ""))

    def _move(self, at, unit, epoch, gateway, why):
        matter, _, rest = why.partition(" suspected: ")
        tally = re.search(r"; (\d+) votes, (\d+) needed", rest)
        voters = dict(re.findall(r"([\w.-]+) (\w+)(?=,|$)", rest.split(";")[0]))
        votes, needed = map(int, tally.groups()) if tally else (0, 0)
        return Move(at, unit, epoch, gateway, matter, why, voters, votes, needed)

    def voiced(self, gateway, unit, before, within=3.0):
        """Whether GATEWAY itself noted that it suspected UNIT or voted so."""
        return any(event in ("unit.suspected", "unit.voted") and text.startswith(unit + ",") and before - within < at <= before + 0.1
                   for at, event, text in self.logged(gateway))

    def silence_before(self, unit, at, within=1.0):
        """The longest time that the primary of UNIT said nothing, shortly before AT, in seconds. What held up one pair
        of eyes is taken off what that pair saw: a processor that stands still stops the eyes on it and a broker alike,
        and then those on the other one tell."""
        start = at - within
        primaries = {one["broker"] for one in self.scene.seen if one["kind"] == "was" and one["unit"] == unit and
                     one["role"] == "master" and one["from"] < at and one["to"] > start}
        return max((one["to"] - one["from"] - self._held_up(seen, one["from"], one["to"])
                    for seen in self.scene.seen_by for one in seen
                    if one["kind"] == "silent" and one["broker"] in primaries and one["from"] < at and one["to"] > start),
                   default=0.0)

    def _held_up(self, seen, since, until):
        return sum(max(0.0, min(one["to"], until) - max(one["from"], since)) for one in seen if one["kind"] == "late")
