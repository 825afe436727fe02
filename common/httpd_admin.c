/* SPDX-License-Identifier: Apache-2.0 */
#include "common/httpd_admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/measure.h"

struct httpd *httpd_admin_create(sd_event *loop, const struct httpd_config *config, struct error *err)
{
    struct httpd *httpd = httpd_create(loop, config, err);
    if (httpd == NULL)
        error_at(err, "admin.listen");
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

/* "payments/default/3", a name, an address, or else the position. */
static void name_item(const json_t *item, size_t position, struct buf *name)
{
    static const char *const labels[] = {"name", "unit", "topic", "subscription", "partition", "url"};
    size_t before = name->len;
    for (size_t i = 0; i < COUNT_OF(labels); i++) {
        const json_t *label = json_object_get(item, labels[i]);
        const char *between = name->len > before ? "/" : "";
        if (json_is_string(label))
            buf_printf(name, "%s%s", between, json_string_value(label));
        else if (json_is_integer(label))
            buf_printf(name, "%s%lld", between, (long long)json_integer_value(label));
    }
    if (name->len == before)
        buf_printf(name, "%zu", position);
}

static void print_value(const json_t *value, const struct buf *name, struct buf *out)
{
    char *text =
        json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    buf_printf(out, "STAT %.*s %s\r\n", (int)name->len, name->base, text ? text : json_string_value(value));
    free(text);
}

static void print_stats(json_t *value, struct buf *name, struct buf *out);

static void print_member(json_t *value, struct buf *name, size_t before, struct buf *out)
{
    print_stats(value, name, out);
    name->len = before;
}

static void print_stats(json_t *value, struct buf *name, struct buf *out)
{
    size_t before = name->len;
    const char *dot = before > 0 ? "." : "";
    if (json_is_object(value)) {
        for (void *at = json_object_iter(value); at != NULL; at = json_object_iter_next(value, at)) {
            buf_printf(name, "%s%s", dot, json_object_iter_key(at));
            print_member(json_object_iter_value(at), name, before, out);
        }
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            buf_printf(name, "%s", dot);
            name_item(json_array_get(value, i), i, name);
            print_member(json_array_get(value, i), name, before, out);
        }
    } else {
        print_value(value, name, out);
    }
}

void httpd_admin_respond_stats(struct httpd_request *request, json_t *status)
{
    struct buf name = {NULL, 0, 0}, out = {NULL, 0, 0};
    print_stats(status, &name, &out);
    buf_printf(&out, "END\r\n");
    httpd_respond(request, 200, "text/plain; charset=utf-8", buf_str(&out));
    buf_free(&name);
    buf_free(&out);
    json_decref(status);
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
