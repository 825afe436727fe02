/* SPDX-License-Identifier: Apache-2.0
 *
 * Planned work on units, as operators ask for it: reads what is known, lets unit_work.h judge, and puts the record.
 */
#include <stdio.h>

#include "common/clock.h"
#include "gateway/admin.h"
#include "gateway/failover.h"
#include "gateway/unit_work.h"

#define TRIES 3

/* What is asked for, and of which unit of the view in force. Its texts are freed by asked_free. */
struct asked {
    struct control *control;
    struct httpd_request *request;
    struct unit_work work;
    struct buf unit, by, note;
    char guest[BROKER_UNIT_SIZE];
    struct broker_member copy; /* of the broker whose loss is accepted; url "": none */
};

static void asked_free(struct asked *asked)
{
    buf_free(&asked->unit);
    buf_free(&asked->by);
    buf_free(&asked->note);
}

static struct unit *unit_of(const struct asked *asked)
{
    return asked->control->rollout.view->units[asked->work.unit].unit;
}

static bool find_unit(struct asked *asked)
{
    asked->work.unit = admin_query_unit(asked->control, asked->request, &asked->unit);
    if (asked->work.unit == NO_UNIT)
        return false;
    asked->work.table = asked->control->rollout.view->table;
    return true;
}

static void read_texts(struct asked *asked)
{
    httpd_request_query(asked->request, "by", &asked->by);
    httpd_request_query(asked->request, "note", &asked->note);
    asked->work.by = asked->by.base != NULL ? asked->by.base : asked->control->gateway->name;
    asked->work.note = asked->note.base != NULL ? asked->note.base : "";
}

/* --- what is known ------------------------------------------------------------------------------------------------ */

/* Its agents deliver for the other one, or its hosts hold the other one's primary. */
static bool serves(const struct asked *asked, uint32_t other)
{
    const struct table *table = asked->work.table;
    const struct table_unit *rules = &table->units[other];
    struct broker_record record;
    unit_record(asked->control->rollout.view->units[other].unit, &record);
    if (other == asked->work.unit || record.member_count == 0)
        return false;
    bool away = rules->broker_count > 0 && !str_equal(rules->brokers[0], str_of(record.primary));
    return str_equal(str_of(record.consumer), table->units[asked->work.unit].name) ||
           (away && rules->standby == asked->work.unit);
}

static void look_at_guests(struct asked *asked)
{
    for (uint32_t i = 0; i < asked->work.table->unit_count; i++)
        if (serves(asked, i))
            snprintf(asked->guest, sizeof(asked->guest), "%.*s", STR_ARG(asked->work.table->units[i].name));
    asked->work.guest = asked->guest[0] != '\0' ? asked->guest : NULL;
}

static void look_at_standby(struct asked *asked)
{
    struct broker_record record;
    const struct view *view = asked->control->rollout.view;
    uint32_t standby = view->table->units[asked->work.unit].standby;
    if (standby == NO_UNIT)
        return;
    unit_record(view->units[standby].unit, &record);
    asked->work.standby_drained = record.drained.at_us != 0;
    asked->work.standby_full = !failover_has_room(asked->control->gateway->failover, buf_str(&asked->unit));
    asked->work.standby = failover_hands(asked->control->gateway->failover, view->table->units[standby].name);
}

static void look(struct asked *asked)
{
    struct failover *failover = asked->control->gateway->failover;
    const struct table_unit *rules = &asked->work.table->units[asked->work.unit];
    struct broker_record record;
    unit_record(unit_of(asked), &record);
    asked->work.now_us = clock_wall_us();
    asked->work.home = failover_hands(failover, rules->name);
    look_at_standby(asked);
    look_at_guests(asked);
    for (uint32_t i = 0; i < rules->broker_count && i < BROKER_MEMBERS_MOST; i++) {
        char url[BROKER_URL_SIZE];
        snprintf(url, sizeof(url), "%.*s", STR_ARG(rules->brokers[i]));
        const struct broker_member *member = broker_record_member(&record, url);
        asked->work.well[i] =
            member != NULL && failover_is_well(failover, rules->name, str_of(url), str_of(member->run_id));
    }
}

/* --- changing ----------------------------------------------------------------------------------------------------- */

static int read_record(const struct asked *asked, const char *name, struct broker_record *record, struct error *err)
{
    struct buf text = {NULL, 0, 0};
    uint64_t version = 0;
    *record = (struct broker_record){.version = 0};
    int failed = store_document_get(asked->control->rollout.store, name, &text, &version, err);
    if (failed == 0 && version > 0)
        failed = broker_record_parse(buf_str(&text), record, err);
    record->version = version;
    buf_free(&text);
    return failed;
}

