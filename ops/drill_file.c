/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/drill_file.h"

#include "common/measure.h"

#define REQUIRED true
#define OPTIONAL false

static const char *const fault_words[] = {"kill", "freeze", "restart", "drop", "loss", "slow", "errors", NULL};
static const char *const part_words[] = {"all",  "primary", "standby",    "agents", "apps",
                                         "blue", "green",   "datacenter", "store",  NULL};
static const char *const way_words[] = {"both", "in", "out", NULL};
static const char *const heal_words[] = {"all", NULL};
static const char *const wait_words[] = {"first_success", "serves", "in_sync",     "drained",
                                         "calm",          "home",   "rolled_back", NULL};
static const char *const operator_words[] = {"failback", "fail", "drain", "ready", "ramp", "reset_colors", NULL};

/* --- keys --------------------------------------------------------------------------------------------------------- */

struct top {
    struct schema_text name, title, teaches;
    const struct yaml_node *parameters, *load, *steady_state, *method, *abort, *expect, *rollback;
};

#define AT(field) offsetof(struct top, field)
static const struct schema_key top_keys[] = {
    {"name", SCHEMA_TEXT, AT(name), REQUIRED, 0, 0, NULL, NULL, "What `ldcctl drill run` calls it."},
    {"title", SCHEMA_TEXT, AT(title), REQUIRED, 0, 0, NULL, NULL, "In a few words."},
    {"teaches", SCHEMA_TEXT, AT(teaches), OPTIONAL, 0, 0, NULL, NULL, "What one knows after it."},
    {"parameters", SCHEMA_MAPPING, AT(parameters), OPTIONAL, 0, 0, NULL, NULL,
     "What the command line may say differently."},
    {"load", SCHEMA_MAPPING, AT(load), OPTIONAL, 0, 0, NULL, NULL, "What users ask for meanwhile."},
    {"steady_state", SCHEMA_MAPPING, AT(steady_state), OPTIONAL, 0, 0, NULL, NULL,
     "What must hold under load before anything is done."},
    {"method", SCHEMA_LIST, AT(method), REQUIRED, 0, DRILL_STEPS_MOST, NULL, NULL, "What is done, step by step."},
    {"abort", SCHEMA_MAPPING, AT(abort), OPTIONAL, 0, 0, NULL, NULL,
     "What ends the method at once, while it runs; then everything is rolled back."},
    {"expect", SCHEMA_MAPPING, AT(expect), OPTIONAL, 0, 0, NULL, NULL,
     "What a round must show to have passed, beside: every wait ended in time, no accepted message was lost."},
    {"rollback", SCHEMA_LIST, AT(rollback), REQUIRED, 0, DRILL_STEPS_MOST, NULL, NULL,
     "How everything is put back; always done, to the last step, however the method ended."},
};
static const struct schema top_schema = {"The file", "the drill", "A mapping with these keys.", top_keys,
                                         COUNT_OF(top_keys)};
#undef AT

#define AT(field) (offsetof(struct drill, parameters.field) - offsetof(struct drill, parameters))
static const struct schema_key parameter_keys[] = {
    {"unit", SCHEMA_TEXT, AT(unit), REQUIRED, 0, 0, NULL, NULL, "Put in wherever the file says `$unit`: `--unit`."},
    {"fault", SCHEMA_TEXT, AT(fault), OPTIONAL, 0, 0, NULL, NULL, "Put in wherever it says `$fault`: `--fault`."},
    {"rounds", SCHEMA_NUMBER, AT(rounds), OPTIONAL, 1, 1000, "1", NULL,
     "How often method and rollback are gone through: `--rounds`."},
};
static const struct schema parameter_schema = {"parameters", "parameters", "What the command line may say differently.",
                                               parameter_keys, COUNT_OF(parameter_keys)};
#undef AT

