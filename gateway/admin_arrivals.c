/* SPDX-License-Identifier: Apache-2.0
 *
 * Whom units wait for, of the users that they took in: shown to operators, who can end it.
 */

#include "common/arrival_record.h"
#include "common/log.h"
#include "gateway/admin.h"

static int read_record(struct control *control, struct str unit, struct arrival_record *record, struct error *err)
{
    char name[96];
    struct buf text = {NULL, 0, 0};
    uint64_t version = 0;
    *record = (struct arrival_record){.version = 0};
    arrival_record_name(name, sizeof(name), unit);
    int failed = store_document_get(control->rollout.store, name, &text, &version, err);
    if (failed == 0 && version > 0)
        failed = arrival_record_parse(buf_str(&text), record, err);
    record->version = version;
    buf_free(&text);
    return failed;
}

static void list(struct str unit, const struct arrival_record *record, json_t *out)
{
    for (unsigned i = 0; i < record->count; i++)
        json_array_append_new(out, json_pack("{s:s%,s:s,s:I}", "unit", unit.base, unit.len, "from",
                                             record->from[i].unit, "epoch", (json_int_t)record->from[i].epoch));
}

void admin_get_arrivals(struct httpd_request *request, void *context)
{
    struct control *control = context;
    const struct view *view = control->rollout.view;
    struct arrival_record record;
    struct error err;
    json_t *arrivals = json_array();
    bool read = true;
    for (uint32_t i = 0; view != NULL && read && i < view->table->unit_count; i++) {
        read = read_record(control, view->table->units[i].name, &record, &err) == 0;
        if (read)
            list(view->table->units[i].name, &record, arrivals);
    }
    if (read)
        httpd_admin_respond(request, 200, json_pack("{s:O}", "arrivals", arrivals));
    else
        admin_respond_error(request, &err);
    json_decref(arrivals);
}

static int open_unit(struct control *control, struct str unit, struct arrival_record *before, struct error *err)
{
    char name[96];
    struct buf text = {NULL, 0, 0};
    uint64_t version;
    if (read_record(control, unit, before, err) != 0)
        return -1;
    if (before->count == 0)
        return 0;
    arrival_record_name(name, sizeof(name), unit);
    arrival_record_format(&(struct arrival_record){.version = 0}, &text);
    int failed = store_document_put(control->rollout.store, name, before->version, buf_str(&text), &version, err);
    buf_free(&text);
    return failed;
}

void admin_open_arrivals(struct httpd_request *request, void *context)
{
    struct control *control = context;
    struct buf unit = {NULL, 0, 0};
    struct arrival_record before;
    struct error err = {ERROR_NONE, ""};
    if (admin_query_unit(control, request, &unit) == NO_UNIT) {
        buf_free(&unit);
        return;
    }
    if (open_unit(control, buf_str(&unit), &before, &err) != 0) {
        admin_respond_error(request, &err);
    } else {
        json_t *ended = json_array();
        list(buf_str(&unit), &before, ended);
        if (before.count > 0)
            log_warning("arrivals.opened", "%s: an operator lets users who came go on", unit.base);
        httpd_admin_respond(request, 200, json_pack("{s:o}", "ended", ended));
    }
    buf_free(&unit);
}
