/* SPDX-License-Identifier: Apache-2.0
 *
 * Drives the ingress end to end: a worker with the real listener and a small handler on its own thread, and a client
 * on a real socket. One of them at a time: `ingress` is reset by ingress_start().
 *
 * The handler: /stream and /large answer in pieces of unknown length, /short and /long send less and more than they
 * say, /hold waits for ingress_release(), /upgrade hands its socket over to an echo, /fields counts the fields, and any
 * other path tells what came.
 */
#ifndef TEST_UNIT_INGRESS_DRIVER_H
#define TEST_UNIT_INGRESS_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gateway/gateway.h"

#define PATIENCE_MS 60000

struct ingress {
    struct gateway gateway;
    struct worker worker;
    unsigned port;
    _Atomic unsigned handled, disposed, pieces; /* requests that came and went; pieces of streams */
};

extern struct ingress ingress;

/* Setup and teardown of a test. The hasty one cuts off who takes longer than a fraction of a second. */
int ingress_start(void **state);
int ingress_start_hasty(void **state);
int ingress_start_http2(void **state); /* prior knowledge on clear text */
int ingress_start_http2_hasty(void **state);
int ingress_stop(void **state);

/* On the worker's thread, soon. */
void ingress_drain(void);
void ingress_release(void); /* answers the request that /hold keeps */

/* The worker's thread stands still from the first on, between two turns of its loop. */
void ingress_stand_still(void);
void ingress_go_on(void);

/* True as soon as *VALUE is within LEAST..MOST; false where it never is. */
bool ingress_wait(const _Atomic unsigned *value, unsigned least);
bool ingress_wait_body_bytes(uint64_t least, uint64_t most);

/* A client. */
int dial(void);
int dial_narrow(void); /* small segments and a small buffer, so that the kernels keep some kilobytes of an answer */
void say(int fd, const char *text);
/* Appends what comes to TEXT until it holds MARK (NULL: until the end of the stream). False where that never comes. */
bool hear(int fd, struct buf *text, const char *mark);
void expect(int fd, const char *mark);
void expect_end(int fd);
/* The whole conversation of a client that sends REQUEST and reads to the end. For free(). */
char *converse(const char *request);
/* The answer to REQUEST holds all of MARKS (NULL-terminated). */
void check(const char *request, const char *const *marks);
#define CHECK(request, ...) check(request, (const char *const[]){__VA_ARGS__, NULL})

#endif
