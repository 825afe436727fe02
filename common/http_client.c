/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/descriptors.h"
#include "common/invariant.h"

#define MOST_RESPONSE   (16 * 1024 * 1024)
#define KEPT_BUFFER     (64 * 1024) /* larger buffers are not kept with a finished transfer */
#define CONNECT_TIMEOUT 1000
#define NEVER           UINT64_MAX
#define BATCH           128

/* One exchange. It is taken from the client's spare list, filled, added to the multi handle, and returns to the
 * spare list after its done_fn; its curl handle and its buffers are reused. */
struct http_transfer {
    struct http_client *client;           /* NULL for http_call */
    struct http_transfer *next;           /* on the spare or the doomed list */
    struct http_transfer *before, *after; /* on the list of those under way */
    CURL *easy;
    http_data_fn data;
    http_done_fn done; /* NULL once it is being finished */
    void *arg;
    size_t most_response;
    bool too_long, cancelled, no_socket;
    bool (*may_send)(void *arg);
    bool withheld;
    struct curl_slist *headers; /* an array; its texts point into header_text */
    size_t header_room;
    struct buf header_text, sent, received;
    char fault[CURL_ERROR_SIZE];
};

/* One descriptor that curl wants to hear of. For sockets that this file opened the registration outlives curl's wish:
 * keep-alive connections would otherwise cost two epoll_ctl calls a request. */
struct watch {
    uint32_t armed;      /* events it is registered for; 0: it is not */
    uint32_t generation; /* tells an event of this descriptor from one of an earlier holder of its number */
    bool ours, wanted;
};

struct http_client {
    sd_event *loop;
    CURLM *multi;
    /* The sockets stand in an epoll set of their own: sd-event dispatches one source a turn and asks the kernel again
     * before the next, which costs more than the exchanges themselves where many answers arrive at once. */
    int sockets;
    sd_event_source *ready, *soon, *timer;
    uint64_t deadline_us;   /* when curl wants to be called; NEVER: not at all */
    struct watch **watches; /* by descriptor */
    size_t watch_room;
    uint32_t generation;
    struct http_transfer *under_way, *spare, *doomed;
    bool inside; /* in a call of curl_multi_socket_action */
};

static void reap(struct http_client *client);

static void initialise(void)
{
    INVARIANT(curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK);
}

static void need_curl(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, initialise);
}

/* --- one transfer ------------------------------------------------------------------------------------------------ */

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
    if (transfer->received.len + len > transfer->most_response) {
        transfer->too_long = true;
        return 0;
    }
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
    for (size_t i = 0; i < sizeof(unwanted) / sizeof(*unwanted); i++)
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

static void set_timeouts(CURL *easy, const struct http_request *request)
{
    int64_t connect_ms = request->connect_timeout_ms ? request->connect_timeout_ms : CONNECT_TIMEOUT;
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, request->timeout_ms == 0 ? 1L : 0L);
}

static void prepare(struct http_transfer *transfer, const struct http_request *request)
{
    CURL *easy = transfer->easy;
    transfer->received.len = 0;
    transfer->fault[0] = '\0';
    transfer->too_long = transfer->cancelled = transfer->withheld = transfer->no_socket = false;
    transfer->may_send = request->may_send;
    transfer->most_response = request->most_response ? request->most_response : MOST_RESPONSE;
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, request->target);
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

static void read_response(struct http_transfer *transfer, CURLcode result, struct http_response *response)
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

static void transfer_free(struct http_transfer *transfer)
{
    curl_easy_cleanup(transfer->easy);
    free(transfer->headers);
    buf_free(&transfer->header_text);
    buf_free(&transfer->sent);
    buf_free(&transfer->received);
    free(transfer);
}

/* What all exchanges have in common is set once: curl copies texts and parses lists each time. */
static struct http_transfer *transfer_create(void)
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

long http_call(const struct http_request *request, struct buf *body, struct error *err)
{
    need_curl();
    struct http_transfer *transfer = transfer_create();
    prepare(transfer, request);
    CURLcode result = curl_easy_perform(transfer->easy);
    struct http_response response;
    read_response(transfer, result, &response);
    if (result != CURLE_OK)
        response.status = error_set(err, result == CURLE_OPERATION_TIMEDOUT ? ERROR_TIMEOUT : ERROR_UNREACHABLE,
                                    "%s: %s", request->url, response.error);
    else
        buf_append_str(body, response.body);
    transfer_free(transfer);
    return response.status;
}

/* --- the loop ---------------------------------------------------------------------------------------------------- */

static void drive(struct http_client *client, int fd, int events)
{
    int running;
    client->inside = true;
    curl_multi_socket_action(client->multi, fd, events, &running);
    client->inside = false;
    reap(client);
}

static struct watch *watch_find(const struct http_client *client, int fd)
{
    return (size_t)fd < client->watch_room ? client->watches[fd] : NULL;
}

