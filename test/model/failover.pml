/* SPDX-License-Identifier: Apache-2.0
 *
 * The failover of one unit, for SPIN (test/model/run.py; docs/FAILOVER.md tells the same in prose). Two brokers, the
 * unit's record in the control store, any number of gateways and agents, and a few messages. Time does not exist: what
 * may happen at all may happen now, so suspicion may be right or wrong, a process may sleep between any two steps, and
 * a broker that is down is one at which nothing happens for a while. Nor do caches: whoever acts may know the record as
 * it was at any time since the beginning, from the store's watch, pushed by a peer or by his own proposal that won.
 *
 * After every step `holds` looks at what must be true:
 *   - what was acknowledged is in the data of the recorded primary, if that broker is in the run that the record names;
 *   - what was acknowledged by the primary's disk alone (`local`) outlives every planned switch;
 *   - what a user sent after an acknowledgement stands behind what was acknowledged.
 * And where a step could break it, the step asserts it: at one epoch one broker takes writes, a broker's epoch never
 * falls, and no data hold one message twice.
 *
 * Each rule of the protocol has a switch that takes it out (NO_... and others, told at the rule). run.py shows that SPIN
 * then finds a run in which something is lost. What is not here: time, partitions and cursors of the queue, the votes
 * that lead to a proposal (here anybody may propose at any time), more than two brokers.
 */

/* --- bounds ------------------------------------------------------------------------------------------------------- */

#ifndef VERSIONS
#define VERSIONS 4 /* the highest epoch that the store gives: up to 6 */
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#ifndef OTHERS
#define OTHERS 1 /* epochs that go to other units and to the rules */
#endif
#ifndef LOCAL
#define LOCAL 2 /* bit M is set: message M is of a route with `durability: local` */
#endif
#define MESSAGES 2

/* --- the data of a broker: the ids in the order in which they were stored ------------------------------------------- */

/* Two bits an entry, the oldest lowest; 0 ends it. Id M is written as M + 1. */
#define log_has(log, m)       (((log) & 3) == (m) + 1 || ((log) >> 2) == (m) + 1)
#define log_length(log)       ((log) == 0 -> 0 : ((log) < 4 -> 1 : 2))
#define log_first(log, n)     ((n) == 0 -> 0 : ((n) == 1 -> (log) & 3 : (log)))
#define log_add(log, m)       ((log) == 0 -> (m) + 1 : (log) | (((m) + 1) << 2))
#define log_begins(log, part) (log_first(log, log_length(part)) == (part))

/* --- the store ------------------------------------------------------------------------------------------------------ */

/* The document brokers/UNIT (common/broker_record.h). Its version is its epoch. */
typedef record {
    bool written; /* the version is one of this document, and not of another one or of the rules */
    bool primary;
    bool both; /* in sync are both brokers; otherwise the primary alone */
    bool hold; /* a planned switch is under way: gateways let requests of the unit wait */
    byte run_id[2] /* of the members, when they were written down */
};

record known[VERSIONS + 1]; /* by version: what the store has held */
byte newest;                /* the one that it holds */
bool heard_fenced;          /* pulses told gateways that the primary is stamped with the newest record, */
bool heard_level;           /* and that the other broker holds all that it held then */
byte epoch;                 /* of the deployment: every change of any document and of the rules raises it */
byte elsewhere;             /* how many of them were not of this document */

/* A compare-and-set on its way. One is enough: of all that compare with the same version only one can win. */
record wish;
byte wish_from;   /* the version it compares with; 0: there is none */
bool wish_forced; /* the primary is taken out of office without being asked */

#define current known[newest]

inline copy(to, from)
{
    to.primary = from.primary;
    to.both = from.both;
    to.hold = from.hold;
    to.run_id[0] = from.run_id[0];
    to.run_id[1] = from.run_id[1]
}

#ifdef NO_COMPARE /* a misspelt compare is none */
#define can_win(v) (wish_from == 0 && known[v].written)
#else
#define can_win(v) (wish_from == 0 && (v) == newest)
#endif

inline begin_wish(v)
{
    copy(wish, known[v]);
    wish_from = v
}

/* --- brokers -------------------------------------------------------------------------------------------------------- */

