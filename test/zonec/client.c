/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "test/zonec/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/invariant.h"

#define EVENTS       256
#define LOOK_EVERY   100000 /* us */
#define READ_AT_ONCE 65536

void client_set_open(struct client_set *set, uint64_t patience_us)
{
    *set = (struct client_set){.epoll = epoll_create1(EPOLL_CLOEXEC), .patience_us = patience_us};
    INVARIANT(set->epoll >= 0);
}

bool client_set_add_target(struct client_set *set, const char *text)
{
    const char *colon = strrchr(text, ':');
    char host[64] = "127.0.0.1";
    if (set->target_count == CLIENT_TARGETS_MOST)
        return false;
    if (colon != NULL)
        snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    struct sockaddr_in *target = &set->targets[set->target_count++];
    *target = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)atoi(colon != NULL ? colon + 1 : text))};
    return target->sin_port != 0 && inet_pton(AF_INET, host, &target->sin_addr) == 1;
}

void client_init(struct client *client, struct client_set *set, size_t target, client_fn on_answer)
{
    *client = (struct client){
        .set = set, .next = set->first, .on_answer = on_answer, .fd = -1, .target = target % set->target_count};
    set->first = client;
}

static void disconnect(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->in.len = 0;
}

void client_close(struct client *client)
{
    disconnect(client);
    buf_free(&client->in);
    buf_free(&client->out);
}

static void lose(struct client *client)
{
    disconnect(client);
    client->target = (client->target + 1) % client->set->target_count;
    client->busy = false;
    client->on_answer(client, &(struct answer){.status = 0});
}

static void listen_for(struct client *client, int operation, bool writing)
{
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = client};
    client->writing = writing;
    INVARIANT(epoll_ctl(client->set->epoll, operation, client->fd, &event) == 0);
}

static bool connect_to(struct client *client)
{
    const struct sockaddr_in *target = &client->set->targets[client->target];
    int one = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    INVARIANT(client->fd >= 0);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(client->fd, (const struct sockaddr *)target, sizeof(*target)) != 0 && errno != EINPROGRESS)
        return false;
    listen_for(client, EPOLL_CTL_ADD, true);
    return true;
}

/* False where the connection is broken. */
static bool flush(struct client *client)
{
    while (client->sent < client->out.len) {
        ssize_t written = write(client->fd, client->out.base + client->sent, client->out.len - client->sent);
        if (written < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
            if (!client->writing)
                listen_for(client, EPOLL_CTL_MOD, true);
            return true;
        }
        if (written <= 0)
            return false;
        client->sent += (size_t)written;
    }
    if (client->writing)
        listen_for(client, EPOLL_CTL_MOD, false);
    return true;
}

void client_send(struct client *client, uint64_t now_us)
{
    INVARIANT(!client->busy);
    client->busy = true;
    client->sent = 0;
    client->began_us = now_us;
    bool fine = client->fd < 0 ? connect_to(client) : flush(client);
    if (!fine)
        disconnect(client); /* shows as lost at the next look at silence */
}

/* The value of a header that a line may be; NULL base where it is another. */
static struct str value_of(struct str line, struct str name)
{
    if (line.len <= name.len || line.base[name.len] != ':' ||
        !str_equal_nocase((struct str){line.base, name.len}, name))
        return (struct str){0};
    return str_trim((struct str){line.base + name.len + 1, line.len - name.len - 1});
}

static void read_header(struct str line, struct answer *answer, uint64_t *length)
{
    struct str value;
    if ((value = value_of(line, STR_LIT("content-length"))).base != NULL)
        str_to_u64(value, length);
    else if ((value = value_of(line, STR_LIT("ldc-version"))).base != NULL)
        str_to_u64(value, &answer->version);
    else if ((value = value_of(line, STR_LIT("ldc-collection-sequence"))).base != NULL)
        str_to_u64(value, &answer->sequence);
    else if ((value = value_of(line, STR_LIT("ldc-unit"))).base != NULL)
        answer->unit = value;
    else if (value_of(line, STR_LIT("warning")).base != NULL)
        answer->warned = true;
}

/* How many bytes the answer takes; 0: it is not whole yet. */
static size_t parse(const struct buf *in, struct answer *answer)
{
    const char *stop = in->len > 0 ? memmem(in->base, in->len, "\r\n\r\n", 4) : NULL;
    if (stop == NULL || in->len < 12)
        return 0;
    struct str rest = {in->base, (size_t)(stop - in->base)}, line;
    uint64_t length = 0;
    *answer = (struct answer){.status = atoi(in->base + 9)};
    while (str_next(&rest, '\n', &line))
        read_header(str_trim((struct str){line.base, line.len - (line.len > 0 && line.base[line.len - 1] == '\r')}),
                    answer, &length);
    size_t head = (size_t)(stop - in->base) + 4;
    if (answer->status == 204 || answer->status == 304)
        length = 0;
    answer->body = (struct str){in->base + head, length};
    return in->len >= head + length ? head + length : 0;
}

/* False where the connection is broken. */
static bool take(struct client *client)
{
    struct answer answer;
    ssize_t got = read(client->fd, buf_reserve(&client->in, READ_AT_ONCE), READ_AT_ONCE);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    client->in.len += (size_t)got;
    size_t whole = client->busy ? parse(&client->in, &answer) : 0;
    if (whole == 0)
        return true;
    client->in.len = 0; /* nothing comes behind it: one request at a time */
    client->busy = false;
    client->on_answer(client, &answer);
    return true;
}

static void handle(struct client *client, uint32_t events)
{
    if (client->fd < 0)
        return;
    bool fine = !(events & EPOLLOUT) || flush(client);
    if (fine && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        fine = take(client);
    if (fine)
        return;
    if (client->busy)
        lose(client);
    else
        disconnect(client);
}

static void look_for_silence(struct client_set *set, uint64_t now_us)
{
    set->looked_us = now_us;
    for (struct client *client = set->first; client != NULL; client = client->next)
        if (client->busy && (client->fd < 0 || now_us > client->began_us + set->patience_us))
            lose(client);
}

void client_set_turn(struct client_set *set, uint64_t until_us)
{
    struct epoll_event events[EVENTS];
    uint64_t now_us = clock_monotonic_us(), wait_us = until_us > now_us ? until_us - now_us : 0;
    wait_us = wait_us > LOOK_EVERY ? LOOK_EVERY : wait_us;
    struct timespec wait = {0, (long)wait_us * 1000};
    int count = epoll_pwait2(set->epoll, events, EVENTS, &wait, NULL);
    for (int i = 0; i < count; i++)
        handle(events[i].data.ptr, events[i].events);
    now_us = clock_monotonic_us();
    if (now_us > set->looked_us + LOOK_EVERY)
        look_for_silence(set, now_us);
}
