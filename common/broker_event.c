/* SPDX-License-Identifier: Apache-2.0 */
#include "common/broker_event.h"

#include <hiredis/async.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "common/str.h"

/* Joins one hiredis context to the loop; hiredis says when it goes. */
struct attachment {
    redisAsyncContext *context;
    sd_event_source *source;
    uint32_t events;
};

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct attachment *attachment = arg;
    redisAsyncContext *context = attachment->context;
    (void)fd;
    sd_event_source_ref(source); /* either call may free the context, and with it the attachment */
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        redisAsyncHandleRead(context);
    if ((events & EPOLLOUT) && sd_event_source_get_userdata(source) != NULL)
        redisAsyncHandleWrite(context);
    sd_event_source_unref(source);
    return 0;
}

static void set_events(struct attachment *attachment, uint32_t events)
{
    if (attachment->events != events)
        sd_event_source_set_io_events(attachment->source, events);
    attachment->events = events;
}

static void add_read(void *arg)
{
    struct attachment *attachment = arg;
    set_events(attachment, attachment->events | EPOLLIN);
}

static void del_read(void *arg)
{
    struct attachment *attachment = arg;
    set_events(attachment, attachment->events & ~(uint32_t)EPOLLIN);
}

static void add_write(void *arg)
{
    struct attachment *attachment = arg;
    set_events(attachment, attachment->events | EPOLLOUT);
}

static void del_write(void *arg)
{
    struct attachment *attachment = arg;
    set_events(attachment, attachment->events & ~(uint32_t)EPOLLOUT);
}

static void cleanup(void *arg)
{
    struct attachment *attachment = arg;
    sd_event_source_set_userdata(attachment->source, NULL);
    sd_event_source_disable_unref(attachment->source);
    free(attachment);
}

static int attach(void *loop, redisAsyncContext *context)
{
    struct attachment *attachment = mem_calloc(1, sizeof(*attachment));
    attachment->context = context;
    if (sd_event_add_io(loop, &attachment->source, context->c.fd, 0, on_ready, attachment) < 0) {
        free(attachment);
        return -1;
    }
    context->ev.data = attachment;
    context->ev.addRead = add_read;
    context->ev.delRead = del_read;
    context->ev.addWrite = add_write;
    context->ev.delWrite = del_write;
    context->ev.cleanup = cleanup;
    return 0;
}

static int attach_first(void *loop, redisAsyncContext *context)
{
    if (attach(loop, context) != 0)
        return -1;
    const struct attachment *attachment = context->ev.data;
    return sd_event_source_set_priority(attachment->source, SD_EVENT_PRIORITY_IMPORTANT) < 0 ? -1 : 0;
}

struct timer {
    sd_event_source *source;
    void (*fn)(void *arg);
    void *arg;
};

static void timer_stop(void *loop, void *handle)
{
    struct timer *timer = handle;
    (void)loop;
    sd_event_source_disable_unref(timer->source);
    free(timer);
}

static int on_time(sd_event_source *source, uint64_t usec, void *arg)
{
    struct timer *timer = arg;
    void (*fn)(void *) = timer->fn;
    void *fn_arg = timer->arg;
    (void)source, (void)usec;
    timer_stop(NULL, timer);
    fn(fn_arg);
    return 0;
}

static void *timer_start(void *loop, int64_t delay_ms, void (*fn)(void *arg), void *arg)
{
    struct timer *timer = mem_calloc(1, sizeof(*timer));
    timer->fn = fn;
    timer->arg = arg;
    if (sd_event_add_time_relative(loop, &timer->source, CLOCK_MONOTONIC, (uint64_t)delay_ms * 1000, 1000, on_time,
                                   timer) < 0)
        abort();
    return timer;
}

struct broker_loop broker_loop_of_event(sd_event *loop)
{
    return (struct broker_loop){.loop = loop, .attach = attach, .timer_start = timer_start, .timer_stop = timer_stop};
}

struct broker_loop broker_loop_first(sd_event *loop)
{
    struct broker_loop first = broker_loop_of_event(loop);
    first.attach = attach_first;
    return first;
}
