/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/lease.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"

#define FINISH_US    5000 /* how often those that finish are looked at */
#define BATCH        256  /* leases in one command: the broker takes a fraction of a millisecond for it */
#define MOST_BATCHES 8

struct leases {
    sd_event *loop;
    struct leases_config config;
    struct roster *roster;         /* NULL: none */
    struct lease **items, **index; /* [count], and by hash: [mask + 1] */
    size_t count, room, mask;
    size_t held, doubted, finishing;
    size_t batches; /* under way */
    uint64_t generation, lapses;
    bool left_out; /* some wait for a batch to end */
    bool stopped;
    bool sure; /* and those who wait for it were told */
    sd_event_source *finish;
};

/* --- the list ---------------------------------------------------------------------------------------------------- */

static struct lease **index_slot(const struct leases *leases, uint64_t hash, struct str topic, unsigned number)
{
    struct lease **at = &leases->index[hash & leases->mask];
    while (*at != NULL && ((*at)->number != number || !str_equal(str_of((*at)->topic), topic)))
        at = &(*at)->chain;
    return at;
}

static void grow(struct leases *leases)
{
    leases->room = leases->room > 0 ? leases->room * 2 : 64;
    leases->mask = leases->room - 1;
    leases->items = mem_realloc(leases->items, leases->room * sizeof(struct lease *));
    free(leases->index);
    leases->index = mem_calloc(leases->room, sizeof(struct lease *));
    for (size_t i = 0; i < leases->count; i++) {
        struct lease **bucket = &leases->index[leases->items[i]->hash & leases->mask];
        leases->items[i]->chain = *bucket;
        *bucket = leases->items[i];
    }
}

struct lease *leases_get(struct leases *leases, struct str topic, unsigned number)
{
    char state[PROTOCOL_KEY_MAX];
    size_t len = protocol_key(state, leases->config.unit, topic, number, "state");
    uint64_t hash = XXH3_64bits(state, len);
    if (leases->count == leases->room)
        grow(leases);
    struct lease **slot = index_slot(leases, hash, topic, number);
    if (*slot != NULL)
        return *slot;
    struct lease *lease = mem_calloc(1, sizeof(*lease));
    lease->hash = hash;
    lease->topic = str_dup(topic);
    lease->number = number;
    lease->state_key = str_dup((struct str){state, len});
    lease->chosen = leases->roster != NULL && !leases->stopped && roster_chooses(leases->roster, hash);
    leases->items[leases->count++] = lease;
    return *slot = lease;
}

void lease_own(struct partition *partition)
{
    partition->owned = partition->broadcast || partition->lease->state >= LEASE_HELD;
    partition->quiesced = partition->quiesced || lease_finishes(partition->lease);
}

bool lease_finishes(const struct lease *lease)
{
    return lease->state == LEASE_FINISHING;
}

bool lease_led_by(const struct partition *partition)
{
    const struct partition *leader = partition->lease->first;
    while (leader != NULL && !leader->owned)
        leader = leader->sibling;
    return leader == partition && partition->lease->state == LEASE_HELD;
}

void lease_add(struct lease *lease, struct partition *partition)
{
    partition->lease = lease;
    partition->sibling = lease->first;
    lease->first = partition;
    lease_own(partition);
}

/* --- states ------------------------------------------------------------------------------------------------------ */

static void set_doubted(struct leases *leases, struct lease *lease, bool doubted)
{
    leases->doubted += doubted - lease->doubted;
    lease->doubted = doubted;
}

static void set_state(struct leases *leases, struct lease *lease, enum lease_state state)
{
    leases->held += (state >= LEASE_HELD) - (lease->state >= LEASE_HELD);
    leases->finishing += (state == LEASE_FINISHING) - (lease->state == LEASE_FINISHING);
    lease->state = state;
    if (state < LEASE_HELD)
        set_doubted(leases, lease, false);
    stat_set(&leases->config.stats->agent_leases_held, leases->held);
}

static void set_owned(struct lease *lease)
{
    for (struct partition *partition = lease->first; partition != NULL; partition = partition->sibling)
        partition->owned = partition->rules->listed;
}

static void drop(struct leases *leases, struct lease *lease)
{
    set_state(leases, lease, LEASE_FREE);
    for (struct partition *partition = lease->first; partition != NULL; partition = partition->sibling)
        if (!partition->broadcast) {
            partition->owned = false;
            partition_reset(partition);
        }
}

static void lose(struct leases *leases, struct lease *lease, const char *why)
{
    stat_add(&leases->config.stats->agent_leases_lost_total, 1);
    log_warning("lease.lost", "%s/%u: %s", lease->topic, lease->number, why);
    drop(leases, lease);
}

/* --- commands about many ----------------------------------------------------------------------------------------- */

struct batch {
    struct leases *leases;
    uint64_t lapses; /* that there had been: an answer from before one says nothing behind it */
    size_t count;
    struct lease *items[BATCH];
};

static void turn(struct leases *leases);

