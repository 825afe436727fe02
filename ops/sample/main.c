/* SPDX-License-Identifier: Apache-2.0
 *
 * ldc-sample-app: the application of a unit, for the playground, the demo and the tests. It answers any request with
 * what it saw, and appends one JSON line for each request that it processed to a file, before it answers: whoever got
 * an answer finds the line. Its own endpoints under /-/sample/ make it fail or dawdle, so that retries can be watched.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/httpd.h"
#include "common/json_text.h"
#include "common/log.h"
#include "common/measure.h"

#define MOST_BODY  (16 * 1024 * 1024)
#define MOST_FAILS 64

/* One order to fail. */
struct failing {
    char *user; /* NULL: any */
    uint64_t status, times;
    char *retry_after; /* NULL: not said */
};

struct sample {
    const char *name, *unit, *color;
    int record; /* -1: nothing is recorded */
    sd_event *loop;
    struct buf line; /* reused for each record and answer */
    struct failing fails[MOST_FAILS];
    size_t fail_count;
    uint64_t delay_ms, processed, refused;
};

/* A request that waits for the end of its delay. */
struct waiting {
    struct sample *sample;
    struct httpd_request *request;
};

static struct str header_or(const struct httpd_request *request, const char *name, const char *other)
{
    struct str value = httpd_request_header(request, name);
    return value.base == NULL && other != NULL ? httpd_request_header(request, other) : value;
}

static void append_field(struct buf *out, const char *name, struct str value)
{
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    json_append_text(out, value);
}

static struct str message_id(const struct httpd_request *request)
{
    struct str id = httpd_request_header(request, "ldc-message-id");
    return id.base != NULL ? id : header_or(request, "x-request-id", "traceparent");
}

/* What a record and an answer have in common. */
static void describe(const struct sample *sample, const struct httpd_request *request, struct buf *out)
{
    uint64_t attempt = 1;
    bool queued = httpd_request_header(request, "ldc-message-id").base != NULL;
    (void)str_to_u64(httpd_request_header(request, "ldc-attempt"), &attempt);
    append_field(out, "id", message_id(request));
    append_field(out, "user", header_or(request, "ldc-user", "x-user-id"));
    append_field(out, "unit", str_of(sample->unit));
    append_field(out, "color", str_of(sample->color));
    append_field(out, "via", queued ? STR_LIT("queue") : STR_LIT("proxy"));
    buf_printf(out, ",\"attempt\":%lu", (unsigned long)attempt);
    append_field(out, "path", httpd_request_path(request));
}

static bool record(struct sample *sample, const struct httpd_request *request)
{
    struct buf *line = &sample->line;
    line->len = 0;
    buf_append(line, "{", 1);
    describe(sample, request, line);
    append_field(line, "body", httpd_request_body(request));
    buf_printf(line, ",\"us\":%lu}\n", (unsigned long)clock_wall_us());
    /* One write to a file opened for appending: lines of several processes do not tear each other. */
    return sample->record < 0 || write(sample->record, line->base, line->len) == (ssize_t)line->len;
}

static void process(struct sample *sample, struct httpd_request *request)
{
    if (!record(sample, request)) {
        log_error("sample.record", "cannot append to the record: %s", strerror(errno));
        httpd_respond_problem(request, 500, "record", "The record could not be written.");
        return;
    }
    struct buf *answer = &sample->line;
    sample->processed++;
    answer->len = 0;
    buf_append(answer, "{", 1);
    append_field(answer, "app", str_of(sample->name));
    describe(sample, request, answer);
    append_field(answer, "method", httpd_request_method(request));
    append_field(answer, "epoch", httpd_request_header(request, "ldc-epoch"));
    append_field(answer, "idempotency_key", httpd_request_header(request, "idempotency-key"));
    buf_append_str(answer, STR_LIT("}\n"));
    httpd_respond(request, 200, "application/json", buf_str(answer));
}

static void failing_remove(struct sample *sample, size_t i)
{
    free(sample->fails[i].user);
    free(sample->fails[i].retry_after);
    sample->fails[i] = sample->fails[--sample->fail_count];
}

