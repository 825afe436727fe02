/* SPDX-License-Identifier: Apache-2.0 */
#include "common/broker.h"

#include <hiredis/async.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/functions.h"
#include "common/invariant.h"
#include "common/measure.h"
#include "common/url.h"

#define BACKOFF_LEAST_MS 20
#define BACKOFF_MOST_MS  1000
#define WIRE_KEPT        (256u << 10) /* bytes of the buffer that are kept for the next command */

/* A command under way. hiredis keeps them in order and calls each back exactly once, with NULL when its context is
 * freed; this list only tells how old the oldest is. */
struct command {
    struct command *next;
    struct broker *broker;
    broker_reply_fn done;
    void *arg;
    uint64_t deadline_us;
};

/* DOWN has no context and a running `redial` timer, GREETING and READY have a context. `deadline` runs while anything
 * is awaited. Freed at once by broker_destroy(), or after the callbacks that are running (`depth`) or still due. */
struct broker {
    struct broker_loop loop;
    struct broker_config config;
    char *url, *user, *password, *host;
    unsigned port;
    broker_state_fn changed;
    void *arg;
    enum broker_state state;
    redisAsyncContext *context;
    struct command *oldest, **newest, *spare;
    size_t in_flight;
    void *redial, *deadline;
    uint64_t due_us; /* when `deadline` runs out */
    int64_t backoff_ms;
    char fault[160], run_id[41];
    struct connection {
        int64_t client_id; /* the broker's number for it; 0: none was READY */
        char run_id[41];
    } former;
    int64_t client_id;
    struct buf wire; /* one command in RESP */
    unsigned depth;
    bool destroyed, suspect, replica, refused;
};

static void dial(void *arg);

static void set_fault(struct broker *broker, const char *text)
{
    snprintf(broker->fault, sizeof(broker->fault), "%s", text);
}

static void set_state(struct broker *broker, enum broker_state state)
{
    if (broker->state == state)
        return;
    broker->state = state;
    if (!broker->destroyed && broker->changed != NULL)
        broker->changed(broker->arg, broker, state);
}

static void stop_timer(struct broker *broker, void **timer)
{
    if (*timer != NULL)
        broker->loop.timer_stop(broker->loop.loop, *timer);
    *timer = NULL;
}

static void release(struct broker *broker)
{
    for (struct command *command; (command = broker->spare) != NULL;) {
        broker->spare = command->next;
        free(command);
    }
    buf_free(&broker->wire);
    free(broker->url);
    free(broker->user);
    free(broker->password);
    free(broker->host);
    free(broker);
}

/* Callbacks of users may destroy the broker: whoever enters must not touch it after leave() returned. hiredis calls
 * back the rest of a context that is freed inside a callback only after it, so the last of those releases. */
static void enter(struct broker *broker)
{
    broker->depth++;
}

static void leave(struct broker *broker)
{
    if (--broker->depth == 0 && broker->destroyed && broker->in_flight == 0)
        release(broker);
}

/* --- the connection's life --------------------------------------------------------------------------------------- */

static void schedule_dial(struct broker *broker)
{
    if (broker->destroyed || broker->redial != NULL)
        return;
    int64_t jitter = (int64_t)(clock_monotonic_us() % (uint64_t)(broker->backoff_ms + 1)) / 2;
    broker->redial = broker->loop.timer_start(broker->loop.loop, broker->backoff_ms - jitter, dial, broker);
    int64_t most_ms = broker->config.redial_most_ms > 0 ? broker->config.redial_most_ms : BACKOFF_MOST_MS;
    broker->backoff_ms = broker->backoff_ms * 2 > most_ms ? most_ms : broker->backoff_ms * 2;
}

static void go_down(struct broker *broker)
{
    broker->context = NULL;
    broker->run_id[0] = '\0';
    stop_timer(broker, &broker->deadline);
    set_state(broker, BROKER_DOWN);
    schedule_dial(broker);
}

