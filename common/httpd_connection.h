/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the admin server: a connection with the request that it carries, and the few verbs that its event
 * streams need. Shared by httpd.c and httpd_stream.c alone. The httpd owns its connections.
 */
#ifndef COMMON_HTTPD_CONNECTION_H
#define COMMON_HTTPD_CONNECTION_H

#include "common/http1.h"
#include "common/httpd.h"
#include "common/httpd_listen.h"

enum phase {
    PHASE_HEAD = 0, /* waits for a request's head, or for the first byte of one */
    PHASE_BODY,
    PHASE_HANDLING, /* the handler owes an answer */
    PHASE_ANSWERING,
    PHASE_STREAM,
    PHASE_LINGERING, /* refused: what the client still sends is thrown away, or the reset would eat the answer */
};

struct httpd_stream {
    httpd_stream_gone_fn gone; /* NULL once told */
    void *arg;
};

/* A connection and the one request that it carries at a time. Lifecycle: accept -> HEAD -> BODY -> HANDLING ->
 * ANSWERING -> HEAD again, or STREAM. When the peer goes away while a handler still owes its answer, the descriptor is
 * closed at once and the rest lives until that answer. */
struct httpd_request {
    struct httpd *httpd;
    struct httpd_request *before, *after;
    int fd; /* -1: the peer is gone */
    sd_event_source *source;
    uint32_t armed;
    enum phase phase;
    bool in_handler; /* answers are sent, but the next request waits until the handler has returned */
    bool close_after, refused;
    uint64_t deadline_us;
    struct buf in, out;
    size_t scanned, sent;
    struct http1_head head;
    struct http1_chunked chunked;
    size_t body_len, raw;   /* chunked: decoded so far; where the undecoded bytes start */
    struct buf path, added; /* the decoded path; headers that the handler added to its answer */
    struct httpd_stream stream;
};

struct httpd {
    sd_event *loop;
    struct httpd_listen listen;
    sd_event_source *acceptor, *sweeper;
    char *token;
    const struct httpd_route *routes;
    size_t route_count, most_body;
    uint64_t slow_us, sweep_us;
    void *context;
    struct httpd_request *connections;
    size_t connection_count;
};

/* The peer is gone, or is sent away. REQUEST may be dead afterwards. */
void httpd_hang_up(struct httpd_request *request);

/* Sends what can be sent. False where the connection broke. */
bool httpd_flush(struct httpd_request *request);

/* Throws away what the peer sends; false at its end of file. EVENTS are those of epoll. */
bool httpd_drain(struct httpd_request *request, uint32_t events);

/* Which EVENTS of epoll to wake for. */
void httpd_listen_for(struct httpd_request *request, uint32_t events);

/* The peer must do its part within IN_US; UINT64_MAX: it may take its time. */
void httpd_set_deadline(struct httpd_request *request, uint64_t in_us);

/* The connection of an event stream is ready. */
void httpd_stream_ready(struct httpd_request *request, uint32_t events);

#endif
