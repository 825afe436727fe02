/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "ops/drill_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "ops/drill_parts.h"
#include "ops/drill_report.h"

#define MOST_TOPOLOGY   (4 * 1024 * 1024)
#define CANDIDATES_MOST 2000000
#define FIRST_USER      700000001 /* ids of users that no playground's demo uses */

/* --- the folder --------------------------------------------------------------------------------------------------- */

/* "20260131-133700-unit-kill": in order of time. */
static void make_id(struct drill_run *run)
{
    char at[CLOCK_UTC_SIZE];
    clock_format_utc(clock_wall_us(), at);
    snprintf(run->id, sizeof(run->id), "%.4s%.2s%.2s-%.2s%.2s%.2s-%.*s", at, at + 5, at + 8, at + 11, at + 14, at + 17,
             STR_ARG(run->drill->name.value));
}

static int make_folder(struct drill_run *run, struct error *err)
{
    struct buf path = {0};
    buf_printf(&path, "%s/drills/%s", run->dir, run->id);
    run->folder = path.base;
    if (file_make_folder(run->folder, 0700, err) != 0)
        return -1;
    struct buf events = {0};
    buf_printf(&events, "%s/events.jsonl", run->folder);
    run->events = fopen(events.base, "we");
    int result = run->events != NULL ? 0 : error_set_errno(err, errno, "cannot write %s", events.base);
    buf_free(&events);
    return result;
}

static int write_file(const struct drill_run *run, const char *name, struct str text, struct error *err)
{
    struct buf path = {0};
    buf_printf(&path, "%s/%s", run->folder, name);
    int result = file_replace(path.base, text, 0600, err);
    buf_free(&path);
    return result;
}

static int save(struct drill_run *run, struct error *err)
{
    struct buf html = {0};
    char *text = json_dumps(run->report, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    drill_report_html(run->report, &html);
    int result = write_file(run, "report.json", str_of(text), err) != 0 ||
                         write_file(run, "report.html", buf_str(&html), err) != 0 || drill_save_requests(run, err) != 0
                     ? -1
                     : 0;
    buf_free(&html);
    free(text);
    return result;
}

/* --- what it stands on -------------------------------------------------------------------------------------------- */

static int read_topology(struct drill_run *run, struct error *err)
{
    struct buf path = {0}, text = {0};
    buf_printf(&path, "%s/topology.json", run->dir);
    int result = file_read(path.base, MOST_TOPOLOGY, &text, err);
    run->topology = result == 0 ? json_loadb(text.base, text.len, 0, NULL) : NULL;
    if (result == 0 && run->topology == NULL)
        result = error_set(err, ERROR_INPUT, "%s is not JSON", path.base);
    buf_free(&text);
    buf_free(&path);
    return result;
}

static int read_rules(struct drill_run *run, struct error *err)
{
    json_t *answer = deployment_get(&run->deployment, "/v1/rules", err);
    if (answer == NULL)
        return -1;
    rulefile_compile(&run->rules, "the rules in force", str_of(ctl_text(answer, "rules")), 0);
    json_decref(answer);
    return run->rules.table != NULL ? 0 : error_set(err, ERROR_INPUT, "the rules in force are not understood");
}

static int check_unit(const struct drill_run *run, struct str name, struct error *err)
{
    const struct table *table = run->rules.table;
    if (table_unit_index(table, name) != NO_UNIT)
        return 0;
    struct buf names = {0};
    for (uint32_t i = 0; i < table->unit_count; i++)
        buf_printf(&names, "%s%.*s", i > 0 ? ", " : "", STR_ARG(table->units[i].name));
    error_set(err, ERROR_INPUT, "there is no unit %.*s; there are %s", STR_ARG(name), names.base);
    buf_free(&names);
    return -1;
}

static int check_units(const struct drill_run *run, struct error *err)
{
    const struct drill_steps *all[] = {&run->drill->method, &run->drill->rollback};
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < all[i]->count; j++)
            if (check_unit(run, drill_unit_of(run, &all[i]->items[j]), err) != 0)
                return -1;
    return check_unit(run, run->drill->parameters.unit.value, err);
}

