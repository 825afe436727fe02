/* SPDX-License-Identifier: Apache-2.0 */
/* Who reads: each at one unit, keys at random, half of them such as were written just now. */
#include <stdlib.h>

#include "common/clock.h"
#include "test/zonec/load.h"

#define PAUSE_US 10000 /* after a refusal */
#define RECENT   1000  /* versions */

struct reader {
    struct client client; /* first: an answer finds its reader by it */
    struct load *load;
    size_t unit;
    uint32_t key;
    uint32_t had, core_had; /* of the key, when it asked: what the unit's copy showed, and what the core did */
    uint32_t place_had;     /* what the core did in the unit's place */
    uint32_t wanted;        /* LDC-Min-Version */
    uint64_t next_us;
};

/* With MIN_VERSION as if the reader had written it. */
static uint32_t pick_key(struct load *load, uint64_t *min_version)
{
    struct known *known = &load->known;
    uint64_t choice = load_random(load) >> 16, highest = known->highest;
    if (choice % 2 == 0 && highest > 0) {
        uint64_t version = highest - (choice >> 8) % (highest < RECENT ? highest : RECENT);
        const struct known_version *one = &known->versions[version];
        *min_version = one->source == KNOWN_ACKED && !one->deleted && choice % 16 == 0 ? version : 0;
        if (one->source == KNOWN_ACKED)
            return one->key;
    }
    return (uint32_t)(choice >> 20) % load->options.keys;
}

static void read_next(struct reader *reader, uint64_t now_us)
{
    struct load *load = reader->load;
    uint64_t min_version = 0;
    reader->key = pick_key(load, &min_version);
    reader->had = load->known.had[reader->unit][reader->key];
    reader->core_had = load->known.had[load->units][reader->key];
    reader->place_had = load->known.had[load->units + 1 + reader->unit][reader->key];
    reader->wanted = (uint32_t)min_version;
    reader->client.out.len = 0;
    load_get(load, &reader->client.out, reader->key, reader->unit, min_version);
    client_send(&reader->client, now_us);
}

/* The number of the write in a value that writers.c made for this key; false where it is none. */
static bool write_of(struct str body, uint32_t key, uint32_t *write)
{
    char name[LOAD_KEY_SIZE], wanted[128];
    if (body.len < 10 || memcmp(body.base, "{\"write\":", 9) != 0)
        return false;
    *write = (uint32_t)strtoul(body.base + 9, NULL, 10);
    load_key(name, key);
    int len = snprintf(wanted, sizeof(wanted), "{\"write\":%u,\"key\":\"%s\",", *write, name);
    return body.len > (size_t)len && memcmp(body.base, wanted, (size_t)len) == 0;
}

static uint32_t most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* The unit whose copy answered; the core's number where it was another one. */
static size_t who_answered(struct reader *reader, const struct answer *answer)
{
    struct load *load = reader->load;
    if (answer->unit.base == NULL || str_equal(answer->unit, str_of(load->options.units[reader->unit])))
        return reader->unit;
    load->phase.by_core++;
    return load->units;
}

/* Whether the reader went back by the change from the core, which answered in its unit's place, to the unit's copy. */
static void note_place(struct reader *reader, bool own, uint32_t version)
{
    struct load *load = reader->load;
    uint32_t *had = &load->known.had[load->units + 1 + reader->unit][reader->key];
    if (own && version > 0 && version < reader->place_had)
        load->phase.core_back++;
    if (!own)
        *had = most(*had, version);
}

static void look_at(struct reader *reader, const struct answer *answer)
{
    struct known *known = &reader->load->known;
    size_t unit = who_answered(reader, answer);
    uint64_t version = answer->status == 200 ? answer->version : 0;
    bool own = unit == reader->unit;
    uint32_t write;
    known_read(known, unit, reader->key, most(reader->wanted, own ? reader->had : reader->core_had), version);
    note_place(reader, own, (uint32_t)version);
    if (answer->status != 200)
        return;
    if (version == 0 || !write_of(answer->body, reader->key, &write))
        known_alien(known, reader->key, version);
    else
        known_add(known, version, (struct known_version){write, reader->key, KNOWN_SEEN, false});
}

static void on_answer(struct client *client, const struct answer *answer)
{
    struct reader *reader = (struct reader *)client;
    struct load_phase *phase = &reader->load->phase;
    uint64_t now_us = clock_monotonic_us();
    uint32_t rate = reader->load->options.reads_rate;
    reader->next_us = rate > 0 ? reader->next_us + 1000000ull * reader->load->options.readers / rate : now_us;
    if (answer->status == 200 || answer->status == 404) {
        phase->reads++;
        phase->warned += answer->warned;
        figures_add(&phase->reading, now_us - client->began_us);
        look_at(reader, answer);
    } else {
        *(answer->status == 0 ? &phase->read_lost : &phase->read_refused) += 1;
        reader->next_us = now_us + PAUSE_US;
    }
}

void readers_create(struct load *load)
{
    uint32_t each = load->options.readers;
    load->readers = mem_calloc(each * load->units + 1, sizeof(*load->readers));
    for (size_t i = 0; i < each * load->units; i++) {
        load->readers[i].load = load;
        load->readers[i].unit = i / each;
        load->readers[i].next_us = clock_monotonic_us() + load_random(load) % 100000;
        client_init(&load->readers[i].client, &load->set, i, on_answer);
    }
}

void readers_turn(struct load *load, uint64_t now_us)
{
    for (size_t i = 0; i < load->options.readers * load->units && !load->stopping; i++)
        if (!load->readers[i].client.busy && load->readers[i].next_us <= now_us)
            read_next(&load->readers[i], now_us);
}

void readers_destroy(struct load *load)
{
    for (size_t i = 0; i < load->options.readers * load->units; i++)
        client_close(&load->readers[i].client);
    free(load->readers);
}
