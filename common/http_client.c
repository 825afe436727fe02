/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http_transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/descriptors.h"
#include "common/invariant.h"
#include "common/loop.h"

#define KEPT_BUFFER (64 * 1024) /* larger buffers are not kept with a finished transfer */
#define NEVER       UINT64_MAX
#define BATCH       128

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
    loop_wake(client->timer);
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
    http_transfer_need_curl();
    struct http_client *client = mem_calloc(1, sizeof(*client));
    client->loop = sd_event_ref(loop);
    client->deadline_us = NEVER;
    client->sockets = epoll_create1(EPOLL_CLOEXEC);
    INVARIANT(sd_event_add_io(loop, &client->ready, client->sockets, EPOLLIN, on_ready, client) >= 0);
    client->soon = loop_later(loop, on_soon, client);
    client->timer = loop_timer(loop, on_timer, client);
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
    http_transfer_read(transfer, result, &response);
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
    struct http_transfer *transfer = http_transfer_create();
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
    http_transfer_prepare(transfer, request);
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
        http_transfer_free(transfer);
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