typedef broker_state {
    bool serves;  /* it is no replica: functions that write run in it */
    bool follows; /* REPLICAOF names the other one; neither: it is fenced, a replica of nobody */
    bool linked;  /* and it is attached there */
    byte stamp;   /* ldc:{UNIT}:epoch in its data */
    byte run_id;  /* counts its starts */
    byte log
};

broker_state broker[2];
byte restarts;
#ifdef OLD_LOOK
byte seen[2];
#endif
byte forgiven; /* `local` acknowledgements of lower epochs ended with the disk, or with their primary's office */

#define other(b) (1 - (b))

#define is_run_of(v, b) (broker[b].run_id == known[v].run_id[b])
#ifdef NO_RUN_ID /* a broker that was restarted counts as the one it was */
#define is_same_run(v, b) true
#else
#define is_same_run(v, b) is_run_of(v, b)
#endif

/* --- messages ------------------------------------------------------------------------------------------------------- */

#define WAITS  0 /* at its client, or held by its gateway */
#define SENT   1 /* a command on a connection to the primary of known[with], not yet read by the broker */
#define STORED 2 /* the broker ran it; WAIT stands behind it */
#define ACKED  3

typedef message_state {
    byte state;
    byte with;   /* the epoch with which it was sent */
    byte run_id; /* of the broker, when the connection greeted it */
    byte doubt;  /* the epoch of its last sending whose outcome is unknown; 0: there is none */
    byte late;   /* the epoch of a command that still lies in a connection which its gateway has given up; 0: none */
    byte late_run_id;
    bool late_replay
};

message_state message[MESSAGES];
bool in_turn; /* message 1 was first sent when message 0 was acknowledged */

#define is_local(m)   ((LOCAL >> (m)) & 1)
#define is_owed(m)    (message[m].state == ACKED && (!is_local(m) || message[m].with >= forgiven))
#define data_of_unit  broker[current.primary].log
#define is_kept(m)    (!is_owed(m) || log_has(data_of_unit, m))
#define is_in_order   (!in_turn || !is_owed(0) || (data_of_unit & 3) != 2)

inline holds()
{
    assert(!is_run_of(newest, current.primary) || (is_kept(0) && is_kept(1)));
    assert(!is_run_of(newest, current.primary) || is_in_order)
}

/* --- gateways: line.c, group_commit.c, failover.c. V: the record that this one knows --------------------------------- */

/* A newer stamp shuts out the command whose outcome is unknown; at the same epoch it must be known to run no more. */
#ifdef REPLAY_AT_ONCE
#define may_send(v, m) (known[v].written && (v) >= message[m].doubt)
#else
#define may_send(v, m) (known[v].written && ((v) > message[m].doubt || ((v) == message[m].doubt && !may_run_late(v, m))))
#endif
#define may_run_late(v, m) (message[m].late != 0 && message[m].late_run_id == broker[known[v].primary].run_id)

#ifdef NO_HOLD
#define holds_back(v) false
#else
#define holds_back(v) known[v].hold
#endif

/* To the primary that it knows, over a connection to the run that the record names. */
inline gateway_sends(v, m)
{
    message[m].state == WAITS && may_send(v, m) && !holds_back(v) && is_same_run(v, known[v].primary) ->
    in_turn = in_turn || (m == 1 && is_owed(0) && message[m].doubt == 0);
    message[m].state = SENT;
    message[m].with = v;
    message[m].run_id = broker[known[v].primary].run_id
}

/* A reset, a deadline, or a record that names another primary: the connection goes. What lies in it may be read yet. */
inline gateway_cancels(m)
{
    message[m].state == SENT || message[m].state == STORED ->
    if
    :: message[m].state == SENT ->
        message[m].late = message[m].with;
        message[m].late_run_id = message[m].run_id;
        message[m].late_replay = message[m].doubt != 0
    :: true
    fi;
    message[m].doubt = message[m].with;
    forget_sending(m)
}

inline forget_sending(m)
{
    message[m].state = WAITS;
    message[m].with = 0;
    message[m].run_id = 0
}

/* CLIENT KILL of the connection that was given up, on the next one to the same run. */
inline gateway_ends_former(m)
{
    message[m].state == WAITS && message[m].late != 0 &&
        message[m].late_run_id == broker[known[message[m].late].primary].run_id ->
    forget_late(m)
}

