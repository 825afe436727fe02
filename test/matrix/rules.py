# SPDX-License-Identifier: Apache-2.0
"""The rules that the matrix can take out of a copy of the tree, and the fault that must turn red then."""
import collections
import contextlib
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import mutants  # noqa: E402

Rule = collections.namedtuple("Rule", "name says path changes row")

RULES = [
    Rule("epoch", "a broker takes writes of its own epoch alone", "common/functions/head.lua",
         [("return current ~= epoch and fail('EPOCH', current) or nil", "return nil")],
         "a set grows behind a gateway's back"),
    Rule("run_id", "only the run that the record names is promoted", "unit-agent/warden_decide.c",
         [("bool known = member != NULL && strcmp(member->run_id, look->run_id) == 0;", "bool known = member != NULL;")],
         "old copy while gateways stand still"),
    Rule("pre-stamp", "before a set grows its primary is stamped ahead of the record", "unit-agent/keeper_decide.c",
         [("    if (!grows)\n        return KEEPER_WRITE;", "    if (!grows || stamped || !stamped)\n        return KEEPER_WRITE;")],
         "a set grows behind a gateway's back"),
    Rule("fenced-boot", "brokers start as the replica of nobody", "ops/play_plan.c",
         [('buf_printf(&text, "replicaof 127.0.0.1 1\\n");', 'buf_printf(&text, "\\n");')],
         "empty while gateways stand still"),
    Rule("third-replica", "a replica that attached since the record makes a WAIT void", "common/broker_record.c",
         [("full != record->sync_full || partial != record->sync_partial", "full == UINT64_MAX || partial == UINT64_MAX"),
          ("if (online != record->wait)", "if (online > 99)")],
         "a strange replica"),
]


@contextlib.contextmanager
def without(rule):
    """The build folder of a copy without RULE."""
    tree = pathlib.Path(tempfile.mkdtemp(prefix="ldc-matrix-"))
    try:
        mutants.copy_tree(tree)
        path = tree / rule.path
        text = path.read_text()
        for old, new in rule.changes:
            if text.count(old) != 1:
                raise SystemExit(f"{rule.path}: the text stands there {text.count(old)} times, not once:\n{old}")
            text = text.replace(old, new)
        path.write_text(text)
        mutants.build(tree)
        yield tree / "build"
    finally:
        shutil.rmtree(tree, ignore_errors=True)
