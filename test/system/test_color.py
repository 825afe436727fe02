# SPDX-License-Identifier: Apache-2.0
"""Blue and green: weights that operators set, ramps that go on by themselves, and those that give back what is bad."""
import collections
import contextlib
import http.client
import json
import signal
import threading
import time
import unittest

import harness
import app_fixture
import gateway_fixture

USERS = 400


class Handler(gateway_fixture.NodeHandler):
    disable_nagle_algorithm = True
    wbufsize = -1


class SickHandler(Handler):
    """A version that starts, says it is well, and fails at what it is for."""

    def do_GET(self):
        if not self.path.startswith("/echo/"):
            super().do_GET()
            return
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()


class ProbedHandler(Handler):
    """Serves, but may say of itself that it is not well."""

    def do_GET(self):
        if self.path.startswith("/echo/") or not getattr(self.server, "unwell", False):
            super().do_GET()
            return
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()


class SlowHandler(Handler):
    def do_GET(self):
        self.server.release.wait(0.2)  # as slow as a database that lacks an index
        super().do_GET()


class Node(gateway_fixture.Node):
    def __init__(self, name, handler=Handler):
        super().__init__(name)
        self.RequestHandlerClass = handler


Seen = collections.namedtuple("Seen", "asked at user color status gateway")


class Users:
    """USERS that ask again and again; each stays with one gateway, as a load balancer with keep-alive has it. `seen`
    is filled until the with block ends."""

    def __init__(self, gateways, threads=4, users=USERS):
        self.seen, self.stop, self.broken = [], threading.Event(), []
        self.threads = [threading.Thread(target=self.run, args=(gateways[i % len(gateways)], range(i, users, threads)))
                        for i in range(threads)]

    def run(self, gateway, users):
        client = harness.Client(gateway.port)
        while not self.stop.is_set():
            for user in users:
                if self.stop.is_set():
                    break
                asked = time.monotonic()
                try:
                    answer = client.request("GET", "/echo/x", {"X-User-Id": str(user)})
                except (OSError, http.client.HTTPException) as fault:
                    self.broken.append((gateway.name, repr(fault)))
                    client.close()
                    if not gateway.alive():
                        return
                    client = harness.Client(gateway.port)
                    continue
                self.seen.append(Seen(asked, time.monotonic(), user, answer.headers.get("ldc-color"), answer.status,
                                      gateway.name))
        client.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def last(self):
        """user -> its colour now"""
        return {one.user: one.color for one in list(self.seen)}

    def switches(self):
        """user -> how often its colour changed."""
        last, count = {}, collections.Counter()
        for one in self.seen:
            if last.setdefault(one.user, one.color) != one.color:
                count[one.user] += 1
                last[one.user] = one.color
        return count


class ColorTest(harness.StackTest):
    def start(self, gateways=2, green=Handler, weights=None, **more):
        self.blue, self.green = Node("blue"), Node("green", green)
        self.addCleanup(self.blue.end)
        self.addCleanup(self.green.end)
        self.rules = harness.rules(self.units(weights, **more))
        self.stack.write_rules(self.rules)
        self.gateways = [self.stack.gateway(f"gw{i + 1}") for i in range(gateways)]

    def units(self, weights=None, **more):
        return {"RZ01": harness.unit("00-99", blue=[self.blue], green=[self.green], weights=weights, **more)}

    def colors(self, gateway=None):
        answer = (gateway or self.gateways[0]).get("/v1/colors")
        self.assertEqual(answer.status, 200)
        return next(one for one in answer.json()["colors"] if one["unit"] == "RZ01")

    def color(self, *words, code=0, gateway=None):
        done = self.stack.ctl("color", *words, "-o", "json", gateway=gateway or self.gateways[0])
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def until_all(self, blue, green):
        """Until every living gateway serves these weights."""
        want = {"blue": blue, "green": green}
        harness.wait_until(lambda: all(self.colors(one)["weights"] == want for one in self.gateways if one.alive()),
                           what=f"weights {want} everywhere")

    def until_state(self, state, gateway=None, timeout=20):
        harness.wait_until(lambda: (self.colors(gateway)["ramp"] or {}).get("state") == state, timeout, f"ramp {state}")

    def greens(self, gateway=None):
        """The users that are green now."""
        port = (gateway or self.gateways[0]).port
        client = harness.Client(port)
        with contextlib.closing(client):
            return {user for user in range(USERS)
                    if client.request("GET", "/echo/x", {"X-User-Id": str(user)}).headers["ldc-color"] == "green"}