/* --- the load ----------------------------------------------------------------------------------------------------- */

static void list_gateways(struct drill_run *run)
{
    const json_t *all = json_object_get(run->topology, "processes");
    for (size_t i = 0; i < json_array_size(all) && run->gateway_count < DRILL_GATEWAYS_MOST; i++) {
        const json_t *process = json_array_get(all, i);
        char url[80];
        if (strcmp(ctl_text(process, "role"), "gateway") != 0)
            continue;
        drill_url(process, "ingress", url, sizeof(url));
        run->gateway_names[run->gateway_count] = ctl_text(process, "name");
        run->gateway_urls[run->gateway_count++] = str_dup(str_of(url));
    }
}

static int check_path(const struct drill_run *run, struct error *err)
{
    uint32_t route = 0;
    struct str path = run->drill->load.path.value;
    const struct table *table = run->rules.table;
    bool queued = table_match(table, STR_LIT("POST"), path, &route) == VERDICT_OK &&
                  table->routes[route].action == ACTION_QUEUE && table->routes[route].zone == ZONE_A;
    return queued ? 0
                  : error_set(err, ERROR_INPUT, "no route of zone A queues POST %.*s: give load.path one that does",
                              STR_ARG(path));
}

/* The lists of users that the units' are put into: the drill's unit has the first. */
struct crowd {
    struct drill_user *users; /* EACH for each A unit: those of one behind another */
    size_t *filled;           /* of each unit of the table */
    size_t each;
};

static bool has_users(const struct table *table, uint32_t unit)
{
    return table->units[unit].kind == ZONE_A;
}

static void gather(const struct table *table, struct crowd *crowd)
{
    size_t wanted = 0, chosen = 0;
    for (uint32_t i = 0; i < table->unit_count; i++)
        wanted += has_users(table, i) ? crowd->each : 0;
    for (unsigned n = 0; n < CANDIDATES_MOST && chosen < wanted; n++) {
        struct drill_user user;
        struct decision decision;
        snprintf(user.name, sizeof(user.name), "%u", FIRST_USER + n);
        if (table_owner(table, str_of(user.name), &decision) != VERDICT_OK || !has_users(table, decision.unit) ||
            crowd->filled[decision.unit] == crowd->each)
            continue;
        user.unit = decision.unit;
        crowd->users[decision.unit * crowd->each + crowd->filled[decision.unit]++] = user;
        chosen++;
    }
}

/* Those of the drill's unit, then all others, mixed. */
static void choose_users(struct drill_run *run)
{
    const struct table *table = run->rules.table;
    uint32_t own = table_unit_index(table, run->drill->parameters.unit.value);
    struct crowd crowd = {.each = (size_t)run->drill->load.users.value};
    crowd.users = mem_calloc(table->unit_count * crowd.each, sizeof(*crowd.users));
    crowd.filled = mem_calloc(table->unit_count, sizeof(*crowd.filled));
    run->users = mem_calloc(table->unit_count * crowd.each, sizeof(*run->users));
    gather(table, &crowd);
    for (size_t i = 0; i < crowd.filled[own]; i++)
        run->users[run->user_count++] = crowd.users[own * crowd.each + i];
    run->own_count = run->user_count;
    for (size_t i = 0; i < crowd.each; i++)
        for (uint32_t unit = 0; unit < table->unit_count; unit++)
            if (unit != own && i < crowd.filled[unit])
                run->users[run->user_count++] = crowd.users[unit * crowd.each + i];
    free(crowd.filled);
    free(crowd.users);
}

static int start_load(struct drill_run *run, struct error *err)
{
    list_gateways(run);
    choose_users(run);
    if (run->user_count == 0)
        return error_set(err, ERROR_INPUT, "no A unit has users");
    struct drill_load_plan plan = {.run = run->id,
                                   .gateways = run->gateway_urls,
                                   .gateway_count = run->gateway_count,
                                   .users = run->users,
                                   .user_count = run->user_count,
                                   .own_count = run->own_count,
                                   .own_percent = (unsigned)run->drill->load.share.value,
                                   .path = run->drill->load.path.value,
                                   .rate = (unsigned)run->drill->load.rate.value};
    run->load = drill_load_start(&plan);
    return 0;
}