static bool must_fail(struct sample *sample, struct httpd_request *request)
{
    struct str user = header_or(request, "ldc-user", "x-user-id");
    for (size_t i = 0; i < sample->fail_count; i++) {
        struct failing *failing = &sample->fails[i];
        if (failing->user != NULL && !str_equal(user, str_of(failing->user)))
            continue;
        int status = (int)failing->status;
        if (failing->retry_after != NULL)
            httpd_add_header(request, "Retry-After", failing->retry_after);
        if (--failing->times == 0)
            failing_remove(sample, i);
        sample->refused++;
        httpd_respond_problem(request, status, "ordered", "The sample was told to fail.");
        return true;
    }
    return false;
}

static int on_waited(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct waiting *waiting = arg;
    process(waiting->sample, waiting->request);
    sd_event_source_set_floating(source, false);
    return 0;
}

static void handle_any(struct httpd_request *request, void *context)
{
    struct sample *sample = context;
    if (must_fail(sample, request))
        return;
    if (sample->delay_ms == 0) {
        process(sample, request);
        return;
    }
    struct waiting *waiting = mem_calloc(1, sizeof(*waiting));
    sd_event_source *timer;
    *waiting = (struct waiting){sample, request};
    if (sd_event_add_time_relative(sample->loop, &timer, CLOCK_MONOTONIC, sample->delay_ms * 1000, 100, on_waited,
                                   waiting) < 0)
        abort();
    sd_event_source_set_destroy_callback(timer, free); /* also where the loop ends before it is due */
    sd_event_source_set_floating(timer, true);
    sd_event_source_unref(timer);
}

static bool query_number(const struct httpd_request *request, const char *name, uint64_t most, uint64_t *out)
{
    struct buf text = {0};
    bool fits = !httpd_request_query(request, name, &text) || (str_to_u64(buf_str(&text), out) && *out <= most);
    buf_free(&text);
    return fits;
}

static char *query_text(const struct httpd_request *request, const char *name)
{
    struct buf text = {0};
    bool given = httpd_request_query(request, name, &text) && strpbrk(text.base, "\r\n") == NULL;
    char *copy = given ? str_dup(buf_str(&text)) : NULL;
    buf_free(&text);
    return copy;
}

static void handle_fail(struct httpd_request *request, void *context)
{
    struct sample *sample = context;
    struct failing failing = {.status = 500, .times = 1};
    if (!query_number(request, "status", 599, &failing.status) || failing.status < 400 ||
        !query_number(request, "times", UINT64_MAX, &failing.times) || sample->fail_count == MOST_FAILS) {
        httpd_respond_problem(request, 400, "bad-request", "Write ?user=U&status=400..599&times=N&retry_after=S.");
        return;
    }
    if (failing.times == 0)
        while (sample->fail_count > 0)
            failing_remove(sample, 0);
    else {
        failing.user = query_text(request, "user");
        failing.retry_after = query_text(request, "retry_after");
        sample->fails[sample->fail_count++] = failing;
    }
    httpd_respond(request, 204, NULL, STR_LIT(""));
}

static void handle_delay(struct httpd_request *request, void *context)
{
    struct sample *sample = context;
    if (query_number(request, "ms", 60000, &sample->delay_ms))
        httpd_respond(request, 204, NULL, STR_LIT(""));
    else
        httpd_respond_problem(request, 400, "bad-request", "Write ?ms=0..60000.");
}

static void handle_status(struct httpd_request *request, void *context)
{
    const struct sample *sample = context;
    struct buf text = {0};
    buf_printf(&text, "{\"processed\":%lu,\"refused\":%lu,\"delay_ms\":%lu,\"fails\":%zu}\n",
               (unsigned long)sample->processed, (unsigned long)sample->refused, (unsigned long)sample->delay_ms,
               sample->fail_count);
    httpd_respond(request, 200, "application/json", buf_str(&text));
    buf_free(&text);
}

static void handle_health(struct httpd_request *request, void *context)
{
    (void)context;
    httpd_respond(request, 200, "text/plain", STR_LIT("ok\n"));
}

