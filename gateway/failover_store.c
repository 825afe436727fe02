/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/failover_store.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/failover_state.h"
#include "router/core_rules.h"

#define WARM_US 60000000 /* between two times that the store is kept warm while nothing is to be done */
#define TURN_US 20000    /* from one gateway's proposal to the next one's, where all propose the same */

struct job {
    uint64_t unit, due_us;
    bool proposes;
    bool waits, lapsed; /* for its turn; what it rests on was no longer so when that came */
    struct core_proposal proposal;
    struct broker_record record; /* that was in force when it was proposed */
    char why[BROKER_WHY_SIZE];
};

struct failover_store {
    struct failover *failover;
    struct store *store; /* the thread's */
    pthread_t thread;
    bool running;
    pthread_cond_t more; /* what follows is guarded by the watch's lock */
    bool stopping;
    struct job *jobs; /* of one unit, a question and what it proposes by its record */
    size_t count, room;
    char fault[160]; /* the thread's: as it was told last */
};

/* --- asked for ---------------------------------------------------------------------------------------------------- */

/* None is ever dropped: the core waits for what comes of a proposal. */
static struct job *add(struct failover_store *store, uint64_t unit)
{
    if (store->count == store->room) {
        store->room = store->room > 0 ? store->room * 2 : 16;
        store->jobs = mem_realloc(store->jobs, store->room * sizeof(*store->jobs));
    }
    struct job *job = &store->jobs[store->count++];
    *job = (struct job){.unit = unit, .due_us = clock_monotonic_us()};
    pthread_cond_signal(&store->more);
    return job;
}

/* Who agrees proposes, and one is enough: the others follow one after the other, should he not get on. What a store has
 * to refuse costs it as much as what it takes, in the very moment that a unit waits for. */
static uint64_t turn_of(const struct failover_store *store, const struct core_proposal *proposal)
{
    uint64_t turn = 0;
    for (unsigned i = 0; i < proposal->ballot_count; i++)
        turn += proposal->ballots[i].reason != CORE_FINE && proposal->ballots[i].gateway < store->failover->core.self;
    return turn;
}

void failover_store_propose(struct failover_store *store, const struct core_proposal *proposal, const char *why)
{
    struct job *job = add(store, proposal->unit);
    job->proposes = true;
    uint64_t turn = turn_of(store, proposal);
    job->due_us += turn * TURN_US;
    job->waits = turn > 0;
    job->proposal = *proposal;
    unit_record(failover_find_unit(store->failover, proposal->unit)->unit, &job->record);
    snprintf(job->why, sizeof(job->why), "%s", why);
}

void failover_store_ask(struct failover_store *store, uint64_t unit)
{
    for (size_t i = 0; i < store->count; i++)
        if (store->jobs[i].unit == unit && !store->jobs[i].proposes)
            return;
    add(store, unit);
}

/* --- the store's answers ------------------------------------------------------------------------------------------ */

static void tell_fault(struct failover_store *store, const char *fault)
{
    if (fault[0] != '\0' && strcmp(fault, store->fault) != 0)
        log_warning("failover.store", "%s", fault);
    snprintf(store->fault, sizeof(store->fault), "%s", fault);
}

static int read_record(struct failover_store *store, const char *unit, struct broker_record *record, struct error *err)
{
    char name[96];
    struct buf text = {NULL, 0, 0};
    uint64_t version = 0;
    *record = (struct broker_record){0};
    broker_record_name(name, sizeof(name), str_of(unit));
    int failed = store_document_get(store->store, name, &text, &version, err);
    if (failed == 0 && version > 0)
        failed = broker_record_parse(buf_str(&text), record, err);
    record->version = version;
    buf_free(&text);
    return failed;
}

static const struct broker_member *next_primary(const struct core_proposal *proposal,
                                                const struct broker_record *record)
{
    for (unsigned i = 0; i < record->member_count; i++)
        if (pulse_hash(str_of(record->members[i].url)) == proposal->primary &&
            pulse_hash(str_of(record->members[i].run_id)) == proposal->run_id)
            return &record->members[i];
    return NULL;
}

static bool moves_primary(const struct core_proposal *proposal)
{
    bool unplanned = proposal->plan == CORE_PLAN_NONE;
    return unplanned ? proposal->matter == CORE_PRIMARY : proposal->plan == CORE_PLAN_LEVEL;
}

/* What the proposal makes of RECORD. False where RECORD no longer holds what the proposal rests on. A planned switch
 * that was under way ends in either case: nobody worked on the unit's home if it is given up. */
