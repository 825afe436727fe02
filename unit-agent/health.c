/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/health.h"

#include <stdlib.h>

#include "common/invariant.h"
#include "common/loop.h"
#include "unit-agent/report.h"

struct reader_of_health {
    struct health *health;
    struct reader_of_health *before, *after;
    struct httpd_stream *stream;
};

struct health {
    struct agent *agent;
    struct reader_of_health *readers;
    sd_event_source *soon;
    uint64_t seq;
};

static int on_soon(sd_event_source *source, void *arg)
{
    (void)source;
    health_tell(arg);
    return 0;
}

void health_changed(struct health *health)
{
    loop_wake(health->soon);
}

void health_tell(struct health *health)
{
    if (health->readers == NULL)
        return;
    json_t *report = report_health(health->agent, ++health->seq);
    char *text = json_dumps(report, JSON_COMPACT);
    INVARIANT(text != NULL);
    /* A reader that does not keep up misses events; the next one says it all again. */
    for (struct reader_of_health *reader = health->readers; reader != NULL; reader = reader->after)
        (void)httpd_stream_send(reader->stream, "health", str_of(text));
    free(text);
    json_decref(report);
}

static void reader_free(struct reader_of_health *reader)
{
    if (reader->before != NULL)
        reader->before->after = reader->after;
    else
        reader->health->readers = reader->after;
    if (reader->after != NULL)
        reader->after->before = reader->before;
    free(reader);
}

static void on_gone(void *arg)
{
    reader_free(arg);
}

void health_open(struct health *health, struct httpd_request *request)
{
    struct reader_of_health *reader = mem_alloc(sizeof(*reader));
    *reader = (struct reader_of_health){.health = health, .after = health->readers};
    if (reader->after != NULL)
        reader->after->before = reader;
    health->readers = reader;
    reader->stream = httpd_stream_open(request, on_gone, reader);
    health_changed(health);
}

struct health *health_create(struct agent *agent)
{
    struct health *health = mem_calloc(1, sizeof(*health));
    health->agent = agent;
    health->soon = loop_later(agent->loop, on_soon, health);
    return health;
}

void health_destroy(struct health **health)
{
    if (*health == NULL)
        return;
    while ((*health)->readers != NULL)
        reader_free((*health)->readers);
    sd_event_source_disable_unref((*health)->soon);
    free(*health);
    *health = NULL;
}
