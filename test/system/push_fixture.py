# SPDX-License-Identifier: Apache-2.0
"""An app that changes of a collection are pushed to."""
import json
import threading
import time

import app_fixture

PATH = "/changes"


class Listener(app_fixture.App):
    """Keeps what it has taken: by unit a list of (type, data)."""

    def __init__(self, collection="rates", delay=0):
        super().__init__()
        self.collection, self.delay = collection, delay
        self.taken, self.refuses, self.asked, self.lock = {}, None, [], threading.Lock()
        self.answers[PATH] = self.answer

    def answer(self, headers, body):
        with self.lock:
            self.asked.append(time.monotonic())
            if self.refuses is not None:
                return self.refuses
            assert headers["Content-Type"] == "application/cloudevents-batch+json", headers
            for event in json.loads(body):
                assert event["specversion"] == "1.0" and event["source"] == f"/units/{headers['LDC-Unit']}/collections/{self.collection}"
                kind = event["type"].removeprefix("ldcgate.collection.")
                self.taken.setdefault(headers["LDC-Unit"], []).append((kind, event["data"]))
        threading.Event().wait(self.delay)
        return 204, {}, b""

    def of(self, unit, *kinds):
        with self.lock:
            return [data for kind, data in self.taken.get(unit, []) if not kinds or kind in kinds]

    def kinds(self, unit):
        with self.lock:
            return [kind for kind, _ in self.taken.get(unit, [])]

    def sequences(self, unit):
        return [data["sequence"] for data in self.of(unit, "put", "del")]

    def assert_no_gap(self, test, unit, last):
        """All changes up to LAST were told, each behind the one before it, some more than once."""
        told, highest = self.sequences(unit), 0
        test.assertEqual(sorted(set(told)), list(range(min(told), last + 1)))
        for seq in told:
            test.assertLessEqual(seq, max(highest, min(told) - 1) + 1, "in their order")
            highest = max(highest, seq)
        return told
