#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the tree promises about itself: layers, format, static analysis, documents that say what the programs do.

    check.py --build build [--fix]          --fix rewrites the generated parts of docs/ and formats the code

Each check yields its findings as lines; none means that it holds. Last line: `N passed, N failed`.
"""
import argparse
import fnmatch
import hashlib
import importlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FUNCTION_MOST, SOURCE_MOST, HEADER_MOST = 100, 600, 150

LAYERS = {  # folder -> what it may include
    "common": {"common"},
    "router": {"common", "router"},
    "rules": {"common", "router", "rules"},
    "gateway": {"common", "router", "rules", "gateway"},
    "unit-agent": {"common", "router", "rules", "unit-agent"},
    "ops": {"common", "router", "rules", "ops"},
}

LIBRARIES = {  # header -> the files that may know it
    r"h2o(\.h|/)": r"gateway/",
    r"hiredis/": r"common/broker|gateway/broker_h2o\.c",
    r"yaml\.h": r"common/yaml_doc\.c",
    r"curl/": r"common/http_transfer\.h",
}

PURE = r"sys/|unistd|time\.h|stdio|fcntl|poll|pthread|netinet|h2o|hiredis|curl|yaml|systemd"


def git_files(*patterns):
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\n") if name and (ROOT / name).is_file()]


def sources(*folders):
    found = [path for path in git_files("*.c", "*.h")]
    return [path for path in found if not folders or path.relative_to(ROOT).parts[0] in folders]


def name_of(path):
    return str(path.relative_to(ROOT))


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'#include ([<"])([^">]+)', line)
        if found:
            yield number, found.group(1), found.group(2)


def layers(_):
    """Includes point down the layers, and never sideways."""
    for path in sources(*LAYERS):
        layer = path.relative_to(ROOT).parts[0]
        for number, kind, target in includes(path):
            folder = target.split("/")[0]
            if kind == '"' and folder not in LAYERS[layer]:
                yield f"{name_of(path)}:{number}: {layer} must not include {target}"


def libraries(_):
    """Each library is known to its one place."""
    for path in sources(*LAYERS):
        for number, _, target in includes(path):
            for header, owners in LIBRARIES.items():
                if re.match(header, target) and not re.match(owners, name_of(path)):
                    yield f"{name_of(path)}:{number}: {target} belongs to {owners}"


def purity(_):
    """router/ knows no I/O, no clock and no threads."""
    for path in sources("router"):
        for number, kind, target in includes(path):
            if kind == "<" and re.match(PURE, target):
                yield f"{name_of(path)}:{number}: router/ is pure: no {target}"


def licences(_):
    """Every source says under which licence it is."""
    for path in git_files("*.c", "*.h", "*.py", "*.sh"):
        if "SPDX-License-Identifier: Apache-2.0" not in path.read_text()[:300]:
            yield f"{name_of(path)}: no SPDX line"


def headers(build):
    """Each header is guarded, and compiles alone."""
    flags = ["-std=gnu17", "-I.", f"-I{build}", "-DH2O_USE_LIBUV=0", "-fsyntax-only", "-x", "c"]
    for path in sources():
        if path.suffix != ".h" or path.name.endswith("_tbl.h"):
            continue
        if not re.search(r"#ifndef (\w+_H)\n#define \1\n", path.read_text()):
            yield f"{name_of(path)}: no include guard"
        done = subprocess.run(["gcc", *flags, "-include", "stddef.h", name_of(path)], cwd=ROOT, capture_output=True,
                              text=True)
        if done.returncode != 0:
            yield f"{name_of(path)} does not compile alone: {done.stderr.splitlines()[0]}"


def function_lengths(path):
    """(name, first line, lines) of the functions of a formatted C file: their bodies stand at column one."""
    lines = path.read_text().splitlines()
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            head = " ".join(lines[max(0, start - 4):start])
            found = re.findall(r"(\w+)\(", head)
            yield (found[-1] if found else "?"), start + 1, number - start - 1
            start = None


def sizes(_):
    """Files and functions stay short enough to be read."""
    for path in sources():
        lines = path.read_text().count("\n")
        most = HEADER_MOST if path.suffix == ".h" else SOURCE_MOST
        if lines > most:
            yield f"{name_of(path)}: {lines} lines, {most} at most"
        for name, number, length in function_lengths(path):
            if length > FUNCTION_MOST:
                yield f"{name_of(path)}:{number}: {name} has {length} lines, {FUNCTION_MOST} at most"


def words(_):
    """Nothing is left undone, killed by name, or slept through."""
    undone = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    by_name = re.compile(r"\b(pkill|killall)\b")
    sleeps = re.compile(r"\btime\.sleep\(|\busleep\(|\bsleep\(|^\s*sleep \d", re.M)
    for path in git_files("*.c", "*.h", "*.py", "*.sh", "*.js", "Makefile"):
        if path == pathlib.Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if undone.search(line) or by_name.search(line) or sleeps.search(line):
                yield f"{name_of(path)}:{number}: {line.strip()[:100]}"


def clang_format():
    return shutil.which("clang-format-14") or shutil.which("clang-format")


def formatted(_):
    """The code is formatted as .clang-format says."""
    paths = [name_of(path) for path in sources() if not path.name.endswith("_tbl.h")]
    done = subprocess.run([clang_format(), "--dry-run", "-Werror", *paths], cwd=ROOT, capture_output=True, text=True)
    yield from sorted({line.split(": error")[0] for line in done.stderr.splitlines() if ": error" in line})[:20]


def analysis(build):
    """cppcheck finds nothing."""
    argv = ["cppcheck", "--quiet", "--std=c11", "--enable=warning,performance,portability", "--inline-suppr", "-j2",
            "--suppressions-list=test/cppcheck.supp", "--error-exitcode=1", "--template={file}:{line}: {id}: {message}",
            "-I.", *[folder for folder in LAYERS if (ROOT / folder).is_dir()]]
    cache = build / "cppcheck"
    cache.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*argv, f"--cppcheck-build-dir={cache}"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        yield from (done.stderr or done.stdout).splitlines()[:40]


GENERATED = re.compile(r"(<!-- generated: (.+?) -->\n)(.*?)(<!-- /generated -->)", re.S)


def regenerate(path, build):
    """The text of a document with its generated parts as the programs print them now."""
    def print_part(found):
        program, *words_ = shlex.split(found.group(2))
        argv = [sys.executable, str(ROOT / program)] if program.endswith(".py") else [str(build / program)]
        done = subprocess.run([*argv, *words_], capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise RuntimeError(f"{found.group(2)}: {done.stderr.strip() or done.returncode}")
        return found.group(1) + done.stdout + found.group(4)
    return GENERATED.sub(print_part, path.read_text())


def documents(build):
    """The generated parts of the documents are what the programs print."""
    for path in git_files("docs/*.md", "README.md"):
        if "<!-- generated" not in path.read_text():
            continue
        try:
            if regenerate(path, build) != path.read_text():
                yield f"{name_of(path)}: differs from what the program prints; run `make docs`"
        except (RuntimeError, OSError) as fault:
            yield f"{name_of(path)}: {fault}"


def headings(path):
    """What a link may name of a document, behind its #."""
    return {re.sub(r"[^\w\- ]", "", line.lower().strip()).replace(" ", "-")
            for line in re.findall(r"^#+ (.*)$", path.read_text(), re.M)}