class Weights(ColorTest):
    def test_set_weights_override_the_rules_in_every_gateway_and_only_add_users(self):
        self.start()
        self.assertEqual(self.greens(), set())
        before = set()
        for share in (5, 25, 60):
            self.color("set", "RZ01", "--green", share)
            self.until_all(100 - share, share)
            now = self.greens()
            self.assertLess(before, now)
            self.assertEqual(now, self.greens(self.gateways[1]))
            self.assertAlmostEqual(len(now), USERS * share / 100, delta=USERS * 0.08)
            before = now
        self.color("rollback", "RZ01")
        self.until_all(75, 25)
        self.color("reset", "RZ01")
        self.until_all(100, 0)
        shown = self.color("show", "--unit", "RZ01")["colors"][0]
        self.assertEqual((shown["rules"], shown["override"]), ({"blue": 100, "green": 0}, {"blue": 0, "green": 0}))

    def test_taking_over_from_the_rules_keeps_their_users_and_a_salt_draws_others(self):
        self.start(weights={"blue": 90, "green": 10})
        ten = self.greens()
        self.color("set", "RZ01", "--blue", 80)
        self.until_all(80, 20)
        self.assertLess(ten, self.greens())
        self.color("set", "RZ01", "--green", 10, "--salt", "again")
        self.until_all(90, 10)
        self.assertNotEqual(ten, self.greens())
        explained = json.loads(self.stack.ctl("explain", "--user", min(self.greens()), "-o", "json",
                                              gateway=self.gateways[0]).stdout)
        self.assertEqual(explained["color"], "green")

    def test_they_outlive_a_restart_and_a_new_rule_version(self):
        self.start(gateways=1)
        self.color("set", "RZ01", "--green", 30)
        greens = self.greens()
        self.stack.put_rules(self.gateways[0], harness.rules(self.units(max_in_flight=500)))
        self.assertEqual(self.greens(), greens)
        self.gateways[0].terminate()
        self.gateways = [self.stack.gateway("gw9")]
        self.assertEqual(self.greens(), greens)
        self.gateways[0].terminate()
        self.stack.store.rename(self.stack.folder / "away")
        self.gateways = [self.stack.gateway("gw9")]  # from its cache
        self.assertEqual(self.greens(), greens)

    def test_what_makes_no_sense_is_refused_and_changes_nothing(self):
        self.start(gateways=1)
        for words, code in ((("set", "RZ01"), 2), (("set", "RZ77", "--green", 5), 1),
                            (("set", "RZ01", "--green", 5, "--blue", 20000), 2), (("rollback", "RZ01"), 1),
                            (("ramp", "RZ01", "--to", "red", "--steps", "5"), 1),
                            (("ramp", "RZ01", "--to", "green", "--steps", "25,5"), 1),
                            (("ramp", "RZ01", "--to", "green", "--steps", "5", "--dwell", "soon"), 2),
                            (("ramp", "RZ01", "--to", "blue", "--steps", "50"), 1)):
            self.color(*words, code=code)
        self.assertEqual(self.colors()["version"], 0)
        self.color("set", "RZ01", "--green", 20)
        self.assertIn("only adds", self.color("ramp", "RZ01", "--to", "green", "--steps", "10,30", code=1))

    def start_with_apps(self):
        """Processes, whose end closes their connections."""
        self.blue, self.green = self.stack.app("RZ01", "blue"), self.stack.app("RZ01", "green")
        self.stack.write_rules(harness.rules(self.units({"blue": 50, "green": 50})))
        self.gateways = [self.stack.gateway("gw1")]
        return self.greens()

    def test_a_color_whose_nodes_are_all_away_takes_no_users_until_it_was_well_for_a_while(self):
        greens = self.start_with_apps()
        self.green.kill()
        harness.wait_until(lambda: self.request_of(min(greens)) == (200, "blue"), what="green users to be served by blue")
        self.assertEqual(self.colors()["away"], ["green"])
        self.assertEqual(self.greens(), set())
        back = time.monotonic()
        self.green.restart()
        harness.wait_until(lambda: self.colors()["away"] == [], what="green to come back")
        self.assertGreater(time.monotonic() - back, 2.5)
        self.assertEqual(self.greens(), greens)

    def test_the_agents_verdict_takes_a_color_out_and_lets_it_back(self):
        port = harness.free_port()
        self.start(gateways=1, green=ProbedHandler, weights={"blue": 50, "green": 50},
                   agents=[f"http://127.0.0.1:{port}"], brokers=[self.stack.broker()])
        self.stack.agent(admin_port=port, health__interval="500ms", wait=False)
        greens = self.greens()
        harness.wait_until(lambda: all(one["heard"] for one in self.gateways[0].status()["agents"]), what="the agent")
        self.green.unwell = True
        harness.wait_until(lambda: self.colors()["weights"] == {"blue": 50, "green": 0}, what="green to be taken out")
        self.assertEqual(self.greens(), set())
        self.color("ramp", "RZ01", "--to", "green", "--steps", "60,100", code=1)
        self.green.unwell = False
        harness.wait_until(lambda: self.colors()["weights"] == {"blue": 50, "green": 50}, what="green to be back")
        self.assertEqual(self.greens(), greens)

    def test_two_sick_colors_keep_their_users(self):
        greens = self.start_with_apps()
        self.green.kill()
        self.blue.kill()
        harness.wait_until(lambda: set(self.touch(greens)["away"]) == {"blue", "green"}, what="both to be away")
        self.assertEqual(self.colors()["weights"], {"blue": 50, "green": 50})

    def request_of(self, user):
        answer = harness.request(self.gateways[0].port, "GET", "/echo/x", {"X-User-Id": str(user)})
        return answer.status, answer.headers["ldc-color"]

    def touch(self, greens):
        """A failed connection is how a gateway without agents learns of a node's end."""
        for user in (min(greens), min(set(range(USERS)) - greens)):
            self.request_of(user)
        return self.colors()


