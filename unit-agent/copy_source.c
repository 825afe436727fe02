/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_source.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/protocol.h"
#include "unit-agent/bucket.h"

#define RETRY_US 20000

/* --- claims ------------------------------------------------------------------------------------------------------- */

static void put(struct copy_claim **list, struct copy_claim *claim)
{
    claim->next = *list;
    *list = claim;
}

static void end_claims(struct copy_claim **list, bool covered)
{
    struct copy_claim *claims = *list;
    *list = NULL;
    for (struct copy_claim *claim; (claim = claims) != NULL;) {
        claims = claim->next;
        claim->done(claim->arg, covered);
    }
}

static const struct broker_record *record_of(void *arg)
{
    return &((struct copy_source *)arg)->record;
}

static void try_again(struct copy_source *source)
{
    for (struct copy_claim *claim; (claim = source->asked) != NULL;) {
        source->asked = claim->next;
        put(&source->waiting, claim);
    }
    source->holding = true;
    loop_wake_in(source->retry, RETRY_US);
}

static void on_covered(void *arg, bool proven, const char *why)
{
    struct copy_source *source = arg;
    (void)why;
    if (proven)
        end_claims(&source->asked, true);
    else if (!copy_source_is_ready(source))
        end_claims(&source->asked, false);
    else
        try_again(source);
    if (source->waiting != NULL && !source->holding)
        loop_wake(source->turn);
}

/* Of a primary that is in sync alone there is nobody to ask: its stamp says whether it is alone still. */
static void on_stamp(void *arg, const redisReply *reply)
{
    struct copy_source *source = arg;
    uint64_t stamp = 0;
    bool told = reply != NULL &&
                (reply->type == REDIS_REPLY_NIL || (reply->type == REDIS_REPLY_STRING &&
                                                    str_to_u64((struct str){reply->str, (size_t)reply->len}, &stamp)));
    source->cover.asking = false;
    on_covered(source, told && stamp == source->record.version, "");
}

static bool ask_stamp(struct copy_source *source)
{
    char key[PROTOCOL_KEY_MAX];
    protocol_unit_key(key, str_of(source->unit), "epoch");
    const char *const words[] = {"GET", key};
    source->cover.asking = broker_command(source->primary.broker, on_stamp, source, 2, words, NULL);
    return source->cover.asking;
}

static int on_turn(sd_event_source *event, void *arg)
{
    (void)event;
    struct copy_source *source = arg;
    if (source->cover.asking || source->waiting == NULL)
        return 0;
    source->asked = source->waiting;
    source->waiting = NULL;
    if (!copy_source_is_ready(source)) {
        end_claims(&source->asked, false);
        return 0;
    }
    if (!(copy_source_is_alone(source) ? ask_stamp(source) : cover_ask(&source->cover, source->primary.broker)))
        try_again(source);
    return 0;
}

static int on_retry(sd_event_source *event, uint64_t at_us, void *arg)
{
    (void)event, (void)at_us;
    struct copy_source *source = arg;
    source->holding = false;
    loop_wake(source->turn);
    return 0;
}

void copy_source_claim(struct copy_source *source, struct copy_claim *claim)
{
    put(&source->waiting, claim);
    if (!source->holding)
        loop_wake(source->turn);
}

/* --- where it is -------------------------------------------------------------------------------------------------- */

static void connect_to(struct copy_source *source, struct str url)
{
    bool stays = source->primary.url != NULL && str_equal(str_of(source->primary.url), url);
    primary_adopt(&source->primary, url);
    if (!stays) /* what another broker told is not for this one to confirm */
        end_claims(&source->waiting, false);
}

static void connect_to_recorded(struct copy_source *source, struct str by_rules)
{
    connect_to(source, source->record.primary[0] != '\0' ? str_of(source->record.primary) : by_rules);
}

static void set_unit(struct copy_source *source, struct str unit)
{
    if (str_equal(str_of(source->unit), unit))
        return;
    snprintf(source->unit, sizeof(source->unit), "%.*s", STR_ARG(unit));
    source->record = (struct broker_record){0};
}

void copy_source_adopt(struct copy_source *source, const struct table *table)
{
    if (table == NULL || table->collection_count == 0 || table->core_unit == NO_UNIT) {
        set_unit(source, STR_LIT(""));
        connect_to(source, STR_LIT(""));
        return;
    }
    const struct table_unit *core = &table->units[table->core_unit];
    set_unit(source, core->name);
    source->alone = core->broker_count == 1;
    connect_to_recorded(source, core->broker_count > 0 ? core->brokers[0] : STR_LIT(""));
}

void copy_source_heard(struct copy_source *source, const char *unit, const struct broker_record *record)
{
    if (strcmp(unit, source->unit) != 0 || record->version <= source->record.version)
        return;
    source->record = *record;
    connect_to_recorded(source, STR_LIT(""));
}

void copy_source_sync(struct copy_source *source, struct store *store)
{
    char name[96];
    struct buf text = {NULL, 0, 0};
    struct broker_record record;
    struct error err;
    uint64_t version = 0;
    if (source->unit[0] == '\0')
        return;
    broker_record_name(name, sizeof(name), str_of(source->unit));
    if (store_document_get(store, name, &text, &version, &err) == 0 && version > source->record.version &&
        broker_record_parse(buf_str(&text), &record, &err) == 0) {
        record.version = version;
        copy_source_heard(source, source->unit, &record);
    }
    buf_free(&text);
}

/* --- its connection ----------------------------------------------------------------------------------------------- */

bool copy_source_is_alone(const struct copy_source *source)
{
    return source->record.member_count == 1 || (source->alone && source->record.version == 0);
}

bool copy_source_is_ready(const struct copy_source *source)
{
    return primary_is_ready(&source->primary);
}

struct broker *copy_source_broker(const struct copy_source *source)
{
    return source->primary.broker;
}

bool copy_source_read_bucket(struct copy_source *source, const char *at, unsigned bucket, broker_reply_fn done,
                             void *arg)
{
    return bucket_ask(source->primary.broker, at, bucket, 1, done, arg);
}

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct copy_source *source = arg;
    if (source->primary.broker == NULL) /* told from within broker_create */
        source->primary.broker = broker;
    if (state == BROKER_GREETING)
        return;
    if (state == BROKER_DOWN)
        end_claims(&source->waiting, false);
    source->changed(source->arg);
}

void copy_source_init(struct copy_source *source, sd_event *loop, const struct agent_config *options,
                      const char *password, void (*changed)(void *arg), void *arg)
{
    *source = (struct copy_source){.changed = changed, .arg = arg};
    source->cover = (struct cover){.record = record_of, .ended = on_covered, .arg = source};
    source->turn = loop_later(loop, on_turn, source);
    source->retry = loop_timer(loop, on_retry, source);
    primary_init(&source->primary, loop, options, password, on_state, source);
}

void copy_source_close(struct copy_source *source)
{
    primary_close(&source->primary);
    end_claims(&source->waiting, false);
    sd_event_source_disable_unref(source->turn);
    sd_event_source_disable_unref(source->retry);
}
