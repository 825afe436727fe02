/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/keeper.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/broker_event.h"
#include "common/broker_stamp.h"
#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/url.h"
#include "unit-agent/keeper_decide.h"
#include "unit-agent/keeper_probe.h"

#define HASTY_US   250000
#define HURRIED_US 20000 /* from look to look while a member is missed */

struct keeper {
    sd_event *loop;
    struct keeper_config config;
    struct broker_loop broker_loop;
    struct store *store; /* NULL until the first sync */
    sd_event_source *tick;
    struct keeper_state state;
    struct keeper_probe *primary; /* NULL: the rules name no broker */
    struct keeper_probe *replicas[KEEPER_REPLICAS_MOST];
    char document[96];
    char alarm[KEEPER_WHY], why[KEEPER_WHY]; /* "" */
    char store_fault[160];
    bool marking, stamping;
    uint64_t hasty_us;                                /* until then one look follows the other, for writers wait */
    char named[BROKER_MEMBERS_MOST][BROKER_URL_SIZE]; /* by the rules, in their order */
    unsigned named_count, quorum;                     /* as in the state */
};

static void stamp(struct keeper *keeper, uint64_t epoch);

/* --- the record in the store -------------------------------------------------------------------------------------- */

static void told(struct keeper *keeper)
{
    const struct broker_record *record = &keeper->state.record;
    stat_set(&keeper->config.stats->agent_record_version, record->version);
    stat_set(&keeper->config.stats->agent_in_sync_members, record->member_count);
    keeper->config.changed(keeper->config.arg);
}

static void adopt_record(struct keeper *keeper, const struct broker_record *record)
{
    struct buf members = {0};
    for (unsigned i = 0; i < record->member_count; i++)
        buf_printf(&members, "%s%s", i > 0 ? ", " : "", record->members[i].url);
    log_info("record.followed", "version %" PRIu64 ": in sync are %s", record->version,
             record->member_count > 0 ? members.base : "none, for there is no record");
    buf_free(&members);
    if (strcmp(record->run_id, keeper->state.record.run_id) != 0) /* what it holds was judged when that was written */
        keeper->state.most_writes = 0;
    if (strcmp(record->primary, keeper->state.record.primary) != 0) /* and its replicas are to be in sync soon */
        sd_event_source_set_time_relative(keeper->tick, 0);
    keeper->state.record = *record;
    told(keeper);
}

static void set_store_fault(struct keeper *keeper, const char *fault)
{
    if (fault[0] != '\0' && strcmp(fault, keeper->store_fault) != 0)
        log_warning("record.kept", "%s; the last record stays in force", fault);
    snprintf(keeper->store_fault, sizeof(keeper->store_fault), "%s", fault);
}

/* As if another process had told of it. */
static void recall(struct keeper *keeper)
{
    struct broker_record record = {0};
    struct buf text = {0};
    struct error ignored;
    uint64_t version = 0;
    document_cache_recall(keeper->config.documents, keeper->document, &text, &version);
    if (version > 0 && broker_record_parse(buf_str(&text), &record, &ignored) == 0) {
        record.version = version;
        keeper_heard(keeper, &record);
    }
    buf_free(&text);
}

void keeper_sync(struct keeper *keeper, struct store *store)
{
    struct broker_record record = {0};
    struct buf text = {0};
    struct error err = {ERROR_NONE, ""};
    uint64_t version = 0;
    keeper->store = store;
    int failed = document_cache_get(keeper->config.documents, store, keeper->document, &text, &version, &err);
    if (failed != 0 && keeper->state.record.version == 0)
        recall(keeper);
    bool behind = version > 0 && version < keeper->state.record.version; /* the store's watch, of what was heard */
    bool changed = failed == 0 && !behind && (version != keeper->state.record.version || !keeper->state.record_known);
    if (changed && version > 0)
        failed = broker_record_parse(buf_str(&text), &record, &err);
    record.version = version;
    set_store_fault(keeper, err.text);
    if (failed == 0)
        keeper->state.record_known = true;
    if (failed == 0 && changed)
        adopt_record(keeper, &record);
    buf_free(&text);
}

