/* SPDX-License-Identifier: Apache-2.0
 *
 * What the warden of a broker does, as a pure function of the unit's record and of one look. No I/O, no clock.
 *
 * - A broker boots fenced: as the replica of nobody, it takes no write. It serves only where the record names it the
 *   primary, in the very run that the record knows, and its stamp is older than the record: then it is promoted.
 *   Whether another run of it may serve is the keeper's to find out, who writes a record that says so.
 * - A broker that the record does not name the primary follows the one that it names, and gives up what it held, but
 *   only where its own stamp is no newer than the record: a warden with an old record must undo no promotion.
 * - The primary is stamped with the version of the record; writers of every other epoch are refused then.
 *
 * The look and the act are one transaction (WATCH on the stamp), so that no promotion falls between the two.
 */
#ifndef AGENT_WARDEN_DECIDE_H
#define AGENT_WARDEN_DECIDE_H

#include "common/broker_record.h"

#define WARDEN_WHY 240

struct warden_look {
    char run_id[BROKER_RUN_ID_SIZE];
    bool is_primary;
    char follows[BROKER_URL_SIZE];     /* of a replica: "HOST:PORT" */
    bool link_up;                      /* of a replica: it follows the stream of writes */
    uint64_t stamp;                    /* 0: none */
    char dataset[BROKER_DATASET_SIZE]; /* "": the data have no name */
    uint64_t offset;
    uint64_t writes; /* that the data hold */
};

enum warden_verdict {
    WARDEN_REST = 0, /* all is as the record says, or the record is to change first: see `why` */
    WARDEN_PROMOTE,
    WARDEN_STAMP,
    WARDEN_FOLLOW, /* the record's primary */
};

struct warden_action {
    enum warden_verdict verdict;
    bool fits;            /* it does what the record wants of it: serves, or follows the primary's stream */
    char why[WARDEN_WHY]; /* of a rest that should not last; "" */
};

/* URL is the broker's as the rules write it. */
void warden_decide(const struct broker_record *record, const char *url, const struct warden_look *look,
                   struct warden_action *action);

#endif
