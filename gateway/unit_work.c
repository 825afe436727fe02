/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/unit_work.h"

#include <stdio.h>

static const struct table_unit *rules_of(const struct unit_work *work)
{
    return &work->table->units[work->unit];
}

static struct str standby_of(const struct unit_work *work)
{
    uint32_t standby = rules_of(work)->standby;
    return standby != NO_UNIT ? work->table->units[standby].name : STR_LIT("");
}

static bool is_home(const struct unit_work *work, const char *url)
{
    return rules_of(work)->broker_count > 0 && str_equal(rules_of(work)->brokers[0], str_of(url));
}

static bool consumes_itself(const struct unit_work *work, const struct broker_record *record)
{
    return record->consumer[0] == '\0' || str_equal(rules_of(work)->name, str_of(record->consumer));
}

static void sign(const struct unit_work *work, const char *what, struct broker_record *record)
{
    char why[BROKER_WHY_SIZE];
    snprintf(why, sizeof(why), "%s%s%.120s", what, work->note[0] != '\0' ? ": " : "", work->note);
    broker_record_sign(record, work->by, why, work->now_us);
}

static void set_consumer(char *consumer, struct str unit)
{
    snprintf(consumer, BROKER_UNIT_SIZE, "%.*s", STR_ARG(unit));
}

static bool can_deliver(const struct unit_hands *hands)
{
    return hands->agents > 0 && (hands->nodes_up > 0 || hands->nodes_listed == 0);
}

/* A member other than the primary that may lead; NULL where there is none. */
static const struct broker_member *next_of(const struct unit_work *work, const struct broker_record *record)
{
    const struct table_unit *rules = rules_of(work);
    for (uint32_t i = 0; i < rules->broker_count && i < BROKER_MEMBERS_MOST; i++) {
        char url[BROKER_URL_SIZE];
        snprintf(url, sizeof(url), "%.*s", STR_ARG(rules->brokers[i]));
        const struct broker_member *member = broker_record_member(record, url);
        bool closed = i == 0 && record->drained.at_us != 0;
        if (member != NULL && work->well[i] && !closed && strcmp(url, record->primary) != 0)
            return member;
    }
    return NULL;
}

static int check_record(const struct unit_work *work, const struct broker_record *record, struct error *err)
{
    struct str name = rules_of(work)->name;
    if (record->member_count == 0)
        return error_set(err, ERROR_CONFLICT, "%.*s has no broker record yet", STR_ARG(name));
    if (record->hold)
        return error_set(err, ERROR_CONFLICT, "a planned switch of %.*s is under way", STR_ARG(name));
    return 0;
}

static void plan(struct broker_record *record, const char *target, struct str consumer)
{
    record->hold = true;
    memmove(record->target, target, strlen(target) + 1);
    set_consumer(record->target_consumer, consumer);
}

/* --- drain -------------------------------------------------------------------------------------------------------- */

static int check_drain(const struct unit_work *work, const struct broker_record *record, struct error *err)
{
    struct str name = rules_of(work)->name, standby = standby_of(work);
    if (check_record(work, record, err) != 0)
        return -1;
    if (standby.len == 0 || rules_of(work)->broker_count < 2)
        return error_set(err, ERROR_CONFLICT, "the rules name no standby for %.*s", STR_ARG(name));
    if (work->guest != NULL)
        return error_set(err, ERROR_CONFLICT, "%.*s serves %s, too: bring that home first", STR_ARG(name), work->guest);
    if (work->standby_drained)
        return error_set(err, ERROR_CONFLICT, "%.*s, which stands by for %.*s, is drained itself", STR_ARG(standby),
                         STR_ARG(name));
    if (!can_deliver(&work->standby))
        return error_set(err, ERROR_CONFLICT, "no agent of %.*s is heard that could deliver for %.*s", STR_ARG(standby),
                         STR_ARG(name));
    if (work->standby_full && consumes_itself(work, record))
        return error_set(err, ERROR_CONFLICT,
                         "%.*s has no room for the load of %.*s, by the capacity that the rules give it",
                         STR_ARG(standby), STR_ARG(name));
    if (is_home(work, record->primary) && next_of(work, record) == NULL)
        return error_set(err, ERROR_CONFLICT, "no standby of %.*s is in sync and well", STR_ARG(name));
    return 0;
}

int unit_work_drain(const struct unit_work *work, struct broker_record *record, struct error *err)
{
    if (check_drain(work, record, err) != 0)
        return -1;
    bool moves = is_home(work, record->primary);
    if (record->drained.at_us != 0 && !moves && !consumes_itself(work, record))
        return 0;
    if (moves)
        plan(record, next_of(work, record)->url, standby_of(work));
    else if (consumes_itself(work, record))
        set_consumer(record->consumer, standby_of(work));
    record->drained.at_us = work->now_us;
    snprintf(record->drained.by, sizeof(record->drained.by), "%s", work->by);
    snprintf(record->drained.why, sizeof(record->drained.why), "%s", work->note);
    sign(work, "drained", record);
    return 0;
}

