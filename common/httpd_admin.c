/* SPDX-License-Identifier: Apache-2.0 */
#include "common/httpd_admin.h"

#include <stdio.h>
#include <stdlib.h>

struct httpd *httpd_admin_create(sd_event *loop, const struct httpd_config *config, struct error *err)
{
    struct error why;
    struct httpd *httpd = httpd_create(loop, config, &why);
    if (httpd == NULL)
        error_set(err, why.code, "admin.listen: %s", why.text);
    return httpd;
}

void httpd_admin_url(const struct httpd *httpd, const char *listen, const char *host, char *url, size_t size)
{
    struct str text = str_of(listen);
    if (str_starts(text, STR_LIT("unix:"))) {
        snprintf(url, size, "%s", listen);
        return;
    }
    const char *colon = strrchr(listen, ':');
    struct str address = {text.base, colon ? (size_t)(colon - text.base) : text.len};
    if (str_equal(address, STR_LIT("0.0.0.0")) || str_equal(address, STR_LIT("[::]")))
        address = str_of(host);
    snprintf(url, size, "http://%.*s:%u", STR_ARG(address), httpd_port(httpd));
}

void httpd_admin_respond(struct httpd_request *request, int status, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    struct buf body = {NULL, 0, 0};
    buf_printf(&body, "%s\n", text ? text : "null");
    httpd_respond(request, status, status < 400 ? "application/json" : "application/problem+json", buf_str(&body));
    buf_free(&body);
    free(text);
    json_decref(json);
}

void httpd_admin_health(struct httpd_request *request, void *context)
{
    (void)context;
    httpd_respond(request, 200, "text/plain", STR_LIT("ok\n"));
}

static void add_option(const struct option *option, struct str value, void *arg)
{
    json_array_append_new(arg, json_pack("{s:s,s:s%,s:s,s:b,s:s}", "name", option->name, "value",
                                         value.len > 0 ? value.base : "", value.len, "default",
                                         option->preset ? option->preset : "", "reloadable", option->reloadable, "doc",
                                         option->doc));
}

void httpd_admin_respond_config(struct httpd_request *request, const char *file, const struct option *table,
                                size_t count, const void *config)
{
    json_t *options = json_array();
    options_each(table, count, config, add_option, options);
    httpd_admin_respond(request, 200, json_pack("{s:s,s:o}", "file", file ? file : "", "options", options));
}

void httpd_admin_document(const struct httpd_route *routes, size_t count, struct buf *out)
{
    buf_printf(out, "| Method | Path | Token | What it gives |\n|---|---|---|---|\n");
    for (const struct httpd_route *route = routes; route < routes + count; route++)
        buf_printf(out, "| %s | `%s` | %s | %s |\n", route->method, route->path, route->open ? "no" : "yes",
                   route->doc);
}
