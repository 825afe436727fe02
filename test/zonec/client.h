/* SPDX-License-Identifier: Apache-2.0
 *
 * A kept connection to one of several gateways with one request under way at a time. Where it breaks, or stays silent
 * for too long, the request is lost and the next one goes to the next gateway. The owner of a client embeds it and
 * keeps it where it is; all clients of a set are driven by client_set_turn().
 */
#ifndef TEST_ZONEC_CLIENT_H
#define TEST_ZONEC_CLIENT_H

#include <netinet/in.h>

#include "common/str.h"

#define CLIENT_TARGETS_MOST 8

struct answer {
    int status;        /* 0: lost, nobody knows what became of it */
    uint64_t version;  /* LDC-Version; 0: none */
    uint64_t sequence; /* LDC-Collection-Sequence */
    struct str unit;   /* LDC-Unit: whose copy it was */
    bool warned;       /* has a Warning */
    struct str body;   /* it and `unit` are borrowed until the next request */
};

struct client;
typedef void (*client_fn)(struct client *client, const struct answer *answer);

struct client_set {
    int epoll;
    struct sockaddr_in targets[CLIENT_TARGETS_MOST];
    size_t target_count;
    struct client *first;
    uint64_t looked_us; /* when silence was last looked for */
    uint64_t patience_us;
};

struct client {
    struct client_set *set;
    struct client *next;
    client_fn on_answer;
    size_t target;
    int fd; /* -1: not connected */
    bool busy, writing;
    uint64_t began_us; /* of the request under way, or of the last one */
    struct buf out, in;
    size_t sent;
};

void client_set_open(struct client_set *set, uint64_t patience_us);
/* "HOST:PORT" in digits, or a port of this machine. False: it is neither, or one too many. */
bool client_set_add_target(struct client_set *set, const char *text);
/* Waits for answers until UNTIL_US, and hands out all there are. */
void client_set_turn(struct client_set *set, uint64_t until_us);

void client_init(struct client *client, struct client_set *set, size_t target, client_fn on_answer);
/* Sends what stands in `out`, which the caller has filled anew; the client must not be busy. */
void client_send(struct client *client, uint64_t now_us);
void client_close(struct client *client);

#endif
