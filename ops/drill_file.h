/* SPDX-License-Identifier: Apache-2.0
 *
 * A drill as its YAML file says it: what must hold before, what is done to whom, what ends it, and how everything is
 * put back. docs/DRILLS.md documents the keys, from the same rows that read them. The drill owns its texts.
 */
#ifndef OPS_DRILL_FILE_H
#define OPS_DRILL_FILE_H

#include "common/diag.h"
#include "common/error.h"
#include "rules/schema.h"

/* The order is that of the words in drill_file.c. */
enum drill_fault {
    DRILL_KILL = 0,
    DRILL_FREEZE,
    DRILL_RESTART,
    DRILL_DROP,
    DRILL_LOSS,
    DRILL_SLOW,   /* applications answer late */
    DRILL_ERRORS, /* applications answer 500 */
};

enum drill_part {
    DRILL_ALL = 0, /* of the unit, but for the replicas that stand elsewhere */
    DRILL_PRIMARY, /* the broker that leads it now */
    DRILL_STANDBY, /* its other brokers */
    DRILL_AGENTS,
    DRILL_APPS,
    DRILL_BLUE,
    DRILL_GREEN,
    DRILL_DATACENTER, /* everything in the unit's datacentre */
    DRILL_STORE,      /* etcd's members, or the folder */
};

enum drill_wait {
    DRILL_FIRST_SUCCESS = 0, /* every gateway has had a message accepted in an epoch newer than before the fault */
    DRILL_SERVES,            /* every gateway has had one accepted that was asked for since the wait began */
    DRILL_IN_SYNC,           /* every broker of every unit is in sync */
    DRILL_DRAINED,           /* no more undelivered messages than steady_state.backlog */
    DRILL_CALM,              /* everybody is there, serves one epoch, suspects nobody; no alarm stands */
    DRILL_HOME,              /* every unit is led and served by its own brokers and agents */
    DRILL_ROLLED_BACK,       /* the last ramp of the unit was ended by its own conditions */
};

enum drill_operator {
    DRILL_FAILBACK = 0,
    DRILL_FAIL,
    DRILL_DRAIN,
    DRILL_READY,
    DRILL_RAMP,         /* to green, at `percent` */
    DRILL_RESET_COLORS, /* as the rules say */
};

/* Exactly one of fault, heal, wait, pause and operator was written: its place has a line. */
struct drill_step {
    struct schema_number at; /* ms after the round's beginning, at the earliest */
    struct schema_number fault, heal, wait, pause, operator;
    struct schema_text unit, peer;
    struct schema_number part, way, percent, delay, within;
};

#define DRILL_STEPS_MOST 32

struct drill_steps {
    struct drill_step items[DRILL_STEPS_MOST];
    size_t count;
};

struct drill {
    struct schema_text name, title, teaches;
    struct {
        struct schema_text unit, fault;
        struct schema_number rounds;
    } parameters;
    struct {
        struct schema_number rate, share, users;
        struct schema_text path;
    } load;
    struct {
        struct schema_number lasts, errors, p99, backlog;
    } steady;
    struct {
        struct schema_number errors, other_errors, other_p99, after; /* percent, ms */
    } abort;
    struct {
        struct schema_number first_success, failed, other_failed; /* ms, requests */
    } expect;
    struct drill_steps method, rollback;
    struct buf text; /* with the parameters put in */
    struct yaml_doc *doc;
};

/* Given on the command line; NULL: as the file says. */
struct drill_given {
    const char *unit, *fault;
    int64_t rounds, rate; /* 0: as the file says */
};

/* Reads the drill in TEXT. False with errors in DIAGS. drill_free() takes a half-read one too. */
bool drill_read(struct drill *drill, struct str text, const struct drill_given *given, struct diag_list *diags);
void drill_free(struct drill *drill);

/* The text of the I-th drill that this program carries, and its file's name; false where there are fewer. */
bool drill_shipped(size_t i, struct str *file, struct str *text);

/* "kill the primary of RZ01"; "wait until every gateway has had ..."; appended to OUT. */
void drill_describe(const struct drill_step *step, struct buf *out);

const char *drill_part_name(enum drill_part part);
const char *drill_wait_name(enum drill_wait wait);

/* Every key as Markdown. */
void drill_document(struct buf *out);

#endif
