/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/play_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"
#include "ops/ctl.h"

#define MOST_STATE (4 * 1024 * 1024)

/* --- topology.json ------------------------------------------------------------------------------------------------ */

static void add_url(json_t *list, const struct play_process *process, size_t port)
{
    char url[40];
    snprintf(url, sizeof(url), "http://%s:%u", process->address, process->ports[port].number);
    json_array_append_new(list, json_string(url));
}

static json_t *describe(const struct play_process *process)
{
    json_t *ports = json_object();
    for (size_t i = 0; i < 2; i++)
        if (process->ports[i].name != NULL)
            json_object_set_new(ports, process->ports[i].name, json_integer(process->ports[i].number));
    json_t *json =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:s,s:o,s:s}", "name", process->name, "role", play_role_name(process->role),
                  "unit", process->unit, "datacenter", process->datacenter, "host", process->host, "pid",
                  (int)process->shown_pid, "address", process->address, "ports", ports, "log", process->log);
    if (process->role == PLAY_BROKER)
        json_object_set_new(json, "primary", json_boolean(process->primary));
    if (*process->namespace)
        json_object_set_new(json, "namespace", json_string(process->namespace));
    return json;
}

json_t *play_state_topology(const struct play_plan *plan)
{
    json_t *ingress = json_array(), *admin = json_array(), *processes = json_array();
    char *rules = play_path(plan->dir, "rules.yaml"), *store = play_plan_store(plan);
    for (size_t i = 0; i < plan->count; i++) {
        const struct play_process *process = &plan->processes[i];
        if (process->role == PLAY_GATEWAY) {
            add_url(ingress, process, 0);
            add_url(admin, process, 1);
        }
        json_array_append_new(processes, describe(process));
    }
    json_t *topology = json_pack("{s:o,s:o,s:s,s:s,s:s,s:o}", "ingress", ingress, "admin", admin, "token", plan->token,
                                 "rules", rules, "store", store, "processes", processes);
    free(store);
    free(rules);
    return topology;
}

static int write_json(const char *dir, const char *name, json_t *json, struct error *err)
{
    char *text = json_dumps(json, JSON_INDENT(1)), *path = play_path(dir, "%s", name);
    int result = file_replace(path, str_of(text), 0600, err);
    json_decref(json);
    free(text);
    free(path);
    return result;
}

/* --- playground.json ---------------------------------------------------------------------------------------------- */

static json_t *remember(const struct play_process *process)
{
    return json_pack("{s:s,s:i,s:s,s:s,s:i,s:I}", "name", process->name, "role", (int)process->role, "unit",
                     process->unit, "log", process->log ? process->log : "", "pid", (int)process->pid, "start_ticks",
                     (json_int_t)process->start_ticks);
}

static int save(const struct play_state *state, const char *dir, struct error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < state->count; i++)
        if (state->processes[i].pid > 0)
            json_array_append_new(list, remember(&state->processes[i]));
    return write_json(dir, "playground.json",
                      json_pack("{s:I,s:I,s:I,s:I,s:i,s:b,s:b,s:b,s:o,s:o}", "gateways", (json_int_t)state->gateways,
                                "units", (json_int_t)state->units, "agents", (json_int_t)state->agents, "core_brokers",
                                (json_int_t)state->core_brokers, "port_base", (int)state->port_base, "etcd",
                                state->etcd, "namespaces", state->namespaces, "supervised", state->supervised,
                                "supervisor", remember(&state->supervisor), "processes", list),
                      err);
}

int play_state_save(const struct play_plan *plan, struct error *err)
{
    struct play_state state = {.gateways = plan->gateways,
                               .units = plan->units,
                               .agents = plan->agents,
                               .core_brokers = plan->core_brokers,
                               .port_base = plan->port_base,
                               .etcd = plan->etcd,
                               .namespaces = plan->namespaces,
                               .supervised = plan->supervised,
                               .supervisor = plan->supervisor,
                               .processes = plan->processes,
                               .count = plan->count};
    return save(&state, plan->dir, err);
}

