# SPDX-License-Identifier: Apache-2.0
"""The library that a scene's processes are loaded with (harm.c), and what it is told to do to them."""
import os
import pathlib
import struct
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
FIELDS = {"clock_us": 0, "sync_us": 8, "members": 16, "deaf": 24}


def prepare(folder):
    """The environment for processes that may be harmed; the library is built into FOLDER."""
    library, told = folder / "harm.so", folder / "harm"
    told.mkdir()
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "harm.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "LDC_HARM": str(told)}


def tell(env, pid, **what):
    """E.g. clock_us=3600000000: an hour ahead."""
    with open(pathlib.Path(env["LDC_HARM"]) / str(pid), "r+b") as told:
        for field, value in what.items():
            os.pwrite(told.fileno(), struct.pack("q", value), FIELDS[field])
