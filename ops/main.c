/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl: what operators do to a deployment, from one table of verbs.
 */
#include <stdio.h>
#include <string.h>

#include "common/measure.h"
#include "common/version.h"
#include "ops/ctl.h"
#include "ops/drill_file.h"

static const char global_usage[] =
    "[--dir DIR] [--gateway URL] [--token-file FILE] [-o table|json] [--help] [-h] [--version] "
    "[--document-verbs] [--document-drills]";

static const struct ctl_verb verbs[] = {
    {"rules validate", "FILE",
     "Checks a rule file without any deployment; prints every fault as file:line:col: message.", verb_rules_validate},
    {"rules diff", "FILE [--against FILE]",
     "Shows what FILE would change against the rules in force (or against another file, offline): the slots that move, "
     "the share of slots, of observed users and of live requests, and the headroom of where they would go.",
     verb_rules_diff},
    {"rules apply", "FILE [--note TEXT] [--max-move PERCENT] [--unfenced] [--timeout SECONDS]",
     "Validates FILE, shows the difference, puts it in force, and waits until every gateway and agent serves the new "
     "epoch, with a line for each. Refuses to move more than --max-move (10) percent of the slots or of the live "
     "requests. Users who move do so in order: their requests wait for some milliseconds, none fails, and what they "
     "sent "
     "before is delivered before. Where a unit that they leave cannot be closed for them, nothing is changed; with "
     "--unfenced they move at once, in whatever order. Who has not followed after --timeout (10) seconds is named, and "
     "the change is undone.",
     verb_rules_apply},
    {"rules show", "[--version N]", "Prints the rules in force, or those of an earlier version.", verb_rules_show},
    {"rules history", "", "Lists the changes, newest first: epoch, version, when, by whom and why.",
     verb_rules_history},
    {"rules rollback", "[--to N] [--note TEXT] [--unfenced] [--timeout SECONDS]",
     "Puts an earlier version in force again (the one before the current, or version N) and waits as apply does.",
     verb_rules_rollback},
    {"rules arrivals", "[--open UNIT]",
     "Lists the units that took users in and still wait for what the unit that these left has of them. With --open "
     "UNIT waits no longer, in whatever order that delivers: for a unit that was left and is lost.",
     verb_rules_arrivals},
    {"rules reference", "", "Prints every key of a rule file, with its values and its default, as Markdown.",
     verb_rules_reference},
    {"explain", "--user ID [--path PATH] [--method METHOD] [--rules FILE]",
     "Says where a user's request goes and why: source, hash, slot, rule line, override, epoch, target. Asks a "
     "gateway, or with --rules a file, offline. With `--user -` users come from standard input, one a line, and one "
     "JSON line is printed for each.",
     verb_explain},
    {"status", "",
     "Shows each gateway and agent: epoch, store, brokers, who is in sync, nodes, lag; and who is unreachable.",
     verb_status},
    {"top", "", "The same with rates, refreshed each second on a terminal; once where there is none.", verb_top},
    {"queue lag", "", "Shows how far each unit's agent is behind, by topic and partition.", verb_queue_lag},
    {"queue trace", "ID", "Shows where a message is, and every hop that it took, with its time.", verb_queue_trace},
    {"queue dead list", "[--unit UNIT] [--topic TOPIC] [--subscription NAME] [--partition N] [--limit N]",
     "Lists dead letters, --limit (100) of each unit.", verb_queue_dead_list},
    {"queue dead show", "ID", "Shows a dead letter whole.", verb_queue_dead_show},
    {"queue dead redrive",
     "[--id ID] [--all] [--unit UNIT] [--topic TOPIC] [--subscription NAME] [--partition N] [--limit N]",
     "Delivers a dead letter again, or all that are selected, to the subscription that they failed at.",
     verb_queue_dead_redrive},
    {"queue dead purge",
     "[--id ID] [--all] [--unit UNIT] [--topic TOPIC] [--subscription NAME] [--partition N] [--limit N]",
     "Drops a dead letter for good, or all that are selected.", verb_queue_dead_purge},
    {"queue redrive",
     "[--id ID] [--all] [--unit UNIT] [--topic TOPIC] [--subscription NAME] [--partition N] [--limit N]",
     "The same as queue dead redrive.", verb_queue_dead_redrive},
    {"queue reset",
     "TOPIC [--to-time TIME] [--to-id ENTRY] [--to-end] [--unit UNIT] [--subscription NAME] [--partition N]",
     "Sets the cursors of a topic: delivery goes on with the first message that was stored at TIME "
     "(2026-01-31T13:37:00Z, "
     "or 10m for ten minutes ago) or later, with the stream entry ENTRY, or with the next one that comes. What was "
     "trimmed does not come back, and what is under way is not called back; it holds within a second.",
     verb_queue_reset},
    {"queue pause", "TOPIC [--unit UNIT] [--subscription NAME]",
     "Stops deliveries of a topic; messages are accepted and wait.", verb_queue_pause},
    {"queue resume", "TOPIC [--unit UNIT] [--subscription NAME]", "Ends queue pause and queue throttle.",
     verb_queue_resume},
    {"queue throttle", "TOPIC RATE [--unit UNIT] [--subscription NAME]",
     "Lets each agent deliver at most RATE messages a second of a topic's subscription.", verb_queue_throttle},
    {"queue transactions list", "[--state parked|prepared] [--unit UNIT] [--limit N]",
     "Lists prepared messages for which nobody answered, or that wait for their sender's word; --limit (100) of each "
     "unit.",
     verb_queue_transactions_list},
    {"queue transactions commit", "ID", "Delivers a prepared message, as its sender would.",
     verb_queue_transactions_commit},
    {"queue transactions rollback", "ID", "Drops a prepared message, as its sender would.",
     verb_queue_transactions_rollback},
    {"zonec status", "[COLLECTION] [--unit UNIT]",
     "Shows each collection and each unit's copy of it, as they stand in the brokers: whether it is open to readers, "
     "the sequence that it has applied, by how many changes and how many ms it is behind, the digest of what it holds "
     "at that sequence, the last one that was compared with the origin, buckets that wait for their repair, keys that "
     "were repaired, and which agent writes it.",
     verb_zonec_status},
    {"zonec verify", "[COLLECTION] [--unit UNIT] [--repair] [--keys N] [--timeout SECONDS]",
     "Reads every key of the origin and of each copy, through agents but past what they claim, and compares both at "
     "one "
     "and the same sequence, while writers go on. Lists the first --keys (20) that differ in each copy. A copy that is "
     "behind is waited for, --timeout (10) seconds. With --repair what differs is made what the origin has, and all is "
     "compared again. Exit code 0: all are the same; 1: something differs, 3: somebody could not be asked, 4: a copy "
     "is not whole or too far behind.",
     verb_zonec_verify},
    {"color show", "[--unit UNIT]",
     "Shows how each unit's users share its colours: now, by the rules, by a ramp; and what the gateway that was asked "
     "saw of each colour in the last seconds: failed requests of all, and the 90th percentile of their latency.",
     verb_color_show},
    {"color set", "UNIT [--green N] [--blue N] [--salt TEXT]",
     "Sets a unit's weights, in place of those of the rules: one of them in per cent, or both. Raising a colour only "
     "adds users to it. Another --salt draws anew who is first. A ramp that runs is stopped.",
     verb_color_set},
    {"color ramp",
     "UNIT --to COLOR --steps PERCENTS [--dwell TIME] [--abort-errors PERCENT] [--abort-latency TIMES] "
     "[--min-requests N] [--wait]",
     "Gives a colour more users step by step, such as --steps 5,25,50,100. A step lasts --dwell (30s) and until the "
     "colour has answered --min-requests (20). It is rolled back by itself when more than --abort-errors (2%) of its "
     "requests fail and the other colour does better, when it takes --abort-latency times (such as 1.5x; 0, which is "
     "off) as long as the other colour, or when none of its nodes is well. With --wait the command ends with the ramp: "
     "exit code 1 where it was rolled back.",
     verb_color_ramp},
    {"color rollback", "UNIT", "Puts the weights back that were there before the ramp or the last change.",
     verb_color_rollback},
    {"color reset", "UNIT", "Gives a unit's colours back to the rules.", verb_color_reset},
    {"drill list", "", "Lists the drills that there are.", verb_drill_list},
    {"drill run", "[NAME] [--file FILE] [--unit UNIT] [--fault FAULT] [--rounds N] [--rate N] [--yes]",
     "Runs a drill on a playground, under load of its own: looks whether all is well, does the harm, watches, puts "
     "everything back, finds every accepted message again, and reports. Refused where something is wrong beforehand. "
     "Ctrl-C ends it early; it puts everything back then too. Exit code 1 where the drill did not pass.",
     verb_drill_run},
    {"drill abort", "",
     "Ends the drill that runs in --dir and waits until it has put everything back; where the process that ran it is "
     "gone, undoes its faults.",
     verb_drill_abort},
    {"drill report", "[ID] [-o table|json|html] [--output FILE]",
     "Shows what a drill found, the newest one where no ID is given: the time from the fault to the first success, "
     "whom "
     "it touched, and where each accepted request is now. -o html gives one page with pictures, which needs nothing "
     "beside it.",
     verb_drill_report},
    {"unit drain", "UNIT [--note TEXT] [--timeout SECONDS]",
     "Moves a unit to its standby by plan, so that its home can be worked on: requests wait for some milliseconds, and "
     "none fails. Nothing returns by itself. Prints each step with its time.",
     verb_unit_drain},
    {"unit ready", "UNIT [--note TEXT] [--timeout SECONDS]",
     "Says that the work is done: checks that the unit's broker is in sync and its agents and nodes are there, and "
     "tells what is missing. The unit stays where it is.",
     verb_unit_ready},
    {"unit failback", "UNIT [--note TEXT] [--timeout SECONDS]",
     "Does the same, and brings the unit home by plan, after drain as after a failover, which does not count against "
     "it any more.",
     verb_unit_failback},
    {"unit fail", "UNIT [--accept-loss] [--yes] [--note TEXT] [--timeout SECONDS]",
     "Takes the unit's primary for lost: another broker that is in sync leads at once, without the gateways' votes. "
     "Where none is in sync, --accept-loss shows what each copy holds, and with --yes takes the best that answers.",
     verb_unit_fail},
    {"config show", "[GATEWAY]", "Shows the configuration that a gateway runs with.", verb_config_show},
    {"config options", "", "Lists the options of a gateway: presets, whether a reload takes them, what they do.",
     verb_config_options},
    {"playground up",
     "[--gateways N] [--units N] [--agents N] [--core-brokers N] [--port-base PORT] [--store file|etcd] [--hosts "
     "machine|namespaces] "
     "[--supervise] [--detach]",
     "Starts a whole deployment on loopback: N (3) A units over two datacentres, a B unit, a core unit, each with a "
     "broker, its replica, N (1) agents and blue and green applications, and N (2) gateways. It runs until Ctrl-C, or "
     "until `playground down` with --detach. With --core-brokers 3 the core accepts by quorum. --supervise starts "
     "again what dies, a second later. With "
     "--store etcd three members of etcd hold the control store, else a folder does. With --hosts namespaces, which "
     "takes "
     "root, each gateway, unit and member of etcd has a host of its own: a network namespace with an address of its "
     "own, a router between them. Networks can be cut then (ldcctl fault).",
     verb_playground_up},
    {"playground down", "", "Ends exactly the processes that `playground up` started in --dir.", verb_playground_down},
    {"playground status", "", "Lists the processes of the playground in --dir.", verb_playground_status},
    {"fault kill", "TARGET",
     "Kills (SIGKILL) a process of the playground in --dir, or all of a host: names as in topology.json. With -o json "
     "each fault says at_us, the monotonic time right before it was done.",
     verb_fault_kill},
    {"fault freeze", "TARGET", "Stops a process, or all of a host, where it stands (SIGSTOP).", verb_fault_freeze},
    {"fault restart", "TARGET [--empty] [--old]",
     "Kills it and starts it again at once; a broker or a member of the store --empty, or with the --old data that "
     "`fault keep` has kept.",
     verb_fault_restart},
    {"fault drop", "TARGET [--peer HOST] [--way both|in|out]",
     "Loses, without a word, every message from and to a host of a playground with --hosts namespaces: those of its "
     "--peer alone, or one --way alone, as the target sees it.",
     verb_fault_drop},
    {"fault loss", "TARGET --percent N [--peer HOST] [--way both|in|out]", "Loses N percent of them, at random.",
     verb_fault_loss},
    {"fault keep", "TARGET", "Keeps a copy of a broker's data for `fault restart --old`.", verb_fault_keep},
    {"fault heal", "", "Undoes all faults: networks are whole, who was frozen goes on, who is gone is started.",
     verb_fault_heal},
};

