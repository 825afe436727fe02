/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a deployment is, and how its gateways are asked: by the folder of a playground, by admin URLs, or by the
 * environment. Everything else that ldcctl talks to, the gateways tell it; where one is unreachable it asks the next.
 */
#ifndef OPS_DEPLOYMENT_H
#define OPS_DEPLOYMENT_H

#include <jansson.h>

#include "common/error.h"
#include "common/str.h"
#include "ops/args.h"

#define DEPLOYMENT_GATEWAYS 64

/* Owns its texts; deployment_free() takes a half-made one too. */
struct deployment {
    char *urls[DEPLOYMENT_GATEWAYS]; /* admin listeners, without a slash at the end */
    size_t url_count;
    size_t first;        /* the one to ask first: it answered last time */
    char *token;         /* NULL: none */
    int64_t patience_ms; /* for the answer to a GET; 0: the preset */
};

/* From --dir, --gateway and --token-file; else LDC_GATEWAY and LDC_TOKEN_FILE; else the playground that stands where
 * one stands by default. Asks nobody. */
int deployment_find(const struct args *args, struct deployment *deployment, struct error *err) MUST_CHECK;
void deployment_free(struct deployment *deployment);

/* The folder of the playground that ARGS mean, for free(). */
char *deployment_folder(const struct args *args);

/* One exchange with the first gateway that can be reached. TARGET is path and query. *ANSWER is the body, a new
 * reference (NULL where it is no JSON). Returns 0 for a 2xx; -1 with *err otherwise, ERROR_CONFLICT for a 409, and
 * with *ANSWER where a gateway gave its reasons (RFC 9457). */
int deployment_ask(struct deployment *deployment, const char *method, const char *target, struct str body,
                   json_t **answer, struct error *err) MUST_CHECK;

/* The same for a GET; NULL with *err. */
json_t *deployment_get(struct deployment *deployment, const char *target, struct error *err) MUST_CHECK;

/* Appends "NAME=VALUE" to a target's query, VALUE percent-encoded; nothing where it is NULL. */
void deployment_add_query(struct buf *target, const char *name, const char *value);

#endif
