/* SPDX-License-Identifier: Apache-2.0
 *
 * One asynchronous connection to a broker (Redis protocol), which keeps itself up: connect, authenticate, check that
 * the broker is what the rules ask for, reconnect with backoff, and a deadline for every command. The only place that
 * knows hiredis; event loops plug in through `struct broker_loop`.
 *
 * Lifecycle: DOWN -> (dial) -> GREETING (AUTH, durability check, functions) -> READY -> DOWN. Commands are taken in
 * READY only. Each accepted command gets its callback exactly once: with the reply, or with NULL when the connection
 * was lost or the deadline passed, which means that the outcome is unknown.
 */
#ifndef COMMON_BROKER_H
#define COMMON_BROKER_H

#include <hiredis/hiredis.h>

#include "common/error.h"
#include "common/str.h"

struct broker;
struct redisAsyncContext;

/* What an event loop must offer. */
struct broker_loop {
    void *loop;
    /* Attaches a fresh hiredis context: fills its ev hooks. -1 when that fails. */
    int (*attach)(void *loop, struct redisAsyncContext *context);
    /* Calls FN(ARG) once, DELAY_MS from now (0: on the next turn); returns a handle for timer_stop. */
    void *(*timer_start)(void *loop, int64_t delay_ms, void (*fn)(void *arg), void *arg);
    void (*timer_stop)(void *loop, void *timer);
};

enum broker_state {
    BROKER_DOWN = 0,
    BROKER_GREETING,
    BROKER_READY,
};

struct broker_config {
    const char *url;      /* redis://host:port */
    const char *user;     /* NULL: none */
    const char *password; /* NULL: none; never logged */
    int64_t command_timeout_ms;
    bool must_be_durable;   /* refuse a broker that keeps no append-only file */
    bool must_be_primary;   /* refuse a replica; where not, READONLY is an answer like others */
    int64_t redial_most_ms; /* longest wait before it connects anew; 0: a second */
    bool functions; /* see to it that the broker has our library (common/functions.h); replicas get it from theirs */
    /* With `functions`: a connection that was lost is ended at the broker, by CLIENT KILL, before the next one is
     * READY: a command of it that was not run yet never will be. The user needs the permission; without it nothing is
     * READY. */
    bool ends_former;
};

/* REPLY is borrowed for the call; NULL: outcome unknown. */
typedef void (*broker_reply_fn)(void *arg, const redisReply *reply);
typedef void (*broker_state_fn)(void *arg, struct broker *broker, enum broker_state state);

struct broker *broker_create(const struct broker_loop *loop, const struct broker_config *config,
                             broker_state_fn changed, void *arg);
/* Calls back what is under way (with NULL) before it returns. But within one of its own replies, only when that has
 * returned: there nobody may end who owns what the others' ARG point to. */
void broker_destroy(struct broker **broker);

/* Closes the connection, and calls back what is under way, before it returns; then connects anew. Not from a callback
 * of this broker. */
void broker_reset(struct broker *broker);

enum broker_state broker_state(const struct broker *broker);
/* Whether it takes commands: one that is READY does not where it has said that it must be greeted anew. */
bool broker_takes(const struct broker *broker);
/* Why it is not READY, in a sentence: "connection refused", "keeps no append-only file: set appendonly yes". */
const char *broker_fault(const struct broker *broker);
/* Whether the last connection was refused, rather than ended. */
bool broker_was_refused(const struct broker *broker);
/* Whether it was a replica when it last said what it is. */
bool broker_was_replica(const struct broker *broker);
size_t broker_in_flight(const struct broker *broker);
/* The run of the server that this connection leads to, as INFO calls it: another one after each restart. "" while it is
 * not READY. */
const char *broker_run_id(const struct broker *broker);

/* With `ends_former`: whether no command of a connection that was lost can run any more. */
bool broker_has_ended_former(const struct broker *broker);

/* Sends ARGC arguments; all commands of one loop turn leave in one write. False when not READY (no callback then). */
bool broker_command(struct broker *broker, broker_reply_fn done, void *arg, int argc, const char *const *argv,
                    const size_t *argv_len) MUST_CHECK;

/* The same for a command that is made already, in RESP: broker_put_count() and broker_put_word() write it. */
bool broker_command_made(struct broker *broker, int64_t deadline_ms, broker_reply_fn done, void *arg,
                         struct str wire) MUST_CHECK;

/* Appends to WIRE the head of a command of COUNT words, and each of its words. */
void broker_put_count(struct buf *wire, size_t count);
void broker_put_word(struct buf *wire, struct str word);

/* Whether REPLY (may be NULL) is an error that begins with WORD. */
bool broker_is_error(const redisReply *reply, const char *word);

/* For a blocking read (XREAD BLOCK): DEADLINE_MS replaces the configured one. */
bool broker_command_for(struct broker *broker, int64_t deadline_ms, broker_reply_fn done, void *arg, int argc,
                        const char *const *argv, const size_t *argv_len) MUST_CHECK;

#endif
