/* SPDX-License-Identifier: Apache-2.0
 *
 * Where users come from, as the rules say it: sources of IDs, how tokens are checked, and what happens without a user.
 * Part of the compiled table, which owns all texts.
 */
#ifndef ROUTER_SOURCE_H
#define ROUTER_SOURCE_H

#include "common/str.h"

enum source_kind {
    SOURCE_HEADER = 0, /* name: lower-case field name */
    SOURCE_COOKIE,
    SOURCE_QUERY,
    SOURCE_PATH, /* name: template with one {variable} segment: /users/{uid} (a prefix match) */
    SOURCE_JSON, /* name: RFC 6901 pointer into the body */
    SOURCE_JWT,  /* name: claim of the bearer token */
};

/* Where a user ID comes from. */
struct source {
    enum source_kind kind;
    struct str name; /* by kind, see above */
    struct str text; /* as the operator wrote it: "header:X-User-Id" */
};

enum on_missing {
    MISSING_REJECT = 0,
    MISSING_CORE,
    MISSING_LOCAL, /* a unit of the route's zone in the gateway's own datacentre */
};

enum jwt_algorithm {
    JWT_NONE = 0, /* no jwt: source configured */
    JWT_HS256,
    JWT_RS256,
    JWT_ES256,
};

struct jwt_rules {
    enum jwt_algorithm algorithm;
    struct str key_file;         /* HS256: the secret's bytes; others: a PEM public key */
    struct str issuer, audience; /* base NULL: not checked */
    int64_t leeway_s;
};

#endif
