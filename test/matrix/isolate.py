# SPDX-License-Identifier: Apache-2.0
"""A loopback of one's own: rules of the network that a scene makes concern nobody else, and end with it. And files in
memory: a disk that others keep busy is a fault that no row speaks of."""
import os
import sys
import tempfile

MEMORY = "/dev/shm"


def may():
    return os.geteuid() == 0


def alone():
    """Runs this program again in a network namespace of its own, where it may and is not in one yet."""
    if os.path.isdir(MEMORY):
        tempfile.tempdir = MEMORY
    if os.environ.get("LDC_ALONE") or not may():
        return
    os.environ["LDC_ALONE"] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv])
