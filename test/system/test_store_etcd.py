#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control store in etcd: gateways and agents follow it while its members die, stall, forget and ask for passwords."""
import json
import signal
import unittest

import harness
import load
from etcd_fixture import Authority, Cluster
from harness import wait_until


class EtcdTest(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.apps = [self.stack.app("RZ01"), self.stack.app("RZ02")]

    def rules(self, border=50):
        units = {f"RZ0{i + 1}": harness.unit(slots, blue=[self.apps[i]], brokers=[f"redis://127.0.0.1:{i + 1}"])
                 for i, slots in enumerate((f"00-{border - 1}", f"{border}-99"))}
        return harness.rules(units, routes=[harness.PROXY_ROUTE])

    def gateway(self, name="gw1", **options):
        gateway = self.stack.gateway(name, wait=False, **self.cluster.options(**options))
        wait_until(lambda: gateway.epoch() >= 0, what=f"the admin listener of {name}")
        return gateway

    def store(self, gateway):
        return gateway.status()["store"]

    def wait_for_store(self, gateway, state, timeout=30):
        return wait_until(lambda: self.store(gateway)["state"] == state and self.store(gateway), timeout,
                          f"the store to be {state} at {gateway.name}")

    def put(self, gateway, expected, text):
        answer = gateway.get(f"/v1/rules?expected_epoch={expected}&by=test", "POST", text.encode())
        return answer.status, json.loads(answer.body)

    def put_at_last(self, gateway, expected, text):
        """As an operator who tries again; an answer that was lost is no second change."""
        def done():
            status, answer = self.put(gateway, expected, text)
            self.assertIn(status, (200, 503, 409), answer)
            return (status == 200 or status == 409 and answer["record"]["by"] == "test") and answer
        answer = wait_until(done, 30, "rules to be taken", 0.1)
        return answer["epoch"]

    def members(self, gateway):
        return [one["name"] for one in json.loads(gateway.get("/v1/members").body).get("members", [])]

    def ask(self, gateway, user=1):
        return harness.request(gateway.port, "GET", "/echo/x", {"X-User-Id": str(user)}).status


class Following(EtcdTest):
    def setUp(self):
        super().setUp()
        self.cluster = Cluster(self.stack)
        self.first, self.second = self.gateway("gw1"), self.gateway("gw2")
        self.epoch = self.put_at_last(self.first, 0, self.rules())
        for gateway in (self.first, self.second):
            wait_until(lambda: gateway.epoch() == self.epoch, what="the first rules")

    def test_gateways_follow_one_store_and_know_each_other(self):
        epoch = self.put_at_last(self.second, self.epoch, self.rules(40))
        self.assertEqual(epoch, self.epoch + 1)
        wait_until(lambda: self.first.epoch() == epoch, what="the other gateway's epoch")
        self.assertEqual(self.put(self.first, self.epoch, self.rules(30))[0], 409)
        wait_until(lambda: self.first.get(f"/v1/rules/rollback?expected_epoch={epoch}", "POST").status in (200, 409),
                   what="a rollback")  # 409: done already, and the answer was lost
        history = json.loads(self.first.get("/v1/rules/history").body)["history"]
        self.assertEqual([one["version"] for one in history], [3, 2, 1])
        wait_until(lambda: self.members(self.first) == ["gw1", "gw2"], what="both members")
        self.second.terminate()
        wait_until(lambda: self.members(self.first) == ["gw1"], what="a member that left")
        third = self.gateway("gw3")
        wait_until(lambda: self.members(self.first) == ["gw1", "gw3"], what="the third")
        third.kill()  # its lease goes on for a moment
        wait_until(lambda: self.members(self.first) == ["gw1"], 30, "a member that was killed")

    def test_members_that_die_one_by_one_are_passed_over(self):
        for i in range(3):
            self.cluster.members[i].kill()
            with load.Load([self.first.port, self.second.port], [str(user) for user in range(20)], "/echo/x", "GET",
                           pause=0.002) as traffic:
                self.epoch = self.put_at_last(self.first, self.epoch, self.rules(60 + i))
                wait_until(lambda: self.second.epoch() == self.epoch, what="the other gateway's epoch")
                traffic.wait_for(50, 200)
            self.assertEqual({one.status for one in traffic.sent}, {200})
            self.cluster.restart(i)
            self.cluster.wait_for(i)
        for gateway in (self.first, self.second):
            self.wait_for_store(gateway, "up")

    def test_a_leader_that_is_frozen_is_replaced(self):
        leader = self.cluster.leader()
        self.cluster.members[leader].signal(signal.SIGSTOP)
        self.epoch = self.put_at_last(self.first, self.epoch, self.rules(70))
        wait_until(lambda: self.second.epoch() == self.epoch, what="the other gateway's epoch")
        self.cluster.members[leader].signal(signal.SIGCONT)
        self.epoch = self.put_at_last(self.second, self.epoch, self.rules(75))
        wait_until(lambda: self.first.epoch() == self.epoch, what="the epoch after")

    def test_a_minority_is_no_store_and_nothing_is_lost(self):
        others = [i for i in range(3) if i != 0]
        for i in others:
            self.cluster.members[i].signal(signal.SIGSTOP)
        for gateway in (self.first, self.second):
            self.wait_for_store(gateway, "away")
        with load.Load([self.first.port], [str(user) for user in range(20)], "/echo/x", "GET", pause=0.002) as traffic:
            with harness.Span() as span:
                status, problem = self.put(self.first, self.epoch, self.rules(80))
            self.assertEqual(status, 503, problem)
            self.assertLess(span.seconds, span.allowed(1.0), "what is known to be away is not asked")
            traffic.wait_for(50, 200)
            for i in others:
                self.cluster.members[i].signal(signal.SIGCONT)
            for gateway in (self.first, self.second):
                self.wait_for_store(gateway, "up")
            self.epoch = self.put_at_last(self.first, self.epoch, self.rules(80))
            wait_until(lambda: self.second.epoch() == self.epoch, what="the other gateway's epoch")
        self.assertEqual({one.status for one in traffic.sent}, {200})

    def test_a_gateway_that_slept_through_a_compaction_reads_anew(self):
        self.second.signal(signal.SIGSTOP)
        for border in (20, 30, 40):
            self.epoch = self.put_at_last(self.first, self.epoch, self.rules(border))
        for i in range(3):
            wait_until(lambda: self.cluster.revision(i) > 5, what="the revision")
        self.cluster.compact()
        for i in range(3):  # the streams end, and go on where there is nothing any more
            self.cluster.members[i].kill()
        for i in range(3):
            self.cluster.restart(i)
        for i in range(3):
            self.cluster.wait_for(i)
        self.second.signal(signal.SIGCONT)
        wait_until(lambda: self.second.epoch() == self.epoch, 30, "the newest epoch")
        self.epoch = self.put_at_last(self.first, self.epoch, self.rules(50))
        wait_until(lambda: self.second.epoch() == self.epoch, what="the next epoch")

    def test_without_any_member_a_restarted_gateway_still_routes(self):
        users = [str(user) for user in range(20)]
        with load.Load([self.first.port], users, "/echo/x", "GET", pause=0.002) as traffic:
            for member in self.cluster.members:
                member.kill()
            self.wait_for_store(self.first, "away")
            self.second.kill()
            self.second.start()
            wait_until(self.second.ready, what="the restarted gateway")
            self.assertEqual([self.ask(self.second, user) for user in (1, 60)], [200, 200])
            self.assertTrue(self.second.status()["rules"]["from_cache"])
            traffic.wait_for(200, 200)
            for i in range(3):
                self.cluster.restart(i)
            for gateway in (self.first, self.second):
                self.wait_for_store(gateway, "up")
            wait_until(lambda: self.members(self.first) == ["gw1", "gw2"], 30, "both members")
        self.assertEqual({one.status for one in traffic.sent}, {200})


class Guarded(EtcdTest):
    """Users, passwords, certificates."""

    def password(self, text):
        path = self.stack.folder / "password"
        path.write_text(text + "\n")
        return path

    def test_a_user_logs_in_again_when_tokens_are_forgotten(self):
        self.cluster = Cluster(self.stack, 1)
        self.cluster.switch_auth_on("gate", "secret-word-1")
        gateway = self.gateway(store__user="gate", store__password_file=self.password("secret-word-1"))
        epoch = self.put_at_last(gateway, 0, self.rules())
        wait_until(lambda: self.members(gateway) == ["gw1"], what="the member")
        self.cluster.members[0].kill()  # simple tokens die with it
        self.wait_for_store(gateway, "away")
        self.cluster.restart(0)
        self.wait_for_store(gateway, "up")
        epoch = self.put_at_last(gateway, epoch, self.rules(40))
        wait_until(lambda: gateway.epoch() == epoch, what="the rules")
        self.assertNotIn("secret-word", gateway.log_text())

    def test_a_store_that_was_restored_from_a_snapshot_is_followed_again(self):
        """Its log is shorter than the tokens say that were given out before."""
        self.cluster = Cluster(self.stack, 3)
        self.cluster.switch_auth_on("gate", "secret-word-1")
        gateways = [self.gateway(f"gw{i}", store__user="gate", store__password_file=self.password("secret-word-1"))
                    for i in (1, 2)]
        epoch = self.put_at_last(gateways[0], 0, self.rules())
        snapshot = self.cluster.snapshot()
        self.cluster.start_over(snapshot)
        for gateway in gateways:
            self.wait_for_store(gateway, "up", 60)
        epoch = self.put_at_last(gateways[1], epoch, self.rules(40))
        for gateway in gateways:
            wait_until(lambda: gateway.epoch() == epoch, 60, "the rules")

    def test_who_may_have_to_move_a_unit_is_known_to_every_member_beforehand(self):
        """Or a failover would begin with a login: hashing a password takes longer than all the rest."""
        self.cluster = Cluster(self.stack, 3)
        self.cluster.switch_auth_on("gate", "secret-word-1")
        before = [self.cluster.asked(i) for i in range(3)]
        gateway = self.gateway(store__user="gate", store__password_file=self.password("secret-word-1"))
        self.wait_for_store(gateway, "up")
        wait_until(lambda: all(self.cluster.asked(i) > before[i] for i in range(3)), what="each member to be asked")

    def test_a_wrong_password_is_told_and_shown_nowhere(self):
        self.cluster = Cluster(self.stack, 1)
        self.cluster.switch_auth_on("gate", "secret-word-1")
        gateway = self.gateway(store__user="gate", store__password_file=self.password("secret-word-2"))
        store = self.wait_for_store(gateway, "away")
        self.assertIn("authentication failed", store["fault"])
        self.password("secret-word-1")  # read again at the next login
        self.wait_for_store(gateway, "up")
        nobody = self.gateway("gw2")
        self.assertRegex(self.wait_for_store(nobody, "away")["fault"], "user name is empty|permission denied")
        for one in (gateway, nobody):
            self.assertNotIn("secret-word", one.log_text() + json.dumps(one.status()))

    def test_a_store_that_is_full_refuses_changes_until_there_is_room(self):
        """docs/OPERATIONS.md, "Keeping etcd well": nobody but etcd itself says so beforehand."""
        self.cluster = Cluster(self.stack, 1, flags=["--quota-backend-bytes", 3 << 20])
        gateway = self.gateway()
        epoch = self.put_at_last(gateway, 0, self.rules())
        self.cluster.fill()
        status, answer = self.put(gateway, epoch, self.rules(40))
        self.assertEqual((status, self.store(gateway)["state"]), (503, "up"), answer)
        self.assertIn("database space exceeded", answer["detail"])
        self.cluster.compact()
        self.cluster.must("/v3/maintenance/defragment")
        member = self.cluster.status(0)["header"]["member_id"]
        self.cluster.must("/v3/maintenance/alarm", {"action": "DEACTIVATE", "memberID": member, "alarm": "NOSPACE"})
        self.put_at_last(gateway, epoch, self.rules(40))

    def test_certificates_are_shown_and_checked(self):
        self.cluster = Cluster(self.stack, 3, Authority(self.stack.folder))
        gateway, other = self.gateway(), self.gateway("gw2")
        epoch = self.put_at_last(gateway, 0, self.rules())
        wait_until(lambda: other.epoch() == epoch, what="the other gateway's epoch")
        epoch = self.put_at_last(other, epoch, self.rules(40))
        wait_until(lambda: gateway.epoch() == epoch, what="the epoch")
        stranger = self.gateway("gw3", store__certificate="", store__key="")
        self.wait_for_store(stranger, "away")
        doubter = self.gateway("gw4", store__ca_file="")
        wait_until(lambda: "certificate" in self.store(doubter).get("fault", ""), what="its doubt of the members' certificates")

    def test_a_user_with_a_certificate_may_do_what_the_user_may(self):
        self.cluster = Cluster(self.stack, 1, Authority(self.stack.folder))
        self.cluster.switch_auth_on("gate", "secret-word-1")
        gateway = self.gateway(store__user="gate", store__password_file=self.password("secret-word-1"))
        epoch = self.put_at_last(gateway, 0, self.rules())
        wait_until(lambda: gateway.epoch() == epoch, what="the rules")


if __name__ == "__main__":
    unittest.main()
