/* SPDX-License-Identifier: Apache-2.0 */
/* How long after its acknowledgement a write can be read in every unit: asked for again and again until it is there.
 * What waits for a free connection counts as not readable. It is readable from when the read begins that finds it, and
 * found when that is answered, which takes as long as any read does. */
#include <stdlib.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "test/zonec/load.h"

#define MISSED_US  300 /* until it is asked again: who asks all the time is all that is measured */
#define REFUSED_US 2000
#define RING       16384

struct sample {
    uint32_t key, missing; /* units that do not show it yet */
    uint64_t version, acked_us;
    uint64_t readable_us; /* when the read began that found it in the unit that was last in that */
    bool deleted;         /* one of them showed that it is gone again */
};

struct prober {
    struct client client; /* first: an answer finds its prober by it */
    struct load *load;
    size_t unit;
    uint64_t sample; /* number in the ring; NONE */
    uint64_t again_us;
};

#define NONE UINT64_MAX

struct probing {
    struct sample ring[RING];
    uint64_t taken[LOAD_UNITS_MOST], begun; /* samples that each unit has begun, and that there are */
    uint64_t pending, next_us;
    struct prober *probers;
    size_t count;
};

static struct sample *sample_of(struct probing *probing, uint64_t number)
{
    return &probing->ring[number % RING];
}

static void ask(struct prober *prober, uint64_t now_us)
{
    struct load *load = prober->load;
    prober->again_us = 0;
    prober->client.out.len = 0;
    load_get(load, &prober->client.out, sample_of(load->probing, prober->sample)->key, prober->unit, 0);
    client_send(&prober->client, now_us);
}

static void take_next(struct prober *prober, uint64_t now_us)
{
    struct probing *probing = prober->load->probing;
    if (probing->taken[prober->unit] == probing->begun)
        return;
    prober->sample = probing->taken[prober->unit]++;
    ask(prober, now_us);
}

/* SHOWN: the unit shows the write, or what came behind it; false: the key is gone again. */
static void finish(struct prober *prober, bool shown, uint64_t now_us)
{
    struct load *load = prober->load;
    struct sample *sample = sample_of(load->probing, prober->sample);
    prober->sample = NONE;
    uint64_t began_us = prober->client.began_us;
    sample->deleted |= !shown;
    sample->readable_us = began_us > sample->readable_us ? began_us : sample->readable_us;
    if (shown)
        figures_add(&load->phase.visible[prober->unit], now_us - sample->acked_us);
    if (--sample->missing > 0)
        return;
    load->probing->pending--;
    if (sample->deleted)
        return;
    figures_add(&load->phase.readable, sample->readable_us - sample->acked_us);
    figures_add(&load->phase.everywhere, now_us - sample->acked_us);
}

static void on_answer(struct client *client, const struct answer *answer)
{
    struct prober *prober = (struct prober *)client;
    uint64_t now_us = clock_monotonic_us();
    if (answer->status != 200 && answer->status != 404) {
        prober->again_us = now_us + REFUSED_US;
        return;
    }
    uint64_t version = sample_of(prober->load->probing, prober->sample)->version;
    if (answer->status == 200 ? answer->version >= version : answer->sequence >= version)
        finish(prober, answer->status == 200, now_us);
    if (prober->sample != NONE)
        prober->again_us = now_us + MISSED_US;
    else
        take_next(prober, now_us);
}

void probing_create(struct load *load)
{
    struct probing *probing = load->probing = mem_calloc(1, sizeof(*probing));
    uint32_t each = load->options.probe_rate > 0 ? load->options.probers : 0;
    probing->count = each * load->units;
    probing->probers = mem_calloc(probing->count + 1, sizeof(*probing->probers));
    for (size_t i = 0; i < probing->count; i++) {
        struct prober *prober = &probing->probers[i];
        *prober = (struct prober){.load = load, .unit = i / each, .sample = NONE};
        client_init(&prober->client, &load->set, i, on_answer);
    }
}

void probing_accept(struct load *load, uint32_t key, uint64_t version, uint64_t now_us)
{
    struct probing *probing = load->probing;
    if (probing->count == 0 || now_us < probing->next_us || probing->pending == RING || load->stopping)
        return;
    probing->next_us = now_us + 1000000 / load->options.probe_rate;
    INVARIANT(sample_of(probing, probing->begun)->missing == 0 || probing->pending < RING);
    *sample_of(probing, probing->begun) = (struct sample){key, (uint32_t)load->units, version, now_us, 0, false};
    probing->begun++;
    probing->pending++;
    probing_turn(load, now_us);
}

void probing_turn(struct load *load, uint64_t now_us)
{
    for (size_t i = 0; i < load->probing->count; i++) {
        struct prober *prober = &load->probing->probers[i];
        if (prober->again_us > 0 && prober->again_us <= now_us)
            ask(prober, now_us);
        else if (prober->sample == NONE && !prober->client.busy)
            take_next(prober, now_us);
    }
}

uint64_t probing_next_us(const struct load *load, uint64_t latest_us)
{
    for (size_t i = 0; i < load->probing->count; i++) {
        uint64_t again_us = load->probing->probers[i].again_us;
        latest_us = again_us > 0 && again_us < latest_us ? again_us : latest_us;
    }
    return latest_us;
}

bool probing_done(const struct load *load)
{
    return load->probing->pending == 0;
}

void probing_destroy(struct load *load)
{
    for (size_t i = 0; i < load->probing->count; i++)
        client_close(&load->probing->probers[i].client);
    free(load->probing->probers);
    free(load->probing);
}
