/* SPDX-License-Identifier: Apache-2.0
 *
 * Who a request is for: reads the identity sources of the rules from a request. What comes back points into the
 * request or its pool. A source that is there twice is refused, since the unit's app could read the other one.
 */
#ifndef GATEWAY_IDENTITY_H
#define GATEWAY_IDENTITY_H

#include <h2o.h>

#include "gateway/jwt.h"
#include "router/table.h"

struct json_t;

/* The body is parsed at most once for a request, and only where a source asks for it. */
struct identity_body {
    struct json_t *json;
    bool parsed;
};

/* The bearer token's, which is verified at most once for a request. */
struct identity_token {
    struct json_t *claims;
    enum verdict verdict;
    char fault[160];
    bool verified;
};

/* What a request is read from; the caller's, for the time of the reading. Who reads items of a batch puts each item's
 * JSON into `body`, and takes it out before identity_dispose(). */
struct identity {
    h2o_req_t *req;
    const struct table *table;
    const struct jwt_key *jwt_key;
    struct identity_body body;
    struct identity_token token;
    char fault[160]; /* one sentence for the client where the verdict is not OK */
};

/* The first source that yields a value, into *USER (base NULL where none does). VERDICT_OK, BAD_REQUEST, BAD_USER,
 * BAD_TOKEN or BAD_JSON. */
enum verdict identity_user(struct identity *identity, struct str *user);

/* The value of one participant source; absent is BAD_JSON or BAD_REQUEST, for a payment needs both ends. */
enum verdict identity_participant(struct identity *identity, const struct source *source, struct str *user);

/* Whether VALUE, which WHAT has said, can name a user at all; BAD_USER where not. */
enum verdict identity_check(struct identity *identity, struct str what, struct str value);

/* False for a path (without query) that the gateway and a node could take for two different ones: dot segments, NUL
 * and malformed escapes, in whatever disguise. */
bool identity_path_plain(struct str path);

/* Lets go of the body and the token that were parsed. */
void identity_dispose(struct identity *identity);

#endif
