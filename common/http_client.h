/* SPDX-License-Identifier: Apache-2.0
 *
 * The one HTTP client (libcurl): many transfers at once on an sd-event loop, and a blocking call for command-line
 * use. http_client.c and http_transfer.c alone know libcurl. Redirects are not followed; proxies from the environment
 * are ignored.
 */
#ifndef COMMON_HTTP_CLIENT_H
#define COMMON_HTTP_CLIENT_H

#include <systemd/sd-event.h>

#include "common/error.h"
#include "common/str.h"

/* Whom to trust and who to be. Each may be NULL. PEM files; the CA's in place of those of the system. */
struct http_tls {
    const char *ca_file, *certificate, *key;
};

struct http_request {
    const char *method, *url;
    const char *target;         /* sent as it is in place of the URL's path and query; NULL: those of the URL */
    const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
    struct str body;            /* copied */
    int64_t timeout_ms;         /* of the whole exchange; 0: none (streams) */
    int64_t connect_timeout_ms; /* 0: 1 s */
    const char *bearer_token;   /* may be NULL; never shown in an error */
    const struct http_tls *tls; /* for https; may be NULL */
    size_t most_response;       /* a longer body fails the transfer; 0: 16 MiB */
    bool cuts_response;         /* it does not: what is beyond is read, and dropped */
    /* Asked with the transfer's ARG when the connection stands and the first byte is about to leave; false: the
     * transfer fails as `withheld`. NULL: it may. */
    bool (*may_send)(void *arg);
};

struct http_response {
    long status; /* 0: no answer; then `error` says why */
    struct str body;
    bool cut;                       /* the body goes on */
    int64_t retry_after_ms;         /* from Retry-After in seconds or as a date; -1 where absent */
    const char *error;              /* "" when answered */
    bool timed_out;                 /* the reason of `error` */
    bool unreached;                 /* nothing was sent: the server does not know of the request */
    bool withheld;                  /* may_send was false */
    bool no_socket;                 /* this process could open none: the server is not to blame */
    struct http_transfer *transfer; /* for http_response_headers() */
};

/* Called once, with a response that is borrowed for the call. Not called after http_transfer_cancel(). */
typedef void (*http_done_fn)(void *arg, const struct http_response *response);
/* Called for each piece of a streamed body (server-sent events) whose status is 2xx; other bodies are collected. */
typedef void (*http_data_fn)(void *arg, struct str piece);

struct http_client;   /* owned by one thread, together with its loop */
struct http_transfer; /* owned by the client; dead after its done_fn returned */

struct http_client *http_client_create(sd_event *loop, long most_connections_a_host);
/* Cancels what is under way. Not from within a callback of its own. */
void http_client_destroy(struct http_client **client);

/* Starts a transfer; DATA may be NULL (the body is collected for DONE). Never NULL; faults arrive through DONE,
 * on a later turn of the loop. */
struct http_transfer *http_client_start(struct http_client *client, const struct http_request *request,
                                        http_data_fn data, http_done_fn done, void *arg);
void http_transfer_cancel(struct http_transfer *transfer);

/* Appends the fields of the answer's head to LINES, as "name: value" lines. For the done_fn. */
void http_response_headers(const struct http_response *response, struct buf *lines);

/* Blocks. The body is appended to BODY. Returns the status, or -1 with *err where nothing answered. */
long http_call(const struct http_request *request, struct buf *body, struct error *err) MUST_CHECK;

/* The same for those who call often: keeps its connections. One thread at a time. */
struct http_caller;
struct http_caller *http_caller_create(void);
void http_caller_destroy(struct http_caller **caller);
long http_caller_call(struct http_caller *caller, const struct http_request *request, struct buf *body,
                      struct error *err) MUST_CHECK;

#endif