inline forget_late(m)
{
    message[m].late = 0;
    message[m].late_run_id = 0;
    message[m].late_replay = false
}

/* Which broker ought to lead is for the votes; whether the other one may is told by the record and by its run. */
inline gateway_proposes_failover(v)
{
    can_win(v) && known[v].both && is_same_run(v, other(known[v].primary)) ->
    begin_wish(v);
    wish.primary = other(known[v].primary);
    wish.both = false;
    wish.hold = false;
    wish_forced = true
#ifdef NO_RUN_ID
    ; wish.run_id[wish.primary] = broker[wish.primary].run_id
#endif
}

/* --- functions in the broker: common/functions/ ----------------------------------------------------------------------- */

#ifdef NO_EPOCH_CHECK
#define is_epoch_of(b, at) true
#else
#define is_epoch_of(b, at) (broker[b].stamp == (at))
#endif

#ifdef NO_LOOKUP /* a replay is a second enqueue */
#define is_found(b, m, again) false
#else
#define is_found(b, m, again) ((again) && log_has(broker[b].log, m))
#endif

inline store_entry(b, m, at, again)
{
    if
    :: is_found(b, m, again)
    :: else ->
        assert(!log_has(broker[b].log, m));
        assert(known[at].primary == b);
        broker[b].log = log_add(broker[b].log, m)
    fi
}

/* The broker reads a command of its own run's connection: it runs, or is refused (LDC_EPOCH, READONLY). */
inline broker_runs(b, m)
{
    message[m].state == SENT && known[message[m].with].primary == b ->
    if
    :: message[m].run_id == broker[b].run_id && broker[b].serves && is_epoch_of(b, message[m].with) ->
        store_entry(b, m, message[m].with, message[m].doubt != 0);
        message[m].state = STORED
    :: else ->
        forget_sending(m)
    fi
}

inline broker_runs_late(b, m)
{
    message[m].late != 0 && known[message[m].late].primary == b ->
    if
    :: message[m].late_run_id == broker[b].run_id && broker[b].serves && is_epoch_of(b, message[m].late) ->
        store_entry(b, m, message[m].late, message[m].late_replay)
    :: else
    fi;
    forget_late(m)
}

#ifdef ANY_REPLICA /* WAIT counts whoever is attached */
#define is_covered(b, m) true
#else
#define is_covered(b, m) (broker[other(b)].linked && log_has(broker[other(b)].log, m))
#endif

#define is_pair(m) (known[message[m].with].both && !is_local(m))
#ifdef SHRINK_EARLY /* the replica is given up before the store says so */
#define must_wait(m) (is_pair(m) && !(wish_from == message[m].with && !wish.both))
#else
#define must_wait(m) is_pair(m)
#endif

/* WAIT has counted the in-sync replica, INFO behind it has shown the run, the role and no strange replica, and the
 * client is told. (That a reply can get lost is a cancellation of what is stored.) */
inline broker_proves(b, m)
{
    message[m].state == STORED && known[message[m].with].primary == b && message[m].run_id == broker[b].run_id &&
        broker[b].serves && (!must_wait(m) || is_covered(b, m)) ->
    message[m].state = ACKED;
    message[m].with = (is_local(m) -> message[m].with : 0);
    message[m].run_id = 0;
    message[m].doubt = 0
}

/* --- replication, as Redis does it ------------------------------------------------------------------------------------ */

inline replica_applies(b)
{
    broker[b].linked && (broker[b].log != broker[other(b)].log || broker[b].stamp != broker[other(b)].stamp) ->
    if
    :: broker[b].log != broker[other(b)].log ->
        broker[b].log = log_first(broker[other(b)].log, log_length(broker[b].log) + 1)
    :: else ->
        broker[b].stamp = broker[other(b)].stamp
    fi
}

/* By itself, as soon as the broker that it is told to follow is a primary: its own data are replaced. */
inline replica_attaches(b)
{
    broker[b].follows && !broker[b].linked && broker[other(b)].serves ->
    broker[b].linked = true;
    broker[b].log = broker[other(b)].log;
    broker[b].stamp = broker[other(b)].stamp
}

