/* SPDX-License-Identifier: Apache-2.0
 *
 * The small HTTP/1.1 server of admin listeners, on an sd-event loop: one table row a resource, JSON and text
 * answers, server-sent event streams, a bearer token. Not for the ingress: that is libh2o's. Owned by one thread.
 * It binds to loopback unless told otherwise, and refuses any other address when there is no token.
 */
#ifndef COMMON_HTTPD_H
#define COMMON_HTTPD_H

#include <systemd/sd-event.h>

#include "common/error.h"
#include "common/str.h"

struct httpd;
struct httpd_request; /* valid for the handler's call, or until it is answered */

/* Answers with exactly one httpd_respond() or httpd_stream_open(), now or later. */
typedef void (*httpd_handler_fn)(struct httpd_request *request, void *context);

struct httpd_route {
    const char *method; /* NULL: any; GET takes HEAD too */
    const char *path;   /* exact, or a prefix when it ends in a slash; the first route that fits wins */
    httpd_handler_fn handle;
    bool open;       /* needs no token: health checks; and takes strangers' bodies where it takes any method */
    const char *doc; /* one sentence; docs are checked against it */
};

struct httpd_config {
    const char *listen; /* "127.0.0.1:9000", "[::1]:0", "unix:/path" */
    const char *token;  /* NULL: none */
    const struct httpd_route *routes;
    size_t route_count;
    void *context; /* handed to the handlers */
    size_t most_body;
    int64_t slow_ms; /* within which a request must arrive, and the reader of an answer take some of it; 0: 10 s */
};

struct httpd *httpd_create(sd_event *loop, const struct httpd_config *config, struct error *err) MUST_CHECK;
/* Requests that are not answered yet, and open streams, die with it; `gone` is not called. Not from within a handler.
 */
void httpd_destroy(struct httpd **httpd);
unsigned httpd_port(const struct httpd *httpd); /* 0 on a unix socket */

struct str httpd_request_method(const struct httpd_request *request);
struct str httpd_request_path(const struct httpd_request *request); /* percent-decoded, without query */
/* The decoded value of a query parameter into OUT (cleared first); false where it is absent. */
bool httpd_request_query(const struct httpd_request *request, const char *name, struct buf *out);
struct str httpd_request_header(const struct httpd_request *request, const char *name);
struct str httpd_request_body(const struct httpd_request *request);

/* Joins the headers of the answer that follows. VALUE holds no line end. */
void httpd_add_header(struct httpd_request *request, const char *name, const char *value);
/* CONTENT_TYPE may be NULL. BODY is copied. REQUEST is dead afterwards. */
void httpd_respond(struct httpd_request *request, int status, const char *content_type, struct str body);
/* application/problem+json with `urn:ldcgate:problem:NAME`. */
void httpd_respond_problem(struct httpd_request *request, int status, const char *name, const char *detail);

struct httpd_stream; /* a text/event-stream that stays open; owned by the httpd */
typedef void (*httpd_stream_gone_fn)(void *arg);
struct httpd_stream *httpd_stream_open(struct httpd_request *request, httpd_stream_gone_fn gone, void *arg);
/* False where the reader is too slow and the event was dropped (at most 1 MiB waits). Does not call `gone`. */
bool httpd_stream_send(struct httpd_stream *stream, const char *event, struct str data);

#endif
