# SPDX-License-Identifier: Apache-2.0
"""A loopback of one's own: rules of the network that a scene makes concern nobody else, and end with it."""
import os
import sys


def may():
    return os.geteuid() == 0


def alone():
    """Runs this program again in a network namespace of its own, where it may and is not in one yet."""
    if os.environ.get("LDC_ALONE") or not may():
        return
    os.environ["LDC_ALONE"] = "1"
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv])