static const struct httpd_route routes[] = {
    {"GET", "/healthz", handle_health, true, "It lives; not recorded."},
    {"POST", "/-/sample/fail", handle_fail, false,
     "Fail the next `times` requests (of `user`) with `status`; times=0 forgets all orders."},
    {"POST", "/-/sample/delay", handle_delay, false, "Answer `ms` later from now on."},
    {"GET", "/-/sample/status", handle_status, false, "What was processed and refused."},
    {NULL, "/", handle_any, true, "Any other request is processed."},
};

static int usage(const char *program)
{
    fprintf(stderr,
            "usage: %s --listen ADDRESS --unit NAME [--color blue|green] [--record FILE] [--name NAME] [--token-file "
            "FILE]\n"
            "The sample application of a unit. See POST /-/sample/fail?user=&status=&times=&retry_after= and\n"
            "POST /-/sample/delay?ms= for making it fail or dawdle; with a token file these want its token.\n",
            program);
    return 2;
}

static int run(struct sample *sample, const char *listen, const char *token, struct error *err)
{
    struct httpd_config config = {.listen = listen,
                                  .token = token,
                                  .routes = routes,
                                  .route_count = COUNT_OF(routes),
                                  .context = sample,
                                  .most_body = MOST_BODY};
    struct httpd *httpd = httpd_create(sample->loop, &config, err);
    if (httpd == NULL)
        return -1;
    log_info("sample.listening", "%s of %s (%s) listens on port %u", sample->name, sample->unit, sample->color,
             httpd_port(httpd));
    int status = sd_event_loop(sample->loop);
    httpd_destroy(&httpd);
    return status < 0 ? error_set_errno(err, -status, "the event loop failed") : 0;
}

static int stop_on_signals(sd_event *loop)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    return sigprocmask(SIG_BLOCK, &signals, NULL) != 0 || sd_event_add_signal(loop, NULL, SIGTERM, NULL, NULL) < 0 ||
                   sd_event_add_signal(loop, NULL, SIGINT, NULL, NULL) < 0
               ? -1
               : 0;
}

/* What the command line says. */
struct command {
    const char *listen, *record;
    const char *unit, *color, *name;
    const char *token_file;
};

static bool parse(int argc, char **argv, struct command *command)
{
    static const struct option flags[] = {
        {"listen", required_argument, NULL, 'l'}, {"unit", required_argument, NULL, 'u'},
        {"color", required_argument, NULL, 'c'},  {"record", required_argument, NULL, 'r'},
        {"name", required_argument, NULL, 'n'},   {"token-file", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    for (int flag; (flag = getopt_long(argc, argv, "h", flags, NULL)) != -1;) {
        const char **field = flag == 'l'   ? &command->listen
                             : flag == 'u' ? &command->unit
                             : flag == 'c' ? &command->color
                             : flag == 'r' ? &command->record
                             : flag == 'n' ? &command->name
                             : flag == 't' ? &command->token_file
                                           : NULL;
        if (field == NULL)
            return false;
        *field = optarg;
    }
    return command->listen != NULL && command->unit != NULL && optind == argc;
}

int main(int argc, char **argv)
{
    struct command command = {.name = "sample", .color = "blue"};
    struct error err = {0};
    char *token = NULL;
    if (!parse(argc, argv, &command))
        return usage(argv[0]);
    struct sample sample = {.name = command.name, .unit = command.unit, .color = command.color, .record = -1};
    log_setup("ldc-sample-app", LOG_LEVEL_INFO);
    if (command.record != NULL &&
        (sample.record = open(command.record, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)) < 0)
        error_set_errno(&err, errno, "cannot open %s", command.record);
    else if (command.token_file != NULL && (token = file_read_secret(command.token_file, &err)) == NULL)
        ; /* err says why */
    else if (sd_event_new(&sample.loop) < 0 || stop_on_signals(sample.loop) != 0)
        error_set_errno(&err, errno, "cannot make an event loop");
    else if (run(&sample, command.listen, token, &err) == 0)
        err.code = ERROR_NONE;
    if (err.code != ERROR_NONE)
        log_error("sample.failed", "%s", err.text);
    while (sample.fail_count > 0)
        failing_remove(&sample, 0);
    buf_free(&sample.line);
    free(token);
    sd_event_unref(sample.loop);
    return err.code != ERROR_NONE;
}