void keeper_heard(struct keeper *keeper, const struct broker_record *record)
{
    if (record->version > keeper->state.record.version)
        adopt_record(keeper, record);
}

static void strike_leavers(struct keeper *keeper, const struct keeper_action *action)
{
    for (unsigned i = 0; i < keeper->state.replica_count; i++)
        if (action->leave[i] != KEEPER_STAYS)
            keeper_strike(&keeper->state, i, action->leave[i] == KEEPER_LAGS, clock_monotonic_us());
}

static void draw_dataset(char *name)
{
    unsigned char drawn[16];
    INVARIANT(getrandom(drawn, sizeof(drawn), 0) == sizeof(drawn));
    for (unsigned i = 0; i < sizeof(drawn); i++)
        snprintf(name + 2 * i, 3, "%02x", drawn[i]);
}

static void write_record(struct keeper *keeper, struct keeper_action *action)
{
    struct broker_record *record = &action->record;
    const struct broker_record *before = &keeper->state.record;
    struct buf text = {0};
    struct error err;
    uint64_t version;
    record->at_us = clock_wall_us();
    record->counted = (struct broker_count){keeper->state.primary.writes, record->at_us};
    if (record->dataset[0] == '\0')
        draw_dataset(record->dataset);
    snprintf(record->by, sizeof(record->by), "%s", keeper->config.name);
    snprintf(record->why, sizeof(record->why), "%s", action->why);
    broker_record_format(record, &text);
    if (store_document_put(keeper->store, keeper->document, before->version, buf_str(&text), &version, &err) == 0) {
        if (record->member_count < before->member_count)
            log_warning("record.shrunk", "%u of %u brokers stay in sync: %s", record->member_count,
                        before->member_count, action->why);
        record->version = version;
        stat_add(&keeper->config.stats->agent_record_writes_total, 1);
        strike_leavers(keeper, action);
        set_store_fault(keeper, "");
        adopt_record(keeper, record);
        if (keeper->config.put != NULL)
            keeper->config.put(keeper->config.arg, record);
        keeper->hasty_us = 0;
        if (keeper->state.primary.is_primary)
            stamp(keeper, version);
    } else if (err.code == ERROR_CONFLICT)
        keeper_sync(keeper, keeper->store);
    else
        set_store_fault(keeper, err.text);
    buf_free(&text);
}

/* --- acting ------------------------------------------------------------------------------------------------------- */

static void on_marked(void *arg, const redisReply *reply)
{
    struct keeper *keeper = arg;
    (void)reply; /* the next look shows what stands there */
    keeper->marking = false;
}

static void mark(struct keeper *keeper)
{
    char key[PROTOCOL_KEY_MAX], name[BROKER_DATASET_SIZE];
    if (keeper->marking)
        return;
    draw_dataset(name);
    protocol_unit_key(key, str_of(keeper->config.options->unit), "dataset");
    keeper->marking = broker_command(keeper_probe_broker(keeper->primary), on_marked, keeper, 4,
                                     (const char *[]){"SET", key, name, "NX"}, NULL);
}

static void look_at_replicas(struct keeper *keeper)
{
    for (unsigned i = 0; i < keeper->state.replica_count; i++)
        keeper_probe_look(keeper->replicas[i]);
}

static void on_stamped(void *arg, const redisReply *reply)
{
    struct keeper *keeper = arg;
    keeper->stamping = false;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        log_warning("broker.refused", "%s: %s", keeper->state.url, reply->str);
    else if (reply != NULL && keeper->hasty_us != 0)
        look_at_replicas(keeper);
}

