/* SPDX-License-Identifier: Apache-2.0
 *
 * One request on its way through the gateway: what was decided for it, and who works on it now. It lives in the
 * request's own pool as a shared chunk, so that it is disposed when the request is, for whatever reason.
 *
 * Lifecycle: request.c makes it, routes it and hands it to queue_publish() or proxy_forward(), the *carrier*. The
 * carrier sets `detach` and answers through exchange_fail() or libh2o. When the client goes away first, dispose calls
 * `detach`, after which the carrier must not touch the exchange or its request again.
 */
#ifndef GATEWAY_EXCHANGE_H
#define GATEWAY_EXCHANGE_H

#include <h2o.h>

#include "gateway/view.h"
#include "gateway/worker.h"
#include "router/table.h"

struct reply_wait;

struct exchange {
    h2o_req_t *req;
    struct worker *worker;
    struct view *view; /* pinned: NULL where no rules were there */
    const struct table_route *route;
    const struct table_unit *rules; /* of the unit */
    struct unit *unit;              /* counted in its in_flight while set */
    struct decision decision;
    uint32_t server; /* proxy: index of the unit whose nodes take it, which need not be the one that owns the user */
    struct str user; /* in the request's pool; base NULL: none */
    struct str traceparent; /* the one to pass on: the client's, or made here */
    uint64_t received_us;   /* wall clock */
    uint64_t received_mono_us;
    enum verdict verdict;
    bool trusted_peer;
    struct str message_id;    /* queue */
    struct str message_state; /* what a problem says of it; base NULL: nothing */
    struct str node;          /* proxy: authority of the node that answered */
    unsigned attempts;
    size_t answer_bytes; /* counted in the gateway's, until the exchange goes */
    void (*detach)(struct exchange *exchange);
    void *carrier;           /* the carrier's own state */
    struct reply_wait *wait; /* for the app's answer; NULL: the client wants none */
};

/* The newest state that decided about the request: LDC-Epoch. 0 where there are no rules. */
uint64_t exchange_epoch(const struct exchange *exchange);

/* Whether unit UNIT, an index, has moved on since what the caller knows, who says so in LDC-Epoch: VERDICT_OK,
 * STALE_EPOCH or BAD_REQUEST. */
enum verdict exchange_check_epoch(const struct exchange *exchange, uint32_t unit);

/* Of the user, however its unit was chosen; UINT32_MAX where there is none. */
uint32_t exchange_slot(const struct exchange *exchange);

/* Answers with the problem of VERDICT; DETAIL (one sentence for the client, may be NULL) is copied. */
void exchange_fail(struct exchange *exchange, enum verdict verdict, const char *detail);

/* Adds LDC-Unit, LDC-Epoch and, where one was decided upon, LDC-Color to the answer, as far as they are known. Call
 * before h2o_start_response. */
void exchange_add_headers(struct exchange *exchange);

/* Answers with STATUS, a good one, and BODY, which is copied; only its length where the method is HEAD. */
void exchange_send(struct exchange *exchange, int status, struct str body);

/* Whether all answers that wait for their clients leave room for one of BYTES more. Small ones are not counted. */
bool exchange_has_room(struct exchange *exchange, size_t bytes);

/* For refusals before there is an exchange, such as a malformed head: the same problem document on REQ. */
void problem_send(struct worker *worker, h2o_req_t *req, enum verdict verdict, const char *detail);
/* The same as a complete HTTP/1.1 answer with `Connection: close`, for a connection whose head cannot be read. */
void problem_format_http1(struct worker *worker, enum verdict verdict, const char *detail, struct buf *out);

/* Goes by the rules that are in force now, in place of those that the exchange began with: its unit is forgotten. Says
 * whether they have a route for it. */
enum verdict exchange_renew(struct exchange *exchange);
/* Does so, and begins anew. What its carrier had of it is to be forgotten before. */
void exchange_route_again(struct exchange *exchange);

/* The carriers. */
void queue_publish(struct exchange *exchange);
void proxy_forward(struct exchange *exchange);

#endif
