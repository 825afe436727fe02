/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange of the HTTP client: what a request means to libcurl, and what comes back. Owned by the client that made
 * it, or by http_call for as long as that blocks. For http_client.c and http_transfer.c alone.
 */
#ifndef COMMON_HTTP_TRANSFER_H
#define COMMON_HTTP_TRANSFER_H

#include <curl/curl.h>

#include "common/http_client.h"

/* It is taken from the client's spare list, filled, added to the multi handle, and returns to the spare list after its
 * done_fn; its curl handle and its buffers are reused. */
struct http_transfer {
    struct http_client *client;           /* NULL for http_call */
    struct http_transfer *next;           /* on the spare or the doomed list */
    struct http_transfer *before, *after; /* on the list of those under way */
    CURL *easy;
    http_data_fn data;
    http_done_fn done; /* NULL once it is being finished */
    void *arg;
    size_t most_response;
    bool cuts, too_long, cancelled, no_socket;
    bool (*may_send)(void *arg);
    bool withheld;
    bool has_tls;               /* files of its own are set */
    struct curl_slist *headers; /* an array; its texts point into header_text */
    size_t header_room;
    struct buf header_text, sent, received;
    char fault[CURL_ERROR_SIZE];
};

/* Before anything else here; any number of times, from any thread. */
void http_transfer_need_curl(void);

/* A transfer that belongs to no client yet. */
struct http_transfer *http_transfer_create(void);
void http_transfer_free(struct http_transfer *transfer);

/* The request, which is copied, in place of the former one. */
void http_transfer_prepare(struct http_transfer *transfer, const struct http_request *request);

/* What became of it. The response borrows from the transfer. */
void http_transfer_read(struct http_transfer *transfer, CURLcode result, struct http_response *response);

#endif