static struct watch *watch_of(struct http_client *client, int fd)
{
    if ((size_t)fd >= client->watch_room) {
        size_t room = (size_t)fd * 2 + 16;
        client->watches = mem_realloc(client->watches, room * sizeof(*client->watches));
        memset(client->watches + client->watch_room, 0, (room - client->watch_room) * sizeof(*client->watches));
        client->watch_room = room;
    }
    if (client->watches[fd] == NULL) {
        client->watches[fd] = mem_calloc(1, sizeof(struct watch));
        client->watches[fd]->generation = ++client->generation;
    }
    return client->watches[fd];
}

/* EVENTS 0: not at all. curl closes a socket that never connected without calling close_socket(): its number may be
 * free by now, which matters only where curl still wants it. */
static void watch_arm(struct http_client *client, int fd, struct watch *watch, uint32_t events)
{
    if (watch->armed == events)
        return;
    int how = watch->armed == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)watch->generation << 32 | (uint32_t)fd};
    bool done = epoll_ctl(client->sockets, how, fd, &event) == 0;
    INVARIANT(done || !watch->wanted);
    watch->armed = done ? events : 0;
}

static void watch_drop(struct http_client *client, int fd)
{
    struct watch *watch = watch_find(client, fd);
    if (watch == NULL)
        return;
    watch->wanted = false;
    watch_arm(client, fd, watch, 0);
    client->watches[fd] = NULL;
    free(watch);
}

static void take_event(struct http_client *client, const struct epoll_event *event)
{
    int fd = (int)(uint32_t)event->data.u64;
    struct watch *watch = watch_find(client, fd);
    if (watch == NULL || watch->generation != event->data.u64 >> 32)
        return;           /* closed while earlier events of the same batch were handled */
    if (!watch->wanted) { /* an idle connection that its server closed: curl will find out when it wants it again */
        watch_arm(client, fd, watch, 0);
        return;
    }
    int mask = event->events & EPOLLIN ? CURL_CSELECT_IN : 0;
    mask |= event->events & EPOLLOUT ? CURL_CSELECT_OUT : 0;
    mask |= event->events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0;
    drive(client, fd, mask);
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    (void)source, (void)events;
    struct epoll_event batch[BATCH];
    int count = epoll_wait(fd, batch, BATCH, 0);
    for (int i = 0; i < count; i++)
        take_event(arg, &batch[i]);
    return 0;
}

static int curl_wants_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    (void)easy, (void)unused;
    struct http_client *client = arg;
    struct watch *watch = watch_of(client, fd);
    watch->wanted = what != CURL_POLL_REMOVE;
    if (watch->wanted)
        watch_arm(client, fd, watch, (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0));
    else if (!watch->ours)
        watch_drop(client, fd);
    else if (watch->armed & EPOLLOUT)
        watch_arm(client, fd, watch, EPOLLIN);
    return 0;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    struct http_transfer *transfer = arg;
    struct http_client *client = transfer->client;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    transfer->no_socket = fd < 0 && descriptors_are_out(errno, "connections to servers");
    if (fd < 0)
        return fd;
    watch_drop(client, fd); /* of a former socket with this number */
    watch_of(client, fd)->ours = true;
    return fd;
}

static int close_socket(void *arg, curl_socket_t fd)
{
    watch_drop(arg, fd);
    return close(fd);
}

static int on_soon(sd_event_source *source, void *arg)
{
    (void)source;
    drive(arg, CURL_SOCKET_TIMEOUT, 0);
    return 0;
}

/* Arms the timer only when it would fire too late: each exchange moves curl's deadline, and most never come. */
static void arm_timer(struct http_client *client)
{
    uint64_t armed_us;
    int enabled;
    if (client->deadline_us == NEVER)
        return;
    sd_event_source_get_time(client->timer, &armed_us);
    sd_event_source_get_enabled(client->timer, &enabled);
    if (enabled != SD_EVENT_OFF && armed_us <= client->deadline_us)
        return;
    sd_event_source_set_time(client->timer, client->deadline_us);
    sd_event_source_set_enabled(client->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct http_client *client = arg;
    if (clock_monotonic_us() < client->deadline_us)
        arm_timer(client);
    else
        drive(client, CURL_SOCKET_TIMEOUT, 0);
    return 0;
}

static int curl_wants_timer(CURLM *multi, long delay_ms, void *arg)
{
    (void)multi;
    struct http_client *client = arg;
    client->deadline_us = delay_ms < 0 ? NEVER : clock_monotonic_us() + (uint64_t)delay_ms * 1000;
    sd_event_source_set_enabled(client->soon, delay_ms == 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
    if (delay_ms > 0)
        arm_timer(client);
    return 0;
}

/* --- the client -------------------------------------------------------------------------------------------------- */

struct http_client *http_client_create(sd_event *loop, long most_connections_a_host)
{
    need_curl();
    struct http_client *client = mem_calloc(1, sizeof(*client));
    client->loop = sd_event_ref(loop);
    client->deadline_us = NEVER;
    client->sockets = epoll_create1(EPOLL_CLOEXEC);
    INVARIANT(sd_event_add_io(loop, &client->ready, client->sockets, EPOLLIN, on_ready, client) >= 0);
    INVARIANT(sd_event_add_defer(loop, &client->soon, on_soon, client) >= 0);
    INVARIANT(sd_event_source_set_enabled(client->soon, SD_EVENT_OFF) >= 0);
    INVARIANT(sd_event_add_time(loop, &client->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, client) >= 0);
    INVARIANT(sd_event_source_set_enabled(client->timer, SD_EVENT_OFF) >= 0);
    client->multi = curl_multi_init();
    INVARIANT(client->multi != NULL);
    long kept = most_connections_a_host > 0 ? most_connections_a_host * 8 : 1024;
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, most_connections_a_host);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, kept < 64 ? 64 : kept);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, curl_wants_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, curl_wants_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    return client;
}

