/* SPDX-License-Identifier: Apache-2.0
 *
 * The control store in etcd, for processes of many machines. Under the prefix of the deployment:
 *
 *   live/current         the record in force, JSON; every change of anything compares and sets it
 *   live/document/NAME   the documents: version and attempt on a line before the text
 *   live/member/ROLE/NAME  one a process, bound to a lease that its watch keeps alive
 *   rules/SHA256/NNNN    the texts, cut in pieces; named by their hash, so that nobody can contend for them
 *   history/NNNNNNNNNN   the records, by version, with the attempt that put them
 *
 * Reading: what is live is mirrored by a thread (store_etcd_watch.c) that runs from the first call that asks to watch
 * or to be registered; before that, calls ask etcd. While the mirror knows that nobody answers, all calls fail at once.
 *
 * Writing: one transaction each, compared with the revisions that were read. A try that was not answered may have been
 * carried out: each change bears a random attempt, by which it knows its own work when the next try finds it there.
 *
 * This header is shared by the files store_etcd*.c alone.
 */
#ifndef COMMON_STORE_ETCD_H
#define COMMON_STORE_ETCD_H

#include "common/etcd_call.h"
#include "common/etcd_mirror.h"
#include "common/store_backend.h"

#define STORE_ETCD_LEASE_S 5
#define STORE_ETCD_BRISK   1  /* patience with what a failover waits for: documents, what is in force */
#define STORE_ETCD_CALM    4  /* with what nobody waits for: leases, snapshots, the history */
#define STORE_ETCD_PATIENT 20 /* with rules, which may be long */

struct store_etcd_watch;

struct store_etcd {
    struct etcd_access access;
    char *prefix;                /* with the slash at its end */
    struct etcd_session session; /* of the calling thread */
    struct etcd_mirror mirror;
    struct etcd_mirror *leans_on;   /* another handle's, which has a watch; NULL: there is none */
    struct store_etcd_watch *watch; /* NULL: it was not asked for yet */
    int changed;                    /* the eventfd of the mirror */
    struct store_member self;
    char *member_key;      /* NULL: not registered */
    _Atomic int64_t lease; /* 0: none, or it was lost */
};

/* PREFIX and the formatted rest, for free(). */
char *store_etcd_key(const struct store_etcd *etcd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A call of this store's thread. Fails at once while nobody answers. */
int store_etcd_call(struct store_etcd *etcd, const char *path, struct str body, unsigned patience,
                    struct etcd_answer *answer, struct error *err) MUST_CHECK;

/* Appends the value of a live KEY; *MOD_REVISION 0: there is none. FRESH: etcd is asked in any case. */
int store_etcd_read(struct store_etcd *etcd, const char *key, bool fresh, struct buf *value, int64_t *mod_revision,
                    struct error *err) MUST_CHECK;

/* A text that no other attempt has, of 16 hex digits and a zero. */
void store_etcd_attempt(char attempt[17]);

/* What a change is based on: the record in force, and one thing more. */
struct store_etcd_base {
    struct store_record record;
    int64_t record_revision; /* 0: there is none yet */
    struct buf value;
    int64_t value_revision;
};
int store_etcd_base_read(struct store_etcd *etcd, const char *key, bool fresh, struct store_etcd_base *base,
                         struct error *err) MUST_CHECK;
/* The same from the answer of a transaction that failed. */
int store_etcd_base_take(struct store_etcd *etcd, const char *key, const struct etcd_answer *answer,
                         struct store_etcd_base *base, struct error *err) MUST_CHECK;

void store_etcd_format_record(const struct store_record *record, const char *attempt, struct buf *out);

int store_etcd_document_get(void *state, const char *name, struct buf *text, uint64_t *version, struct error *err);
int store_etcd_document_put(void *state, const char *name, uint64_t expected_version, struct str text,
                            uint64_t *now_version, struct error *err);

int store_etcd_rules(void *state, uint64_t version, struct buf *text, struct error *err);
int store_etcd_put_rules(void *state, uint64_t expected_epoch, struct str rules, struct store_record *next,
                         struct error *err);
int store_etcd_history(void *state, struct store_record *records, size_t most, struct error *err);

int store_etcd_enroll(void *state, const struct store_member *self, struct error *err);
int store_etcd_members(void *state, struct store_member *members, size_t most, struct error *err);
/* Gives the lease back: whoever asks sees at once that this process is gone. */
void store_etcd_leave(struct store_etcd *etcd);

/* The thread that mirrors. Borrows ETCD: its access, prefix, mirror and lease. */
struct store_etcd_watch *store_etcd_watch_start(struct store_etcd *etcd);
void store_etcd_watch_stop(struct store_etcd_watch **watch);

#endif