#define AT(field) (offsetof(struct drill, load.field) - offsetof(struct drill, load))
static const struct schema_key load_keys[] = {
    {"rate", SCHEMA_NUMBER, AT(rate), OPTIONAL, 10, 20000, "300", NULL,
     "Messages a second, spread evenly over all gateways, whatever is answered: `--rate`."},
    {"share", SCHEMA_NUMBER, AT(share), OPTIONAL, 1, 99, "60", NULL,
     "Per cent of them that the unit's users send, so that it is seen soon enough when it serves again; the other A "
     "units' "
     "users share the rest evenly."},
    {"users", SCHEMA_NUMBER, AT(users), OPTIONAL, 1, 10000, "40", NULL, "So many of each unit."},
    {"path", SCHEMA_TEXT, AT(path), OPTIONAL, 0, 0, NULL, NULL,
     "Where they are posted to: a route with `action: queue`. `/pay/drill` where it is not given."},
};
static const struct schema load_schema = {"load", "load", "What users ask for meanwhile.", load_keys,
                                          COUNT_OF(load_keys)};
#undef AT

#define AT(field) (offsetof(struct drill, steady.field) - offsetof(struct drill, steady))
static const struct schema_key steady_keys[] = {
    {"for", SCHEMA_DURATION, AT(lasts), OPTIONAL, 200, HOUR_MS, "2s", NULL, "So long under load."},
    {"errors", SCHEMA_NUMBER, AT(errors), OPTIONAL, 0, 100, "0", NULL, "Per cent of requests that may fail."},
    {"p99", SCHEMA_DURATION, AT(p99), OPTIONAL, 1, HOUR_MS, "500ms", NULL,
     "The latency that one request of a hundred may exceed."},
    {"backlog", SCHEMA_NUMBER, AT(backlog), OPTIONAL, 0, 1000000000, "1000", NULL,
     "Undelivered messages of all units."},
};
static const struct schema steady_schema = {"steady_state", "steady_state",
                                            "What must hold under load before anything is done. Whether everybody is "
                                            "there, serves one epoch, is in sync and at "
                                            "home is always looked at.",
                                            steady_keys, COUNT_OF(steady_keys)};
#undef AT

#define AT(field) (offsetof(struct drill, abort.field) - offsetof(struct drill, abort))
static const struct schema_key abort_keys[] = {
    {"errors", SCHEMA_NUMBER, AT(errors), OPTIONAL, 1, 100, "100", NULL,
     "More than this share of the unit's requests, in per cent, failed in the last second."},
    {"other_errors", SCHEMA_NUMBER, AT(other_errors), OPTIONAL, 0, 100, "5", NULL, "The same of all other units."},
    {"other_p99", SCHEMA_DURATION, AT(other_p99), OPTIONAL, 1, HOUR_MS, "2s", NULL,
     "Their latency in the last second: one request of a hundred took longer."},
    {"after", SCHEMA_DURATION, AT(after), OPTIONAL, 100, HOUR_MS, "60s", NULL, "The method has lasted so long."},
};
static const struct schema abort_schema = {"abort", "abort", "What ends the method at once, while it runs.", abort_keys,
                                           COUNT_OF(abort_keys)};
#undef AT

#define AT(field) (offsetof(struct drill, expect.field) - offsetof(struct drill, expect))
static const struct schema_key expect_keys[] = {
    {"first_success", SCHEMA_DURATION, AT(first_success), OPTIONAL, 1, HOUR_MS, NULL, NULL,
     "From the fault to the first message that was accepted again, at the slowest gateway."},
    {"failed", SCHEMA_NUMBER, AT(failed), OPTIONAL, 0, 1000000000, "1000000000", NULL,
     "So many of the unit's requests may fail."},
    {"other_failed", SCHEMA_NUMBER, AT(other_failed), OPTIONAL, 0, 1000000000, "0", NULL,
     "So many of all other units'."},
};
static const struct schema expect_schema = {"expect", "expect", "What a round must show to have passed.", expect_keys,
                                            COUNT_OF(expect_keys)};
#undef AT

