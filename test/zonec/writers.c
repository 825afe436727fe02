/* SPDX-License-Identifier: Apache-2.0 */
/* Who writes: each has one write under way, until it is accepted. */
#include <stdlib.h>

#include "common/clock.h"
#include "test/zonec/load.h"

#define PAUSE_US 20000 /* before a refused write is sent again */

struct writer {
    struct client client; /* first: an answer finds its writer by it */
    struct load *load;
    bool open, deletes;
    uint32_t write, key;
    uint64_t due_us;   /* when it should have begun */
    uint64_t again_us; /* when it is sent again; 0: it is under way */
};

struct pace {
    uint32_t begun;
    uint64_t next_us;
};

static struct pace pace;

static void fill_body(struct buf *out, const struct load *load, const struct writer *writer, const char *key)
{
    char text[128];
    int len = snprintf(text, sizeof(text), "{\"write\":%u,\"key\":\"%s\",\"pad\":\"", writer->write, key);
    int pad = (int)load->options.value_size - len - 2;
    pad = pad > 0 ? pad : 0;
    buf_printf(out, "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len + pad + 2, text);
    memset(buf_reserve(out, (size_t)pad), 'x', (size_t)pad);
    out->len += (size_t)pad;
    buf_printf(out, "\"}");
}

static void send_write(struct writer *writer, uint64_t now_us)
{
    struct load *load = writer->load;
    struct buf *out = &writer->client.out;
    char key[LOAD_KEY_SIZE];
    load_key(key, writer->key);
    out->len = 0;
    writer->again_us = 0;
    buf_printf(out, "%s /-/c/%s/%s HTTP/1.1\r\nHost: load\r\nIdempotency-Key: w%u\r\n",
               writer->deletes ? "DELETE" : "PUT", load->options.collection, key, writer->write);
    if (writer->deletes)
        buf_printf(out, "\r\n");
    else
        fill_body(out, load, writer, key);
    client_send(&writer->client, now_us);
}

static bool is_done(const struct writer *writer, const struct answer *answer)
{
    return answer->status == 200 || answer->status == 201 || answer->status == 204 ||
           (writer->deletes && answer->status == 404);
}

static void take_acknowledgement(struct writer *writer, const struct answer *answer, uint64_t now_us)
{
    struct load *load = writer->load;
    writer->open = false;
    load->phase.accepted++;
    figures_add(&load->phase.writes, now_us - writer->client.began_us);
    figures_add(&load->phase.waits, now_us - writer->due_us);
    if (answer->version == 0)
        return; /* there was nothing to delete */
    known_add(&load->known, answer->version,
              (struct known_version){writer->write, writer->key, KNOWN_ACKED, writer->deletes});
    if (!writer->deletes)
        probing_accept(load, writer->key, answer->version, now_us);
}

static void begin(struct writer *writer, uint64_t due_us, uint64_t now_us)
{
    struct load *load = writer->load;
    const struct load_options *options = &load->options;
    writer->open = true;
    writer->write = options->first + pace.begun;
    writer->key = (options->in_order ? pace.begun : (uint32_t)(load_random(load) >> 16)) % options->keys;
    writer->deletes = load_random(load) % 100 < options->deletes;
    writer->due_us = due_us;
    pace.begun++;
    send_write(writer, now_us);
}

static bool may_begin(const struct load *load)
{
    return !load->stopping && (load->options.count == 0 || pace.begun < load->options.count);
}

static void on_answer(struct client *client, const struct answer *answer)
{
    struct writer *writer = (struct writer *)client;
    struct load *load = writer->load;
    uint64_t now_us = clock_monotonic_us();
    if (!is_done(writer, answer)) {
        *(answer->status == 0 ? &load->phase.lost : &load->phase.refused) += 1;
        writer->again_us = now_us + PAUSE_US;
        return;
    }
    take_acknowledgement(writer, answer, now_us);
    if (load->options.rate == 0 && may_begin(load))
        begin(writer, now_us, now_us);
}

void writers_create(struct load *load)
{
    load->writers = mem_calloc(load->options.writers, sizeof(*load->writers));
    for (uint32_t i = 0; i < load->options.writers; i++) {
        load->writers[i].load = load;
        client_init(&load->writers[i].client, &load->set, i, on_answer);
    }
    pace = (struct pace){.next_us = clock_monotonic_us()};
}

/* Those that have nothing to do take what is due. What is late for want of a writer is measured as late. */
static void begin_due(struct load *load, uint64_t now_us)
{
    uint32_t rate = load->options.rate;
    for (uint32_t i = 0; i < load->options.writers && may_begin(load); i++) {
        if (load->writers[i].open)
            continue;
        if (rate > 0 && pace.next_us > now_us)
            return;
        begin(&load->writers[i], rate > 0 ? pace.next_us : now_us, now_us);
        pace.next_us += rate > 0 ? 1000000 / rate : 0;
    }
}

void writers_turn(struct load *load, uint64_t now_us)
{
    for (uint32_t i = 0; i < load->options.writers; i++)
        if (load->writers[i].again_us > 0 && load->writers[i].again_us <= now_us)
            send_write(&load->writers[i], now_us);
    begin_due(load, now_us);
}

uint64_t writers_next_us(const struct load *load)
{
    uint64_t soon_us = clock_monotonic_us() + PAUSE_US / 4;
    return load->options.rate > 0 && may_begin(load) && pace.next_us < soon_us ? pace.next_us : soon_us;
}

bool writers_done(const struct load *load)
{
    for (uint32_t i = 0; i < load->options.writers; i++)
        if (load->writers[i].open)
            return false;
    return !may_begin(load);
}

void writers_tell(const struct load *load, FILE *journal)
{
    for (uint32_t i = 0; i < load->options.writers; i++)
        if (load->writers[i].open)
            fprintf(journal, "open %u %u %s\n", load->writers[i].write, load->writers[i].key,
                    load->writers[i].deletes ? "del" : "put");
}

void writers_destroy(struct load *load)
{
    for (uint32_t i = 0; i < load->options.writers; i++)
        client_close(&load->writers[i].client);
    free(load->writers);
}
