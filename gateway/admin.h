/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin listener: health, metrics, and the JSON API that ldcctl speaks. Owned by the control thread. The resources
 * are rows of one table in admin.c; docs/ADMIN.md comes from it.
 */
#ifndef GATEWAY_ADMIN_H
#define GATEWAY_ADMIN_H

#include "common/httpd_admin.h"
#include "gateway/control.h"

/* NULL with *err; the caller owns it, and ends it with httpd_destroy(). */
struct httpd *admin_create(struct control *control, struct error *err) MUST_CHECK;

/* The Markdown tables of docs/ADMIN.md and docs/METRICS.md. */
void admin_document(struct buf *out);
void admin_document_metrics(struct buf *out);

/* For the handlers, which get the struct control as their context. */

/* A problem document for ERR: 409, 422, 503 ... by its code. */
void admin_respond_error(struct httpd_request *request, const struct error *err);

/* The decimal query parameter NAME. *VALUE stays where it is absent; false, and answered, where it is no number. */
bool admin_query_number(struct httpd_request *request, const char *name, uint64_t *value);

/* The unit of the query parameter `unit`, whose text comes into NAME: its index in the view. NO_UNIT, and answered,
 * where the rules name none such. */
uint32_t admin_query_unit(struct control *control, struct httpd_request *request, struct buf *name);

/* {"version", "epoch", "primary", "in_sync", "by", "at", "consumer", "hold", "target", "why", "drained"}. */
json_t *admin_record_json(const struct broker_record *record);

void admin_get_metrics(struct httpd_request *request, void *context);
void admin_get_status(struct httpd_request *request, void *context);
void admin_get_stats(struct httpd_request *request, void *context);
void admin_get_ready(struct httpd_request *request, void *context);
void admin_get_rules(struct httpd_request *request, void *context);
void admin_get_history(struct httpd_request *request, void *context);
void admin_put_rules(struct httpd_request *request, void *context);
void admin_get_colors(struct httpd_request *request, void *context);
void admin_set_colors(struct httpd_request *request, void *context);
void admin_ramp_colors(struct httpd_request *request, void *context);
void admin_roll_back_colors(struct httpd_request *request, void *context);
void admin_get_units(struct httpd_request *request, void *context);
void admin_drain_unit(struct httpd_request *request, void *context);
void admin_ready_unit(struct httpd_request *request, void *context);
void admin_fail_back_unit(struct httpd_request *request, void *context);
void admin_fail_unit(struct httpd_request *request, void *context);
void admin_roll_back(struct httpd_request *request, void *context);
void admin_get_arrivals(struct httpd_request *request, void *context);
void admin_open_arrivals(struct httpd_request *request, void *context);

#endif
