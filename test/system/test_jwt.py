#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Users named by bearer tokens, end to end: every algorithm against every token, and keys that change under load."""
import base64
import hashlib
import hmac
import json
import signal
import subprocess
import threading
import time
import unittest

import harness
from harness import wait_until

SECRET = b"a secret of more than thirty-two bytes"


def encode(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).rstrip(b"=")


def raw_ecdsa(der):
    """R and S side by side, from the DER that openssl writes."""
    numbers, at = [], 2
    for _ in range(2):
        size = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + size], "big").to_bytes(32, "big"))
        at += 2 + size
    return b"".join(numbers)


class Key:
    """A key, its file for the gateway, and its signatures."""

    def __init__(self, folder, algorithm, name):
        self.algorithm, self.file = algorithm, folder / name
        self.private = folder / (name + ".private")
        if algorithm == "HS256":
            self.file.write_bytes(SECRET + name.encode() + b"\n")
            return
        kind = ["-algorithm", "RSA"] if algorithm == "RS256" else ["-algorithm", "EC", "-pkeyopt",
                                                                   "ec_paramgen_curve:prime256v1"]
        self.openssl("genpkey", *kind, "-out", self.private)
        self.openssl("pkey", "-in", self.private, "-pubout", "-out", self.file)

    @staticmethod
    def openssl(*words, data=b""):
        return subprocess.run(["openssl", *map(str, words)], input=data, capture_output=True, check=True).stdout

    def sign(self, data):
        if self.algorithm == "HS256":
            return hmac.digest(self.file.read_bytes().rstrip(b"\n"), data, hashlib.sha256)
        signature = self.openssl("dgst", "-sha256", "-sign", self.private, data=data)
        return raw_ecdsa(signature) if self.algorithm == "ES256" else signature

    def token(self, claims, **header):
        signed = encode({"alg": self.algorithm, "typ": "JWT", **header}) + b"." + encode(claims)
        return (signed + b"." + encode(self.sign(signed))).decode()


class Tokens(harness.StackTest):
    def setUp(self):
        super().setUp()
        self.app = self.stack.app()
        self.gateway = self.stack.gateway(wait=False, threads=2)
        wait_until(lambda: self.gateway.epoch() >= 0, what="the admin listener")

    def key(self, algorithm, name="key"):
        return Key(self.stack.folder, algorithm, algorithm + name)

    def apply(self, key, **more):
        identity = {"sources": ["jwt:sub"], "on_missing": "reject",
                    "jwt": {"algorithm": key.algorithm, "key_file": str(key.file), **more}}
        units = {"RZ01": harness.unit("00-41", blue=[self.app]), "RZ02": harness.unit("42-99", blue=[self.app])}
        self.stack.put_rules(self.gateway, harness.rules(units, [harness.PROXY_ROUTE], identity=identity))

    def ask(self, token):
        return harness.request(self.gateway.port, "GET", "/echo/jwt", {"Authorization": "Bearer " + token})

    def status(self, token):
        return self.ask(token).status

    def reload(self):
        """SIGHUP; whether it was taken."""
        def counts():
            counters = self.gateway.get("/metrics").body.decode().splitlines()
            return [int(line.split()[1]) for line in counters
                    if line.startswith(("ldcgate_reloads_total ", "ldcgate_reloads_refused_total "))]
        before = counts()
        self.gateway.signal(signal.SIGHUP)
        after = wait_until(lambda: (now := counts()) != before and now, what="the reload")
        return after[0] > before[0]

    def test_only_the_key_and_the_algorithm_of_the_rules_count(self):
        now = int(time.time())
        keys = [self.key(algorithm) for algorithm in ("HS256", "RS256", "ES256")]
        confused = Key(self.stack.folder, "HS256", "confused")
        for key in keys:
            self.apply(key, issuer="us", audience="shop")
            confused.file.write_bytes(key.file.read_bytes())  # a public key taken for a secret
            good = {"sub": "42", "iss": "us", "aud": ["shop", "bank"], "exp": now + 600}
            token = key.token(good)
            self.assertEqual(self.ask(token).headers["ldc-unit"], "RZ02")
            self.assertEqual(self.ask(key.token(dict(good, sub="41"))).headers["ldc-unit"], "RZ01")
            bad = [other.token(good) for other in keys if other is not key]
            bad += [confused.token(good)] if key.algorithm != "HS256" else []
            bad += [key.token(dict(good, **change)) for change in
                    ({"iss": "them"}, {"aud": "bank"}, {"exp": now - 600}, {"nbf": now + 600}, {"exp": "soon"})]
            bad += [key.token(good, alg=name) for name in ("none", "None", "HS512", "ES256K")]
            bad += [key.token(good, crit=["exp"]), token[:-4] + "AAAA", token[:-2], token + ".x", token.rsplit(".", 1)[0] + ".",
                    encode({"alg": "none"}).decode() + "." + encode(good).decode() + ".", "x.y.z", "..", "x" * 9000]
            for one in bad:
                with self.subTest(algorithm=key.algorithm, token=one[:200]):
                    self.assertEqual(self.status(one), 401)

    def test_sighup_reads_the_key_again_and_keeps_the_old_one_where_it_cannot(self):
        key, other = self.key("ES256"), self.key("ES256", "other")
        claims = {"sub": "7", "exp": int(time.time()) + 600}
        self.apply(key)
        first, second = key.token(claims), other.token(claims)
        self.assertEqual((self.status(first), self.status(second)), (200, 401))
        content = other.file.read_bytes()
        key.file.write_bytes(b"no key")
        self.assertFalse(self.reload())
        self.assertEqual((self.status(first), self.status(second)), (200, 401))
        self.assertIn(str(key.file), self.gateway.log_text())
        key.file.write_bytes(content)
        self.assertTrue(self.reload())
        wait_until(lambda: self.status(second) == 200, what="the new key")
        self.assertEqual(self.status(first), 401)

    def test_keys_change_under_load_without_a_fault(self):
        keys = [self.key("HS256", "one"), self.key("HS256", "two")]
        contents = [key.file.read_bytes() for key in keys]
        claims = {"sub": "7", "exp": int(time.time()) + 600}
        tokens = [key.token(claims) for key in keys]
        self.apply(keys[0])
        seen, over = [], threading.Event()

        def ask(token):
            client = harness.Client(self.gateway.port)
            while not over.is_set():
                seen.append(client.request("GET", "/echo/jwt", {"Authorization": "Bearer " + token}).status)
            client.close()
        askers = [threading.Thread(target=ask, args=(token,)) for token in tokens]
        for asker in askers:
            asker.start()
        try:
            for turn in range(10):
                keys[0].file.write_bytes(contents[(turn + 1) % 2])
                self.assertTrue(self.reload())
                wait_until(lambda: self.status(tokens[(turn + 1) % 2]) == 200, what="the other key")
        finally:
            over.set()
            for asker in askers:
                asker.join()
        self.assertEqual(set(seen), {200, 401})


if __name__ == "__main__":
    unittest.main()
