/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/gate.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/cover.h"

#define RETRY_US 20000

/* What is asked about in one round: this far, PARTITION is covered if it succeeds. */
struct claim {
    struct partition *partition;
    uint32_t life;
    struct stream_id id;
    bool written; /* and its cursor is proven */
};

/* IDLE -> (something waits) -> asking, until that was answered -> IDLE, or, where it did not prove anything, `retry`.
 */
struct gate {
    struct gate_config config;
    struct broker *broker;
    sd_event_source *turn, *retry;
    struct partition *first, **last; /* that wait for the next round, over `next_gated` */
    size_t waiting;
    struct claim *claims;
    size_t claim_count, claim_room;
    struct cover cover;
    bool holding; /* `retry` runs, and begins the next round */
    bool closed;  /* the last round proved nothing, and the log has it */
};

static const struct broker_record *record_of(void *arg)
{
    const struct gate *gate = arg;
    return gate->config.record(gate->config.arg);
}

static bool is_open(struct gate *gate)
{
    const struct broker_record *record = record_of(gate);
    return record == NULL || record->member_count == 1;
}

static void enqueue(struct gate *gate, struct partition *partition)
{
    if (partition->at_gate)
        return;
    partition->at_gate = true;
    partition->next_gated = NULL;
    *gate->last = partition;
    gate->last = &partition->next_gated;
    gate->waiting++;
}

static struct partition *dequeue(struct gate *gate)
{
    struct partition *partition = gate->first;
    if (partition == NULL)
        return NULL;
    gate->first = partition->next_gated;
    if (gate->first == NULL)
        gate->last = &gate->first;
    partition->at_gate = false;
    gate->waiting--;
    return partition;
}

static void wake(struct gate *gate)
{
    loop_wake(gate->turn);
}

/* --- a round ----------------------------------------------------------------------------------------------------- */

static void hold(struct gate *gate)
{
    gate->holding = true;
    loop_wake_in(gate->retry, RETRY_US);
}

static void set_closed(struct gate *gate, bool closed, const char *why)
{
    if (closed && !gate->closed)
        log_warning("gate.closed", "%s; what is read is not delivered until every in-sync broker has it", why);
    if (!closed && gate->closed)
        log_info("gate.open", "every in-sync broker has what was read");
    gate->closed = closed;
    stat_set(&gate->config.stats->agent_gate_closed, closed);
}

static void admit_one(struct gate *gate, const struct claim *claim)
{
    struct partition *partition = claim->partition;
    if (claim->life != partition->life)
        return;
    partition_cover(partition, claim->id);
    gate->config.covered(gate->config.arg, partition);
    if (!claim->written || !partition->unproven)
        return;
    partition->unproven = false;
    gate->config.proven(gate->config.arg, partition);
}

static void admit(struct gate *gate)
{
    for (size_t i = 0; i < gate->claim_count; i++)
        admit_one(gate, &gate->claims[i]);
    gate->claim_count = 0;
}

static void put_back(struct gate *gate)
{
    for (size_t i = 0; i < gate->claim_count; i++)
        if (gate->claims[i].life == gate->claims[i].partition->life)
            enqueue(gate, gate->claims[i].partition);
    gate->claim_count = 0;
}

static void on_answered(void *arg, bool proven, const char *why)
{
    struct gate *gate = arg;
    stat_add(&gate->config.stats->agent_gate_rounds_total, 1);
    set_closed(gate, !proven, why);
    if (proven) {
        admit(gate);
        wake(gate);
    } else {
        stat_add(&gate->config.stats->agent_gate_refusals_total, 1);
        put_back(gate);
        hold(gate);
    }
}

static void claim(struct gate *gate, struct partition *partition)
{
    if (gate->claim_count == gate->claim_room) {
        gate->claim_room = gate->claim_room > 0 ? gate->claim_room * 2 : 64;
        gate->claims = mem_realloc(gate->claims, gate->claim_room * sizeof(*gate->claims));
    }
    bool written = partition->unproven && partition->linked;
    gate->claims[gate->claim_count++] = (struct claim){partition, partition->life, partition->last_read, written};
}

/* What is claimed was read, or written, before the PING leaves, so it is covered by what the PING stands for. */
static void begin_round(struct gate *gate)
{
    const struct broker_record *record = record_of(gate);
    for (struct partition *partition; (partition = dequeue(gate)) != NULL;)
        if (partition->restored)
            claim(gate, partition);
    if (is_open(gate)) {
        set_closed(gate, false, "");
        admit(gate);
        return;
    }
    if (cover_ask(&gate->cover, gate->broker))
        return;
    set_closed(gate, true, record->member_count > 0 ? broker_fault(gate->broker) : "no broker record is there yet");
    put_back(gate);
    hold(gate);
}

static int on_turn(sd_event_source *source, void *arg)
{
    (void)source;
    struct gate *gate = arg;
    if (!gate->cover.asking && gate->waiting > 0)
        begin_round(gate);
    return 0;
}

static int on_retry(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct gate *gate = arg;
    gate->holding = false;
    wake(gate);
    return 0;
}

void gate_pass(struct gate *gate, struct partition *partition)
{
    if (is_open(gate) && !partition->at_gate) {
        partition_cover(partition, partition->last_read);
        return;
    }
    enqueue(gate, partition);
    if (!gate->holding) /* a gate that closed over partitions that are gone since has nobody else to open it */
        wake(gate);
}

void gate_prove(struct gate *gate, struct partition *partition)
{
    partition->unproven = !is_open(gate);
    if (partition->unproven)
        gate_pass(gate, partition);
    else
        gate->config.proven(gate->config.arg, partition);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct gate *gate = arg;
    if (gate->broker == NULL) /* told from within broker_create */
        gate->broker = broker;
    if (state == BROKER_READY)
        wake(gate);
}

struct gate *gate_create(sd_event *loop, const struct gate_config *config)
{
    struct gate *gate = mem_calloc(1, sizeof(*gate));
    gate->config = *config;
    gate->last = &gate->first;
    gate->cover = (struct cover){.record = record_of, .ended = on_answered, .arg = gate};
    gate->turn = loop_later(loop, on_turn, gate);
    gate->retry = loop_timer(loop, on_retry, gate);
    gate->broker = broker_create(config->broker_loop, config->broker, on_state, gate);
    return gate;
}

void gate_destroy(struct gate **gate_p)
{
    struct gate *gate = *gate_p;
    if (gate == NULL)
        return;
    *gate_p = NULL;
    broker_destroy(&gate->broker);
    while (dequeue(gate) != NULL)
        ;
    sd_event_source_disable_unref(gate->turn);
    sd_event_source_disable_unref(gate->retry);
    free(gate->claims);
    free(gate);
}
