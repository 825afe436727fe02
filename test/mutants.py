#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes one rule at a time out of a copy of the tree, and asks the test that stands for it to notice.

A mutant that its test does not notice fails the run: then the test proves nothing.

    mutants.py [-k WORD] [--keep]        `make mutants`
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What the rule says, the file, its text, what stands there instead, and the test in test/system/.
MUTANTS = [
    ("a broker takes writes of its own epoch alone", "common/functions/head.lua",
     "return current ~= epoch and fail('EPOCH', current) or nil", "return nil",
     "test_functions.Enqueue.test_another_epoch_is_refused_and_named"),
    ("only the run that the record names is promoted", "unit-agent/warden_decide.c",
     "bool known = member != NULL && strcmp(member->run_id, look->run_id) == 0;", "bool known = member != NULL;",
     "test_warden.Warden.test_a_primary_that_comes_back_empty_serves_no_more_and_wipes_nobody"),
    ("a connection that was lost is ended before anything is sent again", "common/broker.c",
     "there ? former->client_id : INT64_MAX", "there ? INT64_MAX : INT64_MAX",
     "test_repeat.Repeat.test_a_command_that_comes_after_its_own_repeat_is_not_run"),
    ("a cursor counts when the replicas have it", "unit-agent/gate.c",
     "partition->unproven = !is_open(gate);", "partition->unproven = false;",
     "test_gate.Gate.test_a_users_next_message_waits_until_the_replica_knows_of_the_one_before"),
    ("WAIT must count all that the record names", "gateway/group_commit.c",
     "reply->integer >= lane->record.wait", "reply->integer >= 1",
     "test_durable.Holes.test_one_member_short_is_not_enough"),
    ("a core unit accepts by a majority", "gateway/unit_lines.c",
     "if (wanted == DURABILITY_AUTO && unit_lines->by_quorum)", "if (wanted == DURABILITY_AUTO && false)",
     "test_durable.Quorum.test_a_minority_takes_nothing_that_wants_a_majority"),
    ("two of five brokers are no majority", "gateway/unit_lines.c",
     "durability == DURABILITY_QUORUM && unit_lines->majority > least", "false",
     "test_durable.Quorum.test_two_of_five_are_no_majority"),
    ("a majority stays on the core's record", "unit-agent/keeper_decide.c",
     "if (action->record.member_count < state->quorum)", "if (false)",
     "test_quorum.Quorum.test_a_minority_takes_nothing_and_hands_nothing_out_and_goes_on_with_one_more"),
    ("WAIT stands behind the messages that it is to cover", "gateway/group_commit.c",
     """    if (send_messages(lane, batch)) {
        stat_add(&group->line->lines->worker->stats.queue_commits_total, 1);
        send_wait(lane, batch->timeout_ms);
""",
     """    send_wait(lane, batch->timeout_ms);
    if (send_messages(lane, batch)) {
        stat_add(&group->line->lines->worker->stats.queue_commits_total, 1);
""",
     "test_durable.Holes.test_a_wait_covers_what_was_sent_before_it_and_no_less"),
    ("a short WAIT proves nothing", "gateway/group_commit.c",
     "else if (!lane->counted)", "else if (false)",
     "test_durable.Holes.test_a_wait_covers_what_was_sent_before_it_and_no_less"),
    ("a replica that attached since the record is no member", "common/broker_record.c",
     "full != record->sync_full || partial != record->sync_partial", "full == UINT64_MAX || partial == UINT64_MAX",
     "test_durable.Holes.test_a_replica_that_is_no_member_does_not_count"),
    ("a full copy makes the record void", "common/broker_record.c",
     "full != record->sync_full ||", "full == UINT64_MAX ||",
     "test_durable.Holes.test_a_full_copy_since_the_record_makes_it_void"),
    ("the INFO behind the WAIT is looked at", "gateway/group_commit.c",
     "covered = broker_record_covers(", "covered = true || broker_record_covers(",
     "test_durable.Holes.test_a_full_copy_since_the_record_makes_it_void"),
    ("a repeat waits for the replicas too", "gateway/group_commit.c",
     "else if (stored && covered && enough)", "else if (stored && (covered || message->replayed))",
     "test_durable.Idempotency.test_a_repeat_waits_for_the_replicas_as_the_first_one_did"),
    ("after a failed proof nothing is sent", "gateway/group_commit.c",
     "group->doubted = true;", "group->doubted = false;",
     "test_durable.Holes.test_after_a_failed_proof_nothing_is_sent_until_one_succeeds"),
    ("a restarted broker stays closed", "gateway/line.c",
     "strcmp(record->run_id, broker_run_id(line->broker)) == 0", "strcmp(record->run_id, line->url) != 0",
     "test_durable.Holes.test_a_broker_that_was_restarted_is_closed_until_the_record_names_its_run"),
    ("the record's primary is the only one", "gateway/unit_lines.c",
     "        now = find_line(unit_lines, str_of(unit_lines->record.primary));\n", "        now = unit_lines->all[0];\n",
     "test_durable.Holes.test_a_broker_that_is_no_primary_by_the_record_is_closed"),
    ("one member is no set", "gateway/unit_lines.c",
     "unit_lines->record.member_count >= 2 ?", "unit_lines->record.member_count >= 1 ?",
     "test_durable.Replicated.test_a_set_of_one_takes_all_but_where_the_route_wants_two"),
    ("the body is part of the fingerprint", "gateway/queue_call.c",
     "{ENVELOPE_METHOD, ENVELOPE_PATH, ENVELOPE_BODY}", "{ENVELOPE_METHOD, ENVELOPE_PATH}",
     "test_durable.Idempotency.test_a_key_is_for_one_user_one_path_and_one_body"),
    ("a key is remembered before its message is stored", "common/functions/enqueue.lua",
     "    remember(keys[4], args[4], args[5], args[3])\n", "",
     "test_durable.Retries.test_ten_thousand_retries_under_kills_leave_one_message_a_key"),
    ("a copy applies what follows upon what it has", "common/functions/copies.lua",
     "seq > have + (change and 1 or 0)", "seq < 0",
     "test_functions_copies.Copies.test_a_gap_is_refused_and_nothing_of_the_batch_is_applied"),
    ("a copy follows the log when it has all buckets", "common/functions/copies.lua",
     "meta.state ~= 'copying' or meta.copy_bucket < BUCKETS", "meta.state ~= 'copying'",
     "test_functions_copies.Copies.test_making_a_copy_goes_on_where_it_ended"),
    ("a copy is live when it has what happened while it was made", "common/functions/copies.lua",
     "and meta.seq >= meta.copy_until then", "then",
     "test_functions_copies.Copies.test_a_copy_that_is_made_while_writes_go_on_equals_the_origin"),
    ("a copy opens with all that the origin had", "common/functions/copies.lua",
     "meta.state ~= 'live' or meta.seq < tonumber(args[3])", "meta.state ~= 'live'",
     "test_functions_copies.Copies.test_a_copy_opens_for_an_epoch_when_it_has_what_the_origin_had"),
    ("copies are compared at one sequence", "common/functions/copies.lua",
     "seq == meta.seq and op == 'digest'", "op == 'digest'",
     "test_functions_copies.Copies.test_a_digest_is_compared_at_its_own_sequence_alone"),
    ("what flows is applied when the replicas have it", "unit-agent/copy_reader.c",
     """    if (proven || !primary_is_ready(&reader->primary)) {
        end_reads(&reader->unproven, proven);
""",
     """    if (proven || true) {
        end_reads(&reader->unproven, true);
""",
     "test_copies.Copies.test_what_a_standby_lacks_is_not_applied_while_changes_flow"),
    ("a repair leaves alone what has changed since", "common/functions/copies.lua",
     "        keys[entry[2][4] or ''] = true\n", "",
     "test_functions_copies.Copies.test_a_repair_leaves_alone_what_was_changed_since_the_bucket_was_read"),
    ("what a writer only sees counts as a write", "common/functions/origin.lua",
     "    count_write(at) -- also where nothing is written: a WAIT behind it covers what was seen\n", "",
     "test_functions_collections.Origin.test_all_that_is_told_counts_as_a_write"),
    ("a repeat of a put changes nothing", "common/functions/origin.lua",
     "    local known = find_request(at, args[6], args[7])\n", "    local known = nil\n",
     "test_functions_collections.Origin.test_what_is_there_is_found_and_what_is_not_is_done"),
    ("a repeat is no further message of the backlog", "common/functions/enqueue.lua",
     "find_replay(keys[4], args[4]) or check_entry(keys[2], keys[3], args[1], args[2])",
     "check_entry(keys[2], keys[3], args[1], args[2]) or find_replay(keys[4], args[4])",
     "test_durable.Limits.test_a_partition_takes_no_more_than_its_backlog"),
    ("memory is guarded", "gateway/unit_lines.c",
     "if (!publication->call->reads && memory_full(unit_lines))", "if (false && memory_full(unit_lines))",
     "test_durable.Limits.test_messages_are_refused_before_the_brokers_memory_is_full"),
]


