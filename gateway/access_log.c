/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/access_log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json_text.h"
#include "common/log.h"
#include "gateway/gateway.h"

#define FILE_MODE  0640
#define FLUSH_SIZE 65536

struct access_log {
    struct gateway_stats *stats;
    char *path;
    int fd; /* -1: lines are lost until it can be opened */
    struct buf lines;
    bool torn; /* the file ends within a line */
    uint64_t second;
    char second_text[CLOCK_UTC_SIZE]; /* of `second`, up to the seconds */
};

static void open_file(struct access_log *log)
{
    /* Non-blocking for the sake of pipes: a reader that stands still must not stop the worker. */
    log->fd = open(log->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, FILE_MODE);
    log->torn = false;
    if (log->fd == -1)
        log_error("access_log.lost", "cannot open the access log %s: %s", log->path, strerror(errno));
}

struct access_log *access_log_create(struct worker *worker)
{
    const char *path = worker->gateway->config.log.access;
    if (path == NULL)
        return NULL;
    struct access_log *log = mem_calloc(1, sizeof(*log));
    log->stats = &worker->stats;
    log->path = str_dup(str_of(path));
    open_file(log);
    return log;
}

void access_log_destroy(struct access_log **log)
{
    if (*log == NULL)
        return;
    access_log_flush(*log);
    if ((*log)->fd != -1)
        close((*log)->fd);
    buf_free(&(*log)->lines);
    free((*log)->path);
    free(*log);
    *log = NULL;
}

static uint64_t count_lines(struct str text)
{
    uint64_t count = 0;
    struct str line;
    while (str_next(&text, '\n', &line))
        count += text.base != NULL;
    return count;
}

void access_log_flush(struct access_log *log)
{
    if (log == NULL || log->lines.len == 0)
        return;
    struct str left = buf_str(&log->lines);
    ssize_t put = -1;
    if (log->fd != -1 && (!log->torn || write(log->fd, "\n", 1) == 1)) {
        log->torn = false;
        put = write(log->fd, left.base, left.len);
    }
    if (put > 0) {
        left.base += put;
        left.len -= (size_t)put;
        log->torn = left.base[-1] != '\n';
    }
    /* What did not go out is lost: a disk that is full now is full in the next turn too. */
    stat_add(&log->stats->access_log_dropped_total, count_lines(left));
    log->lines.len = 0;
}

void access_log_reopen(struct access_log *log)
{
    if (log == NULL)
        return;
    access_log_flush(log);
    if (log->fd != -1)
        close(log->fd);
    open_file(log);
}

/* --- one line ----------------------------------------------------------------------------------------------------- */

static void add_number(struct buf *out, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    buf_append(out, digits + at, sizeof(digits) - at);
}

/* Formats the seconds once for all lines of a second. */
static void add_time(struct access_log *log, uint64_t wall_us)
{
    if (log->second != wall_us / 1000000 || log->second == 0) {
        log->second = wall_us / 1000000;
        clock_format_utc(wall_us, log->second_text);
    }
    char fraction[] = ".000000Z";
    uint64_t us = wall_us % 1000000;
    for (int at = 6; at > 0; at--, us /= 10)
        fraction[at] = (char)('0' + us % 10);
    buf_append(&log->lines, log->second_text, 19);
    buf_append(&log->lines, fraction, 8);
}

static void add_peer(struct buf *out, h2o_conn_t *conn)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    char text[INET6_ADDRSTRLEN] = "";
    conn->callbacks->get_peername(conn, (void *)&address);
    if (address.ss_family == AF_INET)
        inet_ntop(AF_INET, &((struct sockaddr_in *)&address)->sin_addr, text, sizeof(text));
    else if (address.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&address)->sin6_addr, text, sizeof(text));
    else
        strcpy(text, "unix");
    buf_append_str(out, str_of(text));
}

static void add_text(struct buf *out, struct str key, struct str text)
{
    buf_append_str(out, key);
    json_append_text(out, text);
}