#define AT(field) offsetof(struct drill_step, field)
static const struct schema_key step_keys[] = {
    {"at", SCHEMA_DURATION, AT(at), OPTIONAL, 0, HOUR_MS, "0ms", NULL,
     "After the beginning of the round, at the earliest."},
    {"fault", SCHEMA_CHOICE, AT(fault), OPTIONAL, 0, 0, NULL, fault_words,
     "Done to `part` of `unit`: `drop` and `loss` cut its hosts off (from `peer` only, where one is named), `slow` and "
     "`errors` make its applications answer late or with 500."},
    {"heal", SCHEMA_CHOICE, AT(heal), OPTIONAL, 0, 0, NULL, heal_words,
     "Undoes every fault: starts what was killed, lets go on what was frozen."},
    {"wait", SCHEMA_CHOICE, AT(wait), OPTIONAL, 0, 0, NULL, wait_words,
     "Until it is so: `first_success`, every gateway has had a message of `unit` accepted in an epoch newer than "
     "before "
     "the fault; `serves`, every gateway has had one accepted that was asked for since the wait began; `in_sync`, "
     "every broker of "
     "every unit; `drained`, no more undelivered messages than `steady_state.backlog`; `calm`, everybody is there, "
     "serves one epoch, suspects nobody, and no alarm stands; `home`, every unit is led by its own first broker and "
     "served by its own agents; `rolled_back`, the ramp of `unit` was, by its own conditions."},
    {"pause", SCHEMA_DURATION, AT(pause), OPTIONAL, 1, HOUR_MS, NULL, NULL, "Looks on for so long."},
    {"operator", SCHEMA_CHOICE, AT(operator), OPTIONAL, 0, 0, NULL, operator_words,
     "What an operator does: the verbs of `ldcctl unit`, a `ramp` of `unit` to green at `percent`, or `reset_colors`. "
     "`failback` without `unit` means all of them; of a unit that is at home it says that it may be moved again."},
    {"unit", SCHEMA_TEXT, AT(unit), OPTIONAL, 0, 0, NULL, NULL, "Whose; `parameters.unit` where it is not given."},
    {"part", SCHEMA_CHOICE, AT(part), OPTIONAL, 0, 0, "all", part_words,
     "`primary` and `standby` by the record, as it is then; `all` but for replicas that stand elsewhere; `datacenter`, "
     "all that stands where the unit does; `store`, etcd's members."},
    {"peer", SCHEMA_TEXT, AT(peer), OPTIONAL, 0, 0, NULL, NULL, "A host, such as `gateway-1` or another unit."},
    {"way", SCHEMA_CHOICE, AT(way), OPTIONAL, 0, 0, "both", way_words, "Which messages, as the target sees it."},
    {"percent", SCHEMA_NUMBER, AT(percent), OPTIONAL, 1, 100, "5", NULL, "Of messages that get lost, or of users."},
    {"delay", SCHEMA_DURATION, AT(delay), OPTIONAL, 1, 60000, "200ms", NULL, "Of `slow`."},
    {"within", SCHEMA_DURATION, AT(within), OPTIONAL, 1, HOUR_MS, "30s", NULL,
     "How long `wait` and `operator` may take; else the round has failed."},
};
static const struct schema step_schema = {"method[], rollback[]", "a step",
                                          "One of `fault`, `heal`, `wait`, `pause` and `operator`, and what it wants.",
                                          step_keys, COUNT_OF(step_keys)};
#undef AT

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* What is not there is read as if it were empty, for the presets. */
static void read_part(const struct schema *schema, const struct yaml_node *node, void *model, struct diag_list *diags)
{
    static const struct yaml_node empty = {.kind = YAML_MAPPING};
    schema_read(schema, node != NULL ? node : &empty, model, diags);
}

static int actions_of(const struct drill_step *step)
{
    return (step->fault.at.line > 0) + (step->heal.at.line > 0) + (step->wait.at.line > 0) + (step->pause.at.line > 0) +
           (step->operator.at.line> 0);
}

