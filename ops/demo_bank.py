# SPDX-License-Identifier: Apache-2.0
"""The demo's part on work for two units: the bank of docs/examples/payment, with users who live apart, and a kill."""
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "docs/examples/payment"))
from stage import Stage  # noqa: E402

PAYER, PAYEE = "4000", "4050"  # half the ring apart
OPENING, PRICE, COUNT = 100, 3, 30
PATIENCE = 30


def balances(bank):
    return [bank.send("GET", "/accounts", user)[2].get("balance", 0) for user in (PAYER, PAYEE)]


def wait_for(condition):
    """Whether it came, and after how many milliseconds."""
    started = time.monotonic()
    while not condition() and time.monotonic() - started < PATIENCE:
        threading.Event().wait(0.01)
    return condition(), (time.monotonic() - started) * 1000


def pay(bank, key):
    """Until it is accepted: the fields of the answer."""
    for turn in range(100):
        status, headers, _ = bank.send("POST", "/payments", PAYER, {"payee": PAYEE, "amount": PRICE}, key, turn)
        if status == 202:
            return headers
        threading.Event().wait(0.05)
    return {}


def show_one(bank, report):
    headers = pay(bank, "first")
    credited, took_ms = wait_for(lambda: balances(bank) == [OPENING - PRICE, PRICE])
    report.check(credited and headers.get("ldc-unit") == "CORE" and headers.get("ldc-durability") == "quorum",
                 "a payment between users of two units: debit in one, credit in the other",
                 f"LDC-Durability: {headers.get('ldc-durability')}, credited after {took_ms:.0f} ms")


def show_many(bank, deployment, report):
    for number in range(COUNT):
        if number == COUNT // 3:
            deployment.kill_primary("CORE")
            bank.apps["CORE"].kill()
            bank.apps["CORE"].start()
        pay(bank, f"more-{number}")
    wanted = [OPENING - (COUNT + 1) * PRICE, (COUNT + 1) * PRICE]
    done, _ = wait_for(lambda: balances(bank) == wanted and bank.waits() == (0, 0, 0))
    report.check(done, f"{COUNT} more while the core's primary and its application are killed: once each",
                 f"balances {' and '.join(map(str, balances(bank)))}{', nothing half done' if done else ''}")


def show(deployment, report):
    with Stage(deployment.ctl_path, deployment.folder) as bank:
        bank.send("PUT", "/accounts", PAYER, {"balance": OPENING})
        show_one(bank, report)
        show_many(bank, deployment, report)
