/* SPDX-License-Identifier: Apache-2.0
 *
 * Buckets of a collection as they stand in a broker at one moment, with the sums that are kept for them
 * (docs/COLLECTIONS.md), and whether their entries are what the functions wrote. A bucket borrows from the reply that
 * it came in, unless it was made by bucket_dup().
 */
#ifndef AGENT_BUCKET_H
#define AGENT_BUCKET_H

#include "common/broker.h"
#include "common/collection_value.h"

#define BUCKET_AT_ONCE 64 /* that bucket_ask takes at most */

struct bucket {
    uint32_t number;
    uint64_t seq;             /* of the collection at that moment */
    uint64_t sum;             /* that is kept for it */
    size_t count;             /* of its entries */
    redisReply *const *words; /* 2 x COUNT: key and packed value in turn */
    bool is_hash;             /* or absent; else something stands there that no function leaves */
};

/* What is wrong with a bucket. */
enum bucket_fault {
    BUCKET_SOUND = 0,
    BUCKET_NO_HASH,   /* a key of another type stands in its place */
    BUCKET_BAD_VALUE, /* a value is not the one that was written under its key, or its key belongs elsewhere */
    BUCKET_BAD_SUM,   /* all values are good, but not the ones that the sum was kept for */
};

/* Asks for COUNT buckets from FIRST on, whole and of one moment; BROKER is READY. AT: "ldc:{UNIT}:c/COLLECTION/". DONE
 * is called once; its reply is for bucket_read(). False: not sent, and DONE is not called. */
bool bucket_ask(struct broker *broker, const char *at, uint32_t first, uint32_t count, broker_reply_fn done,
                void *arg) MUST_CHECK;

/* The I-th of COUNT buckets of REPLY (may be NULL), which were asked for from FIRST on. False where the broker said
 * something else, or nothing. */
bool bucket_read(const redisReply *reply, uint32_t first, uint32_t count, uint32_t i, struct bucket *bucket) MUST_CHECK;

/* A copy that outlives the reply, for free(). */
struct bucket *bucket_dup(const struct bucket *bucket);

struct str bucket_key(const struct bucket *bucket, size_t i);
struct str bucket_value(const struct bucket *bucket, size_t i); /* packed */

/* Holds every entry against its check and all of them against the sum. WHERE (may be NULL): with BUCKET_BAD_VALUE the
 * index of the first bad entry. */
enum bucket_fault bucket_judge(const struct bucket *bucket, size_t *where);
/* A few words for the log. */
const char *bucket_fault_text(enum bucket_fault fault);

/* The index of KEY among the entries; their count: it is not there. */
size_t bucket_find(const struct bucket *bucket, struct str key);
/* The version that a packed value says, as the functions see it: 0 where it is too short to be one. */
uint64_t bucket_version(const struct bucket *bucket, size_t i);

/* The sum that its entries make, and whether entry I is one that a function wrote. */
uint64_t bucket_sum(const struct bucket *bucket);
bool bucket_entry_is_good(const struct bucket *bucket, size_t i);

#endif
