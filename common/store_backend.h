/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kind of control store implements, for store.c alone; everybody else calls store.h. STATE is the backend's own
 * and belongs to the struct store. Contracts are those of the functions of the same name in store.h.
 */
#ifndef COMMON_STORE_BACKEND_H
#define COMMON_STORE_BACKEND_H

#include "common/store.h"

struct store_backend {
    const char *scheme; /* what stands before the colon of a location */
    void *(*open)(struct str place, const struct store_access *access, struct error *err);
    void (*close)(void *state);
    int (*current)(void *state, struct store_record *record, struct error *err);
    /* VERSION is one that was committed. */
    int (*rules)(void *state, uint64_t version, struct buf *text, struct error *err);
    /* NEXT comes with all but the epochs and the version; on success it is complete, on ERROR_CONFLICT it is what is in
     * force.
     */
    int (*put_rules)(void *state, uint64_t expected_epoch, struct str rules, struct store_record *next,
                     struct error *err);
    int (*history)(void *state, struct store_record *records, size_t most, struct error *err);
    int (*enroll)(void *state, const struct store_member *self, struct error *err);
    int (*members)(void *state, struct store_member *members, size_t most, struct error *err);
    /* NAME is one that store.c let through; TEXT is at most STORE_DOCUMENT_MOST bytes. */
    int (*document_get)(void *state, const char *name, struct buf *text, uint64_t *version, struct error *err);
    int (*document_put)(void *state, const char *name, uint64_t expected_version, struct str text,
                        uint64_t *now_version, struct error *err);
    int (*watch_fd)(void *state);
    void (*drain)(void *state);
    void (*keep_warm)(void *state); /* NULL: nothing is to be done, as below */
    void (*lean_on)(void *state, void *other);
};

extern const struct store_backend store_dir, store_etcd;

/* By role, gateways first, then by name: for qsort(3). */
int store_member_order(const void *left, const void *right);

/* Fails as ERROR_CONFLICT: the rules in force are NOW's, and not those of EXPECTED_EPOCH. */
int store_stale_rules(const struct store_record *now, uint64_t expected_epoch, struct error *err);

#define STORE_RULES_MOST ((size_t)256 << 20) /* bytes of one rule text */

#endif