static void stamp(struct keeper *keeper, uint64_t epoch)
{
    keeper->stamping = broker_stamp(keeper_probe_broker(keeper->primary), str_of(keeper->config.options->unit),
                                    &keeper->state.record, keeper->state.primary.run_id, epoch, on_stamped, keeper);
}

/* Whether the store takes changes now, and not only was there a while ago: asked by one that changes nothing else. */
static bool store_takes_changes(struct keeper *keeper)
{
    char name[96];
    struct buf text = {0};
    struct error err = {ERROR_NONE, ""};
    uint64_t version = 0;
    snprintf(name, sizeof(name), "keepers/%s", keeper->config.options->unit);
    int failed = store_document_get(keeper->store, name, &text, &version, &err);
    text.len = 0;
    buf_printf(&text, "{\"by\":\"%s\",\"at_us\":%" PRIu64 "}", keeper->config.name, clock_wall_us());
    if (failed == 0)
        failed = store_document_put(keeper->store, name, version, buf_str(&text), &version, &err);
    buf_free(&text);
    set_store_fault(keeper, err.code == ERROR_CONFLICT ? "" : err.text);
    return failed == 0;
}

/* Writers of the record in force are refused from now on: the next one is to follow soon. Where the store goes away in
 * between they wait until it is back, for a stamp is not lowered: so it must just have been there. */
static void stamp_ahead(struct keeper *keeper, uint64_t epoch)
{
    if (keeper->stamping || !store_takes_changes(keeper))
        return;
    keeper->hasty_us = clock_monotonic_us() + HASTY_US;
    stamp(keeper, epoch);
}

static void on_detached(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply; /* the next look shows whether it is gone */
}

static void detach(struct keeper *keeper, uint64_t id, bool foreign)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, id);
    if (!broker_command(keeper_probe_broker(keeper->primary), on_detached, keeper, 4,
                        (const char *[]){"CLIENT", "KILL", "ID", text}, NULL))
        return;
    stat_add(&keeper->config.stats->agent_replicas_detached_total, 1);
    if (foreign)
        log_warning("replica.foreign", "%s: a replica that the rules do not name was detached; stop it, or name it",
                    keeper->state.url);
    else
        log_warning("replica.detached", "%s: a replica that does not keep up was detached", keeper->state.url);
}

static void set_text(struct keeper *keeper, char *kept, const char *text)
{
    if (strcmp(kept, text) == 0)
        return;
    snprintf(kept, KEEPER_WHY, "%s", text);
    told(keeper);
}

static void act(struct keeper *keeper)
{
    struct keeper_action action;
    keeper_decide(&keeper->state, clock_monotonic_us(), &action);
    bool refused = action.verdict == KEEPER_REFUSE;
    if (refused && keeper->alarm[0] == '\0')
        log_error("record.refused", "%s; the record stays, and nothing is acknowledged as replicated", action.why);
    set_text(keeper, keeper->alarm, refused ? action.why : "");
    set_text(keeper, keeper->why, action.why);
    stat_set(&keeper->config.stats->agent_record_alarm, refused);
    if (action.verdict == KEEPER_MARK)
        mark(keeper);
    else if (action.verdict == KEEPER_STAMP)
        stamp_ahead(keeper, action.stamp);
    else if (action.verdict == KEEPER_WRITE)
        write_record(keeper, &action);
    else if (keeper_lacks_stamp(&keeper->state) && !keeper->stamping)
        stamp(keeper, keeper->state.record.version);
    for (unsigned i = 0; i < action.detach_count; i++)
        detach(keeper, action.detach[i], action.foreign[i]);
}

static void place_brokers(struct keeper *keeper);

/* --- looking ------------------------------------------------------------------------------------------------------ */

/* The last looks at the replicas lie between this look and the one before it: the moment to judge. */
static void on_primary_look(void *arg, unsigned index, const struct keeper_look *look)
{
    struct keeper *keeper = arg;
    (void)index;
    keeper_saw_primary(&keeper->state, look);
    act(keeper);
    look_at_replicas(keeper);
    if (keeper_hurries(&keeper->state))
        sd_event_source_set_time_relative(keeper->tick, HURRIED_US);
}