/* A call without an answer may have been carried out. */
static bool was_taken(const struct asked *asked, const char *name, struct broker_record *record)
{
    struct broker_record now;
    struct error ignored;
    bool taken = read_record(asked, name, &now, &ignored) == 0 && now.version > record->version &&
                 now.at_us == record->at_us && strcmp(now.by, record->by) == 0;
    record->version = taken ? now.version : record->version;
    return taken;
}

static int put_record(const struct asked *asked, const char *name, struct broker_record *record, struct error *err)
{
    struct buf text = {NULL, 0, 0};
    broker_record_format(record, &text);
    int failed =
        store_document_put(asked->control->rollout.store, name, record->version, buf_str(&text), &record->version, err);
    buf_free(&text);
    if (failed != 0 && was_taken(asked, name, record))
        failed = 0;
    if (failed == 0)
        failover_announce(asked->control->gateway->failover, unit_of(asked)->name, record);
    return failed;
}

/* A keeper may have written between reading and putting: then it is judged again by what is there now. */
static int try_work(const struct asked *asked, unit_work_fn *fn, struct broker_record *record, struct error *err)
{
    char name[96];
    broker_record_name(name, sizeof(name), buf_str(&asked->unit));
    for (int i = 0; i < TRIES; i++) {
        if (read_record(asked, name, record, err) != 0)
            return -1;
        uint64_t at_us = record->at_us;
        int failed =
            fn != NULL ? fn(&asked->work, record, err) : unit_work_accept_loss(&asked->work, &asked->copy, record, err);
        if (failed != 0)
            return -1;
        if (record->at_us == at_us || put_record(asked, name, record, err) == 0)
            return 0;
        if (err->code != ERROR_CONFLICT)
            return -1;
    }
    return -1;
}

static void work(struct asked *asked, unit_work_fn *fn)
{
    struct error err = {ERROR_NONE, ""};
    struct broker_record record;
    look(asked);
    if (try_work(asked, fn, &record, &err) == 0)
        httpd_admin_respond(asked->request, 200,
                            json_pack("{s:s,s:b,s:o}", "unit", asked->unit.base, "changed",
                                      record.at_us == asked->work.now_us, "record", admin_record_json(&record)));
    else
        admin_respond_error(asked->request, &err);
}

static void handle(struct httpd_request *request, void *context, unit_work_fn *fn)
{
    struct asked asked = {.control = context, .request = request};
    if (find_unit(&asked)) {
        read_texts(&asked);
        work(&asked, fn);
    }
    asked_free(&asked);
}

void admin_drain_unit(struct httpd_request *request, void *context)
{
    handle(request, context, unit_work_drain);
}

void admin_ready_unit(struct httpd_request *request, void *context)
{
    handle(request, context, unit_work_ready);
}

void admin_fail_back_unit(struct httpd_request *request, void *context)
{
    handle(request, context, unit_work_failback);
}

/* --- by force ----------------------------------------------------------------------------------------------------- */

static bool take_query(struct asked *asked, const char *name, char *out, size_t size)
{
    struct buf text = {NULL, 0, 0};
    bool taken = httpd_request_query(asked->request, name, &text) && text.len > 0 && text.len < size;
    snprintf(out, size, "%s", taken ? text.base : "");
    buf_free(&text);
    return taken;
}

/* Whose copy it is must be heard here under that very run: nobody takes over by a typing error. */
static bool read_copy(struct asked *asked)
{
    struct failover *failover = asked->control->gateway->failover;
    struct broker_member *copy = &asked->copy;
    if (!take_query(asked, "broker", copy->url, sizeof(copy->url)))
        return true;
    if (take_query(asked, "run_id", copy->run_id, sizeof(copy->run_id)) &&
        failover_is_well(failover, buf_str(&asked->unit), str_of(copy->url), str_of(copy->run_id)))
        return true;
    httpd_respond_problem(asked->request, 409, "conflict", "That broker is not heard to be well in that run.");
    return false;
}

void admin_fail_unit(struct httpd_request *request, void *context)
{
    struct asked asked = {.control = context, .request = request};
    if (find_unit(&asked) && read_copy(&asked)) {
        read_texts(&asked);
        work(&asked, asked.copy.url[0] != '\0' ? NULL : unit_work_fail);
    }
    asked_free(&asked);
}
