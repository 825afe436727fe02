/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/warden_decide.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/url.h"

static bool follows(const struct warden_look *look, const char *url)
{
    struct url parts;
    struct error err;
    char place[BROKER_URL_SIZE];
    if (url_parse(str_of(url), 6379, &parts, &err) != 0)
        return false;
    snprintf(place, sizeof(place), "%.*s:%u", STR_ARG(parts.host), parts.port);
    return strcmp(place, look->follows) == 0;
}

/* A newer record than this one is in force there. */
static void rest_for_newer(const struct broker_record *record, const struct warden_look *look,
                           struct warden_action *action)
{
    snprintf(action->why, sizeof(action->why),
             "it is stamped with epoch %" PRIu64 ", and the newest record that is known is of epoch %" PRIu64,
             look->stamp, record->version);
}

/* One that boots for the first time holds nothing. */
static bool holds_the_data(const struct broker_record *record, const struct warden_look *look)
{
    bool is_new = !look->is_primary && look->stamp == 0 && look->dataset[0] == '\0';
    return is_new || strcmp(look->dataset, record->dataset) == 0;
}

static void judge_primary(const struct broker_record *record, const struct broker_member *member,
                          const struct warden_look *look, struct warden_action *action)
{
    bool known = member != NULL && strcmp(member->run_id, look->run_id) == 0;
    action->fits = known && look->is_primary;
    if (look->stamp > record->version)
        rest_for_newer(record, look, action);
    else if (!known)
        snprintf(action->why, sizeof(action->why),
                 "it was started anew since the record was written, and is fenced until what it holds is looked at");
    else if (!holds_the_data(record, look))
        snprintf(action->why, sizeof(action->why), "its data are not those of the record");
    else if (look->stamp < record->version)
        action->verdict = look->is_primary ? WARDEN_STAMP : WARDEN_PROMOTE;
    else if (!look->is_primary)
        snprintf(action->why, sizeof(action->why), "somebody made the primary a replica");
}

static void judge_other(const struct broker_record *record, const struct warden_look *look,
                        struct warden_action *action)
{
    bool follower = !look->is_primary && follows(look, record->primary);
    action->fits = follower && look->link_up;
    if (look->stamp > record->version)
        rest_for_newer(record, look, action);
    else if (!follower)
        action->verdict = WARDEN_FOLLOW;
}

void warden_decide(const struct broker_record *record, const char *url, const struct warden_look *look,
                   struct warden_action *action)
{
    *action = (struct warden_action){.verdict = WARDEN_REST};
    if (record->member_count == 0)
        snprintf(action->why, sizeof(action->why), "there is no broker record yet");
    else if (strcmp(record->primary, url) == 0)
        judge_primary(record, broker_record_member(record, url), look, action);
    else
        judge_other(record, look, action);
}