static void print_wrapped(FILE *out, const char *indent, const char *text)
{
    for (size_t most = 100; *text;) {
        size_t len = strlen(text);
        if (len > most)
            for (len = most; len > 0 && text[len] != ' '; len--)
                ;
        fprintf(out, "%s%.*s\n", indent, (int)len, text);
        text += len + (text[len] == ' ');
    }
}

static void print_synopsis(FILE *out, const struct ctl_verb *verb)
{
    fprintf(out, "%s%s%s\n", verb->name, *verb->usage ? " " : "", verb->usage);
}

static void print_usage(FILE *out, const struct ctl_verb *verb)
{
    fprintf(out, "usage: ldcctl ");
    print_synopsis(out, verb);
    print_wrapped(out, "  ", verb->doc);
}

static void print_help(FILE *out)
{
    fputs("usage: ldcctl VERB [ARGUMENTS]\n\n", out);
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        fputs("  ", out);
        print_synopsis(out, &verbs[i]);
    }
    fputs("\nEverywhere:\n"
          "  --dir DIR          a playground's folder; ~/.ldcgate/playground where nothing else is said\n"
          "  --gateway URL      admin URLs of one or more gateways, with commas; or LDC_GATEWAY\n"
          "  --token-file FILE  the admin listeners' token; or LDC_TOKEN_FILE\n"
          "  -o table|json      for people, or for scripts\n"
          "  --version          which ldcctl this is; --document-verbs, --document-drills: parts of docs/\n"
          "\nExit codes: 0 done, 1 refused or failed, 2 usage, 3 unreachable, 4 not converged in time.\n"
          "`ldcctl VERB --help` says what a verb does, `ldcctl help rules` which verbs begin so.\n",
          out);
}