static void unlink_transfer(struct http_transfer *transfer)
{
    struct http_client *client = transfer->client;
    curl_multi_remove_handle(client->multi, transfer->easy);
    if (transfer->before != NULL)
        transfer->before->after = transfer->after;
    else
        client->under_way = transfer->after;
    if (transfer->after != NULL)
        transfer->after->before = transfer->before;
}

static void release(struct http_transfer *transfer)
{
    struct http_client *client = transfer->client;
    if (transfer->sent.capacity > KEPT_BUFFER)
        buf_free(&transfer->sent);
    if (transfer->received.capacity > KEPT_BUFFER)
        buf_free(&transfer->received);
    transfer->next = client->spare;
    client->spare = transfer;
}

static void finish(struct http_transfer *transfer, CURLcode result)
{
    struct http_response response;
    http_done_fn done = transfer->done;
    transfer->done = NULL;
    read_response(transfer, result, &response);
    unlink_transfer(transfer);
    done(transfer->arg, &response);
    release(transfer);
}

static void reap(struct http_client *client)
{
    for (struct http_transfer *transfer; (transfer = client->doomed) != NULL;) {
        client->doomed = transfer->next;
        unlink_transfer(transfer);
        release(transfer);
    }
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(client->multi, &left)) != NULL;) {
        struct http_transfer *transfer;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        finish(transfer, result);
    }
}

static struct http_transfer *transfer_for(struct http_client *client)
{
    struct http_transfer *transfer = transfer_create();
    transfer->client = client;
    curl_easy_setopt(transfer->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(transfer->easy, CURLOPT_OPENSOCKETDATA, transfer);
    curl_easy_setopt(transfer->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(transfer->easy, CURLOPT_CLOSESOCKETDATA, client);
    return transfer;
}

struct http_transfer *http_client_start(struct http_client *client, const struct http_request *request,
                                        http_data_fn data, http_done_fn done, void *arg)
{
    struct http_transfer *transfer = client->spare;
    if (transfer != NULL)
        client->spare = transfer->next;
    else
        transfer = transfer_for(client);
    transfer->data = data;
    transfer->done = done;
    transfer->arg = arg;
    prepare(transfer, request);
    transfer->before = NULL;
    transfer->after = client->under_way;
    if (transfer->after != NULL)
        transfer->after->before = transfer;
    client->under_way = transfer;
    INVARIANT(curl_multi_add_handle(client->multi, transfer->easy) == CURLM_OK);
    return transfer;
}

void http_transfer_cancel(struct http_transfer *transfer)
{
    if (transfer->done == NULL)
        return;
    transfer->done = NULL;
    transfer->cancelled = true;
    if (transfer->client->inside) { /* curl refuses to lose a handle while it works */
        transfer->next = transfer->client->doomed;
        transfer->client->doomed = transfer;
        return;
    }
    unlink_transfer(transfer);
    release(transfer);
}

void http_client_destroy(struct http_client **client_p)
{
    struct http_client *client = *client_p;
    if (client == NULL)
        return;
    *client_p = NULL;
    INVARIANT(!client->inside);
    while (client->under_way != NULL)
        http_transfer_cancel(client->under_way);
    curl_multi_cleanup(client->multi);
    for (struct http_transfer *transfer; (transfer = client->spare) != NULL;) {
        client->spare = transfer->next;
        transfer_free(transfer);
    }
    for (size_t fd = 0; fd < client->watch_room; fd++)
        watch_drop(client, (int)fd);
    free(client->watches);
    sd_event_source_disable_unref(client->ready);
    close(client->sockets);
    sd_event_source_disable_unref(client->soon);
    sd_event_source_disable_unref(client->timer);
    sd_event_unref(client->loop);
    free(client);
}