/* Lets go of the connection; all that is under way is called back with NULL. */
static void drop(struct broker *broker, const char *fault)
{
    redisAsyncContext *context = broker->context;
    if (fault != NULL)
        set_fault(broker, fault);
    if (context == NULL)
        return;
    enter(broker);
    broker->context = NULL;
    context->data = NULL;            /* its disconnect callback is no news to us */
    broker->state = BROKER_GREETING; /* takes no commands any more, and nobody is told before all are called back */
    redisAsyncFree(context);
    go_down(broker);
    leave(broker);
}

static void on_disconnect(const redisAsyncContext *context, int status)
{
    struct broker *broker = context->data;
    (void)status;
    if (broker == NULL)
        return;
    enter(broker);
    set_fault(broker, context->errstr && context->errstr[0] ? context->errstr : "the broker closed the connection");
    go_down(broker);
    leave(broker);
}

static void check_deadline(void *arg);

static void arm_deadline(struct broker *broker, uint64_t due_us)
{
    uint64_t now_us = clock_monotonic_us();
    int64_t delay_ms = due_us > now_us ? (int64_t)((due_us - now_us + 999) / 1000) : 0;
    if (broker->deadline != NULL && broker->due_us <= due_us)
        return;
    stop_timer(broker, &broker->deadline);
    broker->due_us = due_us;
    broker->deadline = broker->loop.timer_start(broker->loop.loop, delay_ms, check_deadline, broker);
}

/* Replies come in order, so the nearest deadline of all that wait is that of everything before it. One timer for all:
 * it seldom finds what it was started for, and then the whole list is looked through. */
static void check_deadline(void *arg)
{
    struct broker *broker = arg;
    uint64_t due_us = UINT64_MAX;
    broker->deadline = NULL;
    for (const struct command *command = broker->oldest; command != NULL; command = command->next)
        due_us = command->deadline_us < due_us ? command->deadline_us : due_us;
    if (broker->context == NULL || due_us == UINT64_MAX)
        return;
    if (clock_monotonic_us() < due_us)
        arm_deadline(broker, due_us);
    else
        drop(broker, broker->state == BROKER_GREETING ? "it does not answer" : "it did not answer in time");
}

/* --- commands ---------------------------------------------------------------------------------------------------- */

static struct command *take_command(struct broker *broker)
{
    struct command *command = broker->spare;
    if (command == NULL)
        return mem_calloc(1, sizeof(*command));
    broker->spare = command->next;
    return command;
}