/* Markdown, for docs/LDCCTL.md. */
static void document_verbs(void)
{
    puts("| verb | what it does |\n|---|---|");
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        printf("| `%s%s", verbs[i].name, *verbs[i].usage ? " " : "");
        for (const char *c = verbs[i].usage; *c; c++)
            printf(*c == '|' ? "\\|" : "%c", *c);
        printf("` | %s |\n", verbs[i].doc);
    }
}

/* Markdown, for docs/DRILLS.md. */
static void document_drills(void)
{
    struct buf text = {0};
    drill_document(&text);
    fputs(text.base, stdout);
    buf_free(&text);
}

/* How many words of ARGV are NAME; 0 where it does not begin with it. */
static int match_words(const char *name, int argc, char *const *argv)
{
    struct str rest = str_of(name), word;
    int words = 0;
    for (; str_next(&rest, ' ', &word); words++)
        if (words == argc || !str_equal(word, str_of(argv[words])))
            return 0;
    return words;
}

static const struct ctl_verb *find_verb(int argc, char *const *argv, int *words)
{
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if ((*words = match_words(verbs[i].name, argc, argv)) > 0)
            return &verbs[i];
    return NULL;
}

/* The verbs of a group, such as `rules` or `queue dead`; returns how many there are. */
static size_t print_group(FILE *out, const char *group)
{
    size_t len = strlen(group), found = 0;
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (strncmp(verbs[i].name, group, len) == 0 && verbs[i].name[len] == ' ') {
            fputs("  ", out);
            print_synopsis(out, &verbs[i]);
            found++;
        }
    return found;
}

