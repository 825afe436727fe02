/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "ops/drill_parts.h"

#define BIN_US     50000
#define BEFORE_US  2000000 /* shown before the fault */
#define DELAYED_US 40000   /* noticeably longer than usual: one gap of heartbeats */
#define LONGEST_US 20000000

/* --- latencies ---------------------------------------------------------------------------------------------------- */

struct latencies {
    uint32_t *us;
    size_t count, room;
};

static void add_latency(struct latencies *latencies, uint64_t us)
{
    if (latencies->count == latencies->room) {
        latencies->room = latencies->room > 0 ? 2 * latencies->room : 64;
        latencies->us = mem_realloc(latencies->us, latencies->room * sizeof(*latencies->us));
    }
    latencies->us[latencies->count++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* Of sorted ones: the nearest rank. */
static double quantile_ms(const struct latencies *latencies, double share)
{
    if (latencies->count == 0)
        return 0;
    size_t rank = (size_t)(share * (double)latencies->count + 0.999999);
    return latencies->us[rank > 0 ? rank - 1 : 0] / 1000.0;
}

static void sort_latencies(struct latencies *latencies)
{
    if (latencies->count > 1)
        qsort(latencies->us, latencies->count, sizeof(*latencies->us), by_size);
}

/* --- tally -------------------------------------------------------------------------------------------------------- */

struct tallying {
    const struct drill_run *run;
    uint32_t unit, own;
    uint64_t to_us, now_us;
    struct drill_tally *tally;
    struct latencies latencies;
};

static bool is_of(const struct tallying *tallying, const struct drill_request *request)
{
    uint32_t unit = tallying->run->users[request->user].unit;
    return tallying->unit == DRILL_EVERY ||
           (tallying->unit == DRILL_OTHERS ? unit != tallying->own : unit == tallying->unit);
}

static void count_request(void *arg, const struct drill_request *request)
{
    struct tallying *tallying = arg;
    if (request->asked_us >= tallying->to_us || !is_of(tallying, request))
        return;
    tallying->tally->asked++;
    tallying->tally->accepted += request->outcome == DRILL_ACCEPTED;
    tallying->tally->failed += request->outcome == DRILL_FAILED;
    tallying->tally->unknown += request->outcome == DRILL_UNKNOWN;
    if (*request->reason)
        memcpy(tallying->tally->reason, request->reason, sizeof(request->reason));
    /* Who still waits has waited so long at least. */
    uint64_t until_us = request->outcome == DRILL_UNDER_WAY ? tallying->now_us : request->answered_us;
    add_latency(&tallying->latencies, until_us - request->asked_us);
}

/* Of requests of UNIT that were asked for in one of COUNT spans. */
static void tally_spans(struct drill_run *run, uint32_t unit, const struct drill_span *spans, size_t count,
                        struct drill_tally *tally)
{
    struct tallying tallying = {.run = run,
                                .unit = unit,
                                .own = table_unit_index(run->rules.table, run->drill->parameters.unit.value),
                                .now_us = clock_monotonic_us(),
                                .tally = tally};
    *tally = (struct drill_tally){0};
    for (size_t i = 0; i < count; i++) {
        tallying.to_us = spans[i].to_us;
        drill_load_each(run->load, drill_load_since(run->load, spans[i].from_us), count_request, &tallying);
    }
    sort_latencies(&tallying.latencies);
    tally->p50_ms = quantile_ms(&tallying.latencies, 0.5);
    tally->p99_ms = quantile_ms(&tallying.latencies, 0.99);
    tally->most_ms = quantile_ms(&tallying.latencies, 1);
    free(tallying.latencies.us);
}

void drill_tally(struct drill_run *run, uint32_t unit, uint64_t from_us, uint64_t to_us, struct drill_tally *tally)
{
    tally_spans(run, unit, &(struct drill_span){from_us, to_us}, 1, tally);
}

/* --- first success ------------------------------------------------------------------------------------------------ */

struct looking {
    const struct drill_run *run;
    uint32_t unit;
    size_t gateway;
    uint64_t since_us, first_us;
};

static void look_at(void *arg, const struct drill_request *request)
{
    struct looking *looking = arg;
    const struct drill_round *round = looking->run->round;
    bool counts = request->outcome == DRILL_ACCEPTED && request->gateway == looking->gateway &&
                  looking->run->users[request->user].unit == looking->unit && request->answered_us > round->fault_us &&
                  (looking->since_us == 0 ? request->epoch > round->epoch : request->asked_us > looking->since_us);
    if (counts && (looking->first_us == 0 || request->answered_us < looking->first_us))
        looking->first_us = request->answered_us;
}

uint64_t drill_first_success(struct drill_run *run, uint32_t unit, size_t gateway, uint64_t since_us)
{
    struct looking looking = {run, unit, gateway, since_us, 0};
    uint64_t fault_us = run->round->fault_us;
    if (fault_us == 0)
        return 0;
    drill_load_each(run->load, drill_load_since(run->load, fault_us > LONGEST_US ? fault_us - LONGEST_US : 0), look_at,
                    &looking);
    return looking.first_us;
}

bool drill_gateway_spared(const struct drill_run *run, size_t gateway)
{
    for (size_t i = 0; i < json_array_size(run->round->targets); i++)
        if (strcmp(json_string_value(json_array_get(run->round->targets, i)), run->gateway_names[gateway]) == 0)
            return false;
    return true;
}

/* --- samples ------------------------------------------------------------------------------------------------------ */

struct bin {
    size_t ok, failed;
    struct latencies latencies;
};

struct binning {
    const struct drill_run *run;
    uint32_t unit;
    uint64_t from_us;
    struct bin *bins;
    size_t count;
};

/* A request stands where it was answered: so the plot shows when users were served again. */
static void bin_request(void *arg, const struct drill_request *request)
{
    struct binning *binning = arg;
    if (request->outcome == DRILL_UNDER_WAY || binning->run->users[request->user].unit != binning->unit ||
        request->answered_us < binning->from_us)
        return;
    size_t at = (size_t)((request->answered_us - binning->from_us) / BIN_US);
    if (at >= binning->count)
        return;
    bool ok = request->outcome == DRILL_ACCEPTED;
    binning->bins[at].ok += ok;
    binning->bins[at].failed += !ok;
    if (ok)
        add_latency(&binning->bins[at].latencies, request->answered_us - request->asked_us);
}

static json_t *point_of(struct bin *bin, double ms)
{
    struct latencies *latencies = &bin->latencies;
    sort_latencies(latencies);
    json_t *point = json_pack("[f,I,I]", ms, (json_int_t)bin->ok, (json_int_t)bin->failed);
    static const double shares[] = {0.5, 0.99, 1};
    for (size_t i = 0; i < 3; i++)
        json_array_append_new(point, bin->ok > 0 ? json_real(quantile_ms(latencies, shares[i])) : json_null());
    free(latencies->us);
    return point;
}

static json_t *samples_of(struct drill_run *run, uint32_t unit, uint64_t from_us, uint64_t fault_us, uint64_t to_us)
{
    struct binning binning = {run, unit, from_us, NULL, (size_t)((to_us - from_us) / BIN_US)};
    json_t *points = json_array();
    binning.bins = mem_calloc(binning.count + 1, sizeof(*binning.bins));
    uint64_t first_us = from_us > LONGEST_US ? from_us - LONGEST_US : 0;
    drill_load_each(run->load, drill_load_since(run->load, first_us), bin_request, &binning);
    for (size_t i = 0; i < binning.count; i++)
        json_array_append_new(
            points, point_of(&binning.bins[i], ((double)(int64_t)(from_us - fault_us) + (double)i * BIN_US) / 1000));
    free(binning.bins);
    return points;
}

/* Whether the load has users of UNIT. */
static bool is_loaded(const struct drill_run *run, uint32_t unit)
{
    for (size_t i = 0; i < run->user_count; i++)
        if (run->users[i].unit == unit)
            return true;
    return false;
}

json_t *drill_samples(struct drill_run *run, const struct drill_round *round)
{
    json_t *samples = json_array();
    uint64_t now_us = clock_monotonic_us();
    uint64_t fault_us = round->fault_us != 0 ? round->fault_us : round->began_us, from_us = fault_us - BEFORE_US;
    for (uint32_t i = 0; i < run->rules.table->unit_count; i++)
        if (is_loaded(run, i))
            json_array_append_new(samples, json_pack("{s:s%,s:o}", "unit", run->rules.table->units[i].name.base,
                                                     run->rules.table->units[i].name.len, "points",
                                                     samples_of(run, i, from_us, fault_us, now_us)));
    return samples;
}

/* --- blast radius ------------------------------------------------------------------------------------------------- */

struct user_fate {
    bool failed, delayed;
};

struct blasting {
    const struct drill_run *run;
    struct user_fate *fates; /* of each user */
};

static void judge(void *arg, const struct drill_request *request)
{
    struct blasting *blasting = arg;
    struct user_fate *fate = &blasting->fates[request->user];
    fate->failed |= request->outcome == DRILL_FAILED || request->outcome == DRILL_UNKNOWN;
    fate->delayed |= request->outcome == DRILL_ACCEPTED && request->answered_us - request->asked_us > DELAYED_US;
}

/* null where nothing was asked. */
static json_t *ms_of(const struct drill_tally *tally, double ms)
{
    return tally->asked > 0 ? json_real(ms) : json_null();
}

static json_t *blast_of(struct drill_run *run, uint32_t unit, const struct user_fate *fates)
{
    const struct table_unit *rules = &run->rules.table->units[unit];
    struct drill_tally before, struck, after;
    json_int_t users = 0, failed = 0, delayed = 0;
    for (size_t i = 0; i < run->user_count; i++) {
        users += run->users[i].unit == unit;
        failed += run->users[i].unit == unit && fates[i].failed;
        delayed += run->users[i].unit == unit && fates[i].delayed;
    }
    drill_tally(run, unit, 0, run->steady_us, &before);
    tally_spans(run, unit, run->struck, run->struck_count, &struck);
    drill_tally(run, unit, run->steady_us, UINT64_MAX, &after);
    return json_pack("{s:s%,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:o}", "unit", rules->name.base,
                     rules->name.len, "target", str_equal(rules->name, run->drill->parameters.unit.value), "requests",
                     (json_int_t)after.asked, "ok", (json_int_t)after.accepted, "failed", (json_int_t)after.failed,
                     "unknown", (json_int_t)after.unknown, "users", users, "users_failed", failed, "users_delayed",
                     delayed, "p99_before_ms", ms_of(&before, before.p99_ms), "p99_struck_ms",
                     ms_of(&struck, struck.p99_ms), "p99_ms", ms_of(&after, after.p99_ms), "max_ms",
                     ms_of(&after, after.most_ms));
}

json_t *drill_blast(struct drill_run *run)
{
    struct blasting blasting = {run, mem_calloc(run->user_count + 1, sizeof(*blasting.fates))};
    json_t *units = json_array();
    drill_load_each(run->load, drill_load_since(run->load, run->steady_us), judge, &blasting);
    for (uint32_t i = 0; i < run->rules.table->unit_count; i++)
        if (is_loaded(run, i))
            json_array_append_new(units, blast_of(run, i, blasting.fates));
    free(blasting.fates);
    return json_pack("{s:o}", "units", units);
}

/* --- requests.csv ------------------------------------------------------------------------------------------------- */

struct saving {
    const struct drill_run *run;
    FILE *file;
};

static void save_request(void *arg, const struct drill_request *request)
{
    static const char *const outcomes[] = {"", "accepted", "failed", "unknown"};
    const struct saving *saving = arg;
    const struct drill_run *run = saving->run;
    const struct drill_user *user = &run->users[request->user];
    struct str unit = run->rules.table->units[user->unit].name;
    fprintf(saving->file, "%llu,%llu,%.*s,%s,%s,%s,%u,%llu,%s,%s\n",
            (unsigned long long)(request->asked_us - run->began_us),
            (unsigned long long)(request->answered_us - request->asked_us), STR_ARG(unit), user->name,
            run->gateway_names[request->gateway], outcomes[request->outcome], request->status,
            (unsigned long long)request->epoch, request->id != NULL ? request->id : "", request->reason);
}

int drill_save_requests(struct drill_run *run, struct error *err)
{
    struct buf path = {0};
    buf_printf(&path, "%s/requests.csv", run->folder);
    struct saving saving = {run, fopen(path.base, "we")};
    int result = saving.file != NULL ? 0 : error_set_errno(err, errno, "cannot write %s", path.base);
    if (saving.file != NULL) {
        fputs("asked_us,took_us,unit,user,gateway,outcome,status,epoch,id,reason\n", saving.file);
        drill_load_each(run->load, 0, save_request, &saving);
        if (fclose(saving.file) != 0)
            result = error_set_errno(err, errno, "cannot write %s", path.base);
    }
    buf_free(&path);
    return result;
}