class Ramps(ColorTest):
    def test_a_ramp_to_a_healthy_color_ends_with_no_failed_request_and_nobody_going_back_and_forth(self):
        self.start()
        with Users(self.gateways) as users:
            harness.wait_until(lambda: len(users.last()) == USERS, what="a request of each user")
            done = self.color("ramp", "RZ01", "--to", "green", "--steps", "5,25,50,100", "--dwell", "700ms",
                              "--min-requests", 20, "--wait")
            self.until_all(0, 100)
            self.assertEqual(done["ramp"]["state"], "done")
            harness.wait_until(lambda: set(users.last().values()) == {"green"}, what="all to be green")
        self.assertEqual(users.broken, [])
        self.assertEqual({one.status for one in users.seen}, {200})
        switches = users.switches()
        self.assertEqual(len(switches), USERS)
        self.assertEqual(set(switches.values()), {1})

    def test_a_ramp_to_a_color_that_fails_gives_back_within_two_seconds_and_touches_few(self):
        self.start(green=SickHandler)
        with Users(self.gateways) as users, harness.Span() as span:
            began = time.monotonic()
            self.color("ramp", "RZ01", "--to", "green", "--steps", "5,100", "--dwell", "30s", "--abort-errors", "2%",
                       "--min-requests", 20)
            self.until_state("rolled-back")
            self.until_all(100, 0)
            over = time.monotonic()
            seen = len(users.seen)
            harness.wait_until(lambda: len(users.seen) > seen + USERS, what="more requests")
        failed = [one for one in users.seen if one.status != 200]
        self.assertGreater(len(failed), 0)
        self.assertLess(over - began, span.allowed(2))
        self.assertLess(max(one.at for one in failed) - min(one.at for one in failed), span.allowed(2))
        self.assertLessEqual(len({one.user for one in failed}), USERS * 0.09)
        self.assertEqual({one.color for one in failed}, {"green"})
        self.assertTrue(all(one.status == 200 for one in users.seen if one.asked > over))
        self.assertRegex(self.colors()["why"], r"rolled back from 5 % green: \d+ of its last \d+ requests failed")
        self.color("ramp", "RZ01", "--to", "green", "--steps", "5", "--wait", "--dwell", "0s", "--min-requests", 0)

    def test_a_bad_color_gets_no_users_while_the_store_is_away_and_is_rolled_back_when_it_returns(self):
        self.start(gateways=1, green=SickHandler)
        away = self.stack.folder / "away"
        self.color("ramp", "RZ01", "--to", "green", "--steps", "20,100", "--dwell", "1h")
        self.stack.store.rename(away)
        with Users(self.gateways) as users:
            harness.wait_until(lambda: self.colors()["weights"] == {"blue": 80, "green": 0}, what="green to be held back")
            held = time.monotonic()

            def later():
                return [one.status for one in list(users.seen) if one.asked > held]
            harness.wait_until(lambda: len(later()) > USERS, what="more requests")
            self.assertEqual(set(later()), {200})
            self.assertEqual(self.colors()["ramp"]["state"], "running")
            away.rename(self.stack.store)
            self.until_state("rolled-back")
        self.until_all(100, 0)

    def test_a_slow_color_is_given_back(self):
        self.start(green=SlowHandler)
        with Users(self.gateways, threads=8):
            self.color("ramp", "RZ01", "--to", "green", "--steps", "30,100", "--dwell", "60s", "--abort-latency",
                       "2x", "--min-requests", 50, "--wait", code=1)
        self.assertIn("nine in ten of its requests took up to", self.colors()["why"])

    def test_another_gateway_goes_on_when_the_one_that_carries_the_ramp_is_killed(self):
        self.start(gateways=3)
        self.color("ramp", "RZ01", "--to", "green", "--steps", "10,40,100", "--dwell", "2s", "--min-requests", 0)
        carrier = next(one for one in self.gateways if one.name == self.colors()["ramp"]["carrier"])
        alive = [one for one in self.gateways if one is not carrier]
        carrier.kill()
        harness.wait_until(lambda: self.colors(alive[0])["ramp"]["carrier"] in {one.name for one in alive},
                           what="another carrier")
        self.until_state("done", alive[0])
        self.gateways = alive
        self.until_all(0, 100)

    def test_a_frozen_carrier_is_replaced_too_and_follows_when_it_wakes(self):
        self.start(gateways=2)
        self.color("ramp", "RZ01", "--to", "green", "--steps", "10,100", "--dwell", "5s", "--min-requests", 0)
        frozen = next(one for one in self.gateways if one.name == self.colors()["ramp"]["carrier"])
        other = next(one for one in self.gateways if one is not frozen)
        harness.wait_until(lambda: self.colors(other)["seen"]["step_s"] > 1, what="the other to have asked the carrier")
        frozen.signal(signal.SIGSTOP)
        harness.wait_until(lambda: self.colors(other)["ramp"]["carrier"] == other.name, what="another carrier")
        frozen.signal(signal.SIGCONT)
        self.until_state("done", other)
        self.until_all(0, 100)

    def test_rules_are_applied_while_a_ramp_runs(self):
        self.start()
        with Users(self.gateways) as users:
            self.color("ramp", "RZ01", "--to", "green", "--steps", "10,50,100", "--dwell", "1s", "--min-requests", 10)
            self.stack.put_rules(self.gateways[0], harness.rules(self.units(max_in_flight=700)))
            self.until_state("done")
        self.assertEqual({one.status for one in users.seen}, {200})
        self.assertLessEqual(set(users.switches().values()), {1})

    def test_setting_weights_or_rolling_back_ends_a_ramp(self):
        self.start(gateways=1)
        ramp = ("ramp", "RZ01", "--to", "green", "--steps", "10,100", "--dwell", "1h")
        self.color(*ramp)
        self.assertIn("runs already", self.color(*ramp, code=1))
        self.color("rollback", "RZ01")
        self.assertEqual(self.colors()["weights"], {"blue": 100, "green": 0})
        self.color(*ramp)
        self.color("set", "RZ01", "--green", 15)
        self.assertEqual(self.colors()["ramp"]["state"], "stopped")
        self.until_all(85, 15)

    def test_a_ramp_waits_for_requests_before_it_goes_on(self):
        self.start(gateways=2)
        self.color("ramp", "RZ01", "--to", "green", "--steps", "50,100", "--dwell", "100ms", "--min-requests", 30)
        harness.wait_until(lambda: self.colors()["seen"]["step_s"] > 1, what="a second of the step")
        self.assertEqual(self.colors()["weights"], {"blue": 50, "green": 50})
        with Users(self.gateways):  # neither gateway alone need see so many
            self.until_state("done")

    def test_figures_stand_in_status_and_metrics(self):
        self.start(gateways=1)
        self.color("set", "RZ01", "--green", 40)
        self.greens()
        gateway = self.gateways[0]
        self.assertEqual(gateway.status()["units"][0]["weights"], {"blue": 60, "green": 40})
        metrics = gateway.get("/metrics").body.decode()
        self.assertIn('ldcgate_unit_color_weight{unit="RZ01",color="green"} 40', metrics)
        self.assertRegex(metrics, r'ldcgate_unit_color_requests_total\{unit="RZ01",color="green"\} [1-9]')


