/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/store_json.h"
#include "unit-agent/health.h"
#include "unit-agent/report.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define MOST_BODY   4096

struct admin {
    struct httpd *httpd;
    const char *listen; /* borrowed from the configuration */
};

static void respond(struct httpd_request *request, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    struct buf body = {0};
    buf_printf(&body, "%s\n", text ? text : "null");
    httpd_respond(request, 200, "application/json", buf_str(&body));
    buf_free(&body);
    free(text);
    json_decref(json);
}

static void get_health(struct httpd_request *request, void *context)
{
    (void)context;
    httpd_respond(request, 200, "text/plain", STR_LIT("ok\n"));
}

static void get_ready(struct httpd_request *request, void *context)
{
    const struct agent *agent = context;
    const char *unready = agent_unready(agent);
    if (unready != NULL)
        httpd_respond_problem(request, 503, "not-ready", unready);
    else
        respond(request, json_pack("{s:b,s:I}", "ready", 1, "epoch", (json_int_t)agent->rules.record.epoch));
}

static void get_status(struct httpd_request *request, void *context)
{
    agent_refresh(context);
    respond(request, report_status(context));
}

static void get_health_stream(struct httpd_request *request, void *context)
{
    const struct agent *agent = context;
    health_open(agent->health, request);
}

static void add_option(const struct option *option, struct str value, void *arg)
{
    json_array_append_new(arg, json_pack("{s:s,s:s%,s:s,s:b,s:s}", "name", option->name, "value",
                                         value.len > 0 ? value.base : "", value.len, "default",
                                         option->preset ? option->preset : "", "reloadable", option->reloadable, "doc",
                                         option->doc));
}

static void get_config(struct httpd_request *request, void *context)
{
    const struct agent *agent = context;
    json_t *options = json_array();
    options_each(agent_options, agent_option_count, &agent->config, add_option, options);
    respond(request, json_pack("{s:s,s:o}", "file", agent->config_path ? agent->config_path : "", "options", options));
}

static const struct httpd_route routes[] = {
    {"GET", "/healthz", get_health, true, "200 while the process lives."},
    {"GET", "/readyz", get_ready, true,
     "200 while the rules name this agent's unit and its broker serves, 503 with the reason otherwise."},
    {"GET", "/metrics", admin_get_metrics, false, "Everything that is counted, as Prometheus text."},
    {"GET", "/v1/status", get_status, false,
     "`{name, unit, datacenter, pid, version, ready, unready, epoch, rules, store, broker, nodes, partitions, "
     "counters, latency_us}`; a partition is `{topic, partition, linked, watermark, last_read, pending, held, "
     "in_flight, backing_off, oldest_ms}`."},
    {"GET", "/v1/health/stream", get_health_stream, false,
     "Server-sent events `health`: `{unit, agent, seq, broker, nodes, lag, epoch}`, at once, on every change and each "
     "`health.interval`."},
    {"GET", "/v1/config", get_config, false, "`{file, options: [{name, value, default, reloadable, doc}...]}`."},
};

void admin_document(struct buf *out)
{
    buf_printf(out, "| Method | Path | Token | What it gives |\n|---|---|---|---|\n");
    for (size_t i = 0; i < COUNT_OF(routes); i++)
        buf_printf(out, "| %s | `%s` | %s | %s |\n", routes[i].method, routes[i].path, routes[i].open ? "no" : "yes",
                   routes[i].doc);
}

struct admin *admin_create(struct agent *agent, struct error *err)
{
    struct httpd_config config = {.listen = agent->config.admin.listen,
                                  .token = agent->admin_token,
                                  .routes = routes,
                                  .route_count = COUNT_OF(routes),
                                  .context = agent,
                                  .most_body = MOST_BODY};
    struct httpd *httpd = httpd_create(agent->loop, &config, err);
    if (httpd == NULL)
        return NULL;
    struct admin *admin = mem_calloc(1, sizeof(*admin));
    *admin = (struct admin){httpd, config.listen};
    return admin;
}

void admin_destroy(struct admin **admin)
{
    if (*admin == NULL)
        return;
    httpd_destroy(&(*admin)->httpd);
    free(*admin);
    *admin = NULL;
}

unsigned admin_port(const struct admin *admin)
{
    return httpd_port(admin->httpd);
}

void admin_url(const struct admin *admin, const char *host, char *url, size_t size)
{
    struct str listen = str_of(admin->listen);
    if (str_starts(listen, STR_LIT("unix:"))) {
        snprintf(url, size, "%s", admin->listen);
        return;
    }
    struct str address = {listen.base, (size_t)(strrchr(admin->listen, ':') - listen.base)};
    if (str_equal(address, STR_LIT("0.0.0.0")) || str_equal(address, STR_LIT("[::]")))
        address = str_of(host);
    snprintf(url, size, "http://%.*s:%u", STR_ARG(address), admin_port(admin));
}
