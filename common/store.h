/* SPDX-License-Identifier: Apache-2.0
 *
 * The control store: who decides which rules are in force. It keeps every rule version, changes the one current
 * record only by compare-and-set to epoch + 1, and tells who is there. Backends fill `struct store_backend`; the
 * directory of one machine is store_dir.c, etcd store_etcd.c.
 *
 * Calls block (milliseconds on the directory; a few tenths of a second where etcd does not answer and that is not known
 * yet): the control thread makes them, never a thread that carries requests. One thread at a time; who wants to call
 * from another opens the store again.
 * A store that is away is an ordinary outcome: the caller goes on with what it has and says so.
 */
#ifndef COMMON_STORE_H
#define COMMON_STORE_H

#include <stdint.h>

#include "common/error.h"
#include "common/str.h"

/* What is in force. `epoch` is the deployment's one counter: every change of rules or of a document raises it. The rest
 * is about the rules: a change of a document leaves it as it is. */
struct store_record {
    uint64_t epoch;
    uint64_t rules_epoch; /* at which these rules came into force: that of their table */
    uint64_t version;     /* numbers the rule texts; 0: none was ever put */
    uint64_t restores;    /* the version whose text this one brought back; 0: its text was new */
    uint64_t at_us;       /* wall time of the change */
    char sha256[65];
    char by[64];    /* who asked: "ldcctl@host", a gateway's name */
    char note[160]; /* why */
};

/* A process that follows the store. Present as long as the process that registered it lives. */
struct store_member {
    char name[64];
    char role[16]; /* "gateway" or "agent" */
    char unit[64]; /* agents */
    char datacenter[64];
    char admin[128];      /* base URL of its admin listener */
    char pulse[64];       /* "address:port" where it hears pulses (common/pulse.h); "" where it hears none */
    uint64_t incarnation; /* of its pulses */
    long pid;
    bool alive; /* true in what store_members gives: who is gone is not listed */
};

/* How to reach a store that many machines share. Texts may be NULL; they outlive the store. */
struct store_access {
    char *user, *password_file;
    char *ca_file, *certificate, *key; /* PEM files, for https */
    int64_t timeout;                   /* ms that one member may take to answer; 0: 50 */
};

struct store;

/* Takes a location apart and never asks whether the store is there: each call does. ACCESS may be NULL. LOCATION:
 * "dir:/var/lib/ldcgate/store" (a plain path means the same) or "etcd:http://HOST:PORT,HOST:PORT.../PREFIX", https as
 * well; PREFIX (ldcgate) is what the keys of this deployment begin with. NULL with *err. */
struct store *store_open_as(const char *location, const struct store_access *access, struct error *err) MUST_CHECK;
struct store *store_open(const char *location, struct error *err) MUST_CHECK;
void store_close(struct store **store);
/* Whether LOCATION is one; nothing is opened or made. */
int store_check_location(const char *location, struct error *err) MUST_CHECK;

/* The current record; version 0 where no rules were ever put, epoch 0 where nothing was. */
int store_current(struct store *store, struct store_record *record, struct error *err) MUST_CHECK;

/* The text of a version, appended to TEXT; ERROR_REFUSED where there is none of that number. Its hash is checked
 * against the record's where it is the current one. */
int store_rules(struct store *store, uint64_t version, struct buf *text, struct error *err) MUST_CHECK;

/* Whether AFTER may be what became of BEFORE: epochs never fall, and one epoch has one set of rules. Where it may not,
 * the store was reset or restored from a copy. */
bool store_record_follows(const struct store_record *before, const struct store_record *after);

/* Whether the rules of NOW are those that somebody saw in force who saw the deployment at EPOCH: documents may have
 * changed since, rules have not. */
bool store_rules_stand(const struct store_record *now, uint64_t epoch);

/* Puts RULES as a new version, if store_rules_stand() since EXPECTED_EPOCH: ERROR_CONFLICT otherwise, with *now filled.
 * RESTORES: the version whose text they are, or 0. On success *now is the new record. Durable when it returns. */
int store_put_rules(struct store *store, uint64_t expected_epoch, struct str rules, uint64_t restores, const char *by,
                    const char *note, struct store_record *now, struct error *err) MUST_CHECK;

/* The records of the newest MOST changes, newest first, into RECORDS; returns how many, or -1. */
int store_history(struct store *store, struct store_record *records, size_t most, struct error *err) MUST_CHECK;

/* Registers this process for its life; a second call replaces what it said, or costs next to nothing where nothing
 * changed: callers repeat it, since a store that was away may have lost it. */
int store_register(struct store *store, const struct store_member *self, struct error *err) MUST_CHECK;

/* Up to MOST members into MEMBERS; returns how many, or -1. */
int store_members(struct store *store, struct store_member *members, size_t most, struct error *err) MUST_CHECK;

/* Documents are what parts of the deployment agree on besides the rules: small texts with names like "brokers/RZ01"
 * (letters, digits, _ - . and /; 120 bytes). The version of each is the epoch of its last change. */
#define STORE_DOCUMENT_MOST ((size_t)64 << 10)

/* Appends the text of document NAME; *version is 0, and nothing is appended, where it was never put. */
int store_document_get(struct store *store, const char *name, struct buf *text, uint64_t *version,
                       struct error *err) MUST_CHECK;

/* Puts TEXT if the document is still at EXPECTED_VERSION (0: it must not be there): ERROR_CONFLICT otherwise.
 * *now_version is the new version, the epoch that this change made, or on conflict the one that is there. Durable when
 * it returns, and seen by watches.
 */
int store_document_put(struct store *store, const char *name, uint64_t expected_version, struct str text,
                       uint64_t *now_version, struct error *err) MUST_CHECK;

/* A descriptor that becomes readable when something may have changed (inotify, a watch's socket); after that call
 * store_drain() and ask again. -1 where the backend cannot: then ask once a second. The store owns it. */
int store_watch_fd(struct store *store);
void store_drain(struct store *store);

/* Does now what a change would have to do first otherwise, such as to connect and to log in. For those whose changes
 * must be quick, each minute. */
void store_keep_warm(struct store *store);

/* What STORE changes is based on what OTHER, a handle of another thread on the same location, has watched: one question
 * less before each change. What it reads it still asks for itself. OTHER is borrowed for STORE's life. */
void store_lean_on(struct store *store, struct store *other);

/* The SHA-256 of TEXT as 64 hex digits and a zero into HEX. */
void store_sha256(struct str text, char *hex);

#endif