def copy_tree(to):
    """What git knows of, and what is built already, so that a mutant costs one file's compilation."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    if (ROOT / "build").is_dir():
        shutil.copytree(ROOT / "build", to / "build", symlinks=True, ignore=shutil.ignore_patterns("bench", "*.html"))


def build(tree):
    done = subprocess.run(["make", "-s", "-j2", "-C", tree, "programs"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    if done.returncode:
        raise SystemExit(f"the mutant does not build:\n{done.stdout}{done.stderr}")


def passes(tree, test):
    done = subprocess.run([sys.executable, "-m", "unittest", test], cwd=tree / "test" / "system", capture_output=True,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, LDC_BUILD=str(tree / "build")), timeout=300)
    return done.returncode == 0


def check_whole(tree, tests):
    """Where they fail without a mutant, they say nothing of one."""
    build(tree)
    failing = [test for test in sorted(tests) if not passes(tree, test)]
    if failing:
        raise SystemExit("these fail without any mutant: " + ", ".join(failing))


def survives(tree, name, old, new, test):
    path = tree / name
    text = path.read_text()
    if text.count(old) != 1:
        raise SystemExit(f"{name}: the text stands there {text.count(old)} times, not once:\n{old}")
    path.write_text(text.replace(old, new))
    try:
        build(tree)
        return passes(tree, test)
    finally:
        path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", metavar="WORD", default="", help="only mutants whose rule, file or test has it")
    parser.add_argument("--keep", action="store_true", help="leave the copy of the tree")
    options = parser.parse_args()
    tree, survivors = pathlib.Path(tempfile.mkdtemp(prefix="ldc-mutants-")), 0
    try:
        copy_tree(tree)
        chosen = [mutant for mutant in MUTANTS if options.k in " ".join((mutant[0], mutant[1], mutant[4]))]
        if not chosen:
            raise SystemExit(f"no mutant has {options.k!r}")
        check_whole(tree, {mutant[4] for mutant in chosen})
        for rule, name, old, new, test in chosen:
            began = time.monotonic()
            alive = survives(tree, name, old, new, test)
            survivors += alive
            print(f"{'LIVES' if alive else 'ended'}  {rule:55} {test.rsplit('.', 1)[1]} {time.monotonic() - began:5.1f} s",
                  flush=True)
    finally:
        if not options.keep:
            shutil.rmtree(tree, ignore_errors=True)
    print(f"{survivors} mutants live" if survivors else "no mutant lives")
    return survivors > 0


if __name__ == "__main__":
    sys.exit(main())