static bool send_batch(struct batch *batch, const char *function, bool with_agents, broker_reply_fn done)
{
    const char *argv[BATCH + 6] = {"FCALL", function};
    char agents[PROTOCOL_KEY_MAX], count[24];
    size_t argc = 3;
    protocol_unit_key(agents, batch->leases->config.unit, "agents");
    if (with_agents)
        argv[argc++] = agents;
    for (size_t i = 0; i < batch->count; i++)
        argv[argc++] = batch->items[i]->state_key;
    snprintf(count, sizeof(count), "%zu", argc - 3);
    argv[2] = count;
    argv[argc++] = batch->leases->config.owner.base;
    batch->leases->batches++;
    if (broker_command(roster_broker(batch->leases->roster), done, batch, (int)argc, argv, NULL))
        return true;
    batch->leases->batches--;
    return false;
}

static void batch_end(struct batch *batch)
{
    struct leases *leases = batch->leases;
    leases->batches--;
    free(batch);
    if (leases->left_out && leases->roster != NULL)
        turn(leases);
}

/* What the broker says of one that was asked for: 1, 0, or that nobody knows (-1). */
static bool settle_taken(struct leases *leases, struct lease *lease, int answer)
{
    bool was_free = lease->state == LEASE_TAKING;
    lease->stray |= answer != 0 && !(was_free && answer == 1);
    if (!was_free && !lease->doubted) /* dropped meanwhile */
        return false;
    if (answer == 1) {
        set_doubted(leases, lease, false);
        if (was_free) {
            set_state(leases, lease, LEASE_HELD);
            set_owned(lease);
        }
    } else if (was_free) {
        set_state(leases, lease, LEASE_FREE);
    } else if (answer == 0) {
        lose(leases, lease, "another agent took it while the broker heard nothing from this one");
    }
    return was_free && answer == 1;
}

/* Once each time that attempts may be begun again. */
static void tell_sure(struct leases *leases)
{
    if (leases->sure || !leases_sure(leases))
        return;
    leases->sure = true;
    leases->config.confirmed(leases->config.arg);
}

static void on_taken(void *arg, const redisReply *reply)
{
    struct batch *batch = arg;
    struct leases *leases = batch->leases;
    bool news = false;
    bool sound = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == batch->count &&
                 batch->lapses == leases->lapses;
    for (size_t i = 0; i < batch->count; i++)
        news |= settle_taken(leases, batch->items[i], sound ? (int)reply->element[i]->integer : -1);
    if (news)
        leases->config.taken(leases->config.arg);
    tell_sure(leases);
    batch_end(batch);
}

static void on_released(void *arg, const redisReply *reply)
{
    struct batch *batch = arg;
    for (size_t i = 0; i < batch->count && (reply == NULL || reply->type == REDIS_REPLY_ERROR); i++)
        batch->items[i]->stray = true;
    batch_end(batch);
}

static struct batch *batch_create(struct leases *leases)
{
    struct batch *batch = mem_alloc(sizeof(*batch));
    batch->leases = leases;
    batch->lapses = leases->lapses;
    batch->count = 0;
    return batch;
}

static void take_batch(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i]->state == LEASE_FREE)
            set_state(batch->leases, batch->items[i], LEASE_TAKING);
    if (send_batch(batch, "ldc1_take", true, on_taken))
        return;
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i]->state == LEASE_TAKING)
            set_state(batch->leases, batch->items[i], LEASE_FREE);
    free(batch);
}

static void release_batch(struct batch *batch)
{
    bool sent = send_batch(batch, "ldc1_release", false, on_released);
    for (size_t i = 0; i < batch->count; i++) {
        drop(batch->leases, batch->items[i]);
        batch->items[i]->stray = !sent;
    }
    if (!sent)
        free(batch);
}

/* LEAVE sends what has gathered, as soon as it is a whole batch. */
static void put(struct leases *leases, struct batch **batch, struct lease *lease, void (*leave)(struct batch *batch))
{
    if (*batch == NULL)
        *batch = batch_create(leases);
    (*batch)->items[(*batch)->count++] = lease;
    if ((*batch)->count < BATCH)
        return;
    leave(*batch);
    *batch = NULL;
}

/* --- whose turn it is -------------------------------------------------------------------------------------------- */

static void choose(struct leases *leases)
{
    if (leases->generation == roster_generation(leases->roster) && !leases->stopped)
        return;
    leases->generation = roster_generation(leases->roster);
    for (size_t i = 0; i < leases->count; i++)
        leases->items[i]->chosen = !leases->stopped && roster_chooses(leases->roster, leases->items[i]->hash);
}

static void begin_finishing(struct leases *leases, struct lease *lease)
{
    int64_t patience_ms =
        leases->stopped ? leases->config.options->delivery.stop_timeout : leases->config.options->lease.release_timeout;
    lease->deadline_us = clock_monotonic_us() + (uint64_t)patience_ms * 1000;
    set_state(leases, lease, LEASE_FINISHING);
    loop_wake_in(leases->finish, 0);
}

