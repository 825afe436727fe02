/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/keeper_look.h"

#include <stdio.h>

#include "common/broker_info.h"

static void keep(char *out, size_t size, struct str text)
{
    snprintf(out, size, "%.*s", STR_ARG(text));
}

static void take_progress(struct keeper_look *look, struct str info)
{
    struct broker_replica replica;
    for (unsigned i = 0; i < KEEPER_LINKS_MOST && broker_info_replica(info, i, &replica); i++) {
        struct keeper_progress *progress = &look->progress[look->progress_count++];
        *progress = (struct keeper_progress){.port = replica.port,
                                             .offset = replica.offset,
                                             .lag_s = replica.lag_s,
                                             .online = str_equal(replica.state, STR_LIT("online"))};
        keep(progress->ip, sizeof(progress->ip), replica.ip);
        look->online += progress->online;
    }
}

bool keeper_look_info(struct keeper_look *look, struct str info)
{
    keep(look->run_id, sizeof(look->run_id), broker_info_text(info, "run_id"));
    look->is_primary = broker_info_is(info, "role", "master");
    look->aof_on = broker_info_is(info, "aof_enabled", "1");
    look->aof_sound = broker_info_is(info, "aof_last_write_status", "ok");
    look->rewriting =
        !broker_info_is(info, "aof_rewrite_in_progress", "0") || !broker_info_is(info, "aof_rewrite_scheduled", "0");
    look->rewrite_sound = broker_info_is(info, "aof_last_bgrewrite_status", "ok");
    look->link_up = broker_info_is(info, "master_link_status", "up");
    look->syncing = broker_info_is(info, "master_sync_in_progress", "1");
    take_progress(look, info);
    return look->run_id[0] != '\0' && broker_info_number(info, "sync_full", &look->sync_full) &&
           broker_info_number(info, "sync_partial_ok", &look->sync_partial) &&
           broker_info_number(info, look->is_primary ? "master_repl_offset" : "slave_repl_offset", &look->offset);
}

/* The value of NAME in a line of "name=value" pairs. */
static struct str client_field(struct str line, const char *name)
{
    struct str pair, key;
    while (str_next(&line, ' ', &pair)) {
        str_next(&pair, '=', &key);
        if (str_equal(key, str_of(name)) && pair.base != NULL)
            return str_trim((struct str){pair.base, pair.len - (pair.len > 0 && pair.base[pair.len - 1] == '\r')});
    }
    return (struct str){NULL, 0};
}

void keeper_look_replicas(struct keeper_look *look, struct str clients)
{
    struct str line;
    while (look->link_count < KEEPER_LINKS_MOST && str_next(&clients, '\n', &line)) {
        struct keeper_link *link = &look->links[look->link_count];
        *link = (struct keeper_link){.id = 0};
        keep(link->at, sizeof(link->at), client_field(line, "addr"));
        look->link_count += link->at[0] != '\0' && str_to_u64(client_field(line, "id"), &link->id);
    }
}

void keeper_look_primary(struct keeper_look *look, struct str clients)
{
    struct str line;
    if (str_next(&clients, '\n', &line))
        keep(look->link_at, sizeof(look->link_at), client_field(line, "laddr"));
}

const struct keeper_link *keeper_look_link(const struct keeper_look *primary, const char *at)
{
    for (unsigned i = 0; i < primary->link_count && at[0] != '\0'; i++)
        if (strcmp(primary->links[i].at, at) == 0)
            return &primary->links[i];
    return NULL;
}

/* "127.0.0.1:6379", "[::1]:6379" */
static struct str ip_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct str ip = {address, colon ? (size_t)(colon - address) : strlen(address)};
    if (ip.len >= 2 && ip.base[0] == '[' && ip.base[ip.len - 1] == ']')
        ip = (struct str){ip.base + 1, ip.len - 2};
    return ip;
}

const struct keeper_progress *keeper_look_progress(const struct keeper_look *primary, const struct keeper_link *link,
                                                   unsigned port)
{
    for (unsigned i = 0; i < primary->progress_count; i++) {
        const struct keeper_progress *progress = &primary->progress[i];
        if (progress->port == port && str_equal(str_of(progress->ip), ip_of(link->at)))
            return progress;
    }
    return NULL;
}
