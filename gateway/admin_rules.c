/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "common/diag_json.h"
#include "common/store_json.h"
#include "gateway/admin.h"
#include "gateway/moves.h"

#define MOST_HISTORY 100000

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* The newest record of VERSION; false where the history has none. */
static bool find_record(struct control *control, uint64_t version, struct store_record *record)
{
    struct store_record *records = mem_calloc(MOST_HISTORY, sizeof(*records));
    struct error ignored;
    int count = store_history(control->rollout.store, records, MOST_HISTORY, &ignored), at = 0;
    while (at < count && records[at].version != version)
        at++;
    if (at < count)
        *record = records[at];
    free(records);
    return at < count;
}

static json_t *record_of(struct control *control, uint64_t version)
{
    struct store_record record;
    return find_record(control, version, &record) ? store_record_to_json(&record) : json_null();
}

void admin_get_rules(struct httpd_request *request, void *context)
{
    struct control *control = context;
    const struct rollout *rollout = &control->rollout;
    uint64_t version = rollout->record.version;
    struct buf text = {NULL, 0, 0};
    struct error err;
    if (!admin_query_number(request, "version", &version))
        return;
    bool in_force = version == rollout->record.version;
    int result = in_force ? rollout_text(rollout, &text, &err) : store_rules(rollout->store, version, &text, &err);
    if (result == -1)
        admin_respond_error(request, &err);
    else
        httpd_admin_respond(request, 200,
                            json_pack("{s:o,s:s%}", "record",
                                      in_force ? store_record_to_json(&rollout->record) : record_of(control, version),
                                      "rules", buf_str(&text).base, text.len));
    buf_free(&text);
}

void admin_get_history(struct httpd_request *request, void *context)
{
    struct control *control = context;
    uint64_t most = 100;
    struct error err;
    if (!admin_query_number(request, "most", &most))
        return;
    most = most < MOST_HISTORY ? most : MOST_HISTORY;
    struct store_record *records = mem_calloc(most, sizeof(*records));
    int count = store_history(control->rollout.store, records, most, &err);
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, store_record_to_json(&records[i]));
    if (count == -1)
        admin_respond_error(request, &err);
    else
        httpd_admin_respond(request, 200, json_pack("{s:O}", "history", list));
    json_decref(list);
    free(records);
}

/* --- changing ----------------------------------------------------------------------------------------------------- */

static void respond_invalid(struct httpd_request *request, struct diag_list *diags)
{
    char detail[80];
    snprintf(detail, sizeof(detail), "The rules have %zu fault%s; nothing was changed.", diags->errors,
             diags->errors == 1 ? "" : "s");
    httpd_admin_respond(request, 422,
                        json_pack("{s:s,s:s,s:i,s:s,s:o}", "type", "urn:ldcgate:problem:rules-invalid", "title",
                                  "The rules are faulty", "status", 422, "detail", detail, "diagnostics",
                                  diag_to_json(diags)));
}

static void respond_conflict(struct httpd_request *request, const struct store_record *now, const struct error *err)
{
    httpd_admin_respond(request, 409,
                        json_pack("{s:s,s:s,s:i,s:s,s:I,s:o}", "type", "urn:ldcgate:problem:conflict", "title",
                                  "Somebody else changed the rules first", "status", 409, "detail", err->text, "epoch",
                                  (json_int_t)now->epoch, "record", store_record_to_json(now)));
}

/* What the caller says about the change, until it is answered. */
struct change {
    struct httpd_request *request;
    struct control *control;
    uint64_t expected_epoch, restores;
    bool unfenced;
    struct buf by, note;
    struct diag_list diags;
};

static void change_free(struct change *change)
{
    buf_free(&change->by);
    buf_free(&change->note);
    diag_free(&change->diags);
    free(change);
}

static bool read_words(struct change *change)
{
    uint64_t unfenced = 0;
    if (!admin_query_number(change->request, "expected_epoch", &change->expected_epoch) ||
        !admin_query_number(change->request, "unfenced", &unfenced))
        return false;
    if (change->expected_epoch == UINT64_MAX) {
        httpd_respond_problem(change->request, 400, "bad-request",
                              "expected_epoch must be given: the epoch that is changed.");
        return false;
    }
    change->unfenced = unfenced != 0;
    httpd_request_query(change->request, "by", &change->by);
    httpd_request_query(change->request, "note", &change->note);
    return true;
}

