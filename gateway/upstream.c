/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/str.h"

#define SLICE (256 * 1024)

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
    upstream->patience_ms = delay_ms;
    timers_arm(upstream->timers, &upstream->timer, delay_ms);
}

void upstream_rest(struct upstream *upstream)
{
    timers_disarm(&upstream->timer);
}

static void on_written(h2o_socket_t *socket, const char *err);

/* In slices, so that a node that takes a large body slowly is not taken for one that takes nothing. */
static void send_rest(struct upstream *upstream)
{
    h2o_iovec_t *rest = upstream->unsent[0].len > 0 ? &upstream->unsent[0] : &upstream->unsent[1];
    h2o_iovec_t slice = h2o_iovec_init(rest->base, rest->len < SLICE ? rest->len : SLICE);
    rest->base += slice.len;
    rest->len -= slice.len;
    h2o_socket_write(upstream->socket, &slice, 1, on_written);
}

static void on_written(h2o_socket_t *socket, const char *err)
{
    struct upstream *upstream = socket->data;
    if (err != NULL)
        return; /* the socket is readable now, with an answer that came early or with its end */
    if (h2o_timeout_is_linked(&upstream->timer))
        upstream_wait(upstream, upstream->patience_ms);
    if (upstream->unsent[0].len + upstream->unsent[1].len > 0)
        send_rest(upstream);
}

static void advance(h2o_iovec_t parts[2], size_t sent)
{
    for (size_t i = 0; i < 2; i++) {
        size_t step = sent < parts[i].len ? sent : parts[i].len;
        parts[i].base += step;
        parts[i].len -= step;
        sent -= step;
    }
}

bool upstream_send(struct upstream *upstream, const h2o_iovec_t parts[2])
{
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = parts[1].len > 0 ? 2 : 1};
    ssize_t sent;
    do
        sent = sendmsg(h2o_socket_get_fd(upstream->socket), &message, MSG_NOSIGNAL);
    while (sent == -1 && errno == EINTR);
    if (sent == -1 && errno != EAGAIN)
        return false;
    upstream->unsent[0] = parts[0];
    upstream->unsent[1] = parts[1];
    advance(upstream->unsent, sent > 0 ? (size_t)sent : 0);
    if (upstream->unsent[0].len + upstream->unsent[1].len > 0)
        send_rest(upstream);
    return true;
}

bool upstream_sending(const struct upstream *upstream)
{
    return h2o_socket_is_writing(upstream->socket) || upstream->unsent[0].len + upstream->unsent[1].len > 0;
}

ssize_t upstream_read(struct upstream *upstream, char *to, size_t size)
{
    ssize_t got;
    do
        got = read(h2o_socket_get_fd(upstream->socket), to, size);
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