static struct str protocol_name(int version)
{
    return version >= 0x200 ? STR_LIT("HTTP/2") : version == 0x101 ? STR_LIT("HTTP/1.1") : STR_LIT("HTTP/1.0");
}

static void add_request(struct access_log *log, const struct exchange *exchange)
{
    const h2o_req_t *req = exchange->req;
    struct buf *out = &log->lines;
    size_t path_len = req->query_at != SIZE_MAX ? req->query_at : req->path.len;
    buf_append_str(out, STR_LIT("{\"time\":\""));
    add_time(log, exchange->received_us);
    buf_append_str(out, STR_LIT("\",\"peer\":\""));
    add_peer(out, req->conn);
    buf_append_str(out, STR_LIT("\",\"protocol\":\""));
    buf_append_str(out, protocol_name(req->version));
    add_text(out, STR_LIT("\",\"method\":"), (struct str){req->method.base, req->method.len});
    add_text(out, STR_LIT(",\"path\":"), (struct str){req->path.base, path_len});
}

static void add_answer(struct access_log *log, const struct exchange *exchange)
{
    const h2o_req_t *req = exchange->req;
    struct buf *out = &log->lines;
    uint64_t now_us = clock_monotonic_us();
    buf_append_str(out, STR_LIT(",\"status\":"));
    add_number(out, (uint64_t)req->res.status);
    buf_append_str(out, STR_LIT(",\"bytes\":"));
    add_number(out, req->bytes_sent);
    buf_append_str(out, STR_LIT(",\"duration_us\":"));
    add_number(out, now_us - exchange->received_mono_us);
    add_text(out, STR_LIT(",\"verdict\":"), str_of(verdict_info(exchange->verdict)->name));
    if (exchange->traceparent.len >= 35)
        add_text(out, STR_LIT(",\"trace\":"), (struct str){exchange->traceparent.base + 3, 32});
}

/* Of a collection: the number of the change that was written, or of the one that wrote what was read. */
static void add_version(struct buf *out, const h2o_req_t *req)
{
    ssize_t at = h2o_find_header_by_str(&req->res.headers, H2O_STRLIT("ldc-version"), -1);
    if (at < 0)
        return;
    h2o_iovec_t version = req->res.headers.entries[at].value;
    buf_append_str(out, STR_LIT(",\"version\":"));
    buf_append(out, version.base, version.len);
}

static void add_decision(struct access_log *log, const struct exchange *exchange)
{
    struct buf *out = &log->lines;
    if (exchange->user.base != NULL)
        add_text(out, STR_LIT(",\"user\":"), exchange->user);
    if (exchange->rules != NULL) {
        add_text(out, STR_LIT(",\"unit\":"), exchange->rules->name);
        add_text(out, STR_LIT(",\"color\":"), str_of(color_name(exchange->decision.color)));
    }
    if (exchange->view != NULL) {
        buf_append_str(out, STR_LIT(",\"epoch\":"));
        add_number(out, exchange_epoch(exchange));
    }
    if (exchange->route != NULL && exchange->route->action == ACTION_ZONE_C)
        add_version(out, exchange->req);
    if (exchange->message_id.base != NULL)
        add_text(out, STR_LIT(",\"message_id\":"), exchange->message_id);
    if (exchange->node.base != NULL)
        add_text(out, STR_LIT(",\"node\":"), exchange->node);
    if (exchange->attempts > 0) {
        buf_append_str(out, STR_LIT(",\"attempts\":"));
        add_number(out, exchange->attempts);
    }
}

void access_log_write(struct access_log *log, const struct exchange *exchange)
{
    if (log == NULL)
        return;
    add_request(log, exchange);
    add_answer(log, exchange);
    add_decision(log, exchange);
    buf_append_str(&log->lines, STR_LIT("}\n"));
    if (log->lines.len >= FLUSH_SIZE)
        access_log_flush(log);
}