def links(_):
    """Documents name files that exist, and headings that stand there."""
    for path in git_files("*.md"):
        for target, heading in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)", path.read_text()):
            named = path.parent / target if target else path
            if not named.exists():
                yield f"{name_of(path)}: no such file: {target}"
            elif heading and heading not in headings(named):
                yield f"{name_of(path)}: no such heading: {target}#{heading}"


def names(_):
    """Documents name metrics and verbs that exist; the guide has all reasons why a unit is not moved."""
    def listed(document, pattern):
        return set(re.findall(pattern, (ROOT / "docs" / document).read_text(), re.M))
    metrics = listed("METRICS.md", r"^\| `(ldcgate_\w+)`")
    verbs = listed("LDCCTL.md", r"^\| `([a-z]+(?: [a-z]+)*)(?=`| [A-Z\[-])")
    for path in git_files("docs/*.md", "README.md"):
        text = path.read_text()
        for metric in set(re.findall(r"\bldcgate_[a-z_0-9]+\b", text)) - metrics:
            yield f"{name_of(path)}: no such metric: {metric}"
        for words in set(re.findall(r"(?:^ {4,}|`)ldcctl ([a-z]+(?: [a-z]+)*)", text, re.M)):
            if not any((words + " ").startswith(verb + " ") or verb.startswith(words + " ") for verb in verbs):
                yield f"{name_of(path)}: no such verb: ldcctl {words}"
    reasons = (ROOT / "router/core_text.c").read_text().split("core_refusal_name")[1].split("};")[0]
    guide = (ROOT / "docs/OPERATIONS.md").read_text()
    for reason in re.findall(r'\[CORE_(?!MAY_MOVE|NOT_SUSPECTED|UNDECIDED)\w+\] = "(.+)"', reasons):
        if f"`{reason}`" not in guide:
            yield f"docs/OPERATIONS.md: nothing to do for a unit that is not moved, for \"{reason}\""


