#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control plane of ldc-gateway, on real processes: rules, store, reload, drain, admin API.

Run from the root of the tree; LDC_BUILD names the build folder (build by default).
"""
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import threading
import unittest

import harness
from gateway_fixture import Gateway, Node
from harness import free_port, wait_until


class ControlTest(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.folder, self.store = str(self.stack.folder), str(self.stack.store)
        self.nodes = [Node("one"), Node("two")]
        for node in self.nodes:
            self.addCleanup(node.end)

    def tearDown(self):
        for process in self.stack.processes:
            process.terminate()  # as an operator would, so that leaks are looked for
            self.assertNotIn("broken invariant", process.log_text())
        super().tearDown()

    def rules(self, border=50, first=None, agents=(), extra=""):
        """Users 0 to border-1 of a hundred live in RZ01."""
        return """version: 1
identity: {sources: ["header:X-User-Id"], on_missing: reject}
sharding: {hash: modulo, slots: 100}
units:
  RZ01: {kind: A, datacenter: hz1, slots: ["0-%d"], brokers: ["redis://127.0.0.1:1"],%s
         nodes: {blue: ["%s"]}}
  RZ02: {kind: A, datacenter: hz1, slots: ["%d-99"], brokers: ["redis://127.0.0.1:2"],
         nodes: {blue: ["%s"]}}
routes:
  - {match: {path: "/echo/*"}, zone: A, action: proxy}
