/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/operations.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/httpd_admin.h"
#include "common/protocol.h"
#include "common/stream_id.h"
#include "unit-agent/dead_letter.h"
#include "unit-agent/primary.h"

#define LIST_PRESET 100
#define LIST_MOST   10000
#define FLOW_MOST   1024 /* valves that a control hash can name */
#define PLACE_SIZE  (2 * PROTOCOL_NAME_MAX + 2)

struct operations {
    struct operations_config config;
    struct primary primary;
    struct table *table; /* a reference */
};

struct errand;

/* What is done for each place in each partition, and what is made of the broker's word on it. A place is a shared
 * subscription's, or that of one agent in a broadcast: SUBSCRIPTION@AGENT. */
struct chore {
    bool (*send)(struct errand *errand);
    void (*take)(struct errand *errand, const redisReply *reply);
    bool by_name;     /* once for each subscription, whatever places it has */
    bool shared_only; /* nothing that agents do by themselves in a broadcast */
};

/* What the query asks for; base NULL and -1: everything. */
struct selection {
    struct buf topic, subscription;
    int64_t partition;
    unsigned matched, left_out; /* subscriptions of topics */
};

/* One request and everything that it wants of the broker. It is answered with the last reply. */
struct job {
    struct operations *operations;
    struct httpd_request *request;
    const struct chore *chore;
    struct selection selection;
    struct buf id, to;
    uint64_t limit, count;
    json_t *items;
    unsigned owed; /* errands, and one for the caller that still adds some */
    char fault[200];
};

struct errand {
    struct job *job;
    char topic[PROTOCOL_NAME_MAX + 1], subscription[PLACE_SIZE];
    unsigned partition;
};

/* --- jobs --------------------------------------------------------------------------------------------------------- */

static struct job *job_create(struct operations *operations, struct httpd_request *request, const struct chore *chore)
{
    struct job *job = mem_calloc(1, sizeof(*job));
    job->operations = operations;
    job->request = request;
    job->chore = chore;
    job->selection.partition = -1;
    job->items = json_array();
    job->limit = LIST_PRESET;
    job->owed = 1;
    return job;
}

static void job_answer(struct job *job)
{
    if (job->fault[0] != '\0')
        httpd_respond_problem(job->request, 503, "broker-unavailable", job->fault);
    else
        httpd_admin_respond(job->request, 200,
                            json_pack("{s:s,s:I,s:O}", "unit", job->operations->config.options->unit, "count",
                                      (json_int_t)job->count, "items", job->items));
}

static void job_free(struct job *job)
{
    json_decref(job->items);
    buf_free(&job->selection.topic);
    buf_free(&job->selection.subscription);
    buf_free(&job->id);
    buf_free(&job->to);
    free(job);
}

static void job_settle(struct job *job)
{
    if (--job->owed > 0)
        return;
    job_answer(job);
    job_free(job);
}

static void job_refuse(struct job *job, int status, const char *name, const char *detail)
{
    httpd_respond_problem(job->request, status, name, detail);
    job_free(job);
}

static void on_reply(void *arg, const redisReply *reply)
{
    struct errand *errand = arg;
    struct job *job = errand->job;
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        snprintf(job->fault, sizeof(job->fault), "The broker did not do all of it: %.120s",
                 reply != NULL ? reply->str : "no answer; ask again");
    else
        job->chore->take(errand, reply);
    free(errand);
    job_settle(job);
}

static bool send_words(struct errand *errand, int count, const char *const *words)
{
    return broker_command(errand->job->operations->primary.broker, on_reply, errand, count, words, NULL);
}

#define SEND(errand, ...)                                                                                              \
    send_words(errand, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), (const char *const[]){__VA_ARGS__})

