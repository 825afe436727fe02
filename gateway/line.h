/* SPDX-License-Identifier: Apache-2.0
 *
 * The way to one broker of a unit, of one worker: the connections. The unit's lines own it (gateway/unit_lines.h). One
 * that leads to a standby is connected and serves nothing, until the standby is the primary. A line whose broker the
 * rules no longer name is retired: it takes no more messages and goes when its last one is answered.
 */
#ifndef GATEWAY_LINE_H
#define GATEWAY_LINE_H

#include "gateway/broker_h2o.h"
#include "gateway/line_watch.h"
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
    struct unit_lines *home;
    char *url;
    struct broker *broker;       /* for what needs no replica, and for questions */
    struct group_commit *commit; /* NULL where the unit has one broker */
    struct memory_guard guard;   /* runs while the line leads to the primary */
    struct line_watch watch;     /* as long */
    bool primary;
    struct buf wire; /* of the call that is being sent */
    size_t messages; /* on the way */
    struct line *next_retired;
    struct line_notice {
        uint64_t count, told_us; /* since the log was told of them, and when that was */
    } refusals, uncovered;
    char fault[160]; /* under the lock; "": ready */
};

/* To a broker of HOME's unit. */
struct line *line_create(struct unit_lines *home, struct str url);
/* Concludes what is on the way. Not from a broker's callback. */
void line_destroy(struct line **line);

/* It leads to the primary from now on, or no more. */
void line_step_up(struct line *line);
void line_step_down(struct line *line);

enum line_way {
    LINE_PASSABLE = 0,
    LINE_BLOCKED, /* for the moment: the connection, a proof or a record is under way */
    LINE_CLOSED,  /* until somebody changes something */
};

/* Whether messages of DURABILITY (REPLICATED, QUORUM or LOCAL) can be sent to the broker as primary; if not, why not,
 * as a sentence in *DETAIL, or NULL. */
enum line_way line_way(const struct line *line, enum durability durability, const char **detail);

/* Sends MESSAGE: CALL, or where that is NULL what it keeps. False: nothing has left. */
bool line_send(struct line *line, struct message *message, enum durability durability, const struct queue_call *call);

/* Appends to WIRE what MESSAGE is sent as by the record that is in force: CALL, or where that is NULL what it keeps. */
void line_write(const struct line *line, struct message *message, const struct queue_call *call, struct buf *wire);

/* Whether nothing that was sent on connections that are lost can be run by the broker any more. */
bool line_has_ended_former(const struct line *line);

/* Gives up what is on the way, all or what waits for replicas: it is held. Not from a broker's callback. */
void line_withdraw(struct line *line);
void line_withdraw_replicated(struct line *line);

/* Whether nothing is on the way any more, or nothing more can come back. */
bool line_over(const struct line *line);

/* The broker record that is in force for the unit, in this worker, and the epoch of its broker. */
const struct broker_record *line_record(const struct line *line);
uint64_t line_epoch(const struct line *line);

/* Stamps the broker with the record in force, if it leads by it: who was to do so seems to be gone. */
void line_stamp(struct line *line);

/* Why messages that the primary has stored were not acknowledged, and, below, what the broker refused: for the log,
 * one line a second and not one for each message. */
void line_tell_uncovered(struct line *line, const char *why);
void line_tell_refusal(struct line *line, const char *text);

#endif
