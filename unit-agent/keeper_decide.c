/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/keeper_decide.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define STRIKES_MOST 4
#define GONE_US      50000     /* a link that has ended may be anew by then */
#define JOINING_US   1000000   /* a replica that is sound joins within it */
#define SETTLING_US  100000    /* who waited for the primary is served before a replica's joining holds writers up */
#define FORGIVEN_US  120000000 /* a replica that did not leave for so long is as good as new */

/* --- what was seen ------------------------------------------------------------------------------------------------ */

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* A link keeps the time of the first look that showed it. */
static void date_links(struct keeper_look *look, const struct keeper_look *before)
{
    for (unsigned i = 0; i < look->link_count; i++) {
        const struct keeper_link *known = keeper_look_link(before, look->links[i].at);
        bool stays = known != NULL && known->id == look->links[i].id && same(look->run_id, before->run_id);
        look->links[i].since_us = stays ? known->since_us : look->ended_us;
    }
}

static void hear(struct keeper_replica *replica, uint64_t at_us)
{
    if (at_us > replica->heard_us)
        replica->heard_us = at_us;
}

/* Lag is a time: how long ago the primary was where the replica is now. SINCE_US: it was heard of no later. */
static void reach(struct keeper_replica *replica, const struct keeper_look *primary, uint64_t offset, uint64_t since_us)
{
    if (offset < replica->goal_offset)
        return;
    hear(replica, since_us < replica->goal_us ? since_us : replica->goal_us);
    replica->goal_us = primary->began_us;
    replica->goal_offset = primary->offset;
}

/* The primary says what a replica acknowledged last, and when in whole seconds. What was acknowledged as replicated
 * before it came online is no further than the primary was when we first saw it online; afterwards the record counts
 * it, or no WAIT is believed. */
static void hear_of(struct keeper_replica *replica, const struct keeper_look *look)
{
    const struct keeper_link *link = keeper_look_link(look, replica->look.link_at);
    const struct keeper_progress *progress = link ? keeper_look_progress(look, link, replica->port) : NULL;
    bool online = progress != NULL ? progress->online : look->online == look->link_count;
    if (link != NULL && online && replica->base_link != link->id) {
        replica->base_link = link->id;
        replica->base_offset = replica->goal_offset = look->offset;
        replica->goal_us = look->began_us;
    }
    if (progress != NULL && progress->online && look->began_us > progress->lag_s * 1000000)
        reach(replica, look, progress->offset, look->began_us - progress->lag_s * 1000000);
}

/* A link that is missed may have begun anew, at another end; not where there are fewer than the members. */
static void miss(struct keeper_replica *replica, const struct keeper_look *primary, unsigned members)
{
    bool gone = primary->link_count + 1 < members && keeper_look_link(primary, replica->look.link_at) == NULL;
    if (!gone)
        replica->gone_us = 0;
    else if (replica->gone_us == 0)
        replica->gone_us = primary->began_us;
}

/* Who rests must be well all the while. */
static void note_unwell(struct keeper_replica *replica, const struct keeper_look *primary, uint64_t timeout_us)
{
    if (keeper_look_link(primary, replica->look.link_at) == NULL || replica->heard_us + timeout_us < primary->began_us)
        replica->well_us = primary->ended_us;
}

void keeper_saw_primary(struct keeper_state *state, const struct keeper_look *look)
{
    struct keeper_look before = state->primary;
    bool same_run = before.ended_us != 0 && same(before.run_id, look->run_id);
    state->primary = *look;
    date_links(&state->primary, &before);
    if (!same_run || before.sync_full != look->sync_full || before.sync_partial != look->sync_partial)
        state->steady_us = look->ended_us;
    if (state->record.member_count > 0 && same(look->dataset, state->record.dataset) &&
        look->writes > state->most_writes)
        state->most_writes = look->writes;
    if (before.ended_us == 0 || before.ended_us + state->timeout_us < look->began_us)
        state->watch_us = look->ended_us;
    for (unsigned i = 0; i < state->replica_count; i++) {
        if (!same_run)
            state->replicas[i].base_link = 0;
        hear_of(&state->replicas[i], &state->primary);
        miss(&state->replicas[i], &state->primary, state->record.member_count);
        note_unwell(&state->replicas[i], &state->primary, state->timeout_us);
    }
}