/* NULL, and answered, where it makes no sense. */
static struct change *read_change(struct httpd_request *request, struct control *control)
{
    struct change *change = mem_calloc(1, sizeof(*change));
    change->request = request;
    change->control = control;
    change->expected_epoch = UINT64_MAX;
    change->diags.file = "rules";
    if (read_words(change))
        return change;
    change_free(change);
    return NULL;
}

static void respond_put(struct change *change, const struct moves_result *result)
{
    json_t *record = store_record_to_json(&result->now);
    json_object_set_new(record, "diagnostics", diag_to_json(&change->diags));
    json_object_set_new(record, "moved",
                        json_pack("{s:i,s:f}", "units", (int)result->fenced, "held_ms", (double)result->held_us / 1e3));
    httpd_admin_respond(change->request, 200, record);
}

static void on_done(void *arg, const struct moves_result *result)
{
    struct change *change = arg;
    if (result != NULL && result->outcome == MOVES_PUT)
        respond_put(change, result);
    else if (result != NULL && result->outcome == MOVES_CONFLICT)
        respond_conflict(change->request, &result->now, &result->err);
    else if (result != NULL && result->outcome == MOVES_REFUSED)
        httpd_respond_problem(change->request, 409, "move-refused", result->err.text);
    else if (result != NULL)
        admin_respond_error(change->request, &result->err);
    change_free(change);
}

static void put(struct change *change, struct str text)
{
    struct table *table = rollout_try(&change->control->rollout, text, &change->diags);
    if (table == NULL) {
        respond_invalid(change->request, &change->diags);
        change_free(change);
        return;
    }
    struct moves_change wanted = {.expected_epoch = change->expected_epoch,
                                  .restores = change->restores,
                                  .text = text,
                                  .by = buf_str(&change->by).base,
                                  .note = buf_str(&change->note).base,
                                  .unfenced = change->unfenced};
    moves_put(change->control->moves, &wanted, table, on_done, change);
    table_unref(&table);
}

void admin_put_rules(struct httpd_request *request, void *context)
{
    struct change *change = read_change(request, context);
    if (change != NULL)
        put(change, httpd_request_body(request));
}

/* The version that first had the text of VERSION. */
static uint64_t origin_of(struct control *control, uint64_t version)
{
    struct store_record record;
    return find_record(control, version, &record) && record.restores != 0 ? record.restores : version;
}

/* The version before the text of NOW was first put: going back from what a rollback brought leads further back, never
 * to what it took away. */
static int version_before(const struct store_record *now, uint64_t *version, struct error *err)
{
    uint64_t origin = now->restores != 0 ? now->restores : now->version;
    if (origin <= 1)
        return error_set(err, ERROR_INPUT,
                         "there are no rules before those in force, which first stood in version %llu",
                         (unsigned long long)origin);
    *version = origin - 1;
    return 0;
}

/* VERSION UINT64_MAX: the one before. */
static int find_text(struct control *control, const struct change *change, struct store_record *now, uint64_t *version,
                     struct buf *text, struct error *err)
{
    if (store_current(control->rollout.store, now, err) != 0)
        return -1;
    if (!store_rules_stand(now, change->expected_epoch))
        return error_set(err, ERROR_CONFLICT, "the rules are those of epoch %llu by now",
                         (unsigned long long)now->rules_epoch);
    if (*version == UINT64_MAX && version_before(now, version, err) != 0)
        return -1;
    return store_rules(control->rollout.store, *version, text, err);
}

static void put_back(struct change *change, uint64_t version)
{
    struct store_record now;
    struct buf text = {NULL, 0, 0};
    struct error err;
    if (find_text(change->control, change, &now, &version, &text, &err) == 0) {
        change->restores = origin_of(change->control, version);
        if (change->note.len == 0)
            buf_printf(&change->note, "rollback to version %llu", (unsigned long long)version);
        put(change, buf_str(&text));
    } else {
        if (err.code == ERROR_CONFLICT)
            respond_conflict(change->request, &now, &err);
        else
            admin_respond_error(change->request, &err);
        change_free(change);
    }
    buf_free(&text);
}

void admin_roll_back(struct httpd_request *request, void *context)
{
    struct change *change = read_change(request, context);
    uint64_t version = UINT64_MAX;
    if (change == NULL)
        return;
    if (admin_query_number(request, "version", &version))
        put_back(change, version);
    else
        change_free(change);
}
