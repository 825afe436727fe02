/* SPDX-License-Identifier: Apache-2.0
 *
 * The way to one unit's broker, of one worker: the connections, and what waits for them. A queue owns its lines; a line
 * owns the messages on it. A line whose broker the rules no longer name is retired: it takes no more messages and goes
 * when its last one is answered.
 */
#ifndef GATEWAY_LINE_H
#define GATEWAY_LINE_H

#include "gateway/broker_h2o.h"
#include "gateway/message.h"
#include "gateway/view.h"
#include "gateway/worker.h"

/* What the lines of one worker share. */
struct lines {
    struct worker *worker;
    struct broker_h2o brokers;
    struct broker_loop loop;
    struct message *spare;
    pthread_mutex_t lock; /* of the lines' faults, against readers in other threads */
};

struct line {
    struct lines *lines;
    struct unit *unit;
    char *url;
    struct broker *broker;  /* for what needs no replica, and for questions */
    struct buf wire;        /* of the call that is being sent */
    size_t bytes, messages; /* on the way */
    struct line *next_retired;
    uint64_t refusals, told_us; /* since the log was told of them, and when that was */
    char fault[160];            /* under the lock; "": ready */
};

struct line *line_create(struct lines *lines, struct unit *unit, struct str url);
/* Concludes what is on the way. Not from a broker's callback. */
void line_destroy(struct line **line);

/* Sends the message, or says in REFUSAL why not: then NULL comes back, and nothing will be called. Counts refusals. */
struct message *line_send(struct line *line, const struct publication *publication, struct publish_result *refusal);

/* Whether nothing is on the way any more, or nothing more can come back. */
bool line_over(const struct line *line);

/* The broker's own words go to the log, one line a second and not one for each message. */
void line_tell_refusal(struct line *line, const char *text);

#endif