bool keeper_hurries(const struct keeper_state *state)
{
    const struct keeper_look *primary = &state->primary;
    bool joins = primary->online >= state->record.member_count && primary->ended_us < state->steady_us + JOINING_US;
    bool waits = primary->ended_us != 0 && !primary->is_primary; /* to be told that it may serve */
    bool hurries = state->record.member_count > 0 && (joins || waits || state->record.member_count < state->quorum);
    for (unsigned i = 0; i < state->replica_count; i++)
        hurries |=
            state->replicas[i].gone_us != 0 && broker_record_member(&state->record, state->replicas[i].url) != NULL;
    return hurries;
}

void keeper_saw_replica(struct keeper_state *state, unsigned index, const struct keeper_look *look)
{
    struct keeper_replica *replica = &state->replicas[index];
    replica->look = *look;
    const struct keeper_link *link = keeper_look_link(&state->primary, look->link_at);
    if (!look->is_primary && look->link_up && link != NULL && link->id == replica->base_link)
        reach(replica, &state->primary, look->offset, look->began_us);
}

void keeper_strike(struct keeper_state *state, unsigned index, bool lags, uint64_t now_us)
{
    struct keeper_replica *replica = &state->replicas[index];
    if (now_us > replica->left_us + FORGIVEN_US)
        replica->strikes = 0;
    unsigned grade = replica->strikes + lags;
    replica->rest_us = grade > 0 ? state->timeout_us << (grade - 1) : 0;
    replica->strikes += replica->strikes < STRIKES_MOST;
    replica->left_us = replica->well_us = now_us;
    if (lags)
        replica->struck_us = now_us;
}

/* --- one replica -------------------------------------------------------------------------------------------------- */

enum standing {
    SAFE = 0, /* it holds everything, and goes on doing so */
    UNSURE,   /* not seen to be safe just now */
    LOST,     /* not safe */
};

static enum standing because(char *why, enum standing standing, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum standing because(char *why, enum standing standing, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, KEEPER_WHY, format, args);
    va_end(args);
    return standing;
}

static enum standing judge_file(const struct keeper_look *look, char *why)
{
    if (!look->aof_on)
        return because(why, LOST, "it keeps no append-only file: set appendonly yes");
    if (!look->aof_sound)
        return because(why, LOST, "its last write to the append-only file failed: look for a full disk");
    if (look->rewriting)
        return because(why, UNSURE, "it rewrites its append-only file");
    if (!look->rewrite_sound)
        return because(why, UNSURE, "its last rewrite of the append-only file failed: look for a full disk");
    return SAFE;
}

static enum standing judge(const struct keeper_state *state, const struct keeper_replica *replica, char *why)
{
    const struct keeper_look *look = &replica->look, *primary = &state->primary;
    why[0] = '\0';
    if (look->ended_us == 0 || look->ended_us + state->timeout_us < primary->began_us)
        return because(why, UNSURE, "it does not answer");
    if (look->is_primary)
        return because(why, LOST, "it is no replica: set replicaof");
    if (look->syncing)
        return because(why, LOST, "it copies the data, and has given up what it held");
    if (!look->link_up)
        return because(why, UNSURE, "it has no link to its primary");
    const struct keeper_link *link = keeper_look_link(primary, look->link_at);
    if (link == NULL)
        return because(why, UNSURE, "it is attached to another broker, or through an address translation");
    enum standing file = judge_file(look, why);
    if (file != SAFE)
        return file;
    if (look->began_us < state->steady_us || look->ended_us > primary->began_us || link->id != replica->base_link)
        return because(why, UNSURE, "it has just attached");
    if (look->offset < replica->base_offset || replica->heard_us + state->timeout_us < primary->began_us)
        return because(why, UNSURE, "it is behind, by %" PRIu64 " bytes when it was looked at",
                       primary->offset > look->offset ? primary->offset - look->offset : 0);
    if (!same(look->dataset, primary->dataset) || look->epoch > primary->epoch)
        return because(why, LOST, "its data are not those of the primary");
    if (look->epoch < primary->epoch && look->epoch < state->record.version)
        return because(why, UNSURE, "it does not have the primary's stamp yet");
    return SAFE;
}

