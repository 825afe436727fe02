#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The app of a worked example: payments between users, of one unit or of two (docs/PAYMENTS.md). It takes what gateways
proxy and what agents deliver, and works on the ledger of the unit that they name; in the core unit it is the one who
sees payments between two units through.

    bank.py --listen 127.0.0.1:8080 --unit RZ01 --core CORE --data FOLDER --gateway 127.0.0.1:7000 [--gateway ...]
"""
import argparse
import hashlib
import http.client
import http.server
import json
import pathlib
import sys
import threading
import time
import urllib.parse

from ledger import Ledger

PATIENCE = 3  # seconds for a gateway's word; then the delivery is tried again, later
AGAIN = 502, 503, 504


class Later(Exception):
    """Not now: whoever asked is to ask again."""


class Wrong(Exception):
    """No repeat can mend it."""


class Gateways:
    """Any of them will do. All that is sent can be repeated: by its key, or for it says the same again."""

    def __init__(self, authorities):
        self.authorities, self.mine = authorities, threading.local()

    def _connection(self):
        if getattr(self.mine, "connection", None) is None:
            self.mine.turn = getattr(self.mine, "turn", 0) + 1
            self.mine.connection = http.client.HTTPConnection(self.authorities[self.mine.turn % len(self.authorities)],
                                                              timeout=PATIENCE)
        return self.mine.connection

    def _try(self, path, headers, body):
        try:
            self._connection().request("POST", path, body, headers)
            answer = self._connection().getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError):
            self.mine.connection = None
            return 503, {}

    def post(self, path, headers, body=b""):
        """(status, body) of a 2xx or of what no repeat would change."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            status, said = self._try(path, headers, body)
            if status not in AGAIN:
                return status, said
            self.mine.connection = None
            threading.Event().wait(0.05)
        raise Later(f"no gateway takes {path}")

    def publish(self, path, user, key, message, **headers):
        """Stores a message for USER, once under KEY; its id."""
        fields = {"X-User-Id": user, "Idempotency-Key": key, "Content-Type": "application/json"}
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        status, said = self.post(path, fields, json.dumps(message, sort_keys=True).encode())
        if status != 202:
            raise Later(f"{path}: {status} {said}")
        return said["id"]

    def prepare(self, path, user, key, message, check):
        return self.publish(path, user, key, message, LDC_Transaction="prepare", LDC_Check_Url=check)

    def end(self, message, verb):
        """Commits or rolls back, which may have been done before."""
        status, said = self.post(f"/-/messages/{message}/{verb}", {})
        if status != 200:
            raise Later(f"{verb} of {message}: {status} {said}")