inline replica_loses_link(b)
{
    broker[b].linked ->
    broker[b].linked = false
}

/* The only copy on which the record counts, or is just about to, is not lost. */
#define is_only_copy(b) ((!current.both && current.primary == b) || (wish_from == newest && !wish.both && wish.primary == b))
#define may_lose(b)     (!is_only_copy(b) && (!current.both || is_run_of(newest, other(b))))

/* With all of its data; or, where the other in-sync copy is whole, with an old copy of them or with none. */
inline broker_restarts(b)
{
    restarts < RESTARTS ->
    restarts++;
    do
    :: may_lose(b) && broker[b].log != 0 ->
        broker[b].log = log_first(broker[b].log, log_length(broker[b].log) - 1);
        forgiven = (b == current.primary -> epoch + 1 : forgiven)
    :: may_lose(b) && broker[b].stamp > 0 ->
        broker[b].stamp--
    :: break
    od;
#ifdef OLD_LOOK
    seen[b] = (broker[other(b)].log == 0 -> 0 : log_first(broker[other(b)].log, log_length(broker[other(b)].log) - 1));
#endif
    broker[b].run_id++;
    broker[b].linked = false;
    broker[other(b)].linked = false;
#ifdef OPEN_BOOT /* it comes back as what its configuration file says */
    broker[b].serves = !broker[b].follows
#else
    broker[b].serves = false;
    broker[b].follows = false
#endif
}

/* --- agents: warden.c, keeper.c, and who carries out `ldcctl unit drain`. V: the record that this one knows ------------ */

/* WATCH the stamp; MULTI; REPLICAOF NO ONE; ldc1_stamp; EXEC. */
inline warden_promotes(v, b)
{
    known[v].written && known[v].primary == b && !broker[b].serves && broker[b].stamp < v && is_same_run(v, b) ->
    broker[b].serves = true;
    broker[b].follows = false;
    broker[b].linked = false;
    broker[b].stamp = v
}

#ifdef BLIND_STAMP /* SET, instead of a function that only raises */
#define is_stamp_due(v, b) (broker[b].stamp != (v))
#else
#define is_stamp_due(v, b) (broker[b].stamp < (v))
#endif

/* A gateway does the same, whatever record it knows, where no agent did. */
inline warden_stamps(v, b)
{
    known[v].written && known[v].primary == b && broker[b].serves && is_stamp_due(v, b) && is_same_run(v, b) ->
    assert(broker[b].stamp <= v);
    broker[b].stamp = v
}

#define must_follow(v, b) (known[v].written && known[v].primary == other(b) && broker[b].stamp <= (v) && \
                           (broker[b].serves || !broker[b].follows))

/* WATCH the stamp, look at it; MULTI; REPLICAOF; EXEC: what was looked at still holds when the broker acts. */
inline warden_repoints(v, b)
{
    must_follow(v, b) ->
    repoint(b)
}

inline repoint(b)
{
    broker[b].serves = false;
    broker[b].follows = true;
    broker[b].linked = false;
    broker[other(b)].linked = false
}

#ifdef NO_WATCH /* time lies between look and act */
byte looked; /* bit B is set: somebody is about to send REPLICAOF to broker B */
inline warden_looks(v, b)
{
    !((looked >> b) & 1) && must_follow(v, b) ->
    looked = looked | (1 << b)
}
inline warden_repoints_late(b)
{
    (looked >> b) & 1 ->
    looked = looked & ~(1 << b);
    repoint(b)
}
#endif

#define leads(v, b) (known[v].primary == b && broker[b].serves && is_same_run(v, b))

inline keeper_shrinks(v, b)
{
    can_win(v) && leads(v, b) && known[v].both ->
    begin_wish(v);
    wish.both = false
}

/* Ends the writers of the present epoch, who need not wait for the replica. */
inline keeper_prestamps(v, b)
{
    known[v].written && leads(v, b) && !known[v].both && broker[b].stamp == v && v < VERSIONS ->
    broker[b].stamp = v + 1
}

#ifdef NO_PRE_STAMP
#define is_prestamped(v, b) true
#else
#define is_prestamped(v, b) (broker[b].stamp > (v))
#endif