/* A key of the errand's partition; with SUBSCRIPTION: "SUFFIX:NAME". */
static const char *key_of(const struct errand *errand, char key[PROTOCOL_KEY_MAX], const char *suffix,
                          bool subscription)
{
    char whole[PLACE_SIZE + 16];
    snprintf(whole, sizeof(whole), "%s%s%s", suffix, subscription ? ":" : "", subscription ? errand->subscription : "");
    protocol_key(key, str_of(errand->job->operations->config.options->unit), str_of(errand->topic), errand->partition,
                 whole);
    return key;
}

/* Operators hear of what was done: a broker that was deposed does nothing. */
static const char *epoch_of(const struct errand *errand, char epoch[24])
{
    const struct operations_config *config = &errand->job->operations->config;
    snprintf(epoch, 24, "%lu", (unsigned long)config->record(config->arg)->version);
    return epoch;
}

static json_t *item_of(const struct errand *errand)
{
    return json_pack("{s:s,s:s,s:I}", "topic", errand->topic, "subscription", errand->subscription, "partition",
                     (json_int_t)errand->partition);
}

/* --- chores ------------------------------------------------------------------------------------------------------ */

static bool send_dead(struct errand *errand)
{
    char key[PROTOCOL_KEY_MAX], most[24];
    snprintf(most, sizeof(most), "%lu", (unsigned long)(errand->job->id.len > 0 ? LIST_MOST : errand->job->limit));
    return SEND(errand, "XRANGE", key_of(errand, key, "dead", true), "-", "+", "COUNT", most);
}

static void take_dead(struct errand *errand, const redisReply *reply)
{
    struct job *job = errand->job;
    for (size_t i = 0; i < reply->elements && json_array_size(job->items) < job->limit; i++) {
        json_t *item = item_of(errand);
        if (dead_letter_to_json(reply->element[i], buf_str(&job->id), item)) {
            json_array_append_new(job->items, item);
            job->count++;
        } else {
            json_decref(item);
        }
    }
}

static const char *id_or_all(const struct job *job)
{
    return job->id.len > 0 ? job->id.base : "";
}

static bool send_redrive(struct errand *errand)
{
    char dead[PROTOCOL_KEY_MAX], stream[PROTOCOL_KEY_MAX], state[PROTOCOL_KEY_MAX], most[24], epoch[24];
    snprintf(most, sizeof(most), "%lu", (unsigned long)errand->job->limit);
    return SEND(errand, "FCALL", "ldc1_redrive", "3", key_of(errand, dead, "dead", true),
                key_of(errand, stream, "stream", false), key_of(errand, state, "state", false), errand->subscription,
                id_or_all(errand->job), most, epoch_of(errand, epoch));
}

static bool send_purge(struct errand *errand)
{
    char dead[PROTOCOL_KEY_MAX], most[24], epoch[24];
    snprintf(most, sizeof(most), "%lu", (unsigned long)errand->job->limit);
    return SEND(errand, "FCALL", "ldc1_purge", "1", key_of(errand, dead, "dead", true), id_or_all(errand->job), most,
                epoch_of(errand, epoch));
}

static void take_count(struct errand *errand, const redisReply *reply)
{
    if (reply->integer <= 0)
        return;
    json_t *item = item_of(errand);
    json_object_set_new(item, "count", json_integer(reply->integer));
    json_array_append_new(errand->job->items, item);
    errand->job->count += (uint64_t)reply->integer;
}

static bool send_reset(struct errand *errand)
{
    char stream[PROTOCOL_KEY_MAX], parked[PROTOCOL_KEY_MAX], tries[PROTOCOL_KEY_MAX], dead[PROTOCOL_KEY_MAX];
    char parks[PROTOCOL_KEY_MAX], cursor[PROTOCOL_KEY_MAX], state[PROTOCOL_KEY_MAX], epoch[24];
    bool end = str_equal(buf_str(&errand->job->to), STR_LIT("end"));
    key_of(errand, parks, "park", true);
    strncat(parks, ":", sizeof(parks) - strlen(parks) - 1);
    return SEND(errand, "FCALL", "ldc1_reset", "7", key_of(errand, stream, "stream", false),
                key_of(errand, parked, "parked", true), key_of(errand, tries, "tries", true),
                key_of(errand, dead, "dead", true), parks, key_of(errand, cursor, "cursor", true),
                key_of(errand, state, "state", false), end ? "end" : "from", end ? "" : errand->job->to.base,
                epoch_of(errand, epoch));
}