/* --- who else runs one -------------------------------------------------------------------------------------------- */

/* DIR/drills/lock is locked by whoever runs a drill, and names his process until everything is put back. */
static int open_lock(const char *dir, struct error *err)
{
    struct buf path = {0};
    buf_printf(&path, "%s/drills", dir);
    int fd = -1;
    if (file_make_folder(path.base, 0700, err) == 0) {
        buf_printf(&path, "/lock");
        fd = open(path.base, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            error_set_errno(err, errno, "cannot open %s", path.base);
    }
    buf_free(&path);
    return fd;
}

static pid_t holder_of(int fd)
{
    char text[24] = "";
    uint64_t pid = 0;
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
    struct str rest = {text, len > 0 ? (size_t)len : 0}, line;
    return str_next(&rest, '\n', &line) && str_to_u64(line, &pid) ? (pid_t)pid : 0;
}

/* What a drill that was killed did is still there, and would be forgotten with the name of who did it. */
static int check_left(int fd, struct error *err)
{
    pid_t left = holder_of(fd);
    return left == 0 ? 0
                     : error_set(err, ERROR_CONFLICT,
                                 "the drill of process %d ended before it put everything back; `ldcctl drill abort` "
                                 "does that",
                                 (int)left);
}

static int take_lock(const char *dir, struct error *err)
{
    int fd = open_lock(dir, err);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        error_set(err, ERROR_CONFLICT, "another drill runs there; `ldcctl drill abort` ends it");
        close(fd);
        return -1;
    }
    if (check_left(fd, err) != 0) {
        close(fd);
        return -1;
    }
    if (ftruncate(fd, 0) != 0 || dprintf(fd, "%d\n", (int)getpid()) < 0) {
        error_set_errno(err, errno, "cannot write the lock of drills");
        close(fd);
        return -1;
    }
    return fd;
}

