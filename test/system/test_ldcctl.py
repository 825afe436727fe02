# SPDX-License-Identifier: Apache-2.0
"""ldcctl: exit codes, keys that scripts rely on, and what a rule change does when somebody does not follow."""
import http.server
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading
import unittest

import harness
from playground_fixture import Playground

sys.path.append(str(harness.ROOT / "test" / "oracle"))
import oracle  # noqa: E402

EXPLAIN_KEYS = {"user", "source", "hash", "slot", "unit", "zone", "color", "rule", "override", "epoch", "target"}


def rules(first="00-49", second="50-99", **more):
    units = {"RZ01": harness.unit(first, blue=["http://127.0.0.1:1"]),
             "RZ02": harness.unit(second, blue=["http://127.0.0.1:2"], datacenter="dc2")}
    return harness.rules(units, routes=[harness.PROXY_ROUTE], **more)


class Hostile(http.server.BaseHTTPRequestHandler):
    """An admin listener, or somebody behind it, that means harm to the operator's terminal."""

    evil = "\x1b]0;title\x07\x1b[31m\u009b31m\x7f\rx"

    def do_GET(self):
        evil = self.evil
        record = {"epoch": 1, "version": 1, "by": evil, "note": evil}
        body = json.dumps({
            "name": evil, "detail": evil, "title": evil, "state": evil, "verdict": evil, "epoch": 1, evil: evil,
            "record": record, "history": [record], "versions": [record], "rules": evil + "\r\nversion: 1\n",
            "members": [{"name": evil, "role": "gateway", "admin": evil, "epoch": 1}], "lines": [evil],
            "units": [{"name": evil, "kind": evil, "broker": {"state": evil, "fault": evil}}],
            "store": {"state": evil, "fault": evil}, "options": [{"name": evil, "value": evil}]}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Terminal(harness.StackTest):
    def hostile(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
        server.status, server.url = 200, f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def test_what_gateways_answer_cannot_steer_the_terminal(self):
        server = self.hostile()
        for server.status in (200, 422):
            for words in (("status",), ("config", "show"), ("explain", "--user", "1"), ("rules", "history"),
                          ("rules", "show"), ("queue", "lag")):
                done = self.stack.ctl(*words, "--gateway", server.url)
                shown = done.stdout + done.stderr
                self.assertTrue(shown, words)
                self.assertEqual([c for c in shown if c in "\x1b\x07\x7f\u009b"], [], (words, shown))

    def test_rules_of_any_line_end_come_back_as_they_were(self):
        server = self.hostile()
        done = subprocess.run([str(harness.BUILD / "ldcctl"), "rules", "show", "--gateway",
                               server.url], capture_output=True, timeout=60)
        self.assertTrue(done.stdout.endswith(b"\r\nversion: 1\n"), done.stdout)


class Offline(harness.StackTest):
    """Without any deployment."""

    def write(self, name, text):
        path = self.stack.folder / name
        path.write_text(text)
        return path

    def test_a_command_line_that_makes_no_sense_is_2_and_says_what_was_meant(self):
        for words, hint in (((), "usage:"), (("rules", "aply", "x"), "did you mean 'rules apply'"),
                            (("statsu",), "did you mean 'status'"), (("status", "--dri", "x"), "did you mean --dir"),
                            (("explain",), "--user is missing"), (("rules", "validate"), "FILE is missing"),
                            (("rules", "validate", "a", "b"), "'b' is one word too many"),
                            (("status", "-o", "xml"), "table or json"), (("status", "--dir"), "wants a value"),
                            (("rules", "apply", "x", "--max-move", "101"), "from 0 to 100"),
                            (("rules", "apply", "x", "--max-move=-1"), "from 0 to 100"),
                            (("unit", "paint", "RZ01"), "no verb 'unit paint'")):
            done = self.stack.ctl(*words)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn(hint, done.stderr, words)
            self.assertEqual(done.stdout, "")

    def test_help_lists_the_verbs_and_each_verb_has_its_own(self):
        done = self.stack.ctl("--help")
        self.assertEqual(done.returncode, 0)
        for verb in ("rules apply", "explain", "status", "playground up"):
            self.assertIn(f"\n  {verb}", done.stdout)
            own = self.stack.ctl(*verb.split(), "--help")
            self.assertEqual(own.returncode, 0)
            self.assertIn(f"usage: ldcctl {verb}", own.stdout)
            self.assertEqual(self.stack.ctl(*verb.split(), "-h").stdout, own.stdout)
        self.assertEqual(self.stack.ctl("-h").stdout, done.stdout)

    def test_help_about_the_first_words_of_verbs_lists_these(self):
        for words in (("help", "queue", "dead"), ("queue", "dead", "--help"), ("queue", "dead", "-h")):
            done = self.stack.ctl(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            self.assertIn("\n  queue dead show ID\n", done.stdout)
            self.assertNotIn("queue lag", done.stdout)
        for words in (("help", "nothing"), ("nothing", "--help"), ("queue", "dead")):
            self.assertEqual(self.stack.ctl(*words).returncode, 2, words)

    def test_nothing_that_answers_is_3(self):
        port = harness.free_port()
        for words in (("status",), ("rules", "show"), ("queue", "lag"), ("config", "show"), ("top",), ("rules", "history"),
                      ("explain", "--user", "1"), ("rules", "rollback")):
            done = self.stack.ctl(*words, "--gateway", f"http://127.0.0.1:{port}")
            self.assertEqual(done.returncode, 3, (words, done.stderr))
        done = self.stack.ctl("status", "--dir", self.stack.folder / "nowhere")
        self.assertEqual(done.returncode, 3)
        self.assertIn("playground up", done.stderr)

    def test_validate_tells_every_fault_with_its_place(self):
        good, bad = self.write("good.yaml", rules()), self.write("bad.yaml", rules("00-40").replace("header:", "haeder:"))
        self.assertEqual(self.stack.ctl("rules", "validate", good).returncode, 0)
        done = self.stack.ctl("rules", "validate", bad)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, rf"(?m)^{bad}:\d+:\d+: .*\n{bad}:\d+:\d+: ")
        done = self.stack.ctl("rules", "validate", bad, "-o", "json")
        told = json.loads(done.stdout)
        self.assertEqual((done.returncode, set(told), told["valid"]), (1, {"file", "valid", "diagnostics"}, False))
        self.assertGreaterEqual(len(told["diagnostics"]), 2)
        self.assertEqual(set(told["diagnostics"][0]), {"line", "column", "severity", "message", "hint"})
        self.assertEqual(self.stack.ctl("rules", "validate", self.stack.folder / "none").returncode, 1)

    def test_diff_of_two_files(self):
        before, after = self.write("before.yaml", rules()), self.write("after.yaml", rules("00-51", "52-99"))
        done = self.stack.ctl("rules", "diff", after, "--against", before, "-o", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        diff = json.loads(done.stdout)
        self.assertEqual(set(diff), {"moves", "resharded", "slots", "users", "requests", "gains", "changes", "traffic"})
        self.assertEqual(diff["moves"], [{"first": 50, "last": 51, "from": "RZ02", "to": "RZ01"}])
        self.assertEqual((diff["slots"], diff["users"], diff["requests"]), (0.02, None, None))
        self.assertEqual(self.stack.ctl("rules", "diff", before, "--against", before).stdout, "nothing changes\n")

    def test_explain_has_its_keys_and_a_bad_user_is_1(self):
        path = self.write("rules.yaml", rules())
        done = self.stack.ctl("explain", "--user", "1050", "--path", "/echo/1", "--rules", path, "-o", "json")
        told = json.loads(done.stdout)
        self.assertEqual((done.returncode, set(told)), (0, EXPLAIN_KEYS))
        self.assertEqual((told["slot"], told["unit"], told["hash"], told["zone"]), (50, "RZ02", "modulo", "A"))
        done = self.stack.ctl("explain", "--user", "x", "--rules", path, "-o", "json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["verdict"]), (1, "bad-user-id"))

    def test_ten_thousand_users_a_hash_land_where_the_oracle_says(self):
        users = [str(7 * n * n + n) for n in range(9000)] + [f"9{n:030d}" for n in range(1000)]
        units = {"RZ01": ["00-49"], "RZ02": ["50-99"]}
        for hash_name in ("modulo", "crc16", "xxh3"):
            path = self.write("rules.yaml", rules(sharding={"hash": hash_name, "slots": 100}))
            done = self.stack.ctl("explain", "--user", "-", "--rules", path, "-o", "json", stdin="\n".join(users) + "\n")
            self.assertEqual(done.returncode, 0, done.stderr)
            told = [json.loads(line) for line in done.stdout.splitlines()]
            self.assertEqual(len(told), len(users))
            for user, one in zip(users, told):
                slot = oracle.slot_of(hash_name, 100, user)
                self.assertEqual((one["user"], one["slot"], one["unit"]), (user, slot, oracle.unit_of(units, slot)))


class Online(harness.StackTest):
    """Against a playground of two gateways and two units."""

    def setUp(self):
        super().setUp()
        self.play = Playground(self.stack, "--units", "2", "--gateways", "2")
        self.rules = pathlib.Path(self.play.topology()["rules"]).read_text()

    def write(self, *replacements):
        text = self.rules
        for old, new in replacements:
            self.assertIn(old, text)
            text = text.replace(old, new)
        path = self.stack.folder / "new.yaml"
        path.write_text(text)
        return path

    def move(self, slots):
        """A rule file in which RZ01 gets the first SLOTS slots of RZ02."""
        return self.write(('"00-49"', f'"00-{49 + slots}"'), ('"50-99"', f'"{50 + slots}-99"'))

    def epochs(self):
        status = self.play.ctl_json("status")[1]
        return {one["name"]: one.get("epoch") for one in status["gateways"] + status["agents"]}

    def send(self, users, i=0):
        client = harness.Client(self.play.ingress(i))
        for user in users:
            self.assertEqual(client.request("GET", "/echo/x", {"X-User-Id": str(user)}).status, 200)
        client.close()

    def test_status_tells_of_everybody(self):
        def faultless():  # replicas are in sync a moment after the playground is up
            done, status = self.play.ctl_json("status")
            return done.returncode == 0 and not status["faults"] and status
        status = harness.wait_until(faultless, what="a status without faults")
        self.assertEqual(set(status), {"epoch", "converged", "gateways", "agents", "units", "faults"})
        self.assertEqual((status["epoch"], status["converged"], status["faults"]), (1, True, []))
        self.assertEqual([one["name"] for one in status["gateways"]], ["gateway-1", "gateway-2"])
        self.assertEqual(sorted(one["unit"] for one in status["agents"]), ["BZ01", "CORE", "RZ01", "RZ02"])
        for agent in status["agents"]:
            self.assertTrue(agent["reachable"] and agent["broker"]["up"], agent)
        self.play.kill("RZ02-agent")
        harness.wait_until(lambda: any(fault.startswith("RZ02: its agent") for fault in
                                       self.play.ctl_json("status")[1]["faults"]), what="word of the dead agent")
        self.assertRegex(self.play.ctl("status").stdout, r"RZ02 +A +dc2 +away")
        self.play.signal("gateway-2", signal.SIGSTOP)
        done, status = self.play.ctl_json("status")
        self.play.signal("gateway-2", signal.SIGCONT)
        self.assertEqual((done.returncode, status["converged"]), (0, False))
        self.assertEqual([one["reachable"] for one in status["gateways"]], [True, False])
        self.assertRegex("\n".join(status["faults"]), "gateway-2 .* is unreachable")

    def test_a_gateway_that_is_away_is_passed_over(self):
        away = f"http://127.0.0.1:{harness.free_port()}"
        admin = self.play.topology()["admin"]
        done = self.stack.ctl("rules", "show", "--gateway", f"{away},{admin[0]}", "--token-file", self.play.dir / "token")
        self.assertEqual((done.returncode, done.stdout), (0, self.rules))
        found = dict(harness._sanitizer_env(self.stack.log("ldcctl")), LDC_GATEWAY=f"{away},{admin[1]}",
                     LDC_TOKEN_FILE=str(self.play.dir / "token"))
        done = subprocess.run([harness.BUILD / "ldcctl", "rules", "show"], env=found, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, self.rules))
        wrong = self.stack.folder / "wrong"
        wrong.write_text("no such token\n")
        done = self.stack.ctl("rules", "show", "--gateway", admin[0], "--token-file", wrong)
        self.assertEqual(done.returncode, 1)
        self.assertNotIn("no such token", done.stderr)

    def test_explain_is_the_same_from_a_gateway_and_from_its_file(self):
        words = ("explain", "--user", "1050", "--path", "/pay/1", "--method", "POST")
        online = self.play.ctl_json(*words)[1]
        offline = json.loads(self.stack.ctl(*words, "--rules", self.play.topology()["rules"], "-o", "json").stdout)
        self.assertEqual((set(online), online["epoch"], online["unit"]), (EXPLAIN_KEYS, 1, "RZ02"))
        for one in (online, offline):
            del one["epoch"], one["rule"]
        self.assertEqual(online, offline)

    def change(self, *words):
        """Of rules; tried again, as operators do, where a busy machine does not close a unit in time."""
        def done():
            done, change = self.play.ctl_json("rules", *words)
            if done.returncode != 0:
                self.assertIn("(409 from", done.stderr)
            return done.returncode == 0 and change

        return harness.wait_until(done, what="users to be let go")

    def test_apply_waits_for_everybody_and_rollback_goes_back(self):
        change = self.change("apply", self.move(5), "--note", "five slots")
        self.assertEqual(set(change), {"applied", "refused", "epoch", "version", "diff", "members", "undone_by_epoch", "moved"})
        self.assertTrue(change["applied"])
        epoch, version = change["epoch"], change["version"]  # the agents' records raised the epoch too
        self.assertGreater(epoch, 1)
        self.assertEqual(len(change["members"]), 6)
        self.assertTrue(all(one["followed"] and one["ms"] >= 0 for one in change["members"]))
        self.assertEqual(set(self.epochs().values()), {epoch})
        again = self.play.ctl_json("rules", "apply", self.move(5))[1]
        self.assertEqual((again["applied"], again["epoch"]), (True, epoch), "the same again changes nothing")
        self.assertEqual(harness.request(self.play.ingress(1), "GET", "/echo/x", {"X-User-Id": "52"}).headers["ldc-unit"],
                         "RZ01")
        self.assertEqual(self.play.ctl("rules", "show", "--version", "1").stdout, self.rules)
        back = self.change("rollback")
        self.assertEqual([one["followed"] for one in back["members"]], [True] * 6)
        back = back["epoch"]
        self.assertGreater(back, epoch)
        self.assertEqual(self.play.ctl_json("status")[1]["epoch"], back)
        self.assertEqual(self.play.ctl("rules", "show").stdout, self.rules)
        history = self.play.ctl_json("rules", "history")[1]["history"]
        known = [(one["epoch"], one["version"]) for one in history]
        self.assertEqual((known[1], known[-1]), ((epoch, version), (1, 1)))
        self.assertEqual((history[0]["epoch"], history[1]["note"]), (back, "five slots"))
        self.assertEqual(self.play.ctl("rules", "rollback", "--to", "99").returncode, 1)

    def test_apply_refuses_faulty_rules_and_too_large_a_move(self):
        done = self.play.ctl("rules", "apply", self.write(('"50-99"', '"55-99"')))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"new\.yaml:\d+:\d+: ")
        done = self.play.ctl("rules", "apply", self.move(11))
        self.assertEqual(done.returncode, 1)
        self.assertIn("11.0 % of the slots would move", done.stderr)
        self.assertIn("--max-move 11", done.stderr)
        self.assertEqual(set(self.epochs().values()), {1})
        self.assertTrue(self.change("apply", self.move(11), "--max-move", "11")["applied"])

    def test_apply_refuses_when_few_slots_carry_much_of_the_traffic(self):
        self.send([50] * 40 + list(range(100, 140)), 0)
        self.send([50] * 40 + list(range(100, 140)), 1)
        done, change = self.play.ctl_json("rules", "apply", self.move(2))
        self.assertEqual((done.returncode, change["applied"], change["epoch"]), (1, False, None))
        self.assertIn("50.0 % of the live requests", change["refused"])
        diff = change["diff"]
        self.assertAlmostEqual(diff["requests"], 0.5)
        self.assertAlmostEqual(diff["users"], 1 / 41)
        self.assertEqual((diff["slots"], diff["traffic"]["requests"], diff["traffic"]["gateways"]), (0.02, 160, 2))
        gain = diff["gains"][0]
        self.assertEqual((gain["unit"], gain["capacity_rps"]), ("RZ01", 5000.0))
        self.assertGreater(gain["rps_after"], gain["rps_before"])
        self.assertAlmostEqual(gain["headroom_rps"], 5000 - gain["rps_after"], 3)

    def test_apply_undoes_itself_when_somebody_does_not_follow(self):
        self.play.signal("BZ01-agent", signal.SIGSTOP)
        done, change = self.play.ctl_json("rules", "apply", self.move(5), "--timeout", "2")
        self.play.signal("BZ01-agent", signal.SIGCONT)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertFalse(change["applied"])
        self.assertGreater(change["undone_by_epoch"], change["epoch"])
        self.assertEqual([one["name"] for one in change["members"] if not one["followed"]], ["BZ01-agent"])
        self.assertIn("BZ01-agent (agent of BZ01) did not follow", done.stderr)
        self.assertEqual(self.play.ctl("rules", "show").stdout, self.rules)
        harness.wait_until(lambda: set(self.epochs().values()) == {change["undone_by_epoch"]}, what="everybody to be back on the old rules")

    def test_a_member_that_ends_meanwhile_is_passed_over(self):
        self.play.signal("BZ01-agent", signal.SIGSTOP)
        words = ("rules", "apply", str(self.move(5)), "--timeout", "20", "--dir", str(self.play.dir))
        change = self.stack.keep(harness.Process("apply", [harness.BUILD / "ldcctl", *words], self.stack.log("apply"),
                                                 env=harness._sanitizer_env(self.stack.log("apply"))))
        harness.wait_until(lambda: len(re.findall(r"epoch \d+ after", change.log_text())) == 5, what="all others to follow")
        self.play.kill("BZ01-agent")
        self.assertEqual(change.popen.wait(20 * harness.SLOW), 0, change.log_text())
        self.assertIn("BZ01-agent (agent of BZ01) ended meanwhile and is passed over", change.log_text())

    def test_users_leave_no_unit_that_cannot_be_closed_for_them(self):
        self.play.signal("RZ02-agent", signal.SIGSTOP)
        harness.wait_until(lambda: "RZ02-agent" not in self.play.heard(0) | self.play.heard(1), what="its silence to be noticed")
        done = self.play.ctl("rules", "apply", self.move(5))
        self.assertEqual(done.returncode, 1)
        self.assertIn("the broker of RZ02, which users would leave, does not serve or is not heard of", done.stderr)
        self.assertEqual(self.play.ctl("rules", "show").stdout, self.rules)
        change = self.play.ctl("rules", "apply", self.move(5), "--unfenced", "--timeout", "1")
        self.play.signal("RZ02-agent", signal.SIGCONT)
        self.assertIn("undone", change.stderr)  # its agent did not follow: but the rules were put

    def test_of_two_changes_at_once_none_is_lost(self):
        other = self.stack.folder / "other.yaml"
        other.write_text(self.rules.replace("blue: 100, green: 0", "blue: 95, green: 5"))
        changes = [self.stack.keep(harness.Process(f"apply-{n}", [
            harness.BUILD / "ldcctl", "rules", "apply", path, "--dir", self.play.dir], self.stack.log(f"apply-{n}"),
            env=harness._sanitizer_env(self.stack.log(f"apply-{n}")))) for n, path in enumerate((self.move(5), other))]
        codes = [change.popen.wait(30 * harness.SLOW) for change in changes]
        history = self.play.ctl_json("rules", "history")[1]["history"]
        self.assertEqual(len(history), 1 + codes.count(0), [change.log_text() for change in changes])
        self.assertIn(sorted(codes), ([0, 0], [0, 1]))

    def test_queue_lag_counts_what_is_not_delivered(self):
        app = self.play.find("RZ01-blue")["ports"]["http"]
        harness.request(app, "POST", "/-/sample/fail?user=7&status=503&times=100000&retry_after=60")
        answer = harness.request(self.play.ingress(), "POST", "/pay/1", {"X-User-Id": "7"}, b'{"payee": "7"}')
        self.assertEqual(answer.status, 202)

        def lag():
            done, told = self.play.ctl_json("queue", "lag")
            self.assertEqual((done.returncode, set(told)), (0, {"pending", "queues", "faults"}))
            return told["pending"] == 1 and told

        told = harness.wait_until(lag, what="the lag to be told")
        behind = [one for one in told["queues"] if one["pending"] + one["parked"]]
        self.assertEqual([(one["unit"], one["topic"]) for one in behind], [("RZ01", "payments")])
        harness.request(app, "POST", "/-/sample/fail?times=0")

    def test_config_and_top(self):
        done, config = self.play.ctl_json("config", "show", "gateway-2")
        options = {one["name"]: one["value"] for one in config["options"]}
        self.assertEqual((done.returncode, options["name"], options["datacenter"]), (0, "gateway-2", "dc2"))
        self.assertEqual(self.play.ctl("config", "show", "nobody").returncode, 1)
        self.assertIn("limits.body", self.play.ctl("config", "options").stdout)
        done, rates = self.play.ctl_json("top")
        self.assertEqual((done.returncode, set(rates)), (0, {"gateways", "units"}))
        self.assertEqual({one["name"] for one in rates["units"]}, {"RZ01", "RZ02", "BZ01", "CORE"})


if __name__ == "__main__":
    unittest.main()