/* Whether a sound replica has waited for long enough to join. */
static enum standing judge_patience(const struct keeper_state *state, const struct keeper_replica *replica,
                                    uint64_t now_us, char *why)
{
    if (now_us < replica->well_us + replica->rest_us)
        return because(why, UNSURE, "it has left %u times of late, and must prove itself for %.0f s", replica->strikes,
                       (double)replica->rest_us / 1e6);
    if (now_us < state->steady_us + SETTLING_US && state->primary.epoch <= state->record.version)
        return because(why, UNSURE, "it has just attached");
    return SAFE;
}

/* --- the primary -------------------------------------------------------------------------------------------------- */

/* It was started anew before it was stamped with its record. Nobody has written by that record then, and where nobody
 * else is a member all there is to lose is what it had taken until the record was written: what was counted then; or,
 * of one that was to take over, what the record before counted on. */
static bool has_what_came_before(const struct keeper_state *state)
{
    const struct broker_record *record = &state->record;
    const struct keeper_look *primary = &state->primary;
    bool stamped = record->before != 0 && primary->epoch >= record->before;
    return record->member_count == 1 && same(record->primary, state->url) && primary->fsync_always &&
           (stamped || broker_record_counted(record, primary->writes));
}

/* Whether the primary holds the data that the record speaks of. */
static bool holds_the_data(const struct keeper_state *state, char *why)
{
    const struct broker_record *record = &state->record;
    const struct keeper_look *primary = &state->primary;
    if (!same(primary->dataset, record->dataset))
        because(why, LOST,
                primary->dataset[0] == '\0' ? "%s is empty, or was emptied: its data are not those of the broker record"
                                            : "%s holds other data than those of the broker record",
                state->url);
    else if (primary->epoch < record->version && !same(primary->run_id, record->run_id) && !has_what_came_before(state))
        because(why, LOST, "%s holds data of epoch %" PRIu64 ", and the broker record is of epoch %" PRIu64, state->url,
                primary->epoch, record->version);
    else if (primary->fsync_always && primary->writes < state->most_writes)
        because(why, LOST, "%s holds %" PRIu64 " writes, and held %" PRIu64 " before: its data are old", state->url,
                primary->writes, state->most_writes);
    else if (!same(state->url, record->primary) && !same(primary->run_id, record->run_id) &&
             broker_record_member(record, state->url) == NULL)
        because(why, LOST, "%s was not in sync with %s, the primary of the broker record", state->url, record->primary);
    else
        return true;
    return false;
}

static bool holds_more(const struct keeper_look *look, const struct keeper_look *primary)
{
    return same(look->dataset, primary->dataset) ? look->writes > primary->writes : look->dataset[0] != '\0';
}

/* There is no record: the first broker may begin one, unless another has what it lacks. Who is not there for the
 * timeout is not waited for. */
static enum keeper_verdict judge_first(const struct keeper_state *state, char *why)
{
    const struct keeper_look *primary = &state->primary;
    for (unsigned i = 0; i < state->replica_count; i++) {
        const struct keeper_replica *replica = &state->replicas[i];
        if (replica->look.ended_us == 0 && primary->ended_us < state->watch_us + state->timeout_us) {
            because(why, UNSURE, "%s has not said yet what it holds", replica->url);
            return KEEPER_REST;
        }
        if (holds_more(&replica->look, primary)) {
            because(why, LOST, "%s holds data that %.100s does not, and there is no record of which are the unit's",
                    replica->url, state->url);
            return KEEPER_REFUSE;
        }
    }
    return KEEPER_WRITE;
}

/* Before the primary was seen in this run, and for as long as it still reads what the former one had sent, a member may
 * come to hold more. */
static bool says_what_it_holds(const struct keeper_state *state, const struct keeper_look *look)
{
    return look->ended_us != 0 && look->began_us >= state->steady_us && !look->link_up &&
           look->ended_us + state->timeout_us >= state->primary.began_us;
}

/* Another run of the primary, with data of the record: whether each member has no more of them. */
static enum keeper_verdict judge_return(const struct keeper_state *state, char *why)
{
    const struct keeper_look *primary = &state->primary;
    for (unsigned i = 0; i < state->replica_count; i++) {
        const struct keeper_replica *replica = &state->replicas[i];
        const struct keeper_look *look = &replica->look;
        if (broker_record_member(&state->record, replica->url) == NULL)
            continue;
        if (!says_what_it_holds(state, look)) {
            because(why, UNSURE, "%s was started anew, and %.100s, which is in sync, does not say what it holds",
                    state->url, replica->url);
            return KEEPER_REST;
        }
        if (same(look->dataset, primary->dataset) && look->writes > primary->writes) {
            because(why, LOST, "%s came back with older data than those of %.100s, which must take over", state->url,
                    replica->url);
            return KEEPER_REFUSE;
        }
    }
    return KEEPER_WRITE;
}