%s""" % (border - 1, " agents: %s," % json.dumps(agents) if agents else "", first or self.nodes[0].url, border, self.nodes[1].url, extra)

    def assert_put(self, gateway, expected, rules, **query):
        status, record = gateway.put(expected, rules, **query)
        self.assertEqual(status, 200, record)
        self.assertEqual(record["epoch"], expected + 1)
        return record

    # --- rules ---

    def test_a_gateway_without_rules_is_not_ready_until_the_first_are_applied(self):
        gateway = Gateway(self.stack, "gw")
        status, ready = gateway.call("GET", "/readyz")
        self.assertEqual((status, ready["ready"], ready["store"]["state"]), (503, False, "up"))
        self.assertEqual(gateway.request(1).status, 503)
        self.assertEqual(gateway.call("GET", "/v1/rules")[0], 404)
        record = self.assert_put(gateway, 0, self.rules(), by="ann", note="the first")
        self.assertEqual((record["version"], record["by"], record["note"]), (1, "ann", "the first"))
        wait_until(lambda: gateway.call("GET", "/readyz")[0] == 200, what="ready")
        answer = gateway.request(1)
        self.assertEqual((answer.status, answer.body), (200, b"one"))
        self.assertEqual((answer.headers["ldc-unit"], answer.headers["ldc-epoch"]), ("RZ01", "1"))
        self.assertEqual(gateway.request(50).body, b"two")

    def test_all_gateways_follow_one_store(self):
        first, second = Gateway(self.stack, "gw1"), Gateway(self.stack, "gw2")
        self.assert_put(first, 0, self.rules())
        wait_until(lambda: second.epoch() == 1, what="the second gateway's epoch")
        self.assert_put(second, 1, self.rules(border=40))
        with harness.Span() as span:
            wait_until(lambda: first.epoch() == 2, what="the first gateway's epoch")
        self.assertLess(span.seconds, span.allowed(5))
        self.assertEqual(first.request(45).body, b"two")
        members = wait_until(lambda: len(found := first.get("/v1/members")["members"]) > 1 and found, what="both to be members")
        self.assertEqual([member["name"] for member in members], ["gw1", "gw2"])
        self.assertEqual(members[1]["admin"], "http://127.0.0.1:%d" % second.admin_port)
        second.kill()
        self.assertEqual([member["name"] for member in first.get("/v1/members")["members"]], ["gw1"])

    def test_faulty_rules_change_nothing_and_are_told_by_line(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())
        for rules in (self.rules(border=60).replace("60-99", "61-99"), "version: [", "", "\xff", "x" * 100):
            status, problem = gateway.put(1, rules.encode("latin-1"))
            self.assertEqual(status, 422, problem)
            self.assertEqual(problem["type"], "urn:ldcgate:problem:rules-invalid")
            self.assertTrue(problem["diagnostics"])
            self.assertGreater(problem["diagnostics"][0]["line"], 0)
        unresolvable = self.rules(first="http://no-such-host.invalid:1")
        status, problem = gateway.put(1, unresolvable)
        self.assertEqual(status, 422, problem)
        self.assertIn("no-such-host.invalid", problem["diagnostics"][0]["message"])
        self.assertEqual(gateway.epoch(), 1)
        self.assertEqual(gateway.get("/v1/rules")["rules"], self.rules())
        self.assertEqual(len(gateway.get("/v1/rules/history")["history"]), 1)

    def test_one_of_two_changes_at_once_wins(self):
        gateways = [Gateway(self.stack, "gw1"), Gateway(self.stack, "gw2")]
        for epoch in range(10):
            answers = [None, None]

            def put(index):
                answers[index] = gateways[index].put(epoch, self.rules(border=10 + epoch + 20 * index))

            threads = [threading.Thread(target=put, args=(i,)) for i in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(answer[0] for answer in answers), [200, 409], answers)
            lost = next(answer[1] for answer in answers if answer[0] == 409)
            self.assertEqual(lost["epoch"], epoch + 1)
        for gateway in gateways:
            wait_until(lambda: gateway.epoch() == 10, what="the last epoch")
        self.assertEqual(gateways[0].get("/v1/rules"), gateways[1].get("/v1/rules"))

    def test_rollback_puts_an_older_text_as_a_new_version(self):
        gateway = Gateway(self.stack, "gw")
        texts = [self.rules(border=border) for border in (50, 40, 30)]
        status, problem = gateway.call("POST", "/v1/rules/rollback?expected_epoch=0")
        self.assertEqual(status, 400, problem)
        for epoch, text in enumerate(texts):
            self.assert_put(gateway, epoch, text)
        status, record = gateway.call("POST", "/v1/rules/rollback?expected_epoch=3&by=bob")
        self.assertEqual((status, record["epoch"], record["version"]), (200, 4, 4))
        self.assertEqual(record["note"], "rollback to version 2")
        self.assertEqual(gateway.get("/v1/rules")["rules"], texts[1])
        status, record = gateway.call("POST", "/v1/rules/rollback?expected_epoch=4&version=1&note=why")
        self.assertEqual((status, record["note"]), (200, "why"))
        self.assertEqual(gateway.get("/v1/rules")["rules"], texts[0])
        self.assertEqual(gateway.get("/v1/rules?version=3")["rules"], texts[2])
        self.assertEqual(gateway.get("/v1/rules?version=3")["record"]["epoch"], 3)
        status, problem = gateway.call("POST", "/v1/rules/rollback?expected_epoch=4")
        self.assertEqual((status, problem["epoch"]), (409, 5))
        self.assertEqual(gateway.call("POST", "/v1/rules/rollback?expected_epoch=5&version=9")[0], 404)
        self.assertEqual(gateway.call("POST", "/v1/rules/rollback")[0], 400)
        self.assertEqual([r["epoch"] for r in gateway.get("/v1/rules/history?most=2")["history"]], [5, 4])

    def test_a_rollback_after_a_rollback_goes_further_back_and_never_forward(self):
        gateway = Gateway(self.stack, "gw")
        texts = [self.rules(border=border) for border in (50, 40, 30)]
        for epoch, text in enumerate(texts):
            self.assert_put(gateway, epoch, text)
        for epoch, restored in ((3, 2), (4, 1)):
            status, record = gateway.call("POST", f"/v1/rules/rollback?expected_epoch={epoch}")
            self.assertEqual((status, record["restores"]), (200, restored))
            self.assertEqual(gateway.get("/v1/rules")["rules"], texts[restored - 1])
        status, problem = gateway.call("POST", "/v1/rules/rollback?expected_epoch=5")
        self.assertEqual(status, 400, problem)
        self.assertIn("version 1", problem["detail"])

    def test_changes_under_load_fail_and_misroute_nothing(self):
        gateways = [Gateway(self.stack, "gw1"), Gateway(self.stack, "gw2")]
        borders = {epoch: 10 + epoch * 4 for epoch in range(1, 21)}
        self.assert_put(gateways[0], 0, self.rules(border=borders[1]))
        for gateway in gateways:
            wait_until(lambda: gateway.epoch() == 1, what="the first epoch")
        stop, wrong, count = threading.Event(), [], [0, 0]

        def drive(index):
            client = harness.Client(gateways[index].port)
            while not stop.is_set():
                user = count[index] % 100
                answer = client.request("GET", "/echo/x", {"X-User-Id": str(user)})
                unit, epoch = answer.headers.get("ldc-unit"), int(answer.headers.get("ldc-epoch", 0))
                expected = ("RZ01", b"one") if user < borders.get(epoch, 0) else ("RZ02", b"two")
                if answer.status != 200 or (unit, answer.body) != expected:
                    wrong.append((answer.status, epoch, user, unit, answer.body))
                count[index] += 1
            client.close()

        threads = [threading.Thread(target=drive, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for epoch in range(1, 20):
            self.assert_put(gateways[epoch % 2], epoch, self.rules(border=borders[epoch + 1]))
            seen = list(count)
            wait_until(lambda: all(gateway.epoch() == epoch + 1 for gateway in gateways), what="epoch %d" % (epoch + 1))
            wait_until(lambda: all(now > before + 5 for now, before in zip(count, seen)), what="traffic")
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def write_to_store(self, epoch, version, text):
        """What a program that checks nothing would put."""
        record = {"epoch": epoch, "version": version, "at_us": 1, "by": "somebody", "note": "",
                  "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for name, content in (("rules/%010d.yaml" % version, text), ("history/%010d.json" % epoch, json.dumps(record)),
                              ("current", json.dumps(record))):
            with open(os.path.join(self.store, name + ".new"), "w") as out:
                out.write(content)
            os.rename(os.path.join(self.store, name + ".new"), os.path.join(self.store, name))

    def test_a_bad_version_in_the_store_is_refused_and_the_old_one_stays(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())
        self.write_to_store(2, 2, self.rules(border=50).replace("50-99", "55-99"))
        refused = wait_until(lambda: gateway.status()["refused"], what="the refusal")
        self.assertEqual(refused["record"]["epoch"], 2)
        self.assertTrue(refused["diagnostics"])
        self.assertEqual(gateway.epoch(), 1)
        self.assertEqual(gateway.request(1).status, 200)
        self.assertEqual(gateway.metric("rules_refused_total"), 1)
        self.assertEqual(gateway.metric("store_epoch"), 2)
        self.assertIn("rules.refused", gateway.log_text())
        self.assertEqual(gateway.call("GET", "/readyz")[0], 200)
        self.assert_put(gateway, 2, self.rules(border=45))
        wait_until(lambda: gateway.epoch() == 3, what="the good version")
        self.assertIsNone(gateway.status()["refused"])
        self.assertEqual(gateway.metric("rules_refused_total"), 1)

    # --- the store ---

    def raise_epoch(self):
        """As a change of a document does."""
        path = os.path.join(self.store, "current")
        with open(path) as current:
            record = json.load(current)
        record["epoch"] += 1
        with open(path + ".new", "w") as out:
            json.dump(record, out)
        os.rename(path + ".new", path)
        return record["epoch"]

    def test_a_change_of_a_document_neither_loads_rules_again_nor_stands_in_their_way(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())
        for epoch in (2, 3):
            self.assertEqual(self.raise_epoch(), epoch)
        store = wait_until(lambda: gateway.status()["store"]["epoch"] == 3 and gateway.status()["store"], what="epoch 3")
        self.assertEqual(store["state"], "up")
        rules = gateway.get("/v1/rules")["record"]
        self.assertEqual((rules["epoch"], rules["rules_epoch"], gateway.epoch()), (3, 1, 1))
        self.assertEqual(gateway.metric("rules_adopted_total"), 1)
        self.assertEqual(gateway.put(0, self.rules(border=40))[0], 409)
        status, record = gateway.put(1, self.rules(border=40))  # the rules are still those of epoch 1
        self.assertEqual((status, record["epoch"], record["rules_epoch"], record["version"]), (200, 4, 4, 2))
        wait_until(lambda: gateway.epoch() == 4, what="the new rules")
        self.assertEqual(self.raise_epoch(), 5)
        status, record = gateway.call("POST", "/v1/rules/rollback?expected_epoch=4")
        self.assertEqual((status, record["epoch"], record["version"]), (200, 6, 3))
        self.assertEqual([one["epoch"] for one in gateway.get("/v1/rules/history")["history"]], [6, 4, 1])

    def test_a_store_that_is_away_does_not_stop_routing(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())
        away = self.store + ".away"
        os.rename(self.store, away)
        store = wait_until(lambda: gateway.status()["store"]["state"] == "away" and gateway.status()["store"], what="away")
        self.assertIn(self.store, store["fault"])
        self.assertEqual(gateway.metric("store_up"), 0)
        self.assertEqual(gateway.request(1).status, 200)
        status, ready = gateway.call("GET", "/readyz")
        self.assertEqual((status, ready["store"]["state"]), (200, "away"))
        self.assertEqual(gateway.put(1, self.rules())[0], 503)
        self.assertEqual(gateway.get("/v1/rules")["rules"], self.rules())  # of the cache
        self.assertFalse(os.path.exists(self.store))
        os.rename(away, self.store)
        wait_until(lambda: gateway.status()["store"]["state"] == "up", what="back")
        self.assert_put(gateway, 1, self.rules(border=40))
        wait_until(lambda: gateway.epoch() == 2, what="the next epoch")
        self.assertEqual(gateway.metric("store_faults_total"), 1)

    def test_a_gateway_starts_from_its_cache_while_the_store_is_away(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())
        gateway.terminate()
        os.rename(self.store, self.store + ".away")
        with open(self.store, "w") as out:  # so that no folder can be made there
            out.write("in the way\n")
        gateway = Gateway(self.stack, "gw")
        status, ready = gateway.call("GET", "/readyz")
        self.assertEqual((status, ready["rules"]["from_cache"], ready["epoch"]), (200, True, 1))
        self.assertEqual(ready["store"]["state"], "away")
        self.assertEqual(gateway.metric("rules_from_cache"), 1)
        self.assertEqual(gateway.request(1).body, b"one")
        os.unlink(self.store)
        os.rename(self.store + ".away", self.store)
        wait_until(lambda: not gateway.status()["rules"]["from_cache"], what="the store's word")
        wait_until(lambda: gateway.get("/v1/members")["members"], what="the gateway among the members")

    def test_a_damaged_cache_is_passed_over(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())
        gateway.terminate()
        with open(gateway.cache, "a") as cache:
            cache.write("# one byte too many")
        gateway = Gateway(self.stack, "gw")
        wait_until(lambda: gateway.call("GET", "/readyz")[0] == 200, what="ready from the store")
        self.assertIn("passed over", gateway.log_text())
        with open(gateway.cache) as cache:
            self.assertNotIn("too many", cache.read())

    def test_epochs_never_fall(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())
        self.assert_put(gateway, 1, self.rules(border=40))
        shutil.rmtree(self.store)
        os.makedirs(self.store)
        wait_until(lambda: gateway.status()["store"]["state"] == "behind", what="behind")
        self.assertEqual((gateway.epoch(), gateway.request(45).body), (2, b"two"))
        for folder in ("rules", "history"):
            os.makedirs(os.path.join(self.store, folder))
        self.write_to_store(2, 2, self.rules(border=60))
        status = wait_until(lambda: gateway.status()["store"]["epoch"] == 2 and gateway.status(), what="the other epoch 2")
        self.assertEqual((status["store"]["state"], gateway.request(45).body), ("behind", b"two"))
        self.write_to_store(3, 3, self.rules(border=60))
        wait_until(lambda: gateway.epoch() == 3, what="an epoch above")
        self.assertEqual(gateway.request(45).body, b"one")

    def test_a_cache_that_cannot_be_written_is_told_and_holds_up_nothing(self):
        gateway = Gateway(self.stack, "gw", store__cache="/proc/no-such-folder/cache.yaml")
        self.assert_put(gateway, 0, self.rules())
        wait_until(lambda: gateway.epoch() == 1, what="the epoch")
        self.assertIn("/proc/no-such-folder", gateway.status()["rules"]["cache_fault"])
        self.assertEqual(gateway.metric("rules_cache_faults_total"), 1)

    # --- signals ---

    def test_sighup_takes_what_can_be_reloaded_and_refuses_the_rest_by_name(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())

        def reload(text):
            before = gateway.metric("reloads_total") + gateway.metric("reloads_refused_total")
            with open(gateway.config, "w") as config:
                config.write(text)
            gateway.signal(signal.SIGHUP)
            wait_until(lambda: gateway.metric("reloads_total") + gateway.metric("reloads_refused_total") > before, what="reload")
            return gateway.status()["reload_fault"]

        def value(name):
            return next(o["value"] for o in gateway.get("/v1/config")["options"] if o["name"] == name)

        self.assertEqual(reload("limits: {uri: 200}\ndrain_timeout: 3s\n"), "")
        self.assertEqual((value("limits.uri"), value("drain_timeout")), ("200B", "3s"))
        self.assertEqual(gateway.request(1, "/echo/" + "x" * 300).status, 414)
        self.assertEqual(gateway.request(1).status, 200)
        fault = reload("datacenter: elsewhere\nlimits: {uri: 8KiB}\nbroker: {user: me}\n")
        self.assertIn("datacenter, broker.user", fault)
        self.assertEqual(value("limits.uri"), "200B")
        self.assertIn("gw.yaml:1:9: limits: a mapping is expected", reload("limits: 7\n"))
        self.assertIn('"nonsense" is no network', reload("ingress: {trusted_peers: [nonsense]}\n"))
        self.assertEqual(reload("ingress: {trusted_peers: [10.0.0.0/8]}\n"), "")
        self.assertEqual(value("limits.uri"), "8KiB")
        self.assertEqual(gateway.request(1, "/echo/" + "x" * 300).status, 200)
        self.assertEqual(gateway.metric("reloads_total"), 2)

    def test_the_access_log_may_begin_move_and_end_by_reload(self):
        gateway = Gateway(self.stack, "gw", log__access=None)
        self.assert_put(gateway, 0, self.rules())

        def reload(text):
            before = gateway.metric("reloads_total")
            gateway.config.write_text(text)
            gateway.signal(signal.SIGHUP)
            wait_until(lambda: gateway.metric("reloads_total") == before + 1, what="the reload")

        def lines(path):
            return len(path.read_text().splitlines()) if path.exists() else 0

        first, second = self.stack.folder / "first.log", self.stack.folder / "second.log"
        self.assertEqual(gateway.request(1).status, 200)
        reload("log: {access: %s}\n" % first)
        self.assertEqual(gateway.request(1).status, 200)
        wait_until(lambda: lines(first) == 1, what="a line in the first file")
        reload("log: {access: %s}\n" % second)
        self.assertEqual(gateway.request(1).status, 200)
        wait_until(lambda: lines(second) == 1, what="a line in the second file")
        reload("log: {access: \"\"}\n")
        self.assertEqual(gateway.request(1).status, 200)
        gateway.terminate()
        self.assertEqual((lines(first), lines(second)), (1, 1))

    def test_sigusr1_reopens_the_access_log(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())

        def lines(path):
            if not os.path.exists(path):
                return []
            with open(path) as log:
                return [json.loads(line) for line in log]

        self.assertEqual(gateway.request(1).status, 200)
        wait_until(lambda: len(lines(gateway.access_log)) == 1, what="the first line")
        moved = str(gateway.access_log) + ".1"
        os.rename(gateway.access_log, moved)
        gateway.signal(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(gateway.access_log), what="the new file")
        self.assertEqual(gateway.request(77, "/echo/y?secret=1").status, 200)
        line = wait_until(lambda: lines(gateway.access_log), what="the second line")[0]
        self.assertEqual((line["user"], line["unit"], line["epoch"], line["status"], line["verdict"], line["path"]),
                         ("77", "RZ02", 1, 200, "ok", "/echo/y"))
        self.assertEqual(len(lines(moved)), 1)

    def test_sigterm_lets_requests_in_flight_finish(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())
        answers = []
        thread = threading.Thread(target=lambda: answers.append(gateway.request(1, "/echo/slow")))
        thread.start()
        self.assertTrue(self.nodes[0].arrived.wait(10 * harness.PATIENCE))
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: gateway.call("GET", "/readyz")[0] == 503, what="not ready")
        self.assertTrue(gateway.status()["draining"])

        def refuses():
            try:
                gateway.request(2)
            except ConnectionRefusedError:
                return True
            except OSError:
                pass
            return False

        wait_until(refuses, what="no new connections")
        self.assertIsNone(gateway.popen.poll())
        self.nodes[0].release.set()
        thread.join()
        self.assertEqual((answers[0].status, answers[0].body), (200, b"one"))
        self.assertEqual(gateway.popen.wait(10 * harness.PATIENCE), 0)

    def test_drain_timeout_ends_the_wait(self):
        gateway = Gateway(self.stack, "gw", drain_timeout="300ms")
        self.assert_put(gateway, 0, self.rules())

        def ask():
            try:
                gateway.request(1, "/echo/slow")
            except (OSError, http.client.HTTPException):
                pass

        thread = threading.Thread(target=ask)
        thread.start()
        self.assertTrue(self.nodes[0].arrived.wait(10 * harness.PATIENCE))
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.popen.wait(10 * harness.PATIENCE), 0)
        thread.join()

    def test_a_supervisor_hears_of_ready_reloading_and_stopping(self):
        path = os.path.join(self.folder, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(10 * harness.PATIENCE)
            gateway = Gateway(self.stack, "gw", env={"NOTIFY_SOCKET": path})
            self.assertEqual(notify.recv(1000), b"READY=1")
            gateway.signal(signal.SIGHUP)
            self.assertTrue(notify.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC="))
            self.assertEqual(notify.recv(1000), b"READY=1")
            gateway.signal(signal.SIGTERM)
            self.assertEqual(notify.recv(1000), b"STOPPING=1")
            self.assertEqual(gateway.popen.wait(10 * harness.PATIENCE), 0)

    # --- the admin listener ---

    def test_the_token_is_asked_for_but_by_health_checks(self):
        token_file = os.path.join(self.folder, "token")
        with open(token_file, "w") as out:
            out.write("s3cret-token\n")
        gateway = Gateway(self.stack, "gw", admin__token_file=token_file)
        for path in ("/v1/status", "/metrics", "/v1/rules/history", "/v1/config", "/v1/traffic"):
            self.assertEqual(gateway.call("GET", path)[0], 401, path)
            self.assertEqual(gateway.call("GET", path, token="wrong")[0], 401, path)
            self.assertEqual(gateway.call("GET", path, token="s3cret-token")[0], 200, path)
        self.assertEqual(gateway.put(0, self.rules())[0], 401)
        self.assertEqual(gateway.call("GET", "/healthz")[0], 200)
        self.assertEqual(gateway.call("GET", "/readyz")[0], 503)
        gateway.token = "s3cret-token"
        self.assertNotIn("s3cret-token", json.dumps(gateway.get("/v1/config")) + gateway.log_text())

    def test_a_stranger_need_not_send_a_body_to_be_refused(self):
        gateway = self.stack.gateway("gw", wait=False)
        wait_until(lambda: gateway.epoch() >= 0, what="the admin listener")
        for framing in (b"Content-Length: 900000", b"Transfer-Encoding: chunked"):
            with socket.create_connection(("127.0.0.1", gateway.admin_port), timeout=10 * harness.SLOW) as conn:
                conn.sendall(b"POST /v1/rules HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer guess\r\n" + framing + b"\r\n\r\n")
                self.assertTrue(conn.recv(4096).startswith(b"HTTP/1.1 401 "))

    def test_an_admin_listener_beyond_loopback_wants_a_token(self):
        gateway = Gateway(self.stack, "gw", wait=False, admin__listen="0.0.0.0:0")
        self.assertEqual(gateway.popen.wait(10 * harness.PATIENCE), 1)
        self.assertIn("token", gateway.log_text())

    def test_figures_in_status_stand_in_metrics_too(self):
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules())
        for user in range(20):
            self.assertEqual(gateway.request(user * 5).status, 200)
        self.assertEqual(gateway.request("not-a-number").status, 400)
        status = wait_until(lambda: gateway.status()["requests"]["in_flight"] == 0 and gateway.status(), what="rest")
        self.assertEqual(status["requests"]["total"], 21)
        self.assertEqual(status["requests"]["verdicts"], {"ok": 20, "bad-user-id": 1})
        metrics = gateway.get("/metrics")
        self.assertIn("\nldcgate_requests_total 21\n", metrics)
        self.assertIn('\nldcgate_responses_total{verdict="ok"} 20\n', metrics)
        self.assertEqual([unit["requests"] for unit in status["units"]], [10, 10])
        self.assertIn('\nldcgate_unit_requests_total{unit="RZ01"} 10\n', metrics)
        names = [line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE ")]
        self.assertEqual(len(names), len(set(names)))
        traffic = gateway.get("/v1/traffic")
        self.assertEqual((traffic["requests"], traffic["distinct_users"]), (20, 20))
        self.assertEqual(sum(user["requests"] for user in traffic["sample"]), 20)

    def test_explain_tells_where_a_user_lives(self):
        gateway = Gateway(self.stack, "gw")
        self.assertEqual(gateway.call("GET", "/v1/explain?user=1")[0], 503)
        self.assert_put(gateway, 0, self.rules())
        answer = gateway.get("/v1/explain?user=%37%37&path=/echo/x&method=GET")
        self.assertEqual((answer["user"], answer["slot"], answer["unit"], answer["epoch"]), ("77", 77, "RZ02", 1))

    def test_the_broker_of_a_unit_is_told_in_status_and_metrics(self):
        port = free_port()
        gateway = Gateway(self.stack, "gw")
        self.assert_put(gateway, 0, self.rules().replace("redis://127.0.0.1:1", "redis://127.0.0.1:%d" % port))
        broker = wait_until(lambda: gateway.status()["units"][0]["broker"], what="the broker")
        self.assertEqual((broker["url"], broker["up"]), ("redis://127.0.0.1:%d" % port, False))
        self.assertTrue(broker["fault"])
        self.stack.broker(port=port)
        wait_until(lambda: gateway.status()["units"][0]["broker"]["up"], what="the connections to the broker")
        wait_until(lambda: '\nldcgate_broker_connections{unit="RZ01"} 2\n' in gateway.get("/metrics"), what="both of them")
        self.assertEqual(gateway.status()["units"][0]["broker"]["fault"], "")

    def test_a_node_that_comes_back_is_probed_and_used(self):
        port = free_port()
        gateway = Gateway(self.stack, "gw", proxy__probe_interval="50ms")
        self.assert_put(gateway, 0, self.rules(first="http://127.0.0.1:%d" % port))
        self.assertEqual(gateway.request(1).status, 503)
        node = gateway.status()["units"][0]["nodes"][0]
        self.assertEqual((node["usable"], node["why"]), (False, "a connection to it failed"))
        wait_until(lambda: gateway.metric("node_probes_total") >= 2, what="probes")
        self.assertFalse(gateway.status()["units"][0]["nodes"][0]["usable"])
        server = Node("late", port)
        self.addCleanup(server.end)
        wait_until(lambda: gateway.status()["units"][0]["nodes"][0]["usable"], what="the node's return")
        self.assertEqual(gateway.request(1).body, b"late")
        self.assertEqual(gateway.log_text().count('"node.out"'), 1)
        self.assertEqual(gateway.log_text().count('"node.back"'), 1)

    # --- agents ---

    def test_the_verdicts_of_a_unit_agent_take_nodes_out_as_long_as_it_lives(self):
        broker, app, port = self.stack.broker(), self.stack.app("RZ01"), free_port()
        gateway = Gateway(self.stack, "gw", agents__token_file=self.stack.folder / "token")
        rules = self.rules(first=app.url, agents=["http://127.0.0.1:%d" % port])
        self.assert_put(gateway, 0, rules.replace("redis://127.0.0.1:1", broker.url))
        agent = self.stack.agent("RZ01", admin_port=port)

        def heard():
            return gateway.status()["agents"][0]["heard"]

        def node():
            return gateway.status()["units"][0]["nodes"][0]

        wait_until(heard, what="the agent's report")
        self.assertTrue(node()["usable"])
        wait_until(lambda: gateway.status()["units"][0]["broker"]["agent"]["up"], what="the agent's word on the broker")
        app.kill()
        wait_until(lambda: not node()["usable"], what="the agent's verdict")
        self.assertTrue(node()["why"])
        app.restart()
        wait_until(lambda: node()["usable"], what="the node's return")
        wait_until(lambda: gateway.metric("agents_heard") == 1, what="the agent to be heard")
        agent.kill()
        wait_until(lambda: not heard(), what="the end of the lease")
        self.assertEqual(gateway.metric("agents_heard"), 0)
        self.assertTrue(gateway.status()["agents"][0]["fault"])
        agent.restart()
        wait_until(heard, what="the agent again")


if __name__ == "__main__":
    unittest.main()