#define is_level(b) (broker[other(b)].linked && broker[b].log == broker[other(b)].log)

#ifdef NO_CATCH_UP /* whoever is attached is in sync */
#define has_caught_up(b) broker[other(b)].linked
#else
#define has_caught_up(b) is_level(b)
#endif

inline keeper_expands(v, b)
{
    can_win(v) && leads(v, b) && !known[v].both && is_prestamped(v, b) && has_caught_up(b) ->
    begin_wish(v);
    wish.both = true;
    wish.run_id[other(b)] = broker[other(b)].run_id
}

/* A pre-stamp whose record never came keeps everybody out, and a primary that was taken up again at the very epoch of its
 * stamp could not be told from a deposed one: the record is written as it was, under a newer version. */
inline keeper_renews(v, b)
{
    can_win(v) && known[v].primary == b && is_same_run(v, b) && broker[b].stamp >= v + broker[b].serves ->
    begin_wish(v)
}

#ifdef OLD_LOOK /* what the member was seen to hold before the primary was restarted, and before the last message came */
#define held_beside(b) seen[b]
#else
#define held_beside(b) broker[other(b)].log
#endif

#ifdef ADOPT_ANY /* a primary that was restarted is taken as it is */
#define has_all(v, b) true
#else
#define has_all(v, b) (!known[v].both || (is_run_of(v, other(b)) && log_begins(broker[b].log, held_beside(b))))
#endif

/* The primary was restarted, and has all that any member has: it stays, under its new run. */
inline keeper_readopts(v, b)
{
    can_win(v) && known[v].primary == b && !is_run_of(v, b) && has_all(v, b) ->
    begin_wish(v);
    wish.both = false;
    wish.run_id[b] = broker[b].run_id
}

/* The planned switch: hold -> fence, which is the stamp of that record -> level -> switch. Gateways act by what pulses
 * told them at some time: it may be over by then. */
inline mover_holds(v)
{
    can_win(v) && known[v].both && !known[v].hold ->
    begin_wish(v);
    wish.hold = true
}

#ifdef NO_FENCE /* a pause that ends by itself, before the switch is in the store */
#define is_fenced(v, b) true
#else
#define is_fenced(v, b) (broker[b].stamp == (v))
#endif

#ifdef NO_OFFSETS /* a while is waited instead of looking */
#define is_over(b) true
#else
#define is_over(b) is_level(b)
#endif

inline mover_hears_fence(v, b)
{
    v == newest && !heard_fenced && known[v].hold && known[v].both && leads(v, b) && is_fenced(v, b) ->
    heard_fenced = true
}

inline mover_hears_level(v, b)
{
    v == newest && heard_fenced && !heard_level && known[v].primary == b && is_same_run(v, other(b)) && is_over(b) ->
    heard_level = true
}

inline mover_switches(v)
{
    can_win(v) && v == newest && heard_level ->
    begin_wish(v);
    wish.primary = other(known[v].primary);
    wish.both = false;
    wish.hold = false
}

inline mover_gives_up(v)
{
    can_win(v) && known[v].hold ->
    begin_wish(v);
    wish.hold = false
}

/* --- the store's part -------------------------------------------------------------------------------------------------- */

inline store_writes()
{
    wish_from != 0 && epoch < VERSIONS ->
    epoch++;
    forgiven = (wish_forced -> epoch : forgiven);
    copy(known[epoch], wish);
    known[epoch].run_id[other(wish.primary)] = (wish.both -> wish.run_id[other(wish.primary)] : 0);
    known[epoch].written = true;
    newest = epoch;
    heard_fenced = false;
    heard_level = false;
    forget_wish()
}

#ifdef PUSH_EARLY /* peers are told of a proposal before it has won */
inline peers_hear_early()
{
    wish_from != 0 && epoch < VERSIONS && !known[epoch + 1].written ->
    copy(known[epoch + 1], wish);
    known[epoch + 1].written = true
}
#endif

inline store_loses()
{
    wish_from != 0 ->
    forget_wish()
}

inline forget_wish()
{
    wish.primary = 0;
    wish.both = false;
    wish.hold = false;
    wish.run_id[0] = 0;
    wish.run_id[1] = 0;
    wish_from = 0;
    wish_forced = false
}

