/* SPDX-License-Identifier: Apache-2.0
 *
 * Collections of global data over HTTP: /-/c/COLLECTION/KEY. Says what a path names, and hands the request to who
 * serves its method. docs/COLLECTIONS.md is the contract with clients.
 */
#ifndef GATEWAY_COLLECTIONS_H
#define GATEWAY_COLLECTIONS_H

#include "gateway/exchange.h"

/* What a request is about. The texts live as long as the request. */
struct collection_path {
    const struct table_collection *rules;
    struct str key;   /* decoded; base NULL: the collection itself */
    struct str query; /* as it came; base NULL: none */
};

/* For a route of zone C that is the gateway's own. Answers, now or later. Nobody's user is looked for. */
void collections_serve(struct exchange *exchange);

#define COLLECTION_KEY_RULE "1 to 1024 bytes of UTF-8, no control characters, and no path segments . and .."

/* Whether KEY can be one: 1 to COLLECTION_KEY_MAX bytes of UTF-8 without control characters and without path segments
 * `.` and `..`, which clients and proxies resolve. */
bool collection_key_fits(struct str key);

/* The decoded value of the parameter NAME of a query. *VALUE stays where there is none; empty where it has no value.
 * False where its escapes are broken. */
bool collection_parameter(h2o_req_t *req, struct str query, const char *name, struct str *value) MUST_CHECK;

#endif