static bool is_help(const char *flag)
{
    return strcmp(flag, "--help") == 0 || strcmp(flag, "-h") == 0;
}

/* The words that ought to name a verb, or a group of them: the first two. */
static void take_words(int argc, char *const *argv, char *given, size_t room)
{
    *given = '\0';
    for (int i = 0; i < argc && i < 2 && argv[i][0] != '-'; i++)
        snprintf(given + strlen(given), room - strlen(given), "%s%s", i > 0 ? " " : "", argv[i]);
}

static enum ctl_exit unknown_verb(int argc, char *const *argv)
{
    struct str names[COUNT_OF(verbs)];
    char given[80];
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        names[i] = str_of(verbs[i].name);
    take_words(argc, argv, given, sizeof(given));
    struct str nearest = args_nearest(str_of(given), names, COUNT_OF(verbs));
    if (nearest.base == NULL)
        nearest = args_nearest(str_of(argv[0]), names, COUNT_OF(verbs));
    fprintf(stderr, "ldcctl: there is no verb '%s'", given);
    if (nearest.base != NULL)
        fprintf(stderr, "; did you mean '%.*s'?", STR_ARG(nearest));
    fputs("\n", stderr);
    print_group(stderr, argv[0]);
    fputs("`ldcctl --help` lists all verbs.\n", stderr);
    return CTL_USAGE;
}