int play_state_publish(const struct play_plan *plan, struct error *err)
{
    if (play_state_save(plan, err) != 0)
        return -1;
    return write_json(plan->dir, "topology.json", play_state_topology(plan), err);
}

int play_state_retire(const struct play_state *state, const char *dir, struct error *err)
{
    struct play_state none = *state;
    none.supervisor = (struct play_process){.pid = 0};
    none.supervised = false;
    none.count = 0;
    char *topology = play_path(dir, "topology.json");
    int result =
        unlink(topology) == 0 || errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot remove %s", topology);
    free(topology);
    return result != 0 ? -1 : save(&none, dir, err);
}

static void recall(struct play_process *process, const json_t *json)
{
    *process = (struct play_process){.role = (enum play_role)json_integer_value(json_object_get(json, "role")),
                                     .log = str_dup(str_of(ctl_text(json, "log"))),
                                     .pid = (pid_t)json_integer_value(json_object_get(json, "pid")),
                                     .start_ticks = (uint64_t)json_integer_value(json_object_get(json, "start_ticks"))};
    snprintf(process->name, sizeof(process->name), "%s", ctl_text(json, "name"));
    snprintf(process->unit, sizeof(process->unit), "%s", ctl_text(json, "unit"));
}

static json_t *read_json(const char *dir)
{
    char *path = play_path(dir, "playground.json");
    struct buf text = {0};
    struct error ignored;
    json_t *json = file_read(path, MOST_STATE, &text, &ignored) == 0 ? json_loadb(text.base, text.len, 0, NULL) : NULL;
    buf_free(&text);
    free(path);
    return json;
}

bool play_state_load(struct play_state *state, const char *dir)
{
    *state = (struct play_state){0};
    json_t *json = read_json(dir);
    if (json == NULL)
        return false;
    const json_t *list = json_object_get(json, "processes");
    state->gateways = json_integer_value(json_object_get(json, "gateways"));
    state->units = json_integer_value(json_object_get(json, "units"));
    state->agents = json_integer_value(json_object_get(json, "agents"));
    state->core_brokers = json_integer_value(json_object_get(json, "core_brokers"));
    state->port_base = (unsigned)json_integer_value(json_object_get(json, "port_base"));
    state->etcd = json_is_true(json_object_get(json, "etcd"));
    state->namespaces = json_is_true(json_object_get(json, "namespaces"));
    state->supervised = json_is_true(json_object_get(json, "supervised"));
    recall(&state->supervisor, json_object_get(json, "supervisor"));
    state->processes = mem_calloc(json_array_size(list) + 1, sizeof(*state->processes));
    for (size_t i = 0; i < json_array_size(list); i++)
        recall(&state->processes[state->count++], json_array_get(list, i));
    json_decref(json);
    return true;
}

static void adopt(struct play_plan *plan, const struct play_process *process)
{
    for (size_t i = 0; i < plan->count; i++)
        if (strcmp(plan->processes[i].name, process->name) == 0) {
            plan->processes[i].pid = plan->processes[i].shown_pid = process->pid;
            plan->processes[i].start_ticks = process->start_ticks;
        }
}

void play_state_plan(const struct play_state *state, const char *dir, const char *programs, const char *token,
                     struct play_plan *plan)
{
    *plan = (struct play_plan){.dir = dir,
                               .programs = programs,
                               .token = token,
                               .gateways = state->gateways,
                               .units = state->units,
                               .agents = state->agents,
                               .core_brokers = state->core_brokers,
                               .port_base = state->port_base,
                               .etcd = state->etcd,
                               .namespaces = state->namespaces,
                               .supervised = state->supervised};
    plan->supervisor.pid = state->supervisor.pid;
    plan->supervisor.start_ticks = state->supervisor.start_ticks;
    play_plan_make(plan);
    for (size_t i = 0; i < state->count; i++)
        adopt(plan, &state->processes[i]);
}

void play_state_free(struct play_state *state)
{
    for (size_t i = 0; i < state->count; i++)
        free(state->processes[i].log);
    free(state->processes);
    free(state->supervisor.log);
    *state = (struct play_state){0};
}
