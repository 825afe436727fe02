#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The items of a batch are stored in their order, whatever happens to records and connections while they are on their
way. They are of one user, so of one partition, so for one connection of the gateway: its home."""
import json
import signal
import threading
import unittest

import harness
from durable_fixture import DurableTest
from harness import wait_until
from relay_fixture import BehindRelay

ITEMS = 1500  # more than may be on their way: the last ones are made when the first ones are answered
PIPELINE = 16
USER = "1"


class Order(BehindRelay, DurableTest):
    def begin(self):
        self.start(threads=1, broker__commit_connections=2, broker__commit_batch=PIPELINE, broker__timeout="8s")
        self.accepted(user=USER)

    def background(self, function, *args, **options):
        thread = threading.Thread(target=function, args=args, kwargs=options)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def post_batch(self):
        text = "\n".join(json.dumps({"n": n}) for n in range(ITEMS)).encode()
        headers = {"Content-Type": "application/x-ndjson", "X-User-Id": USER}
        self.answer = harness.request(self.gateway.port, "POST", "/pay/1", headers, text, timeout=60)

    def stand_still(self):
        """The replica confirms nothing from now on."""
        self.replicas[0].signal(signal.SIGSTOP)
        self.addCleanup(self.replicas[0].signal, signal.SIGCONT)

    def begin_batch(self):
        """Returns when its first pipeline is stored."""
        before = len(self.stored())
        batch = self.background(self.post_batch)
        wait_until(lambda: len(self.stored()) >= before + PIPELINE, what="the first pipeline")
        return batch

    def withheld_by(self, links, function, *args, **options):
        """The link by which goes what FUNCTION makes the gateway send."""
        before = {link: link.kept.count(b"ldc1_enqueue") for link in links}
        self.client = self.background(function, *args, **options)
        return wait_until(lambda: next((link for link in links if link.kept.count(b"ldc1_enqueue") > before[link]), None),
                          what="a message on its way")

    def deliver(self, *links):
        for link in links:
            link.withheld = False
        self.relay.deliver(links)

    def find_home(self):
        links = self.relay.withhold()
        home = self.withheld_by(links, self.post, user=USER)
        self.deliver(*links)
        self.client.join()
        return home

    def cut(self, link):
        """The connection is lost, and cannot be made again before mend()."""
        self.relay.target = harness.free_port()
        link.reset()

    def mend(self):
        self.relay.target = self.primary.port

    def expect_order(self):
        document = self.answer.json()
        self.assertEqual(document["accepted"], ITEMS, [item for item in document["items"] if item["status"] != 202][:3])
        entries = sorted(self.stored().items(), key=lambda item: [int(part) for part in item[0][1].split(b"-")])
        numbers = [json.loads(fields[b"body"])["n"] for _, fields in entries if b"n" in fields[b"body"]]
        turned = [numbers[at - 1:at + 1] for at in range(1, len(numbers)) if numbers[at] < numbers[at - 1]]
        self.assertEqual((len(numbers), turned[:3]), (ITEMS, []))

    def test_a_record_that_changes_while_items_wait_turns_none_of_them(self):
        self.begin()
        self.stand_still()
        batch = self.begin_batch()
        self.put_record(self.record)
        self.wait_followed()
        self.replicas[0].signal(signal.SIGCONT)
        batch.join()
        self.expect_order()

    def test_a_connection_that_is_back_does_not_overtake_the_one_that_stood_in_for_it(self):
        self.begin()
        self.cut(self.find_home())
        self.stand_still()
        batch = self.begin_batch()
        links = len(self.relay.links)
        self.mend()
        wait_until(lambda: len(self.relay.links) > links, what="the connection to be back")
        self.replicas[0].signal(signal.SIGCONT)
        batch.join()
        self.expect_order()

    def test_what_is_sent_again_is_not_overtaken_by_what_was_never_sent(self):
        self.begin()
        home, users = self.find_home(), (str(number) for number in range(2, 1000))
        links = self.relay.withhold()
        while (other := self.withheld_by(links, self.post, user=(neighbour := next(users)))) is home:
            self.deliver(*links)
            self.client.join()
            links = self.relay.withhold()
        batch = self.background(self.post_batch)
        wait_until(lambda: b'{"n": 0}' in home.kept, what="items on their way")
        under_way = self.gateway.metric("requests_in_flight")
        self.background(self.post, user=neighbour)  # leaves when the first one's proof has come
        wait_until(lambda: self.gateway.metric("requests_in_flight") > under_way, what="the neighbour's next message")
        self.cut(home)
        wait_until(lambda: self.gateway.metric("failover_held_total") > PIPELINE, what="items to be held")
        before = len(self.stored())
        self.deliver(other)
        wait_until(lambda: len(self.stored()) >= before + 2, what="the other connection to be answered")
        self.mend()
        batch.join()
        self.expect_order()


if __name__ == "__main__":
    unittest.main()
