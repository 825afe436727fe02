/* SPDX-License-Identifier: Apache-2.0
 *
 * What the admin listeners of all programs answer alike, on top of httpd.h. It owns nothing; each program keeps its own
 * table of resources.
 */
#ifndef COMMON_HTTPD_ADMIN_H
#define COMMON_HTTPD_ADMIN_H

#include <jansson.h>

#include "common/httpd.h"
#include "common/options.h"

/* As httpd_create; the fault names the option that the address came from. */
struct httpd *httpd_admin_create(sd_event *loop, const struct httpd_config *config, struct error *err) MUST_CHECK;

/* The base URL at which others find HTTPD, which listens on LISTEN, into URL of SIZE bytes. HOST stands for an address
 * that means all. */
void httpd_admin_url(const struct httpd *httpd, const char *listen, const char *host, char *url, size_t size);

/* Answers with JSON, which it takes over; a problem document from status 400 on. */
void httpd_admin_respond(struct httpd_request *request, int status, json_t *json);

/* Answers with STATUS (released here) as plain text in the manner of memcached: one line `STAT name value` for each
 * value, names joined by dots, items of lists by what names them, and a last line END. */
void httpd_admin_respond_stats(struct httpd_request *request, json_t *status);

/* The handler of /healthz. */
void httpd_admin_health(struct httpd_request *request, void *context);

/* Answers with `{file, options: [{name, value, default, reloadable, doc}...]}`. FILE may be NULL. */
void httpd_admin_respond_config(struct httpd_request *request, const char *file, const struct option *table,
                                size_t count, const void *config);

/* The Markdown table of ROUTES for docs/ADMIN.md. */
void httpd_admin_document(const struct httpd_route *routes, size_t count, struct buf *out);

#endif
