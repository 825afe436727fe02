/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/upstream.h"

#include <errno.h>
#include <linux/tcp.h>
#include <stdlib.h>

#include "common/str.h"

#define LARGE (64 * 1024) /* bytes of a request that may take longer to send than to answer */

static void on_timer(h2o_timeout_entry_t *timer)
{
    struct upstream *upstream = H2O_STRUCT_FROM_MEMBER(struct upstream, timer, timer);
    upstream->events->expired(upstream);
}

static void on_readable(h2o_socket_t *socket, const char *err)
{
    struct upstream *upstream = socket->data;
    (void)err; /* reading will tell */
    upstream->events->readable(upstream);
}

static void on_connected(h2o_socket_t *socket, const char *err)
{
    struct upstream *upstream = socket->data;
    upstream_rest(upstream);
    if (err == NULL) {
        h2o_socket_dont_read(socket, 1);
        upstream_resume(upstream);
    }
    upstream->events->connected(upstream, err == NULL);
}

struct upstream *upstream_open(h2o_loop_t *loop, struct timers *timers, struct node *node, uint64_t connect_timeout_ms,
                               const struct upstream_events *events, void *holder)
{
    h2o_socket_t *socket = h2o_socket_connect(loop, (struct sockaddr *)&node->address, node->address_len, on_connected);
    if (socket == NULL)
        return NULL;
    struct upstream *upstream = mem_alloc(sizeof(*upstream));
    *upstream = (struct upstream){.socket = socket,
                                  .node = node,
                                  .timers = timers,
                                  .timer = {.cb = on_timer},
                                  .events = events,
                                  .holder = holder};
    socket->data = upstream;
    upstream_wait(upstream, connect_timeout_ms);
    return upstream;
}

void upstream_close(struct upstream **upstream)
{
    if (*upstream == NULL)
        return;
    timers_disarm(&(*upstream)->timer);
    h2o_socket_close((*upstream)->socket);
    free(*upstream);
    *upstream = NULL;
}

h2o_socket_t *upstream_give_socket(struct upstream **upstream)
{
    h2o_socket_t *socket = (*upstream)->socket;
    timers_disarm(&(*upstream)->timer);
    h2o_socket_read_stop(socket);
    h2o_socket_dont_read(socket, 0);
    socket->data = NULL;
    free(*upstream);
    *upstream = NULL;
    return socket;
}

void upstream_wait(struct upstream *upstream, uint64_t delay_ms)
{
    timers_arm(upstream->timers, &upstream->timer, delay_ms);
}

void upstream_rest(struct upstream *upstream)
{
    timers_disarm(&upstream->timer);
}

/* What fails makes the socket readable, with an answer that came early or with its end. */
static void on_written(h2o_socket_t *socket, const char *err)
{
    (void)socket, (void)err;
}

static uint64_t bytes_acknowledged(const struct upstream *upstream)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    if (getsockopt(h2o_socket_get_fd(upstream->socket), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return 0;
    return info.tcpi_bytes_acked;
}

/* One part is cheaper to send than a vector of them, and most requests have no body. */
static ssize_t send_now(struct upstream *upstream, const h2o_iovec_t parts[2])
{
    int fd = h2o_socket_get_fd(upstream->socket);
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = 2};
    ssize_t sent;
    do
        sent = parts[1].len > 0 ? sendmsg(fd, &message, MSG_NOSIGNAL)
                                : send(fd, parts[0].base, parts[0].len, MSG_NOSIGNAL);
    while (sent == -1 && errno == EINTR);
    return sent == -1 && errno == EAGAIN ? 0 : sent;
}

/* What the kernel did not take at once. */
static void send_later(struct upstream *upstream, const h2o_iovec_t parts[2], size_t sent)
{
    h2o_iovec_t rest[2];
    size_t count = 0;
    for (size_t i = 0; i < 2; i++) {
        size_t step = sent < parts[i].len ? sent : parts[i].len;
        if (step < parts[i].len)
            rest[count++] = h2o_iovec_init(parts[i].base + step, parts[i].len - step);
        sent -= step;
    }
    if (count > 0)
        h2o_socket_write(upstream->socket, rest, count, on_written);
}

bool upstream_send(struct upstream *upstream, const h2o_iovec_t parts[2])
{
    size_t total = parts[0].len + parts[1].len;
    upstream->unacknowledged = total >= LARGE ? total : 0;
    upstream->acknowledged_at_end = total >= LARGE ? bytes_acknowledged(upstream) + total : 0;
    ssize_t sent = send_now(upstream, parts);
    if (sent == -1)
        return false;
    if ((size_t)sent < total)
        send_later(upstream, parts, (size_t)sent);
    return true;
}

bool upstream_sent(const struct upstream *upstream)
{
    return !h2o_socket_is_writing(upstream->socket) &&
           (upstream->acknowledged_at_end == 0 || bytes_acknowledged(upstream) >= upstream->acknowledged_at_end);
}

bool upstream_progresses(struct upstream *upstream)
{
    if (upstream->unacknowledged == 0)
        return false;
    uint64_t now = upstream->acknowledged_at_end - bytes_acknowledged(upstream), before = upstream->unacknowledged;
    upstream->unacknowledged = now;
    return now < before;
}

ssize_t upstream_read(struct upstream *upstream, char *to, size_t size)
{
    ssize_t got;
    do
        got = recv(h2o_socket_get_fd(upstream->socket), to, size, 0);
    while (got == -1 && errno == EINTR);
    if (got >= 0)
        return got;
    return errno == EAGAIN ? UPSTREAM_READ_NOTHING : UPSTREAM_READ_BROKEN;
}

void upstream_pause(struct upstream *upstream)
{
    h2o_socket_read_stop(upstream->socket);
}

void upstream_resume(struct upstream *upstream)
{
    h2o_socket_read_start(upstream->socket, on_readable);
}