def protocol(_):
    """docs/PROTOCOL.md names every error of the functions and every field of the envelope."""
    text = (ROOT / "docs/PROTOCOL.md").read_text()
    errors = {"LDC_" + code for path in git_files("common/functions/*.lua")
              for code in re.findall(r"\bfail\('([A-Z]+)'", path.read_text())}
    listed = re.search(r"envelope_names\[\w+\] = \{(.*?)\}", (ROOT / "common/protocol.c").read_text(), re.S)
    for word in sorted(errors) + re.findall(r'"(\w+)"', listed.group(1)):
        if not re.search(rf"^\| (`\w+`, )*`{word}`(, `\w+`)* \|", text, re.M):
            yield f"docs/PROTOCOL.md: no row for {word}"


def charted(_):
    """docs/ARCHITECTURE.md has a place for each source file, and no place without one."""
    text = (ROOT / "docs/ARCHITECTURE.md").read_text()
    for folder in LAYERS:
        chart = text.split(f"| `{folder}/` |")[1].split("\n\n")[0]
        places = {place for row in chart.splitlines() for place in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
        files = {str(path.relative_to(ROOT / folder).with_suffix("")) for path in sources(folder)}
        for name in sorted(files):
            if not any(fnmatch.fnmatch(name, place) for place in places):
                yield f"docs/ARCHITECTURE.md: the map lacks {folder}/{name}"
        for place in sorted(places):
            if not fnmatch.filter(files, place):
                yield f"docs/ARCHITECTURE.md: the map names {folder}/{place}, where nothing is"


def removable(_):
    """What make mutants and make matrix take out stands where they say, and the tests that are to notice exist."""
    sys.path[:0] = [str(ROOT / "test"), str(ROOT / "test/matrix"), str(ROOT / "test/system")]
    mutants, rules = importlib.import_module("mutants"), importlib.import_module("rules")
    changes = [(rule, path, old) for rule, path, old, _, _ in mutants.MUTANTS]
    changes += [(rule.name, rule.path, old) for rule in rules.RULES for old, _ in rule.changes]
    for rule, path, old in changes:
        if (ROOT / path).read_text().count(old) != 1:
            yield f"{path}: \"{rule}\" is not there to be taken out"
    for rule, _, _, _, test in mutants.MUTANTS:
        program, group, name = test.split(".")
        text = (ROOT / "test/system" / f"{program}.py").read_text()
        if f"class {group}(" not in text or f"def {name}(" not in text:
            yield f"test/mutants.py: \"{rule}\" names a test that is not there: {test}"


def examples(build):
    """The example configurations and rules load."""
    programs = {"gateway": ["ldc-gateway", "--check", "--config"], "agent": ["ldc-agent", "--check", "--config"],
                "rules": ["ldcctl", "rules", "validate"]}
    for path in git_files("conf/*.yaml"):
        program, *words_ = programs[re.split(r"[-.]", path.name)[0]]
        done = subprocess.run([str(build / program), *words_, str(path)], capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            yield f"{name_of(path)}: {(done.stderr or done.stdout).strip()}"


def places(_):
    """No path of one machine in the tree."""
    local = re.compile(r"(^|[^\w.])/(work|farm|home|root)/")
    for path in git_files():
        if path == pathlib.Path(__file__).resolve() or "corpus" in path.parts:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if local.search(line):
                yield f"{name_of(path)}:{number}: {line.strip()[:100]}"


def model(build):
    """The failover protocol holds within small bounds (test/model/)."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((ROOT / "test/model").glob("*.p*"))))
    kept = build / "model.sha256"  # of the model that held last: it need not be asked twice
    if kept.is_file() and kept.read_text() == digest.hexdigest():
        return
    done = subprocess.run([sys.executable, "test/model/run.py"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        yield from (done.stdout + done.stderr).splitlines()
    else:
        kept.write_text(digest.hexdigest())


CHECKS = [layers, libraries, purity, licences, headers, sizes, words, formatted, analysis, documents, links, names, protocol,
          charted, removable, examples, places, model]


def fix(build):
    for path in git_files("docs/*.md"):
        if "<!-- generated" in path.read_text():
            path.write_text(regenerate(path, build))
    subprocess.run([clang_format(), "-i", *[name_of(path) for path in sources() if not path.name.endswith("_tbl.h")]],
                   cwd=ROOT, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--fix", action="store_true")
    options = parser.parse_args()
    build = (ROOT / options.build).resolve()
    os.environ["LC_ALL"] = "C.UTF-8"
    if options.fix:
        fix(build)
    failed = 0
    for check in CHECKS:
        findings = list(check(build))
        failed += bool(findings)
        print(f"{'FAIL' if findings else 'ok  '} {check.__name__:12} {check.__doc__}", flush=True)
        for finding in findings:
            print(f"     {finding}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
