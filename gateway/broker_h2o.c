/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/broker_h2o.h"

#include <hiredis/async.h>
#include <stdlib.h>

#include "common/str.h"

/* Joins one hiredis context to the loop; goes in cleanup(), when hiredis lets go of the context. */
struct attachment {
    struct broker_h2o *owner;
    redisAsyncContext *context;
    h2o_socket_t *socket;
    h2o_linklist_t unflushed;
    bool connected, notified;
};

static void on_readable(h2o_socket_t *socket, const char *err)
{
    struct attachment *attachment = socket->data;
    (void)err; /* hiredis finds out for itself */
    redisAsyncHandleRead(attachment->context);
}

static void on_writable(h2o_socket_t *socket, const char *err)
{
    struct attachment *attachment = socket->data;
    (void)err;
    attachment->notified = false;
    attachment->connected = true;
    redisAsyncHandleWrite(attachment->context);
}

static void add_read(void *arg)
{
    struct attachment *attachment = arg;
    if (!h2o_socket_is_reading(attachment->socket))
        h2o_socket_read_start(attachment->socket, on_readable);
}

static void keep_reading(void *arg)
{
    (void)arg;
}

static void wait_writable(struct attachment *attachment)
{
    if (!attachment->notified)
        h2o_socket_notify_write(attachment->socket, on_writable);
    attachment->notified = true;
}

static void add_write(void *arg)
{
    struct attachment *attachment = arg;
    if (!attachment->connected)
        wait_writable(attachment);
    else if (!h2o_linklist_is_linked(&attachment->unflushed))
        h2o_linklist_insert(&attachment->owner->unflushed, &attachment->unflushed);
}

static void del_write(void *arg)
{
    struct attachment *attachment = arg;
    if (h2o_linklist_is_linked(&attachment->unflushed))
        h2o_linklist_unlink(&attachment->unflushed);
}

static void cleanup(void *arg)
{
    struct attachment *attachment = arg;
    del_write(attachment);
    h2o_socket_close(attachment->socket);
    attachment->context->c.fd = -1; /* closed with the socket */
    free(attachment);
}

static int attach(void *loop, redisAsyncContext *context)
{
    struct broker_h2o *self = loop;
    struct attachment *attachment = mem_calloc(1, sizeof(*attachment));
    attachment->owner = self;
    attachment->context = context;
    attachment->socket = h2o_evloop_socket_create(self->loop, context->c.fd, H2O_SOCKET_FLAG_DONT_READ);
    attachment->socket->data = attachment;
    context->ev.data = attachment;
    context->ev.addRead = add_read;
    context->ev.delRead = keep_reading;
    context->ev.addWrite = add_write;
    context->ev.delWrite = del_write;
    context->ev.cleanup = cleanup;
    return 0;
}

/* A full socket buffer leaves the attachment in the list again: then the loop says when to go on. */
void broker_h2o_flush(struct broker_h2o *self)
{
    h2o_linklist_t flushing = {NULL, NULL};
    h2o_linklist_init_anchor(&flushing);
    h2o_linklist_insert_list(&flushing, &self->unflushed);
    while (!h2o_linklist_is_empty(&flushing)) {
        struct attachment *attachment = H2O_STRUCT_FROM_MEMBER(struct attachment, unflushed, flushing.next);
        h2o_linklist_unlink(&attachment->unflushed);
        redisAsyncHandleWrite(attachment->context);
    }
    while (!h2o_linklist_is_empty(&self->unflushed)) {
        struct attachment *attachment = H2O_STRUCT_FROM_MEMBER(struct attachment, unflushed, self->unflushed.next);
        h2o_linklist_unlink(&attachment->unflushed);
        wait_writable(attachment);
    }
}

struct timer {
    h2o_timeout_entry_t entry;
    void (*fn)(void *arg);
    void *arg;
};

static void on_time(h2o_timeout_entry_t *entry)
{
    struct timer *timer = H2O_STRUCT_FROM_MEMBER(struct timer, entry, entry);
    void (*fn)(void *) = timer->fn;
    void *arg = timer->arg;
    free(timer);
    fn(arg);
}

static void *timer_start(void *loop, int64_t delay_ms, void (*fn)(void *arg), void *arg)
{
    struct broker_h2o *self = loop;
    struct timer *timer = mem_calloc(1, sizeof(*timer));
    timer->entry.cb = on_time;
    timer->fn = fn;
    timer->arg = arg;
    timers_arm(&self->timers, &timer->entry, (uint64_t)delay_ms);
    return timer;
}

static void timer_stop(void *loop, void *handle)
{
    struct timer *timer = handle;
    (void)loop;
    timers_disarm(&timer->entry);
    free(timer);
}

void broker_h2o_init(struct broker_h2o *self, h2o_loop_t *loop)
{
    *self = (struct broker_h2o){.loop = loop, .timers = {.loop = loop}};
    h2o_linklist_init_anchor(&self->unflushed);
}

struct broker_loop broker_h2o_loop(struct broker_h2o *self)
{
    return (struct broker_loop){.loop = self, .attach = attach, .timer_start = timer_start, .timer_stop = timer_stop};
}
