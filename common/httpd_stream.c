/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/epoll.h>

#include "common/httpd_connection.h"
#include "common/invariant.h"

#define MOST_UNSENT (1024 * 1024)

struct httpd_stream *httpd_stream_open(struct httpd_request *request, httpd_stream_gone_fn gone, void *arg)
{
    INVARIANT(request->phase == PHASE_HANDLING);
    request->phase = PHASE_STREAM;
    request->stream = (struct httpd_stream){gone, arg};
    buf_append_str(&request->out, STR_LIT("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                          "Cache-Control: no-store\r\nConnection: close\r\n\r\n"));
    httpd_set_deadline(request, UINT64_MAX);
    httpd_listen_for(request, EPOLLIN | EPOLLOUT);
    return &request->stream;
}

bool httpd_stream_send(struct httpd_stream *stream, const char *event, struct str data)
{
    struct httpd_request *request = (void *)((char *)stream - offsetof(struct httpd_request, stream));
    if (request->fd < 0 || request->out.len - request->sent + data.len > MOST_UNSENT)
        return false;
    bool idle = request->out.len == 0;
    buf_printf(&request->out, "event: %s\n", event);
    for (struct str line; str_next(&data, '\n', &line);)
        buf_printf(&request->out, "data: %.*s\n", STR_ARG(line));
    buf_append(&request->out, "\n", 1);
    if (idle)
        httpd_set_deadline(request, request->httpd->slow_us);
    httpd_listen_for(request,
                     EPOLLIN | EPOLLOUT); /* sent, and found broken, by the loop: the caller holds the stream */
    return true;
}

void httpd_stream_ready(struct httpd_request *request, uint32_t events)
{
    if (!httpd_drain(request, events) || !httpd_flush(request)) {
        httpd_hang_up(request);
        return;
    }
    buf_consume(&request->out, request->sent);
    request->sent = 0;
    if (request->out.len > 0)
        return;
    httpd_set_deadline(request, UINT64_MAX);
    httpd_listen_for(request, EPOLLIN);
}
