/* SPDX-License-Identifier: Apache-2.0
 *
 * What is said to etcd's JSON gateway (v3), and what it says: bodies of requests are appended to buffers, answers are
 * taken apart. Keys and values travel as base64, 64-bit numbers as strings, and what is zero or false is left out.
 * Pure.
 */
#ifndef COMMON_ETCD_JSON_H
#define COMMON_ETCD_JSON_H

#include "common/error.h"
#include "common/str.h"

#define ETCD_PARTS_MOST 4

/* The key must have been changed last at MOD_REVISION; 0: it must not be there. */
struct etcd_compare {
    const char *key;
    int64_t mod_revision;
};

struct etcd_put {
    const char *key;
    struct str value;
    int64_t lease; /* 0: none */
};

/* Borrows all that it names. */
struct etcd_txn {
    struct etcd_compare compares[ETCD_PARTS_MOST];
    struct etcd_put puts[ETCD_PARTS_MOST];
    const char *reads[ETCD_PARTS_MOST]; /* what the answer holds where a comparison fails */
    unsigned compare_count, put_count, read_count;
};

/* The body for /v3/kv/txn. The gateway takes a transaction without comparisons for one that always succeeds, and
 * passes over keys that it does not know: so this is the only place that writes one, and it wants a comparison. */
void etcd_txn_format(const struct etcd_txn *txn, struct buf *out);

/* For /v3/kv/range, linearizable. One key, or (BELOW) at most MOST (0: all) of those that begin with KEY; the last
 * first where NEWEST. */
struct etcd_range {
    const char *key;
    bool below, newest;
    unsigned most;
};
void etcd_range_format(const struct etcd_range *range, struct buf *out);

/* For /v3/kv/put: what nobody contends for. */
void etcd_put_format(const struct etcd_put *put, struct buf *out);
/* For /v3/watch: all that begins with PREFIX, from REVISION on. */
void etcd_watch_format(const char *prefix, int64_t revision, struct buf *out);
void etcd_authenticate_format(const char *user, const char *password, struct buf *out);
void etcd_lease_grant_format(int64_t ttl_s, struct buf *out);
/* For keepalive and revoke. */
void etcd_lease_format(int64_t lease, struct buf *out);

/* A key and what it holds. */
struct etcd_entry {
    char *key;
    struct buf value;
    int64_t mod_revision, lease;
    bool deleted; /* events */
};

/* What any answer may say; the rest is zero. Free with etcd_answer_free(). */
struct etcd_answer {
    int64_t revision; /* of the store when it answered */
    bool succeeded;   /* a transaction's comparisons held */
    struct etcd_entry *entries;
    size_t count;
    int64_t lease, ttl_s; /* an expired lease answers without a TTL */
    char *token;
    /* watches */
    bool created, cancelled;
    int64_t compact_revision; /* the revision asked for is gone: the stream stays open and says nothing more */
    char fault[200];          /* why the watch ended; "" where it goes on */
};

/* TEXT: an answer with status 200, or one line of a watch. Where it is none, *ANSWER is empty. */
int etcd_answer_parse(struct str text, struct etcd_answer *answer, struct error *err) MUST_CHECK;
void etcd_answer_free(struct etcd_answer *answer);

/* NULL where there is none of that name. */
const struct etcd_entry *etcd_answer_find(const struct etcd_answer *answer, const char *key);

/* The gRPC code of a refusal, and its message cut to what fits; 2 (unknown) and the text itself where it is none. */
int etcd_refusal_parse(struct str text, char *message, size_t size);

/* RFC 4648, standard alphabet, padded. */
void etcd_base64(struct str bytes, struct buf *out);
bool etcd_base64_decode(struct str text, struct buf *out);

#endif