class Bank:
    def __init__(self, options):
        self.options, self.gateways, self.ledgers = options, Gateways(options.gateway), {}
        self.lock = threading.Lock()

    def ledger(self, unit):
        """Of the unit that the message or request is for: agents of another one may have stepped in for its own."""
        with self.lock:
            if unit not in self.ledgers:
                self.ledgers[unit] = Ledger(pathlib.Path(self.options.data) / f"{unit}.sqlite")
            return self.ledgers[unit]

    # --- what is delivered: 2xx ends it, all else brings it again ---

    def pay(self, unit, request):
        """POST /payments, in the unit where both live or in the core. A payment is its payer's key, and no other."""
        payer, payee, amount = request.user, request.field("payee", str), request.field("amount", int)
        payment = payment_id(payer, request.key)
        if amount <= 0:
            raise Wrong("amount: more than nothing is wanted")
        if unit == self.options.core:
            return 200, self.begin(payment, payer, payee, amount)
        return 200, {"payment": payment, "state": self.ledger(unit).transfer(payment, payer, payee, amount)}

    def begin(self, payment, payer, payee, amount):
        """Both messages are made ready, then booked, and only then the first one leaves: nothing is debited that the
        book does not know, and nobody is debited before the credit is safe in the payee's unit."""
        book, check = self.ledger(self.options.core), f"{self.options.url}/checks?payment={payment}"
        booked = book.booked(payment)
        if booked is None:
            message = {"payment": payment, "amount": amount}
            credit = self.gateways.prepare("/ledger/credit", payee, payment + "/credit", message, check)
            debit = self.gateways.prepare("/ledger/debit", payer, payment + "/debit", message, check)
            booked = book.book(payment, payer, payee, amount, debit, credit)
        self.gateways.end(booked["debit"], "commit")
        return {"payment": payment, "state": booked["state"] or "booked"}

    def debit(self, unit, request):
        """POST /ledger/debit, in the payer's unit: decides, and says so to the core."""
        payment, amount = request.field("payment", str), request.field("amount", int)
        state = self.ledger(unit).debit(payment, request.user, amount)
        self.gateways.publish("/settlements", request.user, payment + "/settled", {"payment": payment, "state": state})
        return 200, {"state": state}

    def settle(self, unit, request):
        """POST /settlements, in the core: the payer's unit has decided, and so the credit comes or never comes."""
        booked = self.ledger(unit).settle(request.field("payment", str), request.field("state", str))
        if booked is None:
            raise Later("the book does not have it")
        self.gateways.end(booked["credit"], "commit" if booked["state"] == "paid" else "rollback")
        return 200, {"state": booked["state"]}

    def credit(self, unit, request):
        """POST /ledger/credit, in the payee's unit."""
        self.ledger(unit).credit(request.field("payment", str), request.user, request.field("amount", int))
        return 200, {}

    # --- what is asked ---

    def check(self, unit, request):
        """GET /checks: an agent asks what becomes of a message that was made ready and not ended. One that is not in
        the book was made ready for an attempt that came to nothing, once the book has others for its payment."""
        booked = self.ledger(self.options.core).booked(request.query.get("payment"))
        message, state = request.query.get("message"), "unknown"
        if booked is not None and message == booked["debit"]:
            state = "commit"
        elif booked is not None and message != booked["credit"]:
            state = "rollback"
        elif booked is not None and booked["state"] is not None:
            state = "commit" if booked["state"] == "paid" else "rollback"
        return 200, {"state": state}

    def open(self, unit, request):
        """PUT /accounts: an account of the user, with what it begins with."""
        self.ledger(unit).open_account(request.user, request.field("balance", int))
        return 200, {"user": request.user, "unit": unit, "balance": self.ledger(unit).balance(request.user)}

    def look(self, unit, request):
        """GET /accounts."""
        balance = self.ledger(unit).balance(request.user)
        return (404, {}) if balance is None else (200, {"user": request.user, "unit": unit, "balance": balance})

    def tell(self, unit, request):
        """GET /payments/KEY of the payer: what was decided in his unit."""
        state = self.ledger(unit).outcome(payment_id(request.user, request.rest))
        return (404, {"state": "unknown"}) if state is None else (200, {"state": state})


def payment_id(payer, key):
    return hashlib.sha256(f"{payer}/{key}".encode()).hexdigest()[:32]


ROUTES = {("POST", "payments"): Bank.pay, ("POST", "ledger/debit"): Bank.debit, ("POST", "ledger/credit"): Bank.credit,
          ("POST", "settlements"): Bank.settle, ("GET", "checks"): Bank.check, ("PUT", "accounts"): Bank.open,
          ("GET", "accounts"): Bank.look, ("GET", "payments"): Bank.tell}


class Request:
    """`rest`: of the path, behind what names the route."""

    def __init__(self, handler):
        path, _, query = handler.path.partition("?")
        words = path.strip("/").split("/")
        depth = 2 if words[0] == "ledger" else 1
        self.name, self.rest = "/".join(words[:depth]), "/".join(words[depth:])
        self.query = dict(urllib.parse.parse_qsl(query))
        self.user = handler.headers.get("LDC-User") or handler.headers.get("X-User-Id")
        self.key = handler.headers.get("Idempotency-Key")
        self.body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    def field(self, name, kind):
        """Of the body, which is a JSON object."""
        try:
            value = json.loads(self.body)[name]
        except (ValueError, KeyError, TypeError):
            raise Wrong(f"{name}: there is none") from None
        if type(value) is not kind:
            raise Wrong(f"{name}: {kind.__name__} is wanted")
        return value


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one write

    def answer(self):
        bank = self.server.bank
        try:
            request = Request(self)
            route = ROUTES.get((self.command, request.name))
            unit = self.headers.get("LDC-Unit") or bank.options.unit
            status, said = route(bank, unit, request) if route else (404, {})
        except Wrong as fault:
            status, said = 422, {"error": str(fault)}
        except Exception as fault:  # whatever it is, the message is not done
            status, said = 503, {"error": repr(fault)}
            print(f"{self.command} {self.path}: {fault!r}", file=sys.stderr, flush=True)
        body = json.dumps(said).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_HEAD = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:0", help="the address and port")
    parser.add_argument("--unit", required=True, help="that it stands in")
    parser.add_argument("--core", default="CORE", help="the core unit's name")
    parser.add_argument("--data", required=True, help="the folder of the ledgers")
    parser.add_argument("--gateway", action="append", required=True, help="ADDRESS:PORT; any number of them")
    options = parser.parse_args()
    address, _, port = options.listen.rpartition(":")
    server = Server((address, int(port)), Handler)
    options.url = "http://%s:%d" % server.server_address[:2]
    server.bank = Bank(options)
    print(options.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
