/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http_transfer.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/invariant.h"
#include "common/measure.h"

#define MOST_RESPONSE   (16 * 1024 * 1024)
#define CONNECT_TIMEOUT 1000

static void initialise(void)
{
    INVARIANT(curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK);
}

void http_transfer_need_curl(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, initialise);
}

static size_t body_arrived(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_transfer *transfer = arg;
    size_t len = size * count;
    long status = 0;
    if (transfer->cancelled)
        return 0;
    if (transfer->data != NULL && curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
        status >= 200 && status < 300) {
        transfer->data(transfer->arg, (struct str){bytes, len});
        return transfer->cancelled ? 0 : len;
    }
    transfer->too_long |= transfer->received.len + len > transfer->most_response;
    if (transfer->too_long)
        return transfer->cuts ? len : 0;
    buf_append(&transfer->received, bytes, len);
    return len;
}

static int before_request(void *arg, char *peer, char *self, int peer_port, int self_port)
{
    struct http_transfer *transfer = arg;
    (void)peer, (void)self, (void)peer_port, (void)self_port;
    transfer->withheld = transfer->may_send != NULL && !transfer->may_send(transfer->arg);
    return transfer->withheld ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static bool has_header(const struct http_request *request, const char *name)
{
    size_t len = strlen(name);
    for (const char *const *header = request->headers; header != NULL && *header != NULL; header++)
        if (strlen(*header) > len && (*header)[len] == ':' &&
            str_equal_nocase((struct str){*header, len}, (struct str){name, len}))
            return true;
    return false;
}

/* Appends one zero-terminated header. To curl "Name:" means "leave it out", and an empty value is "Name;". */
static size_t put_header(struct http_transfer *transfer, const char *header)
{
    const char *colon = strchr(header, ':');
    buf_append_str(&transfer->header_text, str_of(header));
    if (colon != NULL && str_trim(str_of(colon + 1)).len == 0) {
        transfer->header_text.len = transfer->header_text.len - strlen(colon);
        buf_append(&transfer->header_text, ";", 1);
    }
    buf_append(&transfer->header_text, "", 1);
    return 1;
}

static size_t put_headers(struct http_transfer *transfer, const struct http_request *request)
{
    size_t count = transfer->header_text.len = 0;
    for (const char *const *header = request->headers; header != NULL && *header != NULL; header++)
        count += put_header(transfer, *header);
    if (request->bearer_token != NULL) {
        buf_printf(&transfer->header_text, "Authorization: Bearer %s", request->bearer_token);
        buf_append(&transfer->header_text, "", 1);
        count++;
    }
    /* What curl would add of its own. */
    static const char *const unwanted[] = {"Expect", "Content-Type", "Accept"};
    for (size_t i = 0; i < COUNT_OF(unwanted); i++)
        if (!has_header(request, unwanted[i])) {
            buf_printf(&transfer->header_text, "%s:", unwanted[i]);
            buf_append(&transfer->header_text, "", 1);
            count++;
        }
    return count;
}

static struct curl_slist *make_headers(struct http_transfer *transfer, const struct http_request *request)
{
    size_t count = put_headers(transfer, request);
    if (count > transfer->header_room) {
        transfer->headers = mem_realloc(transfer->headers, count * sizeof(*transfer->headers));
        transfer->header_room = count;
    }
    char *text = transfer->header_text.base;
    for (size_t i = 0; i < count; i++, text += strlen(text) + 1)
        transfer->headers[i] =
            (struct curl_slist){.data = text, .next = i + 1 < count ? &transfer->headers[i + 1] : NULL};
    return transfer->headers;
}

static void set_method(struct http_transfer *transfer, const struct http_request *request)
{
    CURL *easy = transfer->easy;
    bool posts = strcmp(request->method, "POST") == 0;
    bool sends =
        posts || strcmp(request->method, "PUT") == 0 || strcmp(request->method, "PATCH") == 0 || request->body.len > 0;
    transfer->sent.len = 0;
    buf_append_str(&transfer->sent, request->body);
    curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, posts ? NULL : request->method);
    if (strcmp(request->method, "HEAD") == 0)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (sends) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->sent.base);
    }
}

/* The files that curl was built to trust stand for "none given". */
static void set_tls(struct http_transfer *transfer, const struct http_tls *tls)
{
    CURL *easy = transfer->easy;
    if (tls == NULL && !transfer->has_tls)
        return;
    const char *ca_file = tls != NULL ? tls->ca_file : NULL;
    curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file != NULL ? ca_file : curl_version_info(CURLVERSION_NOW)->cainfo);
    curl_easy_setopt(easy, CURLOPT_SSLCERT, tls != NULL ? tls->certificate : NULL);
    curl_easy_setopt(easy, CURLOPT_SSLKEY, tls != NULL ? tls->key : NULL);
    transfer->has_tls = tls != NULL;
}

