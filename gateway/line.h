/* SPDX-License-Identifier: Apache-2.0
 *
 * The way to one unit's broker, of one worker: the connections, and what waits for them. A queue owns its lines; a line
 * owns the messages on it. A line whose broker the rules no longer name is retired: it takes no more messages and goes
 * when its last one is answered.
 */
#ifndef GATEWAY_LINE_H
#define GATEWAY_LINE_H

#include "gateway/broker_h2o.h"
#include "gateway/memory_guard.h"
#include "gateway/message.h"
#include "gateway/view.h"
#include "gateway/worker.h"

/* What the lines of one worker share. */
struct lines {
    struct worker *worker;
    struct broker_h2o brokers;
    struct broker_loop loop;
    struct message *spare;
    struct group_commit *unflushed; /* those that have something waiting */
    pthread_mutex_t lock;           /* of the lines' faults, against readers in other threads */
};

struct line {
    struct lines *lines;
    struct unit *unit;
    char *url;
    struct broker *broker;       /* for what needs no replica, and for questions */
    struct group_commit *commit; /* NULL where the unit has one broker */
    struct broker_record record; /* by line_record() */
    struct memory_guard guard;
    struct buf wire;        /* of the call that is being sent */
    size_t bytes, messages; /* on the way */
    struct line *next_retired;
    struct line_notice {
        uint64_t count, told_us; /* since the log was told of them, and when that was */
    } refusals, uncovered;
    char fault[160]; /* under the lock; "": ready */
};

/* REPLICAS: the unit has more than one broker, of which URL is the primary. */
struct line *line_create(struct lines *lines, struct unit *unit, struct str url, bool replicas);
/* Concludes what is on the way. Not from a broker's callback. */
void line_destroy(struct line **line);

/* Sends the message, or says in REFUSAL why not: then NULL comes back, and nothing will be called. Counts refusals. */
struct message *line_send(struct line *line, const struct publication *publication, struct publish_result *refusal);

/* The rules no longer name it: its broker says nothing of the unit any more. */
void line_retire(struct line *line);

/* Whether nothing is on the way any more, or nothing more can come back. */
bool line_over(const struct line *line);

/* The broker record that is in force for the unit. */
const struct broker_record *line_record(struct line *line);

/* Why messages that the primary has stored were not acknowledged, and, below, what the broker refused: for the log,
 * one line a second and not one for each message. */
void line_tell_uncovered(struct line *line, const char *why);
void line_tell_refusal(struct line *line, const char *text);

#endif
