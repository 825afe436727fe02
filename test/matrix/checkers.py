# SPDX-License-Identifier: Apache-2.0
"""The columns of the matrix. Each looks at an audit and says whether it holds, and what it saw in a few characters."""
import collections
import json

from clients import longest_silence_ms, quantile_ms
from scene import UNIT

REALLY_SILENT_S = 0.025  # a broker that said nothing for so long may look dead to those who ask each 10 ms
GAP_S = 0.040


def lost(audit, row):
    """What was acknowledged is delivered, parked or dead."""
    missing = audit.missing()
    return not missing, f"{len(missing)}/{len(audit.accepted)}"


def twice(audit, row):
    """No message stands anywhere twice, no payment has two ids."""
    entries = collections.Counter(audit.stored)
    again = sum(count - 1 for count in entries.values() if count > 1)
    surplus = max(0, audit.counted - len(audit.delivered | audit.kept | set(audit.stored)))
    bodies = collections.defaultdict(set)
    for record in audit.records:
        body = json.loads(record["body"])
        bodies[body["user"], body["seq"]].add(record["id"])
    ids = sum(len(found | audit.ids.get(payment, set())) > 1 for payment, found in bodies.items())
    return again + surplus + ids == 0, f"{again + surplus + ids}"


def one_writer(audit, row):
    """Of all brokers that took something at one epoch of a unit there is one."""
    writers = collections.defaultdict(set)
    for one in audit.scene.seen:
        if one["kind"] == "was" and one["role"] == "master" and one["writes"][1] > one["writes"][0]:
            writers[one["unit"], one["stamp"]].add(one["broker"])
    bad = [epoch for epoch, brokers in writers.items() if len(brokers) > 1]
    return not bad, f"{len(bad)}/{len(writers)}"


def epochs(audit, row):
    """Stamps of a run, versions of a record, what a gateway tells one client: none of them falls."""
    falls, last = 0, {}

    def see(key, value):
        nonlocal falls
        falls += value < last.get(key, 0)
        last[key] = max(value, last.get(key, 0))
    for one in audit.scene.seen:
        if one["kind"] == "was":
            see((one["broker"], one["run"]), one["stamp"])
        elif one["kind"] == "record":
            see(one["unit"], one["version"])
    for answer in audit.answers["hit"] + audit.answers["others"]:
        if answer.epoch and answer.gateway not in audit.scene.struck_gateways:
            see((answer.gateway, answer.user), answer.epoch)
    return falls == 0, str(falls)


def order(audit, row):
    """Each user's payments were processed in the order in which he made them, when each came for the first time."""
    inverted, last, seen = 0, {}, set()
    for record in audit.records:
        if record["id"] not in seen:
            body = json.loads(record["body"])
            inverted += body["seq"] < last.get(body["user"], 0)
            last[body["user"]] = max(body["seq"], last.get(body["user"], 0))
            seen.add(record["id"])
    return inverted == 0, f"{inverted}, {len(audit.records) - len(seen)} again"


def first_acknowledged(audit, row):
    """Milliseconds from the fault to the first 202 of a request that came after it; the longest silence of a user."""
    times = [answer.at for answer in audit.answers["hit"] if answer.status == 202 and answer.asked >= audit.scene.fault_at]
    first = 1000 * (min(times) - audit.scene.fault_at) if times else float("inf")
    silence = longest_silence_ms(audit.answers["hit"])
    return max(first, silence) <= 1000 * row.within, f"{first:.0f}, {silence:.0f}"


def is_allowed(audit, row, move):
    return move.unit == UNIT and move.at >= audit.scene.fault_at and row.moves != "never"


def justified(audit, row):
    """Nobody moved but who was struck; what else moved had a broker that really said nothing."""
    moved = [move for move in audit.moves if is_allowed(audit, row, move)]
    strange = [move for move in audit.moves if not is_allowed(audit, row, move)]
    silences = [audit.silence_before(move.unit, move.at) for move in strange]
    text = "moved" if any(move.matter == "primary" for move in moved) else "consumer" if moved else "-"
    text += "".join(f", {move.unit} for {1000 * silence:.0f} ms" for move, silence in zip(strange, silences))
    enough = all(silence >= REALLY_SILENT_S for silence in silences)
    return enough and (row.moves != "must" or bool(moved)), text


def explained(audit, row):
    """Each has a majority on record, and each of its voters had noted the suspicion himself."""
    bad = [move for move in audit.moves if not (move.votes >= move.needed >= 2 and all(
        audit.voiced(voter, move.unit, move.at) for voter, reason in move.voters.items() if reason not in ("fine", "abstains")))]
    written = {one["version"]: one for one in audit.scene.seen if one["kind"] == "record" and one["record"]["moved_us"] and
               one["record"]["by"].startswith("gateway")}
    bad += [one for one in written.values() if "votes" not in one["record"]["why"]]
    return not bad, f"{len(audit.moves) - len(bad)}/{len(audit.moves)}"


def failures(audit, who):
    """Where a gateway is struck itself, it counts for nothing that its client loses the connection, or that nobody knows
    what came of his request."""
    return [answer for answer in audit.answers[who] if answer.status != 202 and
            not (answer.gateway in audit.scene.struck_gateways and (answer.status == 0 or answer.problem == "outcome-unknown"))]


def refused(audit, row):
    """Requests of the unit that was struck; clients repeat them."""
    count = len(failures(audit, "hit"))
    return count == 0 or not row.strict, str(count)


def untouched(audit, row):
    """Users of other units: every request was accepted at once."""
    failed = failures(audit, "others")
    return not failed, f"{len(failed)} failed, p99 {quantile_ms(audit.answers['others'], 0.99):.0f} ms"


def healed(audit, row):
    """When all is mended payments go on, and the unit has a standby again."""
    return not audit.scene.healed, audit.scene.healed or "yes"


COLUMNS = [("lost", lost), ("twice", twice), ("two writers", one_writer), ("epochs fell", epochs), ("inverted", order),
           ("first ack, silence ms", first_acknowledged), ("refused", refused), ("moved", justified), ("explained", explained),
           ("other units", untouched), ("healed", healed)]