class Messages(ColorTest):
    def test_a_message_accepted_as_blue_is_delivered_to_blue_after_the_switch(self):
        broker = self.stack.broker()
        blue, green = self.stack.app("RZ01", "blue"), self.stack.app("RZ01", "green")
        port = harness.free_port()
        self.stack.write_rules(harness.rules({"RZ01": harness.unit(
            "00-99", brokers=[broker], blue=[blue], green=[green], agents=[f"http://127.0.0.1:{port}"])}))
        self.gateways = [self.stack.gateway("gw1")]
        gateway = self.gateways[0]
        harness.wait_until(lambda: self.post(gateway, 0) == 202, what="the broker")
        self.assertEqual({self.post(gateway, user) for user in range(1, 20)}, {202})
        self.color("set", "RZ01", "--green", 100)
        self.assertEqual({self.post(gateway, user) for user in range(20, 40)}, {202})
        self.stack.agent(admin_port=port)
        harness.wait_until(lambda: len(blue.records()) + len(green.records()) >= 40, what="all deliveries")
        self.assertEqual({one["user"] for one in blue.records()}, {str(user) for user in range(20)})
        self.assertEqual({one["user"] for one in green.records()}, {str(user) for user in range(20, 40)})

    def test_a_ramp_is_rolled_back_when_the_queues_deliveries_fail(self):
        apps = [app_fixture.App(), app_fixture.App()]
        for app in apps:
            self.addCleanup(app.end)
        apps[1].answers["/pay/x"] = (500, {}, b"")
        port = harness.free_port()
        self.stack.write_rules(harness.rules({"RZ01": harness.unit(
            "00-99", brokers=[self.stack.broker()], blue=[apps[0]], green=[apps[1]],
            agents=[f"http://127.0.0.1:{port}"])}))
        self.gateways = [self.stack.gateway(f"gw{i + 1}") for i in range(2)]
        self.stack.agent(admin_port=port)
        for gateway in self.gateways:
            harness.wait_until(lambda: self.post(gateway, 0) == 202, what="the broker")
            harness.wait_until(lambda: all(one["heard"] for one in gateway.status()["agents"]), what="the agent")
        self.color("ramp", "RZ01", "--to", "green", "--steps", "30,100", "--dwell", "1h", "--min-requests", 0)
        self.assertEqual({self.post(self.gateways[user % 2], user) for user in range(60)}, {202})
        self.until_state("rolled-back")
        self.assertRegex(self.colors()["why"], r"\d+ of its last \d+ requests failed")
        self.until_all(100, 0)

    def post(self, gateway, user):
        return harness.request(gateway.port, "POST", "/pay/x", {"X-User-Id": str(user)}, b"{}").status


if __name__ == "__main__":
    unittest.main()
