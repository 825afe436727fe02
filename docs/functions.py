#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the functions of the brokers' library as the table of docs/PROTOCOL.md, from the comments in
common/functions/: the block with "keys:" (or the last one) before each register(). A function without one is an error.
"""
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "common" / "functions"
REGISTER = re.compile(r"^register(?:_\w+)?\('(\w+)'.*?(?=^register(?:_\w+)?\(|\Z)", re.M | re.S)
BLOCK = re.compile(r"(?:^-- .*\n)+", re.M)


def take_apart(block, before):
    """KEYS, ARGS and what the function does, of a comment. BEFORE: the function that `the same` means."""
    parts, current = {"keys": "", "args": "", "text": ""}, "text"
    for line in block.splitlines():
        line = line.removeprefix("-- ")
        both = re.match(r"keys, args: (?:those of `(\w+)`|the same), of (.+)", line)
        if both:
            parts = {"keys": f"those of `{both[1] or before}`", "args": "likewise", "text": f"For {both[2]}. "}
            continue
        for part in re.split(r"(?=\bargs: )", line):
            found = re.match(r"(keys|args): ", part)
            if found or not part[:1].islower():  # lines go on in lower case
                current = found.group(1) if found else "text"
            value, stop, rest = part[found.end() if found else 0:].strip().partition(". ") if found else (part, "", "")
            parts[current] += " " + value.strip()
            parts["text"] += " " + rest if stop else ""
    return [" ".join(parts[name].split()).rstrip(";") for name in ("keys", "args", "text")]


def functions(path):
    """(name, keys, args, text, flags) of each function that PATH registers."""
    text, start, before = path.read_text(), 0, ""
    for found in REGISTER.finditer(text):
        blocks = [block for block in BLOCK.findall(text[start:found.start()])]
        described = [block for block in blocks if "keys: " in block] or blocks[-1:]
        if not described:
            raise SystemExit(f"{path.name}: ldc1_{found.group(1)} has no comment that says what it does")
        flags = re.findall(r"\{('[a-z-]+'(?:, '[a-z-]+')*)\}\)", found.group(0))
        yield (found.group(1), *take_apart(described[-1], before), re.sub(r"'", "", flags[-1]) if flags else "")
        start, before = found.start() + 1, found.group(1)


def main():
    print("| Function | Keys | Arguments | What it does | Flags |\n|---|---|---|---|---|")
    rows = [row for path in sorted(FOLDER.glob("*.lua")) for row in functions(path)]
    for row in sorted(rows):
        cells = [cell.replace("|", "\\|") for cell in row[1:]]
        print(f"| `ldc1_{row[0]}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