static void resume(struct leases *leases, struct lease *lease)
{
    set_state(leases, lease, LEASE_HELD);
    for (struct partition *partition = lease->first; partition != NULL; partition = partition->sibling)
        partition_resume(partition);
}

/* What the broker is to be asked for it. */
static void step(struct leases *leases, struct lease *lease, struct batch **takes, struct batch **releases)
{
    if (!lease->chosen && lease->state == LEASE_HELD && !lease->doubted)
        begin_finishing(leases, lease);
    else if (lease->chosen && lease->state == LEASE_FINISHING)
        resume(leases, lease);
    bool take = (lease->chosen && lease->state == LEASE_FREE) || lease->doubted;
    bool release = !lease->chosen && lease->state == LEASE_FREE && lease->stray;
    if (!take && !release)
        return;
    if (leases->batches >= MOST_BATCHES)
        leases->left_out = true;
    else if (take)
        put(leases, takes, lease, take_batch);
    else
        put(leases, releases, lease, release_batch);
}

static void turn(struct leases *leases)
{
    struct batch *takes = NULL, *releases = NULL;
    leases->left_out = false;
    choose(leases);
    for (size_t i = 0; i < leases->count; i++)
        step(leases, leases->items[i], &takes, &releases);
    if (takes != NULL)
        take_batch(takes);
    if (releases != NULL)
        release_batch(releases);
}

/* Retries that wait are taken back each time. */
static bool rests(const struct lease *lease)
{
    bool all = true;
    for (struct partition *partition = lease->first; partition != NULL; partition = partition->sibling)
        if (!partition->broadcast) {
            partition_quiesce(partition);
            all &= partition_rests(partition);
        }
    return all;
}

static int on_finish(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct leases *leases = arg;
    struct batch *batch = NULL;
    uint64_t now_us = clock_monotonic_us();
    for (size_t i = 0; i < leases->count && leases->finishing > 0; i++) {
        struct lease *lease = leases->items[i];
        if (lease->state != LEASE_FINISHING || !(rests(lease) || now_us >= lease->deadline_us))
            continue;
        put(leases, &batch, lease, release_batch);
    }
    if (batch != NULL)
        release_batch(batch);
    if (leases->finishing == 0)
        return 0;
    return loop_wake_in(source, FINISH_US);
}

/* --- what happens ------------------------------------------------------------------------------------------------ */

void leases_beaten(struct leases *leases)
{
    if (leases->roster == NULL || !roster_holds(leases->roster))
        return;
    turn(leases);
    tell_sure(leases);
}

/* A beat that ran out in time leaves what is in flight alone: the others take over only now. A process that stood still
 * may have requests half begun, which must not leave it any more. */
void leases_lapsed(struct leases *leases, bool late)
{
    leases->lapses++;
    leases->sure = false;
    for (size_t i = 0; i < leases->count; i++) {
        struct lease *lease = leases->items[i];
        if (lease->state < LEASE_HELD)
            continue;
        if (late) {
            drop(leases, lease);
            lease->stray = true;
        } else
            set_doubted(leases, lease, true);
    }
}

void leases_fenced(struct leases *leases, struct partition *partition)
{
    if (partition->lease->state >= LEASE_HELD)
        lose(leases, partition->lease, "the broker knows another owner, or none");
}

bool leases_sure(const struct leases *leases)
{
    return leases->roster != NULL && leases->doubted == 0 && roster_holds(leases->roster);
}

/* Another broker may lack what the last one was told last: what was given back there may be ours here. */
void leases_attach(struct leases *leases, struct roster *roster)
{
    leases->roster = roster;
    leases->generation = 0;
    leases->sure = false;
    for (size_t i = 0; i < leases->count; i++) {
        if (roster == NULL)
            drop(leases, leases->items[i]);
        leases->items[i]->stray = true;
    }
}

void leases_stop(struct leases *leases)
{
    leases->stopped = true;
    if (leases->roster != NULL)
        turn(leases);
}

bool leases_idle(const struct leases *leases)
{
    return leases->held == 0 && leases->batches == 0;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

struct leases *leases_create(sd_event *loop, const struct leases_config *config)
{
    struct leases *leases = mem_calloc(1, sizeof(*leases));
    leases->loop = loop;
    leases->config = *config;
    leases->finish = loop_timer(loop, on_finish, leases);
    return leases;
}

static void lease_free(struct lease *lease)
{
    for (struct partition *partition; (partition = lease->first) != NULL;) {
        lease->first = partition->sibling;
        partition_destroy(&partition);
    }
    free(lease->topic);
    free(lease->state_key);
    free(lease);
}

void leases_destroy(struct leases **leases_p)
{
    struct leases *leases = *leases_p;
    if (leases == NULL)
        return;
    *leases_p = NULL;
    for (size_t i = 0; i < leases->count; i++)
        lease_free(leases->items[i]);
    sd_event_source_disable_unref(leases->finish);
    free(leases->items);
    free(leases->index);
    free(leases);
}
