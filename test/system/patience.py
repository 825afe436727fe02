# SPDX-License-Identifier: Apache-2.0
"""How long tests wait on a machine that may be busy with something else, and what they may say of time at all."""
import os
import tempfile
import threading
import time

SLOW = 5 if os.environ.get("LDC_SLOW") else 1  # sanitizers take their time
PATIENCE = max(SLOW, 3)  # of waits, which judge nothing: the machine may be busy with something else


def wait_until(condition, timeout=20.0, what="the condition", every=0.01):
    """The first true value of CONDITION(), or an AssertionError that names what was waited for."""
    end = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout * PATIENCE:.0f} s for {what}")
        threading.Event().wait(every)


class Span:
    """How long something takes, and how long the machine kept us waiting meanwhile for no fault of the programs: for a
    processor, or for the disk that brokers wait for before they answer.

        with Span() as span:
            ...
        self.assertLess(span.seconds, span.allowed(1.5))
    """

    STEP_S = 0.005
    SYNC_S = 0.05  # a disk that takes longer for a byte stands still
    HOPS = 3  # processes that wait for the machine one after another, as this one did

    def __enter__(self):
        self.stalled, self.stalled_by_disk, self._over = 0.0, 0.0, threading.Event()
        self._began = time.monotonic()
        self._watches = [threading.Thread(target=watch) for watch in (self._measure, self._measure_disk)]
        for watch in self._watches:
            watch.start()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self._began
        self._over.set()
        for watch in self._watches:
            watch.join()

    def _measure(self):
        before = time.monotonic()
        while not self._over.wait(self.STEP_S):
            now = time.monotonic()
            self.stalled += max(now - before - 2 * self.STEP_S, 0.0)
            before = now

    def _measure_disk(self):
        with tempfile.TemporaryFile(buffering=0) as file:
            while not self._over.wait(4 * self.STEP_S):
                before = time.monotonic()
                file.write(b".")
                os.fdatasync(file.fileno())
                self.stalled_by_disk += max(time.monotonic() - before - self.SYNC_S, 0.0)

    def allowed(self, seconds):
        """SECONDS of a machine that has time for us."""
        return seconds * SLOW + self.HOPS * (self.stalled + self.stalled_by_disk)