static void take_reset(struct errand *errand, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return;
    json_t *item = item_of(errand);
    json_object_set_new(item, "watermark", json_string(reply->element[0]->str));
    json_object_set_new(item, "passed", json_integer(strtoll(reply->element[1]->str, NULL, 10)));
    json_array_append_new(errand->job->items, item);
    errand->job->count++;
}

static bool send_flow(struct errand *errand)
{
    char key[PROTOCOL_KEY_MAX], field[PROTOCOL_NAME_MAX + 1 + PLACE_SIZE];
    protocol_unit_key(key, str_of(errand->job->operations->config.options->unit), "control");
    snprintf(field, sizeof(field), "%s/%s", errand->topic, errand->subscription);
    if (str_equal(buf_str(&errand->job->to), STR_LIT("open")))
        return SEND(errand, "HDEL", key, field);
    return SEND(errand, "HSET", key, field, errand->job->to.base);
}

static void take_flow(struct errand *errand, const redisReply *reply)
{
    (void)reply;
    json_t *item = item_of(errand);
    json_object_del(item, "partition");
    json_object_set_new(item, "rate", json_string(errand->job->to.base));
    json_array_append_new(errand->job->items, item);
    errand->job->count++;
    operations_tick(errand->job->operations);
}

static const struct chore chore_dead = {.send = send_dead, .take = take_dead};
static const struct chore chore_redrive = {.send = send_redrive, .take = take_count};
static const struct chore chore_purge = {.send = send_purge, .take = take_count};
static const struct chore chore_reset = {.send = send_reset, .take = take_reset, .shared_only = true};
static const struct chore chore_flow = {.send = send_flow, .take = take_flow, .by_name = true};

/* --- selection ---------------------------------------------------------------------------------------------------- */

static void send_errand(struct job *job, struct str topic, struct str place, unsigned partition)
{
    struct errand *errand = mem_calloc(1, sizeof(*errand));
    errand->job = job;
    snprintf(errand->topic, sizeof(errand->topic), "%.*s", STR_ARG(topic));
    snprintf(errand->subscription, sizeof(errand->subscription), "%.*s", STR_ARG(place));
    errand->partition = partition;
    job->owed++;
    if (job->chore->send(errand))
        return;
    snprintf(job->fault, sizeof(job->fault), "The broker is away: %.120s",
             broker_fault(job->operations->primary.broker));
    free(errand);
    job->owed--;
}

static bool chosen(const struct buf *wanted, struct str name)
{
    return wanted->len == 0 || str_equal(buf_str(wanted), name);
}

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, (size_t)reply->len} : (struct str){"", 0};
}

static void send_place(struct job *job, const struct table_topic *topic, struct str place)
{
    int64_t wanted = job->selection.partition;
    for (unsigned number = 0; number < topic->partitions; number++)
        if (wanted < 0 || (int64_t)number == wanted)
            send_errand(job, topic->name, place, number);
}

/* LISTENERS: TOPIC/SUBSCRIPTION@AGENT, of all broadcasts of the unit. Selected by its own name, or by that of the
 * subscription. */
static void send_listeners(struct job *job, const struct table_topic *topic, struct str subscription,
                           const redisReply *listeners)
{
    bool all = chosen(&job->selection.subscription, subscription);
    for (size_t i = 0; i < listeners->elements; i++) {
        struct str place = text_of(listeners->element[i]), of, name, agent;
        if (!str_next(&place, '/', &of) || !str_equal(of, topic->name))
            continue;
        agent = place;
        if (str_next(&agent, '@', &name) && str_equal(name, subscription) &&
            (all || chosen(&job->selection.subscription, place))) {
            job->selection.matched++;
            send_place(job, topic, place);
        }
    }
}

