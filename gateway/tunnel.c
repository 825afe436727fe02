/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/tunnel.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "common/invariant.h"
#include "gateway/gateway.h"
#include "gateway/http1_conn.h"

struct tunnel;

/* One direction. The bytes on their way stay in the input buffer of `from`, which is not read meanwhile. */
struct flow {
    struct tunnel *tunnel;
    h2o_socket_t *from, *to;
    bool ended; /* `from` says no more */
    bool writing, closed;
};

/* Lifecycle: tunnel_open() makes it and asks for the client's socket; join() sets both flows going; it ends when both
 * have ended, when either side fails, or when nothing came for the idle time. */
struct tunnel {
    struct tunnels *owner;
    struct tunnel *next, *previous;
    struct view *view;
    struct node *node;
    h2o_socket_t *node_socket, *client_socket;
    struct flow to_node, to_client;
    h2o_timeout_entry_t idle;
};

struct tunnels {
    struct worker *worker;
    struct timers *timers;
    struct tunnel *first;
};

struct tunnels *tunnels_create(struct worker *worker, struct timers *timers)
{
    struct tunnels *tunnels = mem_calloc(1, sizeof(*tunnels));
    tunnels->worker = worker;
    tunnels->timers = timers;
    return tunnels;
}

static void count_open(struct tunnels *tunnels, int change)
{
    stat_value *open = &tunnels->worker->stats.proxy_tunnels_open;
    stat_set(open, stat_get(open) + (uint64_t)change);
}

static void link_tunnel(struct tunnels *tunnels, struct tunnel *tunnel)
{
    tunnel->owner = tunnels;
    tunnel->next = tunnels->first;
    if (tunnels->first != NULL)
        tunnels->first->previous = tunnel;
    tunnels->first = tunnel;
    count_open(tunnels, 1);
}

static void unlink_tunnel(struct tunnel *tunnel)
{
    if (tunnel->previous != NULL)
        tunnel->previous->next = tunnel->next;
    else
        tunnel->owner->first = tunnel->next;
    if (tunnel->next != NULL)
        tunnel->next->previous = tunnel->previous;
    count_open(tunnel->owner, -1);
}

/* Closed sockets call nobody back, so the tunnel can go at once; its callers return without touching it. */
static void close_tunnel(struct tunnel *tunnel)
{
    timers_disarm(&tunnel->idle);
    h2o_socket_close(tunnel->node_socket);
    if (tunnel->client_socket != NULL)
        h2o_socket_close(tunnel->client_socket);
    atomic_fetch_sub_explicit(&tunnel->node->in_flight, 1, memory_order_relaxed);
    unlink_tunnel(tunnel);
    view_unref(&tunnel->view);
    free(tunnel);
}

void tunnels_close(struct tunnels *tunnels)
{
    for (struct tunnel *tunnel = tunnels->first, *next; tunnel != NULL; tunnel = next) {
        next = tunnel->next;
        if (tunnel->client_socket != NULL)
            close_tunnel(tunnel);
    }
}

void tunnels_destroy(struct tunnels **tunnels)
{
    if (*tunnels != NULL)
        INVARIANT((*tunnels)->first == NULL);
    free(*tunnels);
    *tunnels = NULL;
}

static void stay_open(struct tunnel *tunnel)
{
    timers_arm(tunnel->owner->timers, &tunnel->idle,
               (uint64_t)tunnel->owner->worker->gateway->config.proxy.tunnel_timeout);
}

static void on_idle(h2o_timeout_entry_t *idle)
{
    close_tunnel(H2O_STRUCT_FROM_MEMBER(struct tunnel, idle, idle));
}

/* The end of one direction is passed on, so that the other can finish; TLS knows no such half. */
static void end_flow(struct flow *flow)
{
    struct tunnel *tunnel = flow->tunnel;
    flow->closed = true;
    if ((tunnel->to_node.closed && tunnel->to_client.closed) || flow->to->ssl != NULL)
        close_tunnel(tunnel);
    else
        shutdown(h2o_socket_get_fd(flow->to), SHUT_WR);
}

static void pump(struct flow *flow);

static void on_written(h2o_socket_t *socket, const char *err)
{
    struct tunnel *tunnel = socket->data;
    struct flow *flow = socket == tunnel->node_socket ? &tunnel->to_node : &tunnel->to_client;
    if (err != NULL) {
        close_tunnel(tunnel);
        return;
    }
    stay_open(tunnel);
    flow->writing = false;
    h2o_buffer_consume(&flow->from->input, flow->from->input->size);
    pump(flow);
}

static void on_read(h2o_socket_t *socket, const char *err)
{
    struct tunnel *tunnel = socket->data;
    struct flow *flow = socket == tunnel->node_socket ? &tunnel->to_client : &tunnel->to_node;
    if (err != NULL && err != h2o_socket_error_closed) {
        close_tunnel(tunnel);
        return;
    }
    stay_open(tunnel);
    flow->ended = err != NULL;
    h2o_socket_read_stop(socket);
    pump(flow);
}

/* Stopping and starting within one turn of the loop costs no system call. */
static void pump(struct flow *flow)
{
    if (flow->from->input->size > 0) {
        h2o_iovec_t bytes = h2o_iovec_init(flow->from->input->bytes, flow->from->input->size);
        flow->writing = true;
        h2o_socket_write(flow->to, &bytes, 1, on_written);
    } else if (flow->ended) {
        end_flow(flow);
    } else {
        h2o_socket_read_start(flow->from, on_read);
    }
}
static void append_first(h2o_socket_t *socket, struct str first)
{
    if (first.len == 0)
        return;
    h2o_iovec_t room = h2o_buffer_reserve(&socket->input, first.len);
    memcpy(room.base, first.base, first.len);
    socket->input->size += first.len;
}

static void join(void *arg, h2o_socket_t *client)
{
    struct tunnel *tunnel = arg;
    if (client == NULL) {
        close_tunnel(tunnel);
        return;
    }
    tunnel->client_socket = client;
    client->data = tunnel->node_socket->data = tunnel;
    tunnel->to_node = (struct flow){.tunnel = tunnel, .from = client, .to = tunnel->node_socket};
    tunnel->to_client = (struct flow){.tunnel = tunnel, .from = tunnel->node_socket, .to = client};
    stay_open(tunnel);
    pump(&tunnel->to_node);
    pump(&tunnel->to_client);
}

bool tunnel_open(struct tunnels *tunnels, struct exchange *exchange, struct str head, struct node *node,
                 h2o_socket_t *socket, struct str first)
{
    struct tunnel *tunnel = mem_calloc(1, sizeof(*tunnel));
    tunnel->node = node;
    tunnel->node_socket = socket;
    tunnel->view = exchange->view;
    tunnel->idle.cb = on_idle;
    view_ref(tunnel->view);
    append_first(socket, first);
    link_tunnel(tunnels, tunnel);
    if (http1_conn_upgrade(exchange->req, head, join, tunnel))
        return true;
    close_tunnel(tunnel);
    return false;
}