static bool change(const struct failover_store *store, const struct job *job, const char *consumer,
                   struct broker_record *record)
{
    const struct core_proposal *proposal = &job->proposal;
    const struct broker_member *next = next_primary(proposal, record);
    bool moves = moves_primary(proposal), planned = proposal->plan != CORE_PLAN_NONE;
    if (moves && next == NULL)
        return false;
    if (moves)
        broker_record_lead(record, next);
    else if (planned)
        record->drained = (struct broker_drain){.at_us = 0};
    broker_record_end_plan(record);
    broker_record_sign(record, store->failover->gateway->name, job->why, clock_wall_us());
    snprintf(record->consumer, sizeof(record->consumer), "%s", consumer);
    if (!planned)
        record->moved_us = record->at_us;
    return true;
}

/* A call without an answer may have been carried out: the record tells whose it is. */
static enum core_result outcome_of(struct failover_store *store, const char *unit, const struct broker_record *mine,
                                   struct broker_record *now)
{
    struct error err;
    if (read_record(store, unit, now, &err) != 0)
        return CORE_UNKNOWN;
    if (now->at_us == mine->at_us && strcmp(now->by, mine->by) == 0)
        return CORE_WON;
    return now->version > mine->version ? CORE_LOST : CORE_UNKNOWN;
}

static enum core_result put_record(struct failover_store *store, const char *unit, struct broker_record *record)
{
    char name[96];
    struct buf text = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    uint64_t version = 0;
    broker_record_name(name, sizeof(name), str_of(unit));
    broker_record_format(record, &text);
    int failed = store_document_put(store->store, name, record->version, buf_str(&text), &version, &err);
    buf_free(&text);
    tell_fault(store, err.code == ERROR_CONFLICT ? "" : err.text);
    if (failed == 0) {
        record->version = version;
        return CORE_WON;
    }
    struct broker_record mine = *record;
    return outcome_of(store, unit, &mine, record);
}

/* RECORD comes back as what is known to be in force, without members where nothing is. The store is not asked before:
 * where it holds another record by now, it refuses this one. */
static enum core_result propose(struct failover_store *store, const struct job *job, const char *unit,
                                const char *consumer, struct broker_record *record)
{
    *record = job->record;
    if (job->lapsed || record->version != job->proposal.from_epoch || !change(store, job, consumer, record))
        return CORE_LOST;
    return put_record(store, unit, record);
}

/* --- telling the core --------------------------------------------------------------------------------------------- */

static void count_result(struct failover *failover, enum core_result result)
{
    stat_value *const counters[] = {[CORE_WON] = &failover->stats.failover_won_total,
                                    [CORE_LOST] = &failover->stats.failover_lost_total,
                                    [CORE_UNKNOWN] = &failover->stats.failover_unknown_total};
    stat_add(counters[result], 1);
}

static void conclude(struct failover *failover, const struct job *job, const char *name, enum core_result result,
                     const struct broker_record *record)
{
    static const enum failover_event events[] = {
        [CORE_WON] = FAILOVER_WON, [CORE_LOST] = FAILOVER_LOST, [CORE_UNKNOWN] = FAILOVER_UNKNOWN};
    struct core_event event = {.kind = CORE_PROPOSED, .proposed = {job->unit, result}};
    struct str text = result == CORE_WON    ? STR_LIT("the store took this gateway's record")
                      : result == CORE_LOST ? STR_LIT("the record had changed already")
                                            : STR_LIT("the store gave no answer");
    pthread_mutex_lock(&failover->lock);
    failover_log_add(&failover->log, events[result], name, record->version, text);
    count_result(failover, result);
    failover_step(failover, &event);
    pthread_mutex_unlock(&failover->lock);
    pulse_port_ring(failover->port);
}