/* A broker that changed under us (a failover, a full disk) says so in its errors: greet it anew. */
static bool makes_suspect(const struct broker *broker, const redisReply *reply)
{
    static const char *const words[] = {"READONLY", "LOADING", "MISCONF", "NOAUTH", "ERR Function not found"};
    if (reply == NULL || reply->type != REDIS_REPLY_ERROR)
        return false;
    for (size_t i = broker->config.must_be_primary ? 0 : 1; i < COUNT_OF(words); i++)
        if (strncmp(reply->str, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

static void on_reply(redisAsyncContext *context, void *raw_reply, void *raw_command)
{
    struct command *command = raw_command;
    struct broker *broker = command->broker;
    (void)context;
    INVARIANT(broker->oldest == command);
    broker->oldest = command->next;
    if (broker->oldest == NULL)
        broker->newest = &broker->oldest;
    broker->in_flight--;
    enter(broker);
    if (makes_suspect(broker, raw_reply) && broker->state == BROKER_READY)
        broker->suspect = true;
    broker_reply_fn done = command->done;
    void *arg = command->arg;
    command->next = broker->spare;
    broker->spare = command;
    done(arg, raw_reply);
    if (broker->suspect && broker->in_flight == 0 && !broker->destroyed) {
        broker->suspect = false;
        drop(broker, raw_reply ? ((const redisReply *)raw_reply)->str : NULL);
    }
    leave(broker);
}

static void format(struct buf *wire, int argc, const char *const *argv, const size_t *argv_len)
{
    wire->len = 0;
    broker_put_count(wire, (size_t)argc);
    for (int i = 0; i < argc; i++)
        broker_put_word(wire, (struct str){argv[i], argv_len ? argv_len[i] : strlen(argv[i])});
}

static bool send_made(struct broker *broker, int64_t deadline_ms, broker_reply_fn done, void *arg, struct str wire)
{
    struct command *command = take_command(broker);
    *command = (struct command){
        .broker = broker, .done = done, .arg = arg, .deadline_us = clock_monotonic_us() + (uint64_t)deadline_ms * 1000};
    int sent = redisAsyncFormattedCommand(broker->context, on_reply, command, wire.base, wire.len);
    if (sent != REDIS_OK) {
        command->next = broker->spare;
        broker->spare = command;
        return false;
    }
    *broker->newest = command;
    broker->newest = &command->next;
    broker->in_flight++;
    arm_deadline(broker, command->deadline_us);
    return true;
}

static bool send_command(struct broker *broker, int64_t deadline_ms, broker_reply_fn done, void *arg, int argc,
                         const char *const *argv, const size_t *argv_len)
{
    format(&broker->wire, argc, argv, argv_len);
    bool sent = send_made(broker, deadline_ms, done, arg, buf_str(&broker->wire));
    if (broker->wire.capacity > WIRE_KEPT)
        buf_free(&broker->wire);
    return sent;
}

bool broker_command_made(struct broker *broker, int64_t deadline_ms, broker_reply_fn done, void *arg, struct str wire)
{
    return broker_takes(broker) && send_made(broker, deadline_ms, done, arg, wire);
}

bool broker_command_for(struct broker *broker, int64_t deadline_ms, broker_reply_fn done, void *arg, int argc,
                        const char *const *argv, const size_t *argv_len)
{
    return broker_takes(broker) && send_command(broker, deadline_ms, done, arg, argc, argv, argv_len);
}

bool broker_command(struct broker *broker, broker_reply_fn done, void *arg, int argc, const char *const *argv,
                    const size_t *argv_len)
{
    return broker_command_for(broker, broker->config.command_timeout_ms, done, arg, argc, argv, argv_len);
}

/* --- greeting ---------------------------------------------------------------------------------------------------- */

static void refuse(struct broker *broker, const char *fault)
{
    if (broker->state == BROKER_GREETING && broker->context != NULL)
        drop(broker, fault);
}

static void greet_auth(void *arg, const redisReply *reply)
{
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        refuse(arg, "it does not accept the user and password: check broker.user and broker.password_file");
}

/* "field:value" in the text of INFO. */
static bool info_is(const redisReply *reply, const char *line)
{
    const char *at = reply->type == REDIS_REPLY_STRING ? strstr(reply->str, line) : NULL;
    return at != NULL && (at[strlen(line)] == '\r' || at[strlen(line)] == '\n');
}

static void note_run_id(struct broker *broker, const redisReply *reply)
{
    static const char mark[] = "run_id:";
    const char *at = reply->type == REDIS_REPLY_STRING ? strstr(reply->str, mark) : NULL;
    if (at != NULL)
        snprintf(broker->run_id, sizeof(broker->run_id), "%.*s", (int)strcspn(at + sizeof(mark) - 1, "\r\n"),
                 at + sizeof(mark) - 1);
}

static void greet_info(void *arg, const redisReply *reply)
{
    struct broker *broker = arg;
    if (reply == NULL)
        return;
    note_run_id(broker, reply);
    if (reply->type == REDIS_REPLY_ERROR)
        refuse(broker,
               strncmp(reply->str, "NOAUTH", 6) == 0 ? "it asks for a password: set broker.password_file" : reply->str);
    else if (info_is(reply, "loading:1"))
        refuse(broker, "it is still loading its data");
    else if (broker->config.must_be_durable && !info_is(reply, "aof_enabled:1"))
        refuse(broker, "it keeps no append-only file: set appendonly yes in its configuration");
    else if (broker->config.must_be_durable && !info_is(reply, "aof_last_write_status:ok"))
        refuse(broker, "its last write to the append-only file failed: look for a full disk");
}

static void greet_fsync(void *arg, const redisReply *reply)
{
    struct broker *broker = arg;
    if (reply != NULL && broker->config.must_be_durable && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING && strcmp(reply->element[1]->str, "no") == 0)
        refuse(broker, "it never syncs its append-only file: set appendfsync always");
}

static void become_ready(struct broker *broker)
{
    broker->fault[0] = '\0';
    broker->backoff_ms = BACKOFF_LEAST_MS;
    broker->former.client_id = broker->client_id;
    memcpy(broker->former.run_id, broker->run_id, sizeof(broker->run_id));
    set_state(broker, BROKER_READY);
}

static void greet_loaded(void *arg, const redisReply *reply)
{
    struct broker *broker = arg;
    if (reply == NULL || broker->state != BROKER_GREETING || broker->context == NULL)
        return;
    if (reply->type != REDIS_REPLY_ERROR) {
        become_ready(broker);
        return;
    }
    char fault[sizeof(broker->fault)];
    snprintf(fault, sizeof(fault), "it does not take our functions (Redis 7 is needed): %s", reply->str);
    refuse(broker, fault);
}

/* A broker that has none answers with an error. */
static void greet_version(void *arg, const redisReply *reply)
{
    struct broker *broker = arg;
    if (reply == NULL || broker->state != BROKER_GREETING || broker->context == NULL)
        return;
    if (reply->type == REDIS_REPLY_STRING && !functions_outdated((struct str){reply->str, reply->len})) {
        become_ready(broker);
        return;
    }
    if (broker->replica) {
        become_ready(broker);
        return;
    }
    struct str library = functions_library();
    const char *load[] = {"FUNCTION", "LOAD", "REPLACE", library.base};
    const size_t lengths[] = {8, 4, 7, library.len};
    if (!send_command(broker, broker->config.command_timeout_ms, greet_loaded, broker, 4, load, lengths))
        refuse(broker, "the connection failed");
}

#define MAY_NOT_KILL                                                                                                   \
    "it does not let us end our former connection: grant the user of broker.user +client|id and +client|kill"

static void greet_id(void *arg, const redisReply *reply)
{
    struct broker *broker = arg;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER)
        broker->client_id = reply->integer;
    else if (reply != NULL)
        refuse(broker, MAY_NOT_KILL);
}

static void greet_killed(void *arg, const redisReply *reply)
{
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        refuse(arg, MAY_NOT_KILL);
}

/* What lies unread in the former connection, or comes yet, runs no more after this. A broker that was restarted gives
 * the number to others; whether we may is asked at the first connection, and not found out when it is needed. */
static bool end_former(struct broker *broker)
{
    const struct connection *former = &broker->former;
    bool there = former->client_id != 0 && strcmp(former->run_id, broker->run_id) == 0;
    char id[24];
    snprintf(id, sizeof(id), "%" PRId64, there ? former->client_id : INT64_MAX);
    const char *ask[] = {"CLIENT", "ID"}, *end[] = {"CLIENT", "KILL", "ID", id};
    int64_t ms = broker->config.command_timeout_ms;
    return send_command(broker, ms, greet_id, broker, 2, ask, NULL) &&
           send_command(broker, ms, greet_killed, broker, 4, end, NULL);
}

static void greet_functions(struct broker *broker)
{
    const char *version[] = {"FCALL_RO", "ldc1_version", "0"};
    if (broker->config.ends_former && !end_former(broker))
        refuse(broker, "the connection failed");
    else if (!broker->config.functions)
        become_ready(broker);
    else if (!send_command(broker, broker->config.command_timeout_ms, greet_version, broker, 3, version, NULL))
        refuse(broker, "the connection failed");
}

static void greet_role(void *arg, const redisReply *reply)
{
    struct broker *broker = arg;
    if (reply == NULL || broker->state != BROKER_GREETING || broker->context == NULL)
        return;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 || reply->element[0]->type != REDIS_REPLY_STRING) {
        refuse(broker, reply->type == REDIS_REPLY_ERROR ? reply->str : "it does not say what role it has");
        return;
    }
    broker->replica = strcmp(reply->element[0]->str, "master") != 0;
    if (broker->config.must_be_primary && broker->replica)
        refuse(broker, "it is a replica: name the primary first in `brokers`");
    else
        greet_functions(broker);
}

static void greet(struct broker *broker)
{
    int64_t ms = broker->config.command_timeout_ms;
    const char *auth[] = {"AUTH", broker->user ? broker->user : broker->password, broker->password};
    const char *info[] = {"INFO", "server", "persistence"}, *fsync[] = {"CONFIG", "GET", "appendfsync"},
               *role[] = {"ROLE"};
    bool sent =
        broker->password == NULL || send_command(broker, ms, greet_auth, broker, broker->user ? 3 : 2, auth, NULL);
    sent = sent && send_command(broker, ms, greet_info, broker, 3, info, NULL);
    sent = sent && send_command(broker, ms, greet_fsync, broker, 3, fsync, NULL);
    sent = sent && send_command(broker, ms, greet_role, broker, 1, role, NULL);
    if (!sent)
        refuse(broker, "the connection failed");
}

static void on_connect(const redisAsyncContext *context, int status)
{
    struct broker *broker = context->data;
    if (broker != NULL)
        broker->refused = false;
    if (broker == NULL || status == REDIS_OK)
        return;
    /* hiredis frees a context that could not connect by itself, without a disconnect callback. */
    enter(broker);
    broker->refused = true;
    set_fault(broker, context->errstr && context->errstr[0] ? context->errstr : "the connection was refused");
    go_down(broker);
    leave(broker);
}

/* The greeting is queued before the connection stands: it leaves with the first write. */
static void dial(void *arg)
{
    struct broker *broker = arg;
    broker->redial = NULL;
    redisAsyncContext *context = redisAsyncConnect(broker->host, (int)broker->port);
    if (context == NULL || context->err || broker->loop.attach(broker->loop.loop, context) != 0) {
        set_fault(broker, context && context->err ? context->errstr : "no connection could be made");
        if (context != NULL)
            redisAsyncFree(context);
        schedule_dial(broker);
        return;
    }
    context->data = broker;
    broker->context = context;
    enter(broker);
    set_state(broker, BROKER_GREETING);
    redisAsyncSetConnectCallback(context, on_connect);
    redisAsyncSetDisconnectCallback(context, on_disconnect);
    if (broker->context == context)
        greet(broker);
    leave(broker);
}

/* --- outside ----------------------------------------------------------------------------------------------------- */

static char *dup_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? str_dup(str_of(text)) : NULL;
}