inline store_writes_elsewhere()
{
    elsewhere < OTHERS && epoch < VERSIONS ->
    elsewhere++;
    epoch++
}

/* --- who runs ---------------------------------------------------------------------------------------------------------- */

#define STEP(step) :: atomic { step; printf(#step); told(); holds() }

/* For a replay of what SPIN found (run.py --tell): a verification prints nothing. */
inline told()
{
    printf("\n    record %d: primary %d, both %d, hold %d, runs %d %d; epoch %d, wish from %d\n", newest, current.primary,
           current.both, current.hold, current.run_id[0], current.run_id[1], epoch, wish_from);
    told_broker(0);
    told_broker(1);
    printf("    messages: %d by %d, %d by %d; in doubt %d %d, late %d %d\n", message[0].state, message[0].with,
           message[1].state, message[1].with, message[0].doubt, message[1].doubt, message[0].late, message[1].late)
}

inline told_broker(b)
{
    printf("    broker %d: run %d, stamp %d, serves %d, follows %d, linked %d, data %d %d\n", b, broker[b].run_id,
           broker[b].stamp, broker[b].serves, broker[b].follows, broker[b].linked, broker[b].log & 3, broker[b].log >> 2)
}

proctype gateways(byte v)
{
    do
    STEP(gateway_sends(v, 0))
    STEP(gateway_sends(v, 1))
    STEP(gateway_proposes_failover(v))
    od
}

proctype agents(byte v)
{
    do
    STEP(warden_promotes(v, 0))
    STEP(warden_promotes(v, 1))
    STEP(warden_stamps(v, 0))
    STEP(warden_stamps(v, 1))
#ifdef NO_WATCH
    STEP(warden_looks(v, 0))
    STEP(warden_looks(v, 1))
    STEP(warden_repoints_late(0))
    STEP(warden_repoints_late(1))
#else
    STEP(warden_repoints(v, 0))
    STEP(warden_repoints(v, 1))
#endif
    STEP(keeper_shrinks(v, 0))
    STEP(keeper_shrinks(v, 1))
    STEP(keeper_prestamps(v, 0))
    STEP(keeper_prestamps(v, 1))
    STEP(keeper_expands(v, 0))
    STEP(keeper_expands(v, 1))
    STEP(keeper_renews(v, 0))
    STEP(keeper_renews(v, 1))
    STEP(keeper_readopts(v, 0))
    STEP(keeper_readopts(v, 1))
    STEP(mover_holds(v))
    STEP(mover_hears_fence(v, 0))
    STEP(mover_hears_fence(v, 1))
    STEP(mover_hears_level(v, 0))
    STEP(mover_hears_level(v, 1))
    STEP(mover_switches(v))
    STEP(mover_gives_up(v))
    od
}

proctype brokers(byte b)
{
    do
    STEP(broker_runs(b, 0))
    STEP(broker_runs(b, 1))
    STEP(broker_runs_late(b, 0))
    STEP(broker_runs_late(b, 1))
    STEP(broker_proves(b, 0))
    STEP(broker_proves(b, 1))
    STEP(replica_applies(b))
    STEP(replica_attaches(b))
    STEP(replica_loses_link(b))
    STEP(broker_restarts(b))
    od
}

proctype store_and_networks()
{
    do
    STEP(store_writes())
#ifdef PUSH_EARLY
    STEP(peers_hear_early())
#endif
    STEP(store_loses())
    STEP(store_writes_elsewhere())
    STEP(gateway_cancels(0))
    STEP(gateway_cancels(1))
    STEP(gateway_ends_former(0))
    STEP(gateway_ends_former(1))
    od
}

/* Broker 0 leads, broker 1 follows in sync. */
init
{
    atomic {
        epoch = 1;
        newest = 1;
        known[1].written = true;
        known[1].both = true;
        broker[0].serves = true;
        broker[0].stamp = 1;
        broker[1].follows = true;
        broker[1].linked = true;
        broker[1].stamp = 1;
        byte v = 1;
        do
        :: v <= VERSIONS ->
            run gateways(v);
            run agents(v);
            v++
        :: else -> break
        od;
        run brokers(0);
        run brokers(1);
        run store_and_networks()
    }
}