/* --- ready, failback ---------------------------------------------------------------------------------------------- */

static void check_broker(const struct unit_work *work, const struct broker_record *record, struct buf *missing)
{
    struct str url = rules_of(work)->brokers[0];
    char home[BROKER_URL_SIZE];
    snprintf(home, sizeof(home), "%.*s", STR_ARG(url));
    const char *fault = broker_record_member(record, home) == NULL ? "is not in sync yet"
                        : !work->well[0]                           ? "is not heard to be well"
                                                                   : NULL;
    if (fault != NULL)
        buf_printf(missing, "%sits broker %s %s", missing->len > 0 ? "; " : "", home, fault);
}

static void check_hands(const struct unit_hands *hands, struct buf *missing)
{
    if (hands->agents == 0)
        buf_printf(missing, "no agent of it is heard");
    else if (hands->nodes_up < hands->nodes_listed)
        buf_printf(missing, "%u of the %u nodes of its app are up", hands->nodes_up, hands->nodes_listed);
}

static int check_ready(const struct unit_work *work, const struct broker_record *record, struct error *err)
{
    struct buf missing = {NULL, 0, 0};
    struct str name = rules_of(work)->name;
    if (check_record(work, record, err) != 0)
        return -1;
    if (rules_of(work)->broker_count == 0)
        return error_set(err, ERROR_CONFLICT, "the rules name no broker for %.*s", STR_ARG(name));
    check_hands(&work->home, &missing);
    check_broker(work, record, &missing);
    int failed =
        missing.len > 0 ? error_set(err, ERROR_CONFLICT, "%.*s is not ready: %s", STR_ARG(name), missing.base) : 0;
    buf_free(&missing);
    return failed;
}

int unit_work_ready(const struct unit_work *work, struct broker_record *record, struct error *err)
{
    if (check_ready(work, record, err) != 0)
        return -1;
    if (record->drained.at_us == 0)
        return 0;
    record->drained = (struct broker_drain){.at_us = 0};
    sign(work, "ready", record);
    return 0;
}

int unit_work_failback(const struct unit_work *work, struct broker_record *record, struct error *err)
{
    char home[BROKER_URL_SIZE];
    if (check_ready(work, record, err) != 0)
        return -1;
    bool moves = !is_home(work, record->primary), returns = !consumes_itself(work, record);
    if (!moves && !returns && record->drained.at_us == 0 && record->moved_us == 0)
        return 0;
    snprintf(home, sizeof(home), "%.*s", STR_ARG(rules_of(work)->brokers[0]));
    if (moves)
        plan(record, home, STR_LIT(""));
    else
        record->consumer[0] = '\0';
    record->drained = (struct broker_drain){.at_us = 0};
    record->moved_us = 0;
    sign(work, "failback", record);
    return 0;
}

/* --- by force ----------------------------------------------------------------------------------------------------- */

/* Its own agents where they are there, else its standby's, else as it is. */
static void choose_consumer(const struct unit_work *work, struct broker_record *record)
{
    if (!can_deliver(&work->home) && can_deliver(&work->standby) && !work->standby_drained)
        set_consumer(record->consumer, standby_of(work));
}

int unit_work_fail(const struct unit_work *work, struct broker_record *record, struct error *err)
{
    struct str name = rules_of(work)->name;
    if (record->member_count == 0)
        return check_record(work, record, err);
    const struct broker_member *next = next_of(work, record);
    if (next == NULL)
        return error_set(err, ERROR_CONFLICT,
                         "no other broker of %.*s is in sync and well, so what %s acknowledged last might be lost; "
                         "--accept-loss takes the best copy that is left",
                         STR_ARG(name), record->primary);
    broker_record_lead(record, next);
    broker_record_end_plan(record);
    choose_consumer(work, record);
    sign(work, "forced failover", record);
    return 0;
}

int unit_work_accept_loss(const struct unit_work *work, const struct broker_member *copy, struct broker_record *record,
                          struct error *err)
{
    struct str name = rules_of(work)->name;
    bool named = false;
    for (uint32_t i = 0; i < rules_of(work)->broker_count; i++)
        named = named || str_equal(rules_of(work)->brokers[i], str_of(copy->url));
    if (!named)
        return error_set(err, ERROR_INPUT, "the rules give %.*s no broker %s", STR_ARG(name), copy->url);
    if (record->member_count == 0)
        return check_record(work, record, err);
    broker_record_lead(record, copy);
    broker_record_end_plan(record);
    choose_consumer(work, record);
    sign(work, "forced failover, with loss accepted", record);
    return 0;
}