/* The primary takes no writes: it was started, and waits to be told that it may. One that was stamped ahead before it
 * was started can have the very epoch of the record that took it up: only a newer record gets it promoted. */
static enum keeper_verdict judge_fenced(const struct keeper_state *state, char *why)
{
    const struct broker_record *record = &state->record;
    if (state->primary.link_up || state->primary.syncing) {
        because(why, UNSURE, "%s is a replica: name the primary first in `brokers`", state->url);
        return KEEPER_REST;
    }
    if (record->member_count == 0)
        return judge_first(state, why);
    bool known = same(record->primary, state->url) && same(record->run_id, state->primary.run_id);
    if (known && state->primary.epoch < record->version) {
        because(why, UNSURE, "%s is about to serve", state->url);
        return KEEPER_REST;
    }
    return holds_the_data(state, why) ? judge_return(state, why) : KEEPER_REFUSE;
}

/* KEEPER_WRITE where a record may be written at all. */
static enum keeper_verdict judge_primary(const struct keeper_state *state, uint64_t now_us, char *why)
{
    const struct keeper_look *primary = &state->primary;
    enum keeper_verdict verdict = KEEPER_REST;
    if (!state->record_known)
        because(why, UNSURE, "the store has not been read yet");
    else if (primary->ended_us == 0 || primary->ended_us + state->timeout_us < now_us)
        because(why, UNSURE, "the primary %s does not answer", state->url);
    else if (!primary->is_primary)
        verdict = judge_fenced(state, why);
    else if (state->record.member_count > 0)
        verdict = holds_the_data(state, why) ? KEEPER_WRITE : KEEPER_REFUSE;
    else
        verdict = primary->dataset[0] != '\0' ? KEEPER_WRITE : KEEPER_MARK;
    return verdict;
}

/* --- the record --------------------------------------------------------------------------------------------------- */

/* The primary is another run, or has seen replicas attach, since the record was written: no WAIT proves anything. */
static bool is_void(const struct keeper_state *state)
{
    const struct broker_record *record = &state->record;
    const struct keeper_look *primary = &state->primary;
    return !same(record->run_id, primary->run_id) || !same(record->primary, state->url) ||
           record->sync_full != primary->sync_full || record->sync_partial != primary->sync_partial;
}

/* It has not kept up for the timeout. */
static bool lags(const struct keeper_state *state, const struct keeper_replica *replica, uint64_t now_us)
{
    uint64_t since_us = replica->heard_us > state->watch_us ? replica->heard_us : state->watch_us;
    return now_us > since_us + state->timeout_us;
}

static void add_member(struct broker_record *record, const char *url, const char *run_id)
{
    struct broker_member *member = &record->members[record->member_count++];
    snprintf(member->url, sizeof(member->url), "%s", url);
    snprintf(member->run_id, sizeof(member->run_id), "%s", run_id);
}

static void begin_record(const struct keeper_state *state, struct broker_record *record)
{
    const struct keeper_look *primary = &state->primary;
    *record = (struct broker_record){.sync_full = primary->sync_full,
                                     .sync_partial = primary->sync_partial,
                                     .wait = primary->online,
                                     .hold = state->record.hold,
                                     .drained = state->record.drained,
                                     .moving = state->record.moving,
                                     .moved_us = state->record.moved_us};
    memcpy(record->consumer, state->record.consumer, sizeof(record->consumer));
    memcpy(record->target, state->record.target, sizeof(record->target));
    memcpy(record->target_consumer, state->record.target_consumer, sizeof(record->target_consumer));
    memcpy(record->dataset, primary->dataset, sizeof(record->dataset));
    memcpy(record->primary, state->url, sizeof(record->primary));
    memcpy(record->run_id, primary->run_id, sizeof(record->run_id));
    add_member(record, state->url, primary->run_id);
}

/* With everysec a restart may have cost the primary a second that its replicas still have: they stay on record until
 * they are in sync again. */