static void send_subscription(struct job *job, const struct table_topic *topic,
                              const struct table_subscription *subscription, const redisReply *listeners)
{
    bool named = chosen(&job->selection.subscription, subscription->name);
    if (job->chore->shared_only && subscription->broadcast) {
        job->selection.left_out += named;
        return;
    }
    job->selection.matched += named;
    if (subscription->broadcast && !job->chore->by_name)
        send_listeners(job, topic, subscription->name, listeners);
    else if (named && job->chore->by_name)
        send_errand(job, topic->name, subscription->name, 0);
    else if (named)
        send_place(job, topic, subscription->name);
}

static void send_all(struct job *job, const struct table *table, const redisReply *listeners)
{
    struct selection *selection = &job->selection;
    for (uint32_t i = 0; i < table->topic_count; i++) {
        const struct table_topic *topic = &table->topics[i];
        if (!chosen(&selection->topic, topic->name) || selection->partition >= (int64_t)topic->partitions)
            continue;
        for (uint32_t k = 0; k < topic->subscription_count; k++)
            send_subscription(job, topic, &topic->subscriptions[k], listeners);
    }
    if (selection->matched > 0)
        job_settle(job);
    else if (selection->left_out > 0)
        job_refuse(job, 400, "bad-request", "Each agent keeps its own place in a broadcast, which cannot be reset");
    else
        job_refuse(job, 404, "not-found", "The rules in force have no such topic, subscription or partition");
}

static void on_listeners(void *arg, const redisReply *reply)
{
    struct job *job = arg;
    const struct table *table = job->operations->table;
    if (table != NULL && reply != NULL && reply->type == REDIS_REPLY_ARRAY)
        send_all(job, table, reply);
    else
        job_refuse(job, 503, "broker-unavailable", "The broker gave no answer; ask again");
}

static bool read_number(const struct httpd_request *request, const char *name, uint64_t most, uint64_t *value)
{
    struct buf text = {0};
    bool good = !httpd_request_query(request, name, &text) || (str_to_u64(buf_str(&text), value) && *value <= most);
    buf_free(&text);
    return good;
}

/* False where NAME is given and empty: that is somebody's mistake, and does not mean everything. */
static bool read_text(const struct httpd_request *request, const char *name, struct buf *text)
{
    return !httpd_request_query(request, name, text) || text->len > 0;
}

/* NULL, or what is wrong with the query. */
static const char *read_selection(struct job *job)
{
    struct selection *selection = &job->selection;
    uint64_t partition = UINT64_MAX;
    struct protocol_id parts;
    if (!read_text(job->request, "topic", &selection->topic) ||
        !read_text(job->request, "subscription", &selection->subscription) || !read_text(job->request, "id", &job->id))
        return "topic, subscription and id: one that is given must not be empty";
    if (!read_number(job->request, "partition", 65535, &partition))
        return "partition: a number is wanted";
    if (!read_number(job->request, "limit", UINT32_MAX, &job->limit) || job->limit == 0)
        return "limit: a number from 1 is wanted";
    selection->partition = partition == UINT64_MAX ? -1 : (int64_t)partition;
    if (job->id.len == 0)
        return NULL;
    if (!protocol_id_parse(buf_str(&job->id), &parts))
        return "id: a message id is wanted";
    selection->topic.len = 0;
    buf_append_str(&selection->topic, parts.topic);
    selection->partition = parts.partition;
    return NULL;
}

