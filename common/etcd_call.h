/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls to the members of one etcd: blocking, with a short deadline each, member after member until one answers, with a
 * token where a user is given. A session belongs to one thread; the access that it goes by is shared and never changes.
 */
#ifndef COMMON_ETCD_CALL_H
#define COMMON_ETCD_CALL_H

#include <stdatomic.h>

#include "common/etcd_json.h"
#include "common/http_client.h"

#define ETCD_ENDPOINTS_MOST 9

/* Where the members are and who asks. Plain texts, owned by whoever made it. */
struct etcd_access {
    char *endpoints[ETCD_ENDPOINTS_MOST]; /* "http://host:port" */
    unsigned endpoint_count;
    const char *user, *password_file; /* NULL: nobody logs in */
    struct http_tls tls;
    int64_t try_ms; /* how long one member may take */
};

struct etcd_session {
    const struct etcd_access *access;
    const atomic_bool *give_up; /* no further member is tried once it is true; may be NULL */
    struct http_caller *http;
    unsigned at;        /* the member that answered last */
    char *token;        /* NULL: not logged in */
    uint64_t silent_us; /* when the first of the calls began that were not answered; 0: the last one was */
};

/* The paths, and how patient to be. */
#define ETCD_RANGE     "/v3/kv/range"
#define ETCD_PUT       "/v3/kv/put"
#define ETCD_TXN       "/v3/kv/txn"
#define ETCD_GRANT     "/v3/lease/grant"
#define ETCD_KEEPALIVE "/v3/lease/keepalive"
#define ETCD_REVOKE    "/v3/lease/revoke"

void etcd_session_open(struct etcd_session *session, const struct etcd_access *access, const atomic_bool *give_up);
void etcd_session_close(struct etcd_session *session);

/* Calls PATH with BODY at one member after the other, each twice, the second time with twice the patience; PATIENCE
 * times access->try_ms is what one may take. An answer ends it: 0 with *answer, to be freed, or -1 with ERROR_REFUSED
 * (ERROR_SYSTEM where etcd is full).
 * ERROR_UNREACHABLE or ERROR_TIMEOUT: no member answered, and what was asked for may have been done, or be done yet.
 * Not every try that was answered is the first that was carried out: who changes something must know its own work. */
int etcd_call(struct etcd_session *session, const char *path, struct str body, unsigned patience,
              struct etcd_answer *answer, struct error *err) MUST_CHECK;

/* What a request to the member at AT needs for whoever makes it another way: the head's fields, NULL-terminated, valid
 * until the session's next call. Logs in where it must; -1 where that fails. */
struct etcd_head {
    char text[600];
    const char *fields[4];
};
int etcd_session_head(struct etcd_session *session, struct etcd_head *head, struct error *err) MUST_CHECK;

/* Asks each member for KEY, so that all know the token for another while (a simple one ends at a member that has not
 * seen it for five minutes), or a new one is fetched now and not when something must be quick. */
void etcd_session_warm(struct etcd_session *session, const char *key);

/* The token is of no use any more: the next call logs in again. */
void etcd_session_forget(struct etcd_session *session);

#endif