/* What to say where no verb has these words: which verbs their group has, if that was asked. */
static enum ctl_exit without_match(int argc, char *const *argv, bool asked)
{
    char given[80];
    take_words(argc, argv, given, sizeof(given));
    if ((asked || is_help(argv[argc - 1])) && print_group(stdout, given) > 0) {
        puts("`ldcctl VERB --help` says what a verb does.");
        return CTL_DONE;
    }
    return unknown_verb(argc, argv);
}

static void print_version(void)
{
    puts("ldcctl " LDCGATE_VERSION);
}

static void print_help_here(void)
{
    print_help(stdout);
}

static enum ctl_exit without_verb(const struct ctl *ctl)
{
    static const struct {
        const char *flag;
        void (*run)(void);
    } actions[] = {
        {"--help", print_help_here},
        {"-h", print_help_here},
        {"--version", print_version},
        {"--document-verbs", document_verbs},
        {"--document-drills", document_drills},
    };
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        if (args_value(&ctl->args, actions[i].flag) != NULL) {
            actions[i].run();
            return CTL_DONE;
        }
    }
    print_help(stderr);
    return CTL_USAGE;
}

/* `help VERB` is `VERB --help`. */
static enum ctl_exit help_about(int argc, char *const *argv)
{
    int words;
    const struct ctl_verb *verb = argc > 0 ? find_verb(argc, argv, &words) : NULL;
    if (verb == NULL && argc > 0)
        return without_match(argc, argv, true);
    if (verb != NULL)
        print_usage(stdout, verb);
    else
        print_help(stdout);
    return CTL_DONE;
}

static int take_output(struct ctl *ctl, const struct ctl_verb *verb, struct error *err)
{
    const char *form = args_value(&ctl->args, "-o");
    bool knows_html = strstr(verb->usage, "-o table|json|html") != NULL;
    ctl->json = form != NULL && strcmp(form, "json") == 0;
    ctl->html = form != NULL && strcmp(form, "html") == 0 && knows_html;
    if (form != NULL && strcmp(form, "table") != 0 && !ctl->json && !ctl->html)
        return error_set(err, ERROR_INPUT, "-o wants table%s json%s, not '%s'", knows_html ? "," : " or",
                         knows_html ? " or html" : "", form);
    return 0;
}

static enum ctl_exit run_verb(struct ctl *ctl, const struct ctl_verb *verb, int argc, char *const *argv)
{
    struct error err = {0};
    if (args_take(&ctl->args, verb->usage, global_usage, argc, argv, false, &err) < 0) {
        print_usage(stderr, verb);
        return ctl_misused(&err);
    }
    if (args_value(&ctl->args, "--help") != NULL || args_value(&ctl->args, "-h") != NULL) {
        print_usage(stdout, verb);
        return CTL_DONE;
    }
    if (args_check(&ctl->args, verb->usage, &err) != 0 || take_output(ctl, verb, &err) != 0) {
        print_usage(stderr, verb);
        return ctl_misused(&err);
    }
    return verb->run(ctl);
}

int main(int argc, char **argv)
{
    struct ctl ctl = {0};
    struct error err = {0};
    int leading = args_take(&ctl.args, "", global_usage, argc - 1, argv + 1, true, &err), words = 0;
    if (leading < 0)
        return ctl_misused(&err);
    argc -= 1 + leading;
    argv += 1 + leading;
    if (argc == 0)
        return without_verb(&ctl);
    if (strcmp(argv[0], "help") == 0)
        return help_about(argc - 1, argv + 1);
    const struct ctl_verb *verb = find_verb(argc, argv, &words);
    if (verb == NULL)
        return without_match(argc, argv, false);
    return run_verb(&ctl, verb, argc - words, argv + words);
}