static void job_run(struct job *job)
{
    struct operations *operations = job->operations;
    char key[PROTOCOL_KEY_MAX];
    const char *words[] = {"HKEYS", key}, *fault = read_selection(job);
    protocol_unit_key(key, str_of(operations->config.options->unit), "listeners");
    if (fault != NULL)
        job_refuse(job, 400, "bad-request", fault);
    else if (operations->table == NULL || !primary_is_ready(&operations->primary) ||
             !broker_command(operations->primary.broker, on_listeners, job, 2, words, NULL))
        job_refuse(job, 503, "broker-unavailable",
                   operations->primary.broker ? broker_fault(operations->primary.broker) : "the rules name no broker");
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

void operations_dead(struct operations *operations, struct httpd_request *request)
{
    job_run(job_create(operations, request, &chore_dead));
}

/* Changes are of everything that is selected, where no limit is given. */
static struct job *change_create(struct operations *operations, struct httpd_request *request,
                                 const struct chore *chore)
{
    struct job *job = job_create(operations, request, chore);
    job->limit = UINT32_MAX;
    return job;
}

void operations_redrive(struct operations *operations, struct httpd_request *request)
{
    job_run(change_create(operations, request, &chore_redrive));
}

void operations_purge(struct operations *operations, struct httpd_request *request)
{
    job_run(change_create(operations, request, &chore_purge));
}

void operations_reset(struct operations *operations, struct httpd_request *request)
{
    struct job *job = change_create(operations, request, &chore_reset);
    struct stream_id id;
    httpd_request_query(request, "to", &job->to);
    if (str_equal(buf_str(&job->to), STR_LIT("end")) || stream_id_parse(buf_str(&job->to), &id))
        job_run(job);
    else
        job_refuse(job, 400, "bad-request", "to: milliseconds since 1970, an entry id or `end` is wanted");
}

static bool is_rate(struct str text)
{
    uint64_t rate;
    return str_equal(text, STR_LIT("open")) || str_equal(text, STR_LIT("paused")) ||
           (str_to_u64(text, &rate) && rate > 0 && rate <= 1000000);
}

void operations_flow(struct operations *operations, struct httpd_request *request)
{
    struct job *job = change_create(operations, request, &chore_flow);
    httpd_request_query(request, "rate", &job->to);
    if (is_rate(buf_str(&job->to)))
        job_run(job);
    else
        job_refuse(job, 400, "bad-request", "rate: `open`, `paused` or messages a second, 1 to 1000000, is wanted");
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void on_control(void *arg, const redisReply *reply)
{
    struct operations *operations = arg;
    struct str names[FLOW_MOST], settings[FLOW_MOST];
    size_t count = 0;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY)
        return;
    for (size_t i = 0; i + 1 < reply->elements && count < FLOW_MOST; i += 2, count++) {
        names[count] = text_of(reply->element[i]);
        settings[count] = text_of(reply->element[i + 1]);
    }
    valves_adopt(operations->config.valves, names, settings, count);
}

void operations_tick(struct operations *operations)
{
    char key[PROTOCOL_KEY_MAX];
    if (!primary_is_ready(&operations->primary))
        return;
    protocol_unit_key(key, str_of(operations->config.options->unit), "control");
    const char *words[] = {"HGETALL", key};
    (void)!broker_command(operations->primary.broker, on_control, operations, 2, words, NULL);
}

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct operations *operations = arg;
    if (operations->primary.broker == broker && state == BROKER_READY)
        operations_tick(operations);
}

void operations_adopt(struct operations *operations, struct table *table, struct str primary)
{
    if (table != NULL)
        table_ref(table);
    table_unref(&operations->table);
    operations->table = table;
    primary_adopt(&operations->primary, primary);
}

struct broker *operations_broker(const struct operations *operations)
{
    return operations->primary.broker;
}

const struct table *operations_table(const struct operations *operations)
{
    return operations->table;
}

struct operations *operations_create(sd_event *loop, const struct operations_config *config)
{
    struct operations *operations = mem_calloc(1, sizeof(*operations));
    operations->config = *config;
    primary_init(&operations->primary, loop, config->options, config->password, on_state, operations);
    return operations;
}

void operations_destroy(struct operations **operations_p)
{
    struct operations *operations = *operations_p;
    if (operations == NULL)
        return;
    *operations_p = NULL;
    primary_close(&operations->primary);
    table_unref(&operations->table);
    free(operations);
}
