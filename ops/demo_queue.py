# SPDX-License-Identifier: Apache-2.0
"""The demo's second part: what a queue can do with one payment. Each step says what it sends and checks what comes of it."""
import http.client
import json
import threading
import time

USER = "4000"  # no one of the first part
PATIENCE = 20


class Shop:
    """A client of the first gateway, who pays to himself: payer and payee live in one unit."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.authority = deployment.topology()["ingress"][0].split("//")[1]

    def send(self, method, path, body=b"", **headers):
        connection = http.client.HTTPConnection(self.authority, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {"X-User-Id": USER, "Content-Type": "application/json",
                                                    **{name.replace("_", "-"): value for name, value in headers.items()}})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def pay(self, what, **headers):
        status, fields, body = self.send("POST", "/pay/demo", json.dumps({"payee": USER, "what": what}).encode(), **headers)
        return status, fields, body

    def processed(self, id):
        """When the application had the message, in microseconds since 1970; None: not yet."""
        return next((record["us"] for records in self.deployment.records() for record in records if record["id"] == id), None)

    def wait_processed(self, id):
        end = time.monotonic() + PATIENCE
        while (at_us := self.processed(id)) is None and time.monotonic() < end:
            threading.Event().wait(0.02)
        return at_us


def show_repeats(shop, report):
    first, repeat = shop.pay("a coffee", Idempotency_Key="coffee-1"), shop.pay("a coffee", Idempotency_Key="coffee-1")
    other = shop.pay("two coffees", Idempotency_Key="coffee-1")
    same = first[1].get("ldc-message-id") == repeat[1].get("ldc-message-id")
    report.check(same and first[0] == 202 and repeat[1].get("idempotency-replayed") == "true" and other[0] == 422,
                 "a payment sent twice under one Idempotency-Key is one payment",
                 f"{first[0]}, then {repeat[0]} with the same id; another body {other[0]}")
    report.check(first[1].get("ldc-durability") == "replicated", "its 202 came when primary and replica had it on disk",
                 f"LDC-Durability: {first[1].get('ldc-durability')}")


def show_reply(shop, report):
    started = time.monotonic()
    status, _, body = shop.pay("a cake", Prefer="wait=5")
    said = json.loads(body) if status == 200 else {}
    report.check(said.get("via") == "queue", "who prefers to wait gets the application's own answer, through the queue",
                 f"{status} from {said.get('app')} after {(time.monotonic() - started) * 1000:.1f} ms")


def show_timer(shop, report):
    sent_us = time.time_ns() // 1000
    _, fields, _ = shop.pay("a gift", LDC_Delay="1s")
    at_us = shop.wait_processed(fields.get("ldc-message-id"))
    late_ms = (at_us - sent_us) / 1000 - 1000 if at_us else None
    report.check(at_us is not None and late_ms >= 0, "a payment for later comes later",
                 "never" if at_us is None else f"asked for 1 s, {late_ms:+.0f} ms")


def show_transaction(shop, report):
    check = f"{shop.deployment.topology()['ingress'][0]}/echo/check"
    ids = []
    for end in "commit", "rollback":
        _, fields, _ = shop.pay(f"a flat, {end}", LDC_Transaction="prepare", LDC_Check_Url=check)
        ids.append(fields.get("ldc-message-id"))
        status, _, _ = shop.send("POST", f"/-/messages/{ids[-1]}/{end}")
        if status >= 300:
            report.check(False, f"a prepared payment takes its {end}", str(status))
    committed = shop.wait_processed(ids[0]) is not None
    report.check(committed and shop.processed(ids[1]) is None, "of two prepared payments the committed one is delivered",
                 "the other was rolled back")
    return ids[0]


def show(deployment, report, say):
    """Runs all of it; REPORT counts what is not as it should be."""
    shop = Shop(deployment)
    show_repeats(shop, report)
    show_reply(shop, report)
    show_timer(shop, report)
    id = show_transaction(shop, report)
    say(f"$ ldcctl queue trace {id}")
    say("  " + deployment.ctl("queue", "trace", id).rstrip().replace("\n", "\n  "))
