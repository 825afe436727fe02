/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <h2o.h>
#include <h2o/http2.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#include "common/address.h"
#include "common/descriptors.h"
#include "gateway/gateway.h"
#include "gateway/h2_guard.h"
#include "gateway/http1_conn.h"
#include "gateway/peer_counts.h"
#include "gateway/tls.h"

#define BACKLOG      4096
#define ACCEPT_BATCH 64
#define PAUSE_MS     50

struct acceptor {
    struct listener *listener;
    h2o_socket_t *sock;
    bool tls;
};

struct listener {
    struct worker *worker;
    struct http1_conns *http1;
    struct h2_guards *http2;
    struct acceptor *acceptors;
    size_t acceptor_count;
    h2o_linklist_t clients;
    h2o_timeout_t handshake_timeout, pause_timeout;
    h2o_timeout_entry_t pause;
    int64_t send_timeout_ms; /* what the sockets have, for a reload may change it */
    int spare_fd;            /* given up when the process is out of descriptors, so that the queue can be emptied */
};

/* A client's connection, whatever it speaks; freed by its socket's on_close. */
struct client {
    struct listener *listener;
    h2o_socket_t *sock;
    h2o_linklist_t link;
    h2o_timeout_entry_t handshake;
    SSL_CTX *context; /* libh2o borrows it until the handshake has begun */
    struct peer_count *peer;
};

static void on_accept(h2o_socket_t *sock, const char *err);

/* --- addresses ------------------------------------------------------------------------------------------------- */

/* Splits "HOST:PORT"; an IPv6 host stands in brackets. */
static int resolve(const char *text, struct addrinfo **info, struct error *err)
{
    char host[256] = "";
    const char *colon = strrchr(text, ':');
    struct str name = {text, colon ? (size_t)(colon - text) : 0};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_PASSIVE};
    uint64_t port;
    if (name.len >= 2 && name.base[0] == '[' && name.base[name.len - 1] == ']')
        name = (struct str){text + 1, name.len - 2};
    if (colon == NULL || name.len == 0 || name.len >= sizeof(host) || !str_to_u64(str_of(colon + 1), &port) ||
        port > 65535)
        return error_set(err, ERROR_INPUT, "\"%s\" is no address to listen on: write HOST:PORT, IPv6 in brackets",
                         text);
    memcpy(host, name.base, name.len);
    int failed = getaddrinfo(host, colon + 1, &hints, info);
    return failed ? error_set(err, ERROR_INPUT, "cannot listen on %s: %s", text, gai_strerror(failed)) : 0;
}

static void set_option(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof(value));
}

/* Accepted sockets inherit the options of the listening one. TCP_USER_TIMEOUT is the limit for clients that take none
 * of an answer: the kernel sees the last byte that went, which no timer of ours can. */
static void follow_send_timeout(struct listener *listener)
{
    int64_t wanted = listener->worker->gateway->config.limits.send_timeout;
    if (listener->send_timeout_ms == wanted)
        return;
    listener->send_timeout_ms = wanted;
    for (size_t i = 0; i < listener->acceptor_count; i++)
        set_option(h2o_socket_get_fd(listener->acceptors[i].sock), IPPROTO_TCP, TCP_USER_TIMEOUT, (int)wanted);
}

static int open_socket(const struct addrinfo *info, bool shared)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (shared)
        set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (info->ai_family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0)
        return fd;
    int failed = errno;
    close(fd);
    errno = failed;
    return -1;
}

/* With SO_REUSEPORT a second gateway on the same port would take half of the connections without a word: the first
 * thread finds out, before it binds, whether the address is free. */
static int open_address(struct listener *listener, const struct addrinfo *info)
{
    if (listener->worker->index == 0) {
        int probe = open_socket(info, false);
        if (probe < 0)
            return -1;
        close(probe);
    }
    int fd = open_socket(info, true);
    if (fd < 0)
        return -1;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)listener->send_timeout_ms);
    if (listen(fd, BACKLOG) == 0)
        return fd;
    int failed = errno;
    close(fd);
    errno = failed;
    return -1;
}

