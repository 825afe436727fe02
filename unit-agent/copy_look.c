/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_look.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/collection_value.h"
#include "common/log.h"
#include "unit-agent/copies.h"
#include "unit-agent/copy_follow.h"
#include "unit-agent/copy_report.h"

#define CLOSED_US 100000 /* readers have heard by then that it is closed: what was there may go */
#define TURN_US   100000 /* between two looks whether it is this copy's turn to be made */

/* --- what the unit's broker has ----------------------------------------------------------------------------------- */

static const char *text_of(const redisReply *reply, enum copy_meta field)
{
    return reply->element[field]->type == REDIS_REPLY_STRING ? reply->element[field]->str : "";
}

bool copy_look_ask(struct copy *copy, broker_reply_fn done, void *arg)
{
    char meta[PROTOCOL_KEY_MAX + 8];
    snprintf(meta, sizeof(meta), "%smeta", copy->at);
    const char *const words[] = {"HMGET",   meta,  "seq",   "state",      "epoch",     "copy_bucket",
                                 "beat_us", "bad", "owner", "digest_seq", "digest_ok", "copy_until"};
    return primary_is_ready(&copy->copies->local) &&
           broker_command(copy->copies->local.broker, done, arg, COPY_META_COUNT + 2, words, NULL);
}

/* Takes the answer. False: it was none. */
static bool note(struct copy *copy, const redisReply *reply)
{
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != COPY_META_COUNT)
        return false;
    copy->seq = copy_number(reply->element[COPY_META_SEQ]);
    const char *state = text_of(reply, COPY_META_STATE);
    copy->live = strcmp(state, "live") == 0;
    copy->is_origin = strcmp(state, "origin") == 0;
    copy->there = copy->live || copy->is_origin || strcmp(state, "copying") == 0;
    copy->epoch = copy_number(reply->element[COPY_META_EPOCH]);
    uint64_t next_bucket = copy_number(reply->element[COPY_META_BUCKET]);
    copy->next_bucket = next_bucket < COLLECTION_BUCKETS ? (unsigned)next_bucket : COLLECTION_BUCKETS;
    copy->until = next_bucket <= COLLECTION_BUCKETS ? copy_number(reply->element[COPY_META_UNTIL]) : UINT64_MAX;
    copy->beat_us = copy_number(reply->element[COPY_META_BEAT]);
    copy_note_bad(copy, text_of(reply, COPY_META_BAD));
    return true;
}

/* --- how it goes on ----------------------------------------------------------------------------------------------- */

static void on_wiped(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    if (reply == NULL || reply->type != REDIS_REPLY_STATUS) {
        copy_fail_step(copy, reply);
        return;
    }
    stat_add(&copy->copies->config.stats->agent_copy_bootstraps_total, 1);
    copy->makings++;
    if (copy->epoch != 0 || copy->seq != 0) /* it may have been open a moment ago */
        copy->wait_until_us = clock_monotonic_us() + CLOSED_US;
    copy->seq = copy->origin_seq;
    copy->live = copy->misled = false;
    copy->epoch = 0;
    copy->next_bucket = 0;
    copy->phase = COPY_FILLS;
    copy_report(copy); /* before anything is filled: the origin keeps its log for who is known there */
    copy_end_step(copy);
}

static void begin_anew(struct copy *copy, const char *why)
{
    char seq[24];
    struct copies *copies = copy->copies;
    if (copies->filling != NULL && copies->filling != copy) {
        copy->busy = false; /* one after the other */
        copy->wait_until_us = clock_monotonic_us() + TURN_US;
        return;
    }
    log_info("copy.begun", "the copy of %s is made anew, from %" PRIu64 " on: %s", copy->rules.name.base,
             copy->origin_seq, why);
    copies->filling = copy;
    const struct str args[] = {{seq, (size_t)snprintf(seq, sizeof(seq), "%" PRIu64, copy->origin_seq)}};
    if (!copy_call(copy, "c_wipe", args, 1, on_wiped, copy))
        copy_fail_step(copy, NULL);
}

/* What was read for it is lost at the origin, or somebody else wrote there. */
static bool comes_to_no_end(const struct copy *copy)
{
    return !copy->live && copy->until > copy->origin_seq;
}

static void decide(struct copy *copy)
{
    bool makes = !copy->live && copy->next_bucket < COLLECTION_BUCKETS;
    if (!copy->there)
        begin_anew(copy, "there is none");
    else if (copy->misled)
        begin_anew(copy, "an entry of the origin's log is no change that can be applied");
    else if (copy->seq > copy->origin_seq || comes_to_no_end(copy))
        begin_anew(copy, "it has more than the origin");
    else if (copy->seq < copy->origin_seq && !copy->log_reaches)
        begin_anew(copy, "the origin's log begins behind it");
    else if (makes) {
        copy->phase = COPY_FILLS;
        copy_end_step(copy);
    } else
        copy_follow(copy);
}

/* --- what the origin has ------------------------------------------------------------------------------------------ */

void copy_look_claimed(void *arg, bool covered)
{
    struct copy *copy = arg;
    if (copy->again || !covered) {
        copy->again = true;
        copy_end_step(copy);
        return;
    }
    decide(copy);
}

static void on_log(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    copy->log_reaches = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0;
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY)
        copy_source_claim(&copy->copies->source, &copy->claim);
    else
        copy_look_claimed(copy, false);
}

static void on_sequence(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    copy->origin_seq = reply != NULL ? copy_number(reply) : 0; /* where it was lost, so is what comes behind it */
}

static bool ask_origin(struct copy *copy)
{
    struct copy_source *source = &copy->copies->source;
    char meta[PROTOCOL_KEY_MAX + 8], log[PROTOCOL_KEY_MAX + 8], next[STREAM_ID_TEXT];
    if (!copy_source_is_ready(source))
        return false;
    snprintf(meta, sizeof(meta), "%smeta", copy->from);
    snprintf(log, sizeof(log), "%slog", copy->from);
    stream_id_format(next, (struct stream_id){copy->seq + 1, 0});
    const char *const seq_words[] = {"HGET", meta, "seq"}, *const log_words[] = {"XRANGE", log, next, next};
    struct broker *broker = copy_source_broker(source);
    return broker_command(broker, on_sequence, copy, 3, seq_words, NULL) &&
           broker_command(broker, on_log, copy, 4, log_words, NULL);
}

static void on_meta(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    if (!note(copy, reply))
        copy_fail_step(copy, reply);
    else if (copy->is_origin)
        copy_refuse_step(copy, "this broker holds the origin of a collection of this name");
    else if (!ask_origin(copy))
        copy_look_claimed(copy, false);
}

void copy_look_step(struct copy *copy)
{
    if (!copy_source_is_ready(&copy->copies->source))
        return;
    copy->life++;
    copy->busy = copy_look_ask(copy, on_meta, copy);
}