static void set_timeouts(CURL *easy, const struct http_request *request)
{
    int64_t connect_ms = request->connect_timeout_ms ? request->connect_timeout_ms : CONNECT_TIMEOUT;
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, request->timeout_ms == 0 ? 1L : 0L);
}

void http_transfer_prepare(struct http_transfer *transfer, const struct http_request *request)
{
    CURL *easy = transfer->easy;
    transfer->received.len = 0;
    transfer->fault[0] = '\0';
    transfer->too_long = transfer->cancelled = transfer->withheld = transfer->no_socket = false;
    transfer->may_send = request->may_send;
    transfer->cuts = request->cuts_response;
    transfer->most_response = request->most_response ? request->most_response : MOST_RESPONSE;
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, request->target);
    set_tls(transfer, request->tls);
    set_timeouts(easy, request);
    set_method(transfer, request);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, make_headers(transfer, request));
}

/* The time until the request could be sent is 0 where it never could. */
static bool is_unreached(CURL *easy, CURLcode result)
{
    curl_off_t us = 0;
    return result != CURLE_OK && curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &us) == CURLE_OK && us == 0;
}

void http_transfer_read(struct http_transfer *transfer, CURLcode result, struct http_response *response)
{
    *response = (struct http_response){.retry_after_ms = -1, .error = "", .transfer = transfer};
    if (result != CURLE_OK) {
        response->timed_out = result == CURLE_OPERATION_TIMEDOUT;
        response->unreached = transfer->withheld || is_unreached(transfer->easy, result);
        response->withheld = transfer->withheld;
        response->no_socket = transfer->no_socket;
        response->error = transfer->no_socket     ? "this process has no file descriptor left for a connection"
                          : transfer->too_long    ? "the answer is longer than allowed"
                          : *transfer->fault != 0 ? transfer->fault
                                                  : curl_easy_strerror(result);
        return;
    }
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &response->status);
    response->body = buf_str(&transfer->received);
    response->cut = transfer->too_long;
    struct curl_header *header;
    curl_off_t seconds = 0;
    /* CURLINFO_RETRY_AFTER alone cannot tell "now" from "not said". */
    if (response->status >= 300 &&
        curl_easy_header(transfer->easy, "Retry-After", 0, CURLH_HEADER, -1, &header) == CURLHE_OK &&
        curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK)
        response->retry_after_ms = seconds * 1000;
}

void http_response_headers(const struct http_response *response, struct buf *lines)
{
    struct curl_header *field = NULL;
    while ((field = curl_easy_nextheader(response->transfer->easy, CURLH_HEADER, -1, field)) != NULL)
        buf_printf(lines, "%s: %s\n", field->name, field->value);
}

void http_transfer_free(struct http_transfer *transfer)
{
    curl_easy_cleanup(transfer->easy);
    free(transfer->headers);
    buf_free(&transfer->header_text);
    buf_free(&transfer->sent);
    buf_free(&transfer->received);
    free(transfer);
}

/* What all exchanges have in common is set once: curl copies texts and parses lists each time. */
struct http_transfer *http_transfer_create(void)
{
    struct http_transfer *transfer = mem_calloc(1, sizeof(*transfer));
    CURL *easy = transfer->easy = curl_easy_init();
    INVARIANT(easy != NULL);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->fault);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 8192L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 10L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_arrived);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    return transfer;
}

struct http_caller {
    struct http_transfer *transfer; /* its handle keeps the connections */
};

struct http_caller *http_caller_create(void)
{
    http_transfer_need_curl();
    struct http_caller *caller = mem_calloc(1, sizeof(*caller));
    caller->transfer = http_transfer_create();
    return caller;
}

void http_caller_destroy(struct http_caller **caller)
{
    if (*caller == NULL)
        return;
    http_transfer_free((*caller)->transfer);
    free(*caller);
    *caller = NULL;
}

long http_caller_call(struct http_caller *caller, const struct http_request *request, struct buf *body,
                      struct error *err)
{
    struct http_transfer *transfer = caller->transfer;
    http_transfer_prepare(transfer, request);
    CURLcode result = curl_easy_perform(transfer->easy);
    struct http_response response;
    http_transfer_read(transfer, result, &response);
    if (result != CURLE_OK)
        response.status = error_set(err, result == CURLE_OPERATION_TIMEDOUT ? ERROR_TIMEOUT : ERROR_UNREACHABLE,
                                    "%s: %s", request->url, response.error);
    else
        buf_append_str(body, response.body);
    return response.status;
}

long http_call(const struct http_request *request, struct buf *body, struct error *err)
{
    struct http_caller *caller = http_caller_create();
    long status = http_caller_call(caller, request, body, err);
    http_caller_destroy(&caller);
    return status;
}