static void add_acceptor(struct listener *listener, int fd, bool tls)
{
    size_t count = listener->acceptor_count++;
    listener->acceptors[count] = (struct acceptor){.listener = listener, .tls = tls};
    listener->acceptors[count].sock =
        h2o_evloop_socket_create(listener->worker->h2o.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
}

static int open_acceptors(struct listener *listener, const char *text, bool tls, struct error *err)
{
    struct addrinfo *infos;
    if (resolve(text, &infos, err) != 0)
        return -1;
    int status = 0;
    for (struct addrinfo *info = infos; info != NULL && status == 0; info = info->ai_next) {
        int fd = open_address(listener, info), failed = errno;
        if (fd < 0 && failed == EADDRNOTAVAIL && info != infos)
            continue; /* localhost, where there is no IPv6 */
        if (fd < 0) {
            status = address_refuse(err, failed, text);
            break;
        }
        listener->acceptors =
            mem_realloc(listener->acceptors, (listener->acceptor_count + 1) * sizeof(struct acceptor));
        add_acceptor(listener, fd, tls);
    }
    freeaddrinfo(infos);
    return status;
}

static int open_each(struct listener *listener, const char *option, const struct option_strings *addresses, bool tls,
                     struct error *err)
{
    for (size_t i = 0; i < addresses->count; i++)
        if (open_acceptors(listener, addresses->items[i], tls, err) != 0)
            return error_at(err, option);
    return 0;
}

static int open_all(struct listener *listener, struct error *err)
{
    const struct gateway_config *config = &listener->worker->gateway->config;
    if (open_each(listener, "ingress.listen", &config->ingress.listen, false, err) != 0)
        return -1;
    return open_each(listener, "ingress.tls_listen", &config->ingress.tls_listen, true, err);
}

static void set_accepting(struct listener *listener, bool accepting)
{
    for (size_t i = 0; i < listener->acceptor_count; i++) {
        listener->acceptors[i].sock->data = &listener->acceptors[i];
        if (accepting)
            h2o_socket_read_start(listener->acceptors[i].sock, on_accept);
        else
            h2o_socket_read_stop(listener->acceptors[i].sock);
    }
}

/* --- clients --------------------------------------------------------------------------------------------------- */

static void resume(struct listener *listener)
{
    if (!h2o_timeout_is_linked(&listener->pause))
        return;
    h2o_timeout_unlink(&listener->pause);
    set_accepting(listener, true);
}

static void on_resume(h2o_timeout_entry_t *entry)
{
    set_accepting(H2O_STRUCT_FROM_MEMBER(struct listener, pause, entry), true);
}

/* Other threads may make room too, which this one learns by looking again a little later. */
static void pause_accepting(struct listener *listener)
{
    if (h2o_timeout_is_linked(&listener->pause))
        return;
    set_accepting(listener, false);
    h2o_timeout_link(listener->worker->h2o.loop, &listener->pause_timeout, &listener->pause);
}

static void drop_context(struct client *client)
{
    SSL_CTX_free(client->context);
    client->context = NULL;
}

static void on_close(void *data)
{
    struct client *client = data;
    struct listener *listener = client->listener;
    struct worker *worker = listener->worker;
    atomic_fetch_sub_explicit(&worker->gateway->connections, 1, memory_order_relaxed);
    stat_set(&worker->stats.connections_open, stat_get(&worker->stats.connections_open) - 1);
    if (client->peer != NULL)
        peer_counts_leave(worker->gateway->peer_counts, client->peer);
    h2o_timeout_unlink(&client->handshake);
    h2o_linklist_unlink(&client->link);
    drop_context(client);
    free(client);
    resume(listener);
}

static void on_handshake(h2o_socket_t *sock, const char *err)
{
    struct client *client = sock->on_close.data;
    struct worker *worker = client->listener->worker;
    h2o_timeout_unlink(&client->handshake);
    drop_context(client);
    if (err != NULL) {
        stat_add(&worker->stats.tls_handshake_failures_total, 1);
        h2o_socket_close(sock);
        return;
    }
    h2o_iovec_t protocol = h2o_socket_ssl_get_selected_protocol(sock);
    if (h2o_memis(protocol.base, protocol.len, H2O_STRLIT("h2")))
        h2_guards_accept(client->listener->http2, sock);
    else
        http1_conns_accept(client->listener->http1, sock);
}

static void on_handshake_timeout(h2o_timeout_entry_t *entry)
{
    struct client *client = H2O_STRUCT_FROM_MEMBER(struct client, handshake, entry);
    stat_add(&client->listener->worker->stats.tls_handshake_failures_total, 1);
    h2o_socket_close(client->sock);
}

static void begin_handshake(struct client *client)
{
    struct listener *listener = client->listener;
    struct gateway *gateway = listener->worker->gateway;
    listener->handshake_timeout.timeout = (uint64_t)gateway->config.limits.head_timeout;
    h2o_timeout_link(listener->worker->h2o.loop, &listener->handshake_timeout, &client->handshake);
    client->context = tls_acquire(gateway->tls);
    h2o_socket_ssl_handshake(client->sock, client->context, NULL, on_handshake);
}

/* False where the client's address has as many connections as one may have. */
static bool enter_peer(struct client *client)
{
    struct gateway *gateway = client->listener->worker->gateway;
    struct sockaddr_storage address = {0};
    int64_t most = gateway->config.limits.connections_each_peer;
    if (most == 0)
        return true;
    if (h2o_socket_getpeername(client->sock, (struct sockaddr *)&address) == 0)
        return false;
    if (peer_in_networks(&gateway->trusted_peers, (struct sockaddr *)&address))
        return true;
    client->peer = peer_counts_enter(gateway->peer_counts, (struct sockaddr *)&address, (uint64_t)most);
    return client->peer != NULL;
}

static void serve(struct acceptor *acceptor, h2o_socket_t *sock)
{
    struct listener *listener = acceptor->listener;
    struct gateway_stats *stats = &listener->worker->stats;
    struct client *client = mem_calloc(1, sizeof(*client));
    client->listener = listener;
    client->sock = sock;
    client->handshake.cb = on_handshake_timeout;
    h2o_linklist_insert(&listener->clients, &client->link);
    sock->on_close.cb = on_close;
    sock->on_close.data = client;
    stat_add(&stats->connections_accepted_total, 1);
    stat_add(&stats->connections_open, 1);
    if (!enter_peer(client)) {
        stat_add(&stats->connections_refused_total, 1);
        h2o_socket_close(sock);
    } else if (acceptor->tls) {
        begin_handshake(client);
    } else {
        http1_conns_accept(listener->http1, sock);
    }
}

/* Takes one of the connections that the whole process may have. */
static bool take_place(struct gateway *gateway)
{
    uint32_t taken = atomic_fetch_add_explicit(&gateway->connections, 1, memory_order_relaxed);
    if (taken < gateway->config.limits.connections && taken < gateway->places)
        return true;
    atomic_fetch_sub_explicit(&gateway->connections, 1, memory_order_relaxed);
    return false;
}

/* Out of descriptors: the client that waits longest is closed rather than left without a word. */
static void shed(struct acceptor *acceptor)
{
    struct listener *listener = acceptor->listener;
    stat_add(&listener->worker->stats.connections_refused_total, 1);
    if (listener->spare_fd >= 0)
        close(listener->spare_fd);
    int fd = accept(h2o_socket_get_fd(acceptor->sock), NULL, NULL);
    if (fd >= 0)
        close(fd);
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pause_accepting(listener);
}

/* False where no more can be had now. */
static bool accept_one(struct acceptor *acceptor)
{
    struct gateway *gateway = acceptor->listener->worker->gateway;
    if (!take_place(gateway)) {
        pause_accepting(acceptor->listener);
        return false;
    }
    h2o_socket_t *sock = h2o_evloop_socket_accept(acceptor->sock);
    if (sock != NULL) {
        serve(acceptor, sock);
        return true;
    }
    int failed = errno;
    atomic_fetch_sub_explicit(&gateway->connections, 1, memory_order_relaxed);
    if (descriptors_are_out(failed, "clients"))
        shed(acceptor);
    return failed == ECONNABORTED || failed == EINTR;
}

static void on_accept(h2o_socket_t *sock, const char *err)
{
    struct acceptor *acceptor = sock->data;
    follow_send_timeout(acceptor->listener);
    for (int i = 0; err == NULL && i < ACCEPT_BATCH && accept_one(acceptor); i++)
        ;
}

/* --- the listener's life --------------------------------------------------------------------------------------- */

static void on_preface(struct worker *worker, h2o_socket_t *sock)
{
    h2_guards_accept(worker->listener->http2, sock);
}

int listener_create(struct worker *worker, struct listener **out, struct error *err)
{
    struct gateway *gateway = worker->gateway;
    struct listener *listener = mem_calloc(1, sizeof(*listener));
    listener->worker = worker;
    listener->send_timeout_ms = gateway->config.limits.send_timeout;
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    listener->pause.cb = on_resume;
    h2o_linklist_init_anchor(&listener->clients);
    h2o_timeout_init(worker->h2o.loop, &listener->handshake_timeout, (uint64_t)gateway->config.limits.head_timeout);
    h2o_timeout_init(worker->h2o.loop, &listener->pause_timeout, PAUSE_MS);
    listener->http2 = h2_guards_create(worker);
    listener->http1 = http1_conns_create(worker, gateway->config.ingress.http2_clear ? on_preface : NULL);
    if (gateway->peer_counts == NULL)
        gateway->peer_counts = peer_counts_create();
    *out = listener;
    if (open_all(listener, err) != 0) {
        listener_destroy(out);
        return -1;
    }
    set_accepting(listener, true);
    return 0;
}

static void close_acceptors(struct listener *listener)
{
    h2o_timeout_unlink(&listener->pause);
    for (size_t i = 0; i < listener->acceptor_count; i++)
        h2o_socket_close(listener->acceptors[i].sock);
    listener->acceptor_count = 0;
}

/* Whoever waits in a listen queue when its socket closes gets a reset: they are let in first. */
void listener_stop(struct listener *listener)
{
    for (size_t i = 0; i < listener->acceptor_count; i++)
        for (int taken = 0; taken < BACKLOG && accept_one(&listener->acceptors[i]); taken++)
            ;
    close_acceptors(listener);
    http1_conns_drain(listener->http1);
    h2_guards_drain(listener->http2);
}

/* Sockets in a handshake; the others went with their protocol's connections. */
static void close_clients(struct listener *listener)
{
    h2o_linklist_t *next;
    for (h2o_linklist_t *node = listener->clients.next; node != &listener->clients; node = next) {
        struct client *client = H2O_STRUCT_FROM_MEMBER(struct client, link, node);
        next = node->next;
        if (h2o_timeout_is_linked(&client->handshake))
            h2o_socket_close(client->sock);
    }
}

void listener_destroy(struct listener **listener)
{
    struct listener *old = *listener;
    if (old == NULL)
        return;
    close_acceptors(old);
    close_clients(old);
    http1_conns_destroy(&old->http1);
    h2_guards_destroy(&old->http2);
    if (old->spare_fd >= 0)
        close(old->spare_fd);
    h2o_timeout_dispose(old->worker->h2o.loop, &old->handshake_timeout);
    h2o_timeout_dispose(old->worker->h2o.loop, &old->pause_timeout);
    free(old->acceptors);
    free(old);
    *listener = NULL;
}
