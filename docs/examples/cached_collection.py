#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Values of a collection, kept until they change: reads them from a gateway, and watches what changes there. Python's
standard library is all that it needs.

    rates = CachedCollection("http://127.0.0.1:8080", "rates")
    rates.get("eur")        # (version, content type, bytes), or None

    python3 cached_collection.py http://127.0.0.1:8080 rates       # reads keys, one a line, and prints what they are
"""
import collections
import http.client
import json
import sys
import threading
import time
import urllib.parse

Value = collections.namedtuple("Value", "version type bytes")


class CachedCollection:
    """SILENCE: seconds without a word of the gateway after which nothing that is kept counts; more than two of its
    heartbeats. MOST: so many values are kept."""

    def __init__(self, url, name, silence=35.0, most=100_000):
        self.host, self.path = urllib.parse.urlsplit(url).netloc, "/-/c/" + urllib.parse.quote(name, safe="")
        self.silence, self.most = silence, most
        self.lock = threading.Lock()
        self.values = {}
        self.reading = collections.Counter()  # keys that are being read, and
        self.changed = set()  # those of them that changed meanwhile
        self.sequence = None  # all up to here was heard; None: the stream has not begun
        self.heard = -silence  # when; by the monotonic clock
        self.retry = 1.0
        self.hits = self.misses = 0
        self.closed = threading.Event()
        threading.Thread(target=self._watch_forever, daemon=True).start()

    def get(self, key):
        with self.lock:
            live = not self.closed.is_set() and time.monotonic() < self.heard + self.silence
            if live and key in self.values:
                self.hits += 1
                return self.values[key]
            self.misses += 1
            at_least = self.sequence
            self.reading[key] += 1
        value = None
        read = False
        try:
            value = self._read(key, at_least)
            read = True
        finally:
            self._end_reading(key, value, read and live)
        return value

    def close(self):
        """Nothing is kept any more; the stream ends with its next line."""
        self.closed.set()

    def _end_reading(self, key, value, keep):
        with self.lock:
            if keep and key not in self.changed:
                if len(self.values) >= self.most:
                    self.values.pop(next(iter(self.values)))
                self.values[key] = value
            self.reading[key] -= 1
            if self.reading[key] == 0:
                del self.reading[key]
                self.changed.discard(key)

    def _read(self, key, at_least):
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            headers = {} if at_least is None else {"LDC-Min-Version": str(at_least)}
            connection.request("GET", f"{self.path}/{urllib.parse.quote(key, safe='')}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status == 200:
            return Value(int(answer.headers["LDC-Version"]), answer.headers["Content-Type"], body)
        problem = json.loads(body)
        if problem["type"] == "urn:ldcgate:problem:no-key":
            return None
        raise RuntimeError(f"{key}: {answer.status} {problem['title']}")

    # --- the stream

    def _watch_forever(self):
        while not self.closed.is_set():
            try:
                self._watch()
            except (OSError, http.client.HTTPException):
                pass
            with self.lock:
                self.heard = -self.silence
            self.closed.wait(self.retry)

    def _watch(self):
        connection = http.client.HTTPConnection(self.host, timeout=self.silence)
        try:
            headers = {} if self.sequence is None else {"Last-Event-ID": str(self.sequence)}
            connection.request("GET", self.path + "?watch", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                return
            fields = {}
            for line in iter(answer.readline, b""):
                if self.closed.is_set():
                    return
                name, _, value = line.decode().rstrip("\n").partition(":")
                if line != b"\n":
                    fields[name] = value.removeprefix(" ")
                    continue
                self._take(fields)
                fields = {}
        finally:
            connection.close()

    def _take(self, fields):
        with self.lock:
            self.heard = time.monotonic()
            self.retry = int(fields.get("retry", self.retry * 1000)) / 1000
            if fields.get("event") == "reset" or self.sequence is None:
                self._forget_all()
            elif "data" in fields:
                self._forget(json.loads(fields["data"])["key"])
            self.sequence = int(fields.get("id", self.sequence or 0))

    def _forget(self, key):
        self.values.pop(key, None)
        if key in self.reading:
            self.changed.add(key)

    def _forget_all(self):
        self.values.clear()
        self.changed.update(self.reading)


def main():
    url, name = sys.argv[1:]
    cache = CachedCollection(url, name)
    for line in sys.stdin:
        before, sequence = cache.hits, cache.sequence
        value = cache.get(line.rstrip("\n"))
        told = None if value is None else {"version": value.version, "type": value.type, "value": value.bytes.decode()}
        print(json.dumps({"value": told, "kept": cache.hits > before, "sequence": sequence}), flush=True)


if __name__ == "__main__":
    main()
