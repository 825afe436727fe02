# SPDX-License-Identifier: Apache-2.0
"""Takes a share of a processor, half a millisecond at a time, until it is ended: loop.py 0.06"""
import sys
import threading
import time

PIECE_S = 0.0005
rest_s = PIECE_S / float(sys.argv[1]) - PIECE_S
never = threading.Event()
while True:
    until = time.monotonic() + PIECE_S
    while time.monotonic() < until:
        pass
    never.wait(rest_s)