static void do_job(struct failover_store *store, const struct job *job, const char *unit, const char *consumer)
{
    struct error err = {ERROR_NONE, ""};
    struct broker_record record = {0};
    enum core_result result = CORE_UNKNOWN;
    if (job->proposes)
        result = propose(store, job, unit, consumer, &record);
    else if (read_record(store, unit, &record, &err) != 0)
        record = (struct broker_record){0};
    tell_fault(store, err.text);
    if (result == CORE_WON) /* others first: they have the longer way */
        failover_announce(store->failover, unit, &record);
    else if (record.member_count > 0 && (!job->proposes || result != CORE_UNKNOWN))
        failover_adopt(store->failover, unit, &record);
    if (job->proposes)
        conclude(store->failover, job, unit, result, &record);
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

/* The next one that is due, or will be; NULL: there is none. */
static struct job *next_job(struct failover_store *store)
{
    struct job *next = store->count > 0 ? &store->jobs[0] : NULL;
    for (size_t i = 1; i < store->count; i++)
        if (store->jobs[i].due_us < next->due_us)
            next = &store->jobs[i];
    return next;
}

/* NULL: it is to stop. */
static struct job *await_job(struct failover_store *store)
{
    pthread_mutex_t *lock = &store->failover->lock;
    uint64_t warm_us = clock_monotonic_us() + WARM_US;
    while (!store->stopping) {
        struct job *next = next_job(store);
        uint64_t now_us = clock_monotonic_us(), until_us = next != NULL ? next->due_us : warm_us;
        if (next != NULL && now_us >= until_us)
            return next;
        struct timespec until = {(time_t)(until_us / 1000000), (long)(until_us % 1000000 * 1000)};
        if (now_us < until_us) {
            pthread_cond_timedwait(&store->more, lock, &until);
            continue;
        }
        pthread_mutex_unlock(lock);
        store_keep_warm(store->store);
        pthread_mutex_lock(lock);
        warm_us = clock_monotonic_us() + WARM_US;
    }
    return NULL;
}

/* The record is the same, and no rule objects but that a proposal is under way: this one. Who slept through his turn
 * does not know. */
static bool stands(const struct failover *failover, const struct job *job)
{
    const struct core_unit *unit = core_find_unit(&failover->core, job->unit);
    return clock_monotonic_us() < job->due_us + TURN_US && unit != NULL &&
           unit->record.epoch == job->proposal.from_epoch &&
           core_objection(&failover->core, unit, job->proposal.matter) == CORE_UNDECIDED;
}

static bool take_job(struct failover_store *store, struct job *job, char *unit, char *consumer)
{
    struct failover *failover = store->failover;
    pthread_mutex_lock(&failover->lock);
    struct job *next = await_job(store);
    if (next != NULL) {
        *job = *next;
        *next = store->jobs[--store->count];
        bool own = job->proposal.consumer == 0 || job->proposal.consumer == job->unit;
        job->lapsed = job->waits && !stands(failover, job);
        snprintf(unit, BROKER_UNIT_SIZE, "%s", failover_name_of(failover, job->unit));
        snprintf(consumer, BROKER_UNIT_SIZE, "%s", own ? "" : failover_name_of(failover, job->proposal.consumer));
    }
    pthread_mutex_unlock(&failover->lock);
    return next != NULL;
}

static void *run(void *arg)
{
    struct failover_store *store = arg;
    struct job job;
    char unit[BROKER_UNIT_SIZE], consumer[BROKER_UNIT_SIZE];
    pulse_hurry_thread();
    store_keep_warm(store->store);
    while (take_job(store, &job, unit, consumer))
        do_job(store, &job, unit, consumer);
    return NULL;
}

struct failover_store *failover_store_create(struct failover *failover, struct error *err)
{
    const struct gateway_config *config = &failover->gateway->config;
    struct failover_store *store = mem_calloc(1, sizeof(*store));
    store->failover = failover;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->more, &monotonic);
    pthread_condattr_destroy(&monotonic);
    store->store = store_open_as(config->store.location ? config->store.location : "", &config->store.access, err);
    if (store->store == NULL)
        failover_store_destroy(&store);
    return store;
}

int failover_store_start(struct failover_store *store, struct store *watched, struct error *err)
{
    store_lean_on(store->store, watched);
    int failed = pthread_create(&store->thread, NULL, run, store);
    store->running = failed == 0;
    return failed == 0 ? 0 : error_set_errno(err, failed, "cannot start the thread that asks the store");
}

void failover_store_stop(struct failover_store *store)
{
    if (!store->running)
        return;
    pthread_mutex_lock(&store->failover->lock);
    store->stopping = true;
    pthread_cond_signal(&store->more);
    pthread_mutex_unlock(&store->failover->lock);
    pthread_join(store->thread, NULL);
    store->running = false;
}

void failover_store_destroy(struct failover_store **store)
{
    if (*store == NULL)
        return;
    failover_store_stop(*store);
    store_close(&(*store)->store);
    pthread_cond_destroy(&(*store)->more);
    free((*store)->jobs);
    free(*store);
    *store = NULL;
}