static bool must_not_shrink(const struct keeper_state *state)
{
    return !state->primary.fsync_always && state->record.member_count > 1 &&
           !same(state->record.run_id, state->primary.run_id);
}

/* The primary says that it is online, over the link that it came by. */
static bool is_online(const struct keeper_state *state, const struct keeper_replica *replica)
{
    const struct keeper_link *link = keeper_look_link(&state->primary, replica->look.link_at);
    return link != NULL && link->id == replica->base_link;
}

/* Writers are stopped for a replica whose last look crossed that at the primary: the next pair of looks tells. */
static bool is_about_to_tell(const struct keeper_state *state, const struct keeper_replica *replica)
{
    return state->primary.epoch > state->record.version && replica->look.ended_us > state->primary.began_us;
}

/* Puts replica I into the next record or leaves it out. False where that cannot be told yet. A WAIT does not say whom
 * it counts: beside a member that is not there another replica would stand in for it. KEEP: only who holds the data no
 * more is left out; WAIT is to count one more then than there are for each who is missed. */
static bool place(const struct keeper_state *state, uint64_t now_us, unsigned i, bool keep,
                  struct keeper_action *action)
{
    const struct keeper_replica *replica = &state->replicas[i];
    const struct broker_member *member = broker_record_member(&state->record, replica->url);
    char why[KEEPER_WHY];
    enum standing standing = judge(state, replica, why);
    if (standing == SAFE && member == NULL && !keep)
        standing = judge_patience(state, replica, now_us, why);
    if (standing != SAFE && action->why[0] == '\0')
        because(action->why, standing, "%s is not in sync: %.150s", replica->url, why);
    if (standing == SAFE)
        add_member(&action->record, replica->url, replica->look.run_id);
    if (standing == SAFE || member == NULL)
        return standing == SAFE || !is_about_to_tell(state, replica);
    if (must_not_shrink(state))
        return false;
    bool lagging = lags(state, replica, now_us);
    bool gone = replica->gone_us != 0 && now_us > replica->gone_us + GONE_US;
    bool overdue = is_void(state) && now_us > state->steady_us + 2 * state->timeout_us;
    bool attached = keeper_look_link(&state->primary, replica->look.link_at) != NULL;
    action->leave[i] = !keep && lagging && attached ? KEEPER_LAGS : KEEPER_LEAVES;
    if (standing == LOST || (!keep && (lagging || gone || overdue)))
        return true;
    action->leave[i] = KEEPER_STAYS;
    add_member(&action->record, replica->url, member->run_id);
    bool doubted = is_void(state) || !is_online(state, replica);
    action->record.wait += keep && doubted;
    return keep || !doubted;
}

static bool place_all(const struct keeper_state *state, uint64_t now_us, bool keep, struct keeper_action *action)
{
    bool certain = true;
    begin_record(state, &action->record);
    memset(action->leave, KEEPER_STAYS, sizeof(action->leave));
    for (unsigned i = 0; i < state->replica_count; i++)
        certain = place(state, now_us, i, keep, action) && certain;
    return certain && action->record.wait + 1 >= action->record.member_count;
}

static bool differs(const struct broker_record *next, const struct broker_record *record)
{
    if (next->member_count != record->member_count || !same(next->run_id, record->run_id) ||
        !same(next->primary, record->primary) || next->sync_full != record->sync_full ||
        next->sync_partial != record->sync_partial || next->wait != record->wait)
        return true;
    for (unsigned i = 0; i < next->member_count; i++) {
        const struct broker_member *known = broker_record_member(record, next->members[i].url);
        if (known == NULL || !same(known->run_id, next->members[i].run_id))
            return true;
    }
    return false;
}

/* A replica of NEXT, in this run, that the record in force does not have. */
static bool joins(const struct broker_record *record, const struct broker_member *next)
{
    const struct broker_member *known = broker_record_member(record, next->url);
    return known == NULL || !same(known->run_id, next->run_id);
}

static bool has_stamp(const struct keeper_state *state, const struct broker_member *member)
{
    for (unsigned i = 0; i < state->replica_count; i++)
        if (same(state->replicas[i].url, member->url))
            return state->replicas[i].look.epoch == state->primary.epoch;
    return false;
}

