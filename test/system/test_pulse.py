#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pulses between real gateways and agents: who is heard, what is not believed, how soon silence is noticed, and what it
costs."""
import json
import shutil
import signal
import threading
import time
import unittest

import harness
from pulse_fixture import GATEWAY, RECORD, Sender, key_of, sealed

FAULTS = ("foreign", "malformed", "forged", "repeated")


def counts(daemon):
    return {fault: daemon.metric(f"pulses_{fault}_total") for fault in FAULTS}


def heard(gateway, kind):
    return {one["name"] for one in gateway.status()["pulses"][kind] if one["heard"]}


def transitions(gateway, unit=None, event=None):
    """Oldest first."""
    found = json.loads(gateway.get("/v1/transitions?most=512").body)["transitions"]
    return [one for one in reversed(found) if unit in (None, one["unit"]) and event in (None, one["event"])]


class Deployment(harness.StackTest):
    """GATEWAYS in two datacentres, and units with a broker and an agent each."""

    gateways, units = 3, 2

    def setUp(self):
        super().setUp()
        names = [f"RZ{i + 1:02}" for i in range(self.units)]
        share = 100 // self.units
        self.brokers = [self.stack.broker(f"broker-{unit}") for unit in names]
        self.stack.write_rules(harness.rules({
            unit: harness.unit(slots=[f"{i * share}-{i * share + share - 1}"], datacenter=f"dc{i % 2 + 1}",
                               brokers=[f"redis://127.0.0.1:{self.brokers[i].port}"])
            for i, unit in enumerate(names)}))
        self.gateways = [self.stack.gateway(f"gw{i + 1}", datacenter=f"dc{i % 2 + 1}") for i in range(self.gateways)]
        self.agents = [self.stack.agent(unit) for unit in names]
        for gateway in self.gateways:
            peers = {other.name for other in self.gateways} - {gateway.name}
            harness.wait_until(lambda: heard(gateway, "gateways") == peers, what=f"{gateway.name} to hear its peers")
            harness.wait_until(lambda: heard(gateway, "agents") == {agent.name for agent in self.agents},
                               what=f"{gateway.name} to hear the agents")


class AnEmptyStore(Deployment):
    gateways, units = 1, 1

    def test_agents_stay_with_what_they_know_where_the_store_was_emptied(self):
        self.agents[0].kill()
        gateway, cache = self.gateways[0], self.stack.folder / "agent.cache"
        agent = self.stack.agent("RZ01", store__cache=cache)
        harness.wait_until(cache.with_name("agent.cache.members").exists, what="a list of whom it tells")
        version = harness.wait_until(lambda: agent.status()["broker_record"]["version"], what="a record")
        shutil.rmtree(self.stack.store)
        self.stack.store.mkdir()
        harness.wait_until(lambda: "reset or restored" in agent.status()["store"]["fault"], what="a store that is behind")
        sent = agent.metric("pulses_sent_total")
        harness.wait_until(lambda: agent.metric("pulses_sent_total") > sent + 50, what="pulses")
        harness.wait_until(lambda: heard(gateway, "agents") == {agent.name}, what="the gateway to hear them")
        self.assertEqual(agent.status()["broker_record"]["version"], version)
        self.assertEqual(list(self.stack.store.glob("document-*")), [])
        agent.kill()
        harness.wait_until(lambda: not heard(gateway, "agents"), what="silence")
        agent = self.stack.agent("RZ01", store__cache=cache, wait=False)
        harness.wait_until(lambda: heard(gateway, "agents") == {agent.name}, what="the restarted agent to be heard")


class Belief(Deployment):
    """What has not been made with the key, and fresh, is counted and changes nothing."""

    gateways, units = 1, 2

    def sent(self, datagram, fault, daemon=None):
        daemon, real = daemon or self.gateways[0], {agent.name for agent in self.agents}  # whom a busy machine may silence
        before, agents = counts(daemon), heard(daemon, "agents") - real
        self.sender.send(datagram, daemon)
        harness.wait_until(lambda: counts(daemon)[fault] == before[fault] + 1, what=f"a {fault} datagram to be counted")
        self.assertEqual({**before, fault: before[fault] + 1}, counts(daemon))
        self.assertEqual(agents, heard(daemon, "agents") - real)

    def setUp(self):
        super().setUp()
        self.sender = Sender("ghost")
        self.addCleanup(self.sender.close)

    def test_what_is_not_authentic_and_fresh_is_counted_and_ignored(self):
        good = self.sender.agent()
        self.sent(b"", "foreign")
        self.sent(b"GET / HTTP/1.1\r\n\r\n", "foreign")
        self.sent(good[:3] + b"Q" + good[4:], "foreign")
        self.sent(good[:-1], "forged")
        self.sent(good[:40], "forged")
        self.sent(good[:8], "malformed")
        self.sent(good[:20] + bytes([good[20] ^ 1]) + good[21:], "forged")
        self.sent(good + b"x" * 1400, "malformed")
        stranger = Sender("ghost", secret="another key")
        self.addCleanup(stranger.close)
        self.sent(stranger.agent(), "forged")
        self.sent(sealed(self.sender.body(GATEWAY, b"\xff"), self.sender.key), "malformed")

    def test_a_pulse_counts_once(self):
        gateway, good = self.gateways[0], self.sender.agent()
        self.sender.send(good, gateway)
        harness.wait_until(lambda: any(one["name"] == "ghost" for one in gateway.status()["pulses"]["agents"]),
                           what="the ghost to be heard")
        harness.wait_until(lambda: "ghost" not in heard(gateway, "agents"), what="the ghost to be silent")
        self.sent(good, "repeated")
        later = self.sender.agent()
        self.sender.incarnation -= 1
        self.sent(self.sender.agent(), "repeated")
        self.sender.send(later, gateway)
        harness.wait_until(lambda: "ghost" in heard(gateway, "agents"), what="the next pulse to be taken")

    def test_the_record_of_a_stranger_changes_nothing(self):
        gateway, unit = self.gateways[0], "RZ01"
        harness.wait_until(lambda: gateway.status()["units"][0]["broker_record"]["version"] > 0, what="a record")
        before = gateway.status()["units"][0]["broker_record"]
        self.sender.key = key_of("another key")
        text = json.dumps({"primary": "redis://127.0.0.1:1"}).encode()
        body = self.sender.body(RECORD, bytes([len(unit)]) + unit.encode() + (10 ** 6).to_bytes(8, "little") +
                                len(text).to_bytes(2, "little") + text)
        self.sent(sealed(body, self.sender.key), "forged")
        self.assertEqual(before, gateway.status()["units"][0]["broker_record"])


class Restart(Deployment):
    gateways, units = 1, 1

    def test_an_agent_that_starts_again_is_heard_again(self):
        gateway, agent = self.gateways[0], self.agents[0]
        agent.kill()
        harness.wait_until(lambda: not heard(gateway, "agents"), what="the silence to be seen")
        agent.restart()
        harness.wait_until(lambda: heard(gateway, "agents") == {agent.name}, what="the agent to be heard again")


class Silence(Deployment):
    def suspicions(self, since_us):
        return {gateway.name: [one for one in transitions(gateway, event="suspected") if one["at_us"] >= since_us]
                for gateway in self.gateways}

    def settle(self):
        """Every gateway holds every unit for well, and trusts itself."""
        def well():
            return all(unit["failover"]["suspicion"] == {"primary": "fine", "consumers": "fine"} and
                       not unit["failover"]["vote"]["abstains"]
                       for gateway in self.gateways for unit in gateway.status()["units"])
        harness.wait_until(well, what="all units to be well")

    def test_a_killed_agent_is_suspected_within_100_ms_by_every_gateway(self):
        self.settle()
        rounds, over_s, others = [], [], []
        for _ in range(5):
            at_us = int(time.time() * 1e6)
            with harness.Span() as span:
                self.agents[0].kill()
                harness.wait_until(lambda: all(any(one["unit"] == "RZ01" for one in found)
                                               for found in self.suspicions(at_us).values()), what="RZ01 to be suspected")
            found = self.suspicions(at_us).values()
            first = [next(one["at_us"] for one in each if one["unit"] == "RZ01") for each in found]
            rounds.append((max(first) - at_us) / 1e6)
            over_s.append(rounds[-1] - span.allowed(0.1))
            others.append({one["unit"] for each in found for one in each} - {"RZ01"})
            self.agents[0].restart()
            self.settle()
        print("suspected by all after (ms):", " ".join(f"{1000 * one:.0f}" for one in sorted(rounds)))
        self.assertLess(min(over_s), 0)  # who is late by design is late each time, and a busy machine makes some of them late
        self.assertIn(set(), others)

    def test_a_gateway_that_stood_still_suspects_nobody_and_is_no_reason_to(self):
        for _ in range(5):
            self.settle()
            before_us, stepped = int(time.time() * 1e6), self.steps()
            self.disturb()
            suspected = {name: found for name, found in self.suspicions(before_us).items()
                         if found and name != self.gateways[0].name}
            if not suspected and stepped == self.steps():
                break  # else somebody else was held up as well, by a busy machine: but not each time
        self.assertEqual((suspected, self.steps()), ({}, stepped))

    def disturb(self):
        for _ in range(10):
            lags = self.gateways[0].metric("pulse_lags_total")
            self.gateways[0].signal(signal.SIGSTOP)
            threading.Event().wait(0.08)  # the disturbance itself
            self.gateways[0].signal(signal.SIGCONT)
            harness.wait_until(lambda: self.gateways[0].metric("pulse_lags_total") > lags, what="the lag to be noticed")

    def steps(self):
        """What was done to move units."""
        return [gateway.metric(f"failover_{what}_total") for gateway in self.gateways for what in ("votes", "proposals")]


class Cost(Deployment):
    gateways, units = 3, 4
    SECONDS = 3

    def test_pulses_of_three_gateways_and_four_agents_cost_little(self):
        daemons = self.gateways + self.agents
        before, began = [one.metric("pulse_cpu_us_total") for one in daemons], time.monotonic()
        deadline = began + self.SECONDS
        harness.wait_until(lambda: time.monotonic() >= deadline, what="the time to measure")
        took_us = (time.monotonic() - began) * 1e6
        share = {one.name: 100 * (one.metric("pulse_cpu_us_total") - was) / took_us for one, was in zip(daemons, before)}
        print("processor time of the pulses, % of a core:", {name: round(value, 2) for name, value in share.items()})
        self.assertLess(max(share.values()), 8 * harness.SLOW)  # 1 to 2 on a machine that is not slowed down by others


if __name__ == "__main__":
    unittest.main()
