# SPDX-License-Identifier: Apache-2.0
"""Somebody who kills (or freezes for a while) whatever collections stand on: agents, gateways, units' brokers,
the core unit's primary and its standbys, in an order by chance. The stage runs under --supervise, so that they come back."""
import stage
from conservation import Chaos

KINDS = ("agent", "gateway", "broker", "core primary", "core standby")


class Kills(Chaos):
    def __init__(self, on, seed, kinds=KINDS, **options):
        super().__init__(on.play, seed, (), roles=kinds, **options)
        self.stage = on

    def victims(self, kind):
        """Of a unit's brokers one at a time, while the others are a majority: who loses all of them at once may have to
        ask an operator."""
        if kind in ("agent", "gateway"):
            return self.stage.processes(role=kind)
        records = self.stage.records()
        whole = [one for one in self.stage.processes(role="broker") if self.stage.has_majority(one["unit"], records)]
        if kind == "broker":
            return [one for one in whole if one["unit"] != stage.CORE]
        primary = self.stage.primary(stage.CORE, records)
        return [one for one in whole if one["unit"] == stage.CORE and primary and
                (one["name"] == primary["name"]) == (kind == "core primary")]

    def name_of(self, kind, victim):
        return kind