static void release_lock(int fd)
{
    if (fd < 0)
        return;
    if (ftruncate(fd, 0) != 0)
        fputs("ldcctl: the lock of drills could not be emptied\n", stderr);
    close(fd);
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

static int begin(struct drill_run *run, const struct args *args, struct error *err)
{
    run->rails = json_array();
    run->steady = json_array();
    run->rounds = json_array();
    run->struck = mem_calloc((size_t)run->drill->parameters.rounds.value, sizeof(*run->struck));
    run->began_us = clock_monotonic_us();
    if (deployment_find(args, &run->deployment, err) != 0 || read_topology(run, err) != 0 ||
        (run->ground = fault_open(run->dir, err)) == NULL || read_rules(run, err) != 0 || check_units(run, err) != 0 ||
        check_path(run, err) != 0)
        return -1;
    make_id(run);
    drill_say(run, "drill %s, %s: looking whether all is well", run->id, run->drill->title.value.base);
    run->records = drill_proof_begin(run);
    return drill_guard(run, err) != 0 || start_load(run, err) != 0 || drill_steady(run, err) != 0 ||
                   make_folder(run, err) != 0
               ? -1
               : 0;
}

static void end(struct drill_run *run)
{
    drill_load_destroy(&run->load);
    if (run->events != NULL)
        fclose(run->events);
    for (size_t i = 0; i < run->gateway_count; i++)
        free((char *)run->gateway_urls[i]);
    free(run->users);
    free(run->folder);
    free(run->struck);
    rulefile_free(&run->rules);
    fault_close(&run->ground);
    deployment_free(&run->deployment);
    json_decref(run->topology);
    json_decref(run->records);
    json_decref(run->rails);
    json_decref(run->steady);
    json_decref(run->rounds);
}

/* The worst of the rounds. */
static enum drill_end go_rounds(struct drill_run *run)
{
    int64_t rounds = run->drill->parameters.rounds.value;
    run->steady_us = clock_monotonic_us();
    for (int64_t i = 1; i <= rounds; i++)
        if (!drill_go_round(run, (unsigned)i))
            break;
    const json_t *last = json_array_get(run->rounds, json_array_size(run->rounds) - 1);
    for (enum drill_end end = DRILL_PASSED; end <= DRILL_INTERRUPTED; end++)
        if (strcmp(ctl_text(last, "outcome"), drill_end_name(end)) == 0)
            return end != DRILL_PASSED ? end : drill_told_to_stop() ? DRILL_INTERRUPTED : DRILL_PASSED;
    return DRILL_NOT_PASSED;
}

/* What was accepted and is nowhere fails any drill. */
static void conclude(struct drill_run *run, enum drill_end end, json_t *proof)
{
    const json_t *last = json_array_get(run->rounds, json_array_size(run->rounds) - 1);
    uint64_t lost = fleet_number(proof, "lost_count");
    char why[400];
    snprintf(why, sizeof(why), "%s", ctl_text(last, "why"));
    if (lost > 0) {
        snprintf(why, sizeof(why), "%llu accepted messages are nowhere", (unsigned long long)lost);
        end = DRILL_NOT_PASSED;
    }
    run->report = drill_result(run, end, why);
    json_object_set_new(run->report, "proof", proof);
}

static int run_all(struct drill_run *run, const struct args *args, struct error *err)
{
    if (begin(run, args, err) != 0)
        return -1;
    enum drill_end outcome = go_rounds(run);
    drill_steady_after(run);
    drill_load_stop(run->load);
    drill_say(run, "looking where every message is");
    conclude(run, outcome, drill_proof(run));
    return save(run, err);
}

/* What is done is done to processes of this machine: URLs would name another deployment than the folder does. */
static int check_place(const struct args *args, const char *folder, struct error *err)
{
    const char *urls = getenv("LDC_GATEWAY");
    bool by_urls =
        args_value(args, "--gateway") != NULL || (args_value(args, "--dir") == NULL && urls != NULL && *urls != '\0');
    if (by_urls)
        return error_set(err, ERROR_INPUT, "a drill is done to a playground: name its folder by --dir");
    return access(folder, F_OK) == 0 ? 0 : error_set(err, ERROR_UNREACHABLE, "there is no playground in %s", folder);
}

int drill_run(const struct drill *drill, const struct args *args, bool quiet, json_t **report, struct error *err)
{
    char *folder = deployment_folder(args);
    struct drill_run run = {.drill = drill, .dir = folder, .quiet = quiet};
    int lock = check_place(args, folder, err) == 0 ? take_lock(folder, err) : -1;
    drill_catch_signals();
    int result = lock >= 0 ? run_all(&run, args, err) : -1;
    *report = run.report;
    if (lock >= 0)
        end(&run);
    release_lock(lock);
    free(folder);
    return result;
}

/* --- abort -------------------------------------------------------------------------------------------------------- */

/* Who ran it is gone, and what he did may still be there. */
static int heal_after(const char *dir, const char **what, struct error *err)
{
    struct drill_run run = {.dir = dir};
    int result =
        (run.ground = fault_open(dir, err)) != NULL && read_topology(&run, err) == 0 ? drill_do_heal(&run, err) : -1;
    fault_close(&run.ground);
    json_decref(run.topology);
    *what = "whoever ran the drill is gone: what was killed is started, what was frozen goes on, networks are whole, "
            "applications neither dawdle nor fail";
    return result;
}

int drill_abort(const char *dir, const char **what, struct error *err)
{
    int fd = open_lock(dir, err);
    if (fd < 0)
        return -1;
    bool running = flock(fd, LOCK_EX | LOCK_NB) != 0;
    pid_t pid = holder_of(fd);
    int result = 0;
    *what = "no drill was under way";
    if (running && pid > 0) {
        /* The lock says that it lives: nobody else can have its number. */
        result = kill(pid, SIGINT) == 0 && flock(fd, LOCK_EX) == 0
                     ? 0
                     : error_set_errno(err, errno, "cannot end the drill of process %d", (int)pid);
        *what = "the drill was ended and everything put back";
    } else if (pid > 0 && (result = heal_after(dir, what, err)) == 0 && ftruncate(fd, 0) != 0) {
        result = error_set_errno(err, errno, "cannot write the lock of drills");
    }
    close(fd);
    return result;
}