static void on_replica_look(void *arg, unsigned index, const struct keeper_look *look)
{
    struct keeper *keeper = arg;
    keeper_saw_replica(&keeper->state, index, look);
    if (keeper->hasty_us > clock_monotonic_us())
        keeper_probe_look(keeper->primary);
}

static bool is_keeper(const struct keeper *keeper)
{
    return keeper->config.is_keeper == NULL || keeper->config.is_keeper(keeper->config.arg);
}

/* Another agent judges: what this one last thought does not count. */
static void stand_back(struct keeper *keeper)
{
    keeper->state.primary = (struct keeper_look){0};
    stat_set(&keeper->config.stats->agent_record_alarm, 0);
    set_text(keeper, keeper->alarm, "");
    set_text(keeper, keeper->why, "");
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct keeper *keeper = arg;
    place_brokers(keeper);
    bool keeps = is_keeper(keeper);
    stat_set(&keeper->config.stats->agent_keeper, keeps);
    bool looks = keeps && keeper->primary != NULL && keeper->store != NULL;
    if (!keeps)
        stand_back(keeper);
    else if (looks && clock_monotonic_us() > keeper->state.primary.ended_us + keeper->state.timeout_us)
        act(keeper); /* says that the primary does not answer */
    if (looks)
        keeper_probe_look(keeper->primary);
    bool strange = looks && keeper->state.primary.ended_us == 0; /* its connection is still to stand */
    uint64_t interval_us = (uint64_t)keeper->config.options->broker.look_interval * 1000;
    sd_event_source_set_time_relative(source, strange && HURRIED_US < interval_us ? HURRIED_US : interval_us);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* --- who is named ------------------------------------------------------------------------------------------------- */

static struct keeper_probe *probe(struct keeper *keeper, const char *url, unsigned index, keeper_look_fn looked)
{
    const struct agent_config *options = keeper->config.options;
    struct broker_config broker = {.url = url,
                                   .user = options->broker.user,
                                   .password = keeper->config.password,
                                   .command_timeout_ms = options->broker.timeout};
    return keeper_probe_create(&keeper->broker_loop, &broker, str_of(options->unit), index, looked, keeper);
}

static void forget(struct keeper *keeper)
{
    keeper_probe_destroy(&keeper->primary);
    for (unsigned i = 0; i < KEEPER_REPLICAS_MOST; i++)
        keeper_probe_destroy(&keeper->replicas[i]);
    keeper->marking = keeper->stamping = false;
    keeper->hasty_us = 0;
}

static bool is_named(const struct keeper *keeper, const char *url)
{
    for (unsigned i = 0; i < keeper->named_count; i++)
        if (strcmp(keeper->named[i], url) == 0)
            return true;
    return false;
}

/* By the record; by the rules where it names none of theirs. */
static const char *primary_of(const struct keeper *keeper)
{
    const char *recorded = keeper->state.record.primary;
    return is_named(keeper, recorded) ? recorded : keeper->named[0];
}

static void name_replica(struct keeper *keeper, const char *name)
{
    struct url url;
    struct error err;
    unsigned index = keeper->state.replica_count++;
    struct keeper_replica *replica = &keeper->state.replicas[index];
    INVARIANT(url_parse(str_of(name), 6379, &url, &err) == 0); /* the rule loader let nothing else through */
    memcpy(replica->url, name, strlen(name) + 1);
    replica->port = url.port;
    keeper->replicas[index] = probe(keeper, replica->url, index, on_replica_look);
}

/* Never from within a look: it ends those that are under way. */
static void place_brokers(struct keeper *keeper)
{
    struct keeper_state *state = &keeper->state;
    char url[BROKER_URL_SIZE];
    if (keeper->named_count == 0 || strcmp(primary_of(keeper), state->url) == 0)
        return;
    snprintf(url, sizeof(url), "%s", primary_of(keeper));
    forget(keeper);
    *state = (struct keeper_state){.record = state->record, .record_known = state->record_known};
    state->timeout_us = (uint64_t)keeper->config.options->broker.replica_timeout * 1000;
    state->quorum = keeper->quorum;
    memcpy(state->url, url, strlen(url) + 1);
    for (unsigned i = 0; i < keeper->named_count; i++)
        if (strcmp(keeper->named[i], state->url) != 0)
            name_replica(keeper, keeper->named[i]);
    keeper->primary = probe(keeper, state->url, 0, on_primary_look);
}

static bool is_known(const struct keeper *keeper, const struct table_unit *unit)
{
    bool known = unit->broker_count == keeper->named_count;
    for (unsigned i = 0; i < keeper->named_count && known; i++)
        known = str_equal(unit->brokers[i], str_of(keeper->named[i]));
    return known;
}

void keeper_adopt(struct keeper *keeper, const struct table_unit *unit)
{
    keeper->quorum = keeper->state.quorum = table_unit_by_quorum(unit) ? table_unit_majority(unit) : 0;
    if (is_known(keeper, unit))
        return;
    forget(keeper);
    keeper->state.url[0] = '\0';
    keeper->named_count = 0;
    for (uint32_t i = 0; i < unit->broker_count && i < BROKER_MEMBERS_MOST; i++)
        snprintf(keeper->named[keeper->named_count++], BROKER_URL_SIZE, "%.*s", STR_ARG(unit->brokers[i]));
    place_brokers(keeper);
}

/* --- outside ------------------------------------------------------------------------------------------------------ */

const struct broker_record *keeper_record(const struct keeper *keeper)
{
    return &keeper->state.record;
}

const char *keeper_primary_url(const struct keeper *keeper)
{
    return keeper->named_count > 0 ? primary_of(keeper) : NULL;
}

const char *keeper_alarm(const struct keeper *keeper)
{
    return keeper->alarm[0] != '\0' ? keeper->alarm : NULL;
}

json_t *keeper_report(const struct keeper *keeper)
{
    const struct broker_record *record = &keeper->state.record;
    json_t *members = json_array();
    for (unsigned i = 0; i < record->member_count; i++)
        json_array_append_new(members, json_string(record->members[i].url));
    return json_pack("{s:I,s:I,s:s,s:o,s:i,s:I,s:s,s:s,s:b,s:s,s:b,s:s,s:s}", "version", (json_int_t)record->version,
                     "epoch", (json_int_t)record->version, "primary", record->primary, "in_sync", members, "wait",
                     (int)record->wait, "at_us", (json_int_t)record->at_us, "by", record->by, "consumer",
                     record->consumer, "hold", record->hold, "because", record->why, "keeper", is_keeper(keeper), "why",
                     keeper->why, "alarm", keeper->alarm);
}

struct keeper *keeper_create(sd_event *loop, const struct keeper_config *config)
{
    struct keeper *keeper = mem_calloc(1, sizeof(*keeper));
    keeper->loop = loop;
    keeper->config = *config;
    keeper->broker_loop = broker_loop_of_event(loop);
    snprintf(keeper->why, sizeof(keeper->why), "the brokers have not been looked at yet");
    broker_record_name(keeper->document, sizeof(keeper->document), str_of(config->options->unit));
    INVARIANT(sd_event_add_time_relative(loop, &keeper->tick, CLOCK_MONOTONIC,
                                         (uint64_t)config->options->broker.look_interval * 1000, 1000, on_tick,
                                         keeper) >= 0);
    return keeper;
}

void keeper_destroy(struct keeper **keeper_p)
{
    struct keeper *keeper = *keeper_p;
    if (keeper == NULL)
        return;
    *keeper_p = NULL;
    forget(keeper);
    sd_event_source_disable_unref(keeper->tick);
    free(keeper);
}
