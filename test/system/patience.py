# SPDX-License-Identifier: Apache-2.0
"""How long tests wait on a machine that may be busy with something else, and what they may say of time at all."""
import os
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
    """How long something takes, and how long the machine kept us waiting meanwhile for no fault of the programs.

        with Span() as span:
            ...
        self.assertLess(span.seconds, span.allowed(1.5))
    """

    STEP_S = 0.005
    HOPS = 3  # processes that wait for the machine one after another, as this one did

    def __enter__(self):
        self.stalled, self._over = 0.0, threading.Event()
        self._began = time.monotonic()
        self._watch = threading.Thread(target=self._measure)
        self._watch.start()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self._began
        self._over.set()
        self._watch.join()

    def _measure(self):
        before = time.monotonic()
        while not self._over.wait(self.STEP_S):
            now = time.monotonic()
            self.stalled += max(now - before - 2 * self.STEP_S, 0.0)
            before = now

    def allowed(self, seconds):
        """SECONDS of a machine that has time for us."""
        return seconds * SLOW + self.HOPS * self.stalled