/* KEEPER_WRITE once writers of the record in force are stopped, and who joins holds all that they wrote. */
static enum keeper_verdict judge_growth(const struct keeper_state *state, const struct broker_record *next)
{
    bool grows = false, stamped = true;
    for (unsigned i = 1; i < next->member_count; i++)
        if (joins(&state->record, &next->members[i])) {
            grows = true;
            stamped = stamped && has_stamp(state, &next->members[i]);
        }
    if (!grows)
        return KEEPER_WRITE;
    if (state->primary.epoch <= state->record.version)
        return KEEPER_STAMP;
    return stamped ? KEEPER_WRITE : KEEPER_REST;
}

/* --- who is detached ---------------------------------------------------------------------------------------------- */

static const struct keeper_replica *owner_of(const struct keeper_state *state, const struct keeper_link *link)
{
    for (unsigned i = 0; i < state->replica_count; i++)
        if (same(state->replicas[i].look.link_at, link->at))
            return &state->replicas[i];
    return NULL;
}

/* A named replica that is not seen at another end, while the primary knows one that listens on its port. Better a
 * foreign one that stays, which makes nothing unsafe, than one of ours that is detached for ever: addresses may be
 * translated between the two. */
static bool may_be_named(const struct keeper_state *state, const struct keeper_link *link)
{
    const struct keeper_look *primary = &state->primary;
    for (unsigned i = 0; i < state->replica_count; i++) {
        const struct keeper_replica *replica = &state->replicas[i];
        const struct keeper_look *look = &replica->look;
        bool accounted =
            look->began_us > link->since_us && (look->is_primary || keeper_look_link(primary, look->link_at) != NULL);
        for (unsigned p = 0; p < primary->progress_count && !accounted; p++)
            if (primary->progress[p].port == replica->port)
                return true;
    }
    return false;
}

/* It keeps every acknowledgement waiting, or was dropped for that. */
static bool holds_up(const struct keeper_state *state, uint64_t now_us, const struct keeper_replica *replica,
                     const struct keeper_link *link)
{
    const struct keeper_progress *progress = keeper_look_progress(&state->primary, link, replica->port);
    uint64_t heard_us = replica->heard_us > link->since_us ? replica->heard_us : link->since_us;
    bool waited_for = state->record.member_count > 1 && progress != NULL && progress->online;
    return link->since_us < replica->struck_us || (waited_for && now_us > heard_us + 2 * state->timeout_us);
}

static void choose_detached(const struct keeper_state *state, uint64_t now_us, struct keeper_action *action)
{
    for (unsigned i = 0; i < state->primary.link_count && state->replica_count > 0; i++) {
        const struct keeper_link *link = &state->primary.links[i];
        const struct keeper_replica *owner = owner_of(state, link);
        bool member = owner != NULL && broker_record_member(&state->record, owner->url) != NULL;
        bool detach = owner != NULL ? !member && holds_up(state, now_us, owner, link)
                                    : now_us > link->since_us + state->timeout_us && !may_be_named(state, link);
        if (detach) {
            action->foreign[action->detach_count] = owner == NULL;
            action->detach[action->detach_count++] = link->id;
        }
    }
}

bool keeper_lacks_stamp(const struct keeper_state *state)
{
    const struct broker_record *record = &state->record;
    const struct keeper_look *primary = &state->primary;
    return state->record_known && primary->is_primary && same(state->url, record->primary) &&
           same(primary->run_id, record->run_id) && same(primary->dataset, record->dataset) &&
           primary->epoch < record->version;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

void keeper_decide(const struct keeper_state *state, uint64_t now_us, struct keeper_action *action)
{
    *action = (struct keeper_action){.verdict = KEEPER_REST};
    action->verdict = judge_primary(state, now_us, action->why);
    if (action->verdict != KEEPER_WRITE)
        return;
    begin_record(state, &action->record);
    if (!state->primary.is_primary)
        return;
    bool certain = place_all(state, now_us, false, action);
    if (action->record.member_count < state->quorum)
        certain = place_all(state, now_us, true, action);
    bool stamped = state->primary.epoch > state->record.version; /* and nobody may write before the record follows */
    if (!certain || !(stamped || differs(&action->record, &state->record)))
        action->verdict = KEEPER_REST;
    else
        action->verdict = judge_growth(state, &action->record);
    action->stamp = state->record.version + 1;
    if (action->verdict == KEEPER_REST)
        choose_detached(state, now_us, action);
}
