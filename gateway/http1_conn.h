/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1 client connections, spoken strictly on h2o sockets: requests go through libh2o's handlers, answers come back
 * through its ostreams. A worker's listener owns one struct http1_conns, which owns the connections.
 *
 * In steady state a request costs one read and one writev: reading is never switched off between requests, and the
 * head of an answer leaves together with the first piece of its body.
 */
#ifndef GATEWAY_HTTP1_CONN_H
#define GATEWAY_HTTP1_CONN_H

#include <h2o.h>

#include "common/str.h"

struct http1_conns;
struct worker;

/* PREFACE is called when a client on a clear-text socket begins with HTTP/2's preface; it takes the socket over, with
 * the bytes in sock->input. NULL: such clients are refused. */
typedef void (*http1_preface_fn)(struct worker *worker, h2o_socket_t *sock);

struct http1_conns *http1_conns_create(struct worker *worker, http1_preface_fn preface);
/* Closes what is open; requests in flight are disposed. */
void http1_conns_destroy(struct http1_conns **conns);

/* Serves SOCK, whose TLS handshake, if any, is done. */
void http1_conns_accept(struct http1_conns *conns, h2o_socket_t *sock);

/* Idle connections are closed now, the others after the answer that is under way, which says so. */
void http1_conns_drain(struct http1_conns *conns);

/* The socket of an upgraded connection, or NULL where the client went away first. */
typedef void (*http1_taken_fn)(void *arg, h2o_socket_t *sock);

/* Writes RESPONSE_HEAD (whole, with its empty line; copied) as the answer to REQ and then hands the socket over: TAKEN
 * is called once, on a later turn, after REQ and its pool are gone. It owns the socket from then on, must read or close
 * it at once, and finds what the client has sent already in sock->input.
 * False, with nothing done, where REQ did not come over HTTP/1. */
bool http1_conn_upgrade(h2o_req_t *req, struct str response_head, http1_taken_fn taken, void *arg);

#endif