static void read_steps(const struct yaml_node *list, struct drill_steps *steps, struct diag_list *diags)
{
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        struct drill_step *step = &steps->items[steps->count++];
        size_t errors = diags->errors;
        if (schema_read(&step_schema, &list->items[i], step, diags) && diags->errors == errors && actions_of(step) != 1)
            FAULT(diags, list->items[i], NULL, "a step is one of fault, heal, wait, pause and operator");
    }
}

static void check_faults(const struct drill_steps *steps, struct diag_list *diags)
{
    for (size_t i = 0; i < steps->count; i++) {
        const struct drill_step *step = &steps->items[i];
        bool by_app = step->fault.value == DRILL_SLOW || step->fault.value == DRILL_ERRORS;
        bool app = step->part.value == DRILL_APPS || step->part.value == DRILL_BLUE || step->part.value == DRILL_GREEN;
        if (step->fault.at.line > 0 && by_app && !app)
            FAULT(diags, step->fault.at, "part: apps", "only applications can be slow or answer with errors");
    }
}

static void read_root(struct drill *drill, const struct yaml_node *root, struct diag_list *diags)
{
    struct top top = {0};
    if (!schema_read(&top_schema, root, &top, diags))
        return;
    drill->name = top.name;
    drill->title = top.title;
    drill->teaches = top.teaches;
    read_part(&parameter_schema, top.parameters, &drill->parameters, diags);
    read_part(&load_schema, top.load, &drill->load, diags);
    read_part(&steady_schema, top.steady_state, &drill->steady, diags);
    read_part(&abort_schema, top.abort, &drill->abort, diags);
    read_part(&expect_schema, top.expect, &drill->expect, diags);
    read_steps(top.method, &drill->method, diags);
    read_steps(top.rollback, &drill->rollback, diags);
    check_faults(&drill->method, diags);
    check_faults(&drill->rollback, diags);
    if (drill->load.path.value.base == NULL)
        drill->load.path.value = STR_LIT("/pay/drill");
}

/* --- parameters --------------------------------------------------------------------------------------------------- */

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* What could be read as more than one word would change what the file says. */
static bool sound(const char *value, const char *name, struct diag_list *diags)
{
    for (const char *c = value; c != NULL && *c; c++)
        if (!is_word(*c)) {
            diag_add(diags, DIAG_ERROR, 0, 0, NULL, "--%s: '%s' is no name", name, value);
            return false;
        }
    return true;
}

/* The preset that the file itself gives; base NULL where it gives none. */
static struct str preset_of(const struct yaml_node *root, const char *name)
{
    const struct yaml_node *parameters = root->kind == YAML_MAPPING ? yaml_get(root, "parameters") : NULL;
    const struct yaml_node *value =
        parameters != NULL && parameters->kind == YAML_MAPPING ? yaml_get(parameters, name) : NULL;
    return value != NULL ? value->text : (struct str){NULL, 0};
}

/* Appends TEXT to OUT with the words "$unit" and "$fault" replaced by VALUES, where these have a value. */
static void put_in(struct str text, const char *const *names, const struct str *values, struct buf *out)
{
    while (text.len > 0) {
        size_t len = 1;
        bool begins = text.base[0] == '$';
        while (len < text.len && (begins ? is_word(text.base[len]) : text.base[len] != '$'))
            len++;
        struct str piece = {text.base, len}, name = {text.base + 1, len - 1};
        for (size_t i = 0; begins && names[i] != NULL; i++)
            if (str_equal(name, str_of(names[i])) && values[i].base != NULL)
                piece = values[i];
        buf_append_str(out, piece);
        text = (struct str){text.base + len, text.len - len};
    }
}