struct broker *broker_create(const struct broker_loop *loop, const struct broker_config *config,
                             broker_state_fn changed, void *arg)
{
    struct broker *broker = mem_calloc(1, sizeof(*broker));
    struct url url;
    struct error err;
    broker->loop = *loop;
    broker->config = *config;
    broker->url = str_dup(str_of(config->url));
    broker->user = dup_or_null(config->user);
    broker->password = dup_or_null(config->password);
    broker->config.url = broker->url;
    broker->config.user = broker->config.password = NULL;
    broker->changed = changed;
    broker->arg = arg;
    broker->newest = &broker->oldest;
    broker->backoff_ms = BACKOFF_LEAST_MS;
    INVARIANT(url_parse(str_of(broker->url), 6379, &url, &err) == 0); /* the rule loader let nothing else through */
    broker->host = str_dup(url.host);
    broker->port = url.port;
    set_fault(broker, "not connected yet");
    broker->redial = loop->timer_start(loop->loop, 0, dial, broker);
    return broker;
}

void broker_destroy(struct broker **slot)
{
    struct broker *broker = *slot;
    *slot = NULL;
    if (broker == NULL)
        return;
    enter(broker);
    broker->destroyed = true;
    drop(broker, NULL);
    stop_timer(broker, &broker->redial);
    stop_timer(broker, &broker->deadline);
    leave(broker);
}

bool broker_was_refused(const struct broker *broker)
{
    return broker->refused;
}

bool broker_was_replica(const struct broker *broker)
{
    return broker->replica;
}

void broker_reset(struct broker *broker)
{
    drop(broker, "the connection was given up");
}

enum broker_state broker_state(const struct broker *broker)
{
    return broker->state;
}

bool broker_takes(const struct broker *broker)
{
    return broker->state == BROKER_READY && !broker->suspect;
}

const char *broker_fault(const struct broker *broker)
{
    return broker->fault;
}

bool broker_has_ended_former(const struct broker *broker)
{
    return broker->state == BROKER_READY || broker->former.client_id == 0;
}

const char *broker_run_id(const struct broker *broker)
{
    return broker->run_id;
}

size_t broker_in_flight(const struct broker *broker)
{
    return broker->in_flight;
}
