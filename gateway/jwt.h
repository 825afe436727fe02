/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON web tokens (RFC 7519): one configured key and one algorithm, which the token's header must name. Views share
 * it by reference count.
 */
#ifndef GATEWAY_JWT_H
#define GATEWAY_JWT_H

#include "common/error.h"
#include "common/str.h"
#include "router/table.h"

struct jwt_key;
struct json_t;

/* Reads the key file of RULES. NULL with *err; the file's content never shows in it. */
struct jwt_key *jwt_key_load(const struct jwt_rules *rules, struct error *err) MUST_CHECK;
/* One reference more, and one less: the last one frees it. */
struct jwt_key *jwt_key_share(struct jwt_key *key);
void jwt_key_destroy(struct jwt_key **key);

/* Checks signature, exp, nbf, iss and aud of TOKEN at NOW_S (seconds since 1970). On success *CLAIMS is the payload,
 * for json_decref(). False with a sentence in *fault (static). */
bool jwt_verify(const struct jwt_key *key, struct str token, int64_t now_s, struct json_t **claims, const char **fault);

#endif