static bool fill_in(struct drill *drill, struct str text, const struct drill_given *given, struct diag_list *diags)
{
    static const char *const names[] = {"unit", "fault", NULL};
    struct yaml_doc *doc = yaml_doc_parse(text.base, text.len, diags);
    if (doc == NULL || !sound(given->unit, "unit", diags) || !sound(given->fault, "fault", diags)) {
        yaml_doc_destroy(&doc);
        return false;
    }
    const struct yaml_node *root = yaml_doc_root(doc);
    struct str values[] = {given->unit != NULL ? str_of(given->unit) : preset_of(root, "unit"),
                           given->fault != NULL ? str_of(given->fault) : preset_of(root, "fault")};
    put_in(text, names, values, &drill->text);
    yaml_doc_destroy(&doc);
    return true;
}

bool drill_read(struct drill *drill, struct str text, const struct drill_given *given, struct diag_list *diags)
{
    size_t errors = diags->errors;
    *drill = (struct drill){0};
    if (!fill_in(drill, text, given, diags))
        return false;
    drill->doc = yaml_doc_parse(drill->text.base, drill->text.len, diags);
    if (drill->doc != NULL)
        read_root(drill, yaml_doc_root(drill->doc), diags);
    if (given->unit != NULL)
        drill->parameters.unit.value = str_of(given->unit);
    if (given->fault != NULL)
        drill->parameters.fault.value = str_of(given->fault);
    if (given->rounds > 0)
        drill->parameters.rounds.value = given->rounds;
    if (given->rate > 0)
        drill->load.rate.value = given->rate;
    return diags->errors == errors;
}

void drill_free(struct drill *drill)
{
    yaml_doc_destroy(&drill->doc);
    buf_free(&drill->text);
}

/* --- words -------------------------------------------------------------------------------------------------------- */

const char *drill_part_name(enum drill_part part)
{
    return part_words[part];
}

const char *drill_wait_name(enum drill_wait wait)
{
    return wait_words[wait];
}

static void describe_fault(const struct drill_step *step, struct buf *out)
{
    buf_printf(out, "%s %s of %.*s", fault_words[step->fault.value], part_words[step->part.value],
               STR_ARG(step->unit.value));
    if (step->fault.value == DRILL_DROP || step->fault.value == DRILL_LOSS)
        buf_printf(out, ", %s", way_words[step->way.value]);
    if (step->peer.value.base != NULL)
        buf_printf(out, ", with %.*s", STR_ARG(step->peer.value));
}

void drill_describe(const struct drill_step *step, struct buf *out)
{
    if (step->fault.at.line > 0)
        describe_fault(step, out);
    else if (step->heal.at.line > 0)
        buf_printf(out, "heal all");
    else if (step->wait.at.line > 0)
        buf_printf(out, "wait for %s", wait_words[step->wait.value]);
    else if (step->pause.at.line > 0)
        buf_printf(out, "look on for %lld ms", (long long)step->pause.value);
    else
        buf_printf(out, "operator: %s%s%.*s", operator_words[step->operator.value],
                   step->unit.value.base != NULL ? " " : "", STR_ARG(step->unit.value));
}

/* --- documents ------------------------------------------------------------------------------------------------------
 */

static void document_shipped(struct buf *out)
{
    struct str file, text;
    buf_printf(out, "### The drills that there are\n\n| Name | What happens | What it teaches |\n|---|---|---|\n");
    for (size_t i = 0; drill_shipped(i, &file, &text); i++) {
        struct drill drill;
        struct diag_list diags = {.file = "a drill of this program"};
        if (drill_read(&drill, text, &(struct drill_given){0}, &diags))
            buf_printf(out, "| `%.*s` | %.*s | %.*s |\n", STR_ARG(drill.name.value), STR_ARG(drill.title.value),
                       STR_ARG(drill.teaches.value));
        diag_free(&diags);
        drill_free(&drill);
    }
    buf_printf(out, "\n");
}

void drill_document(struct buf *out)
{
    const struct schema *const all[] = {&top_schema,   &parameter_schema, &load_schema, &steady_schema,
                                        &abort_schema, &expect_schema,    &step_schema};
    document_shipped(out);
    for (size_t i = 0; i < COUNT_OF(all); i++)
        schema_document(all[i], out);
}
