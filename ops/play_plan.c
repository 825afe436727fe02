/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/play_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json_text.h"
#include "ops/hosts.h"

/* Ports, from the base: ten of ingresses, ten of the gateways' admin listeners, then five of each unit, and behind them
 * the further agents of each, then the further brokers of the core, then two of each member of etcd. */
#define ADMIN_PORTS PLAY_GATEWAYS_MOST
#define UNIT_PORTS  (2 * PLAY_GATEWAYS_MOST)

enum unit_port {
    PRIMARY_PORT = 0,
    REPLICA_PORT,
    AGENT_PORT,
    BLUE_PORT,
    GREEN_PORT,
    UNIT_PORT_COUNT,
};

/* The last number of hosts' addresses. Those before are for the machine that they stand on. */
#define GATEWAY_HOSTS 11
#define UNIT_HOSTS    (GATEWAY_HOSTS + PLAY_GATEWAYS_MOST)
#define STORE_HOSTS   (UNIT_HOSTS + PLAY_UNITS_MOST + 2)

const char *play_role_name(enum play_role role)
{
    static const char *const names[PLAY_ROLES] = {"store", "broker", "app", "agent", "gateway"};
    return names[role];
}

char *play_path(const char *dir, const char *format, ...)
{
    char rest[256];
    va_list args;
    va_start(args, format);
    vsnprintf(rest, sizeof(rest), format, args);
    va_end(args);
    struct buf path = {0};
    buf_printf(&path, "%s/%s", dir, rest);
    return path.base;
}

/* --- units -------------------------------------------------------------------------------------------------------- */

/* A units come first, then the B unit and the core. */
static size_t unit_count(const struct play_plan *plan)
{
    return (size_t)plan->units + 2;
}

static void unit_name(const struct play_plan *plan, size_t unit, char name[16])
{
    if (unit == (size_t)plan->units)
        snprintf(name, 16, "BZ01");
    else if (unit > (size_t)plan->units)
        snprintf(name, 16, "CORE");
    else
        snprintf(name, 16, "RZ%02zu", unit + 1);
}

/* Neighbours stand apart, and so do a broker and its replica. */
static const char *datacenter_of(size_t i)
{
    return i % 2 == 0 ? "dc1" : "dc2";
}

static unsigned unit_port(const struct play_plan *plan, size_t unit, enum unit_port port)
{
    return plan->port_base + UNIT_PORTS + (unsigned)unit * UNIT_PORT_COUNT + port;
}

static unsigned agent_port(const struct play_plan *plan, size_t unit, size_t agent)
{
    size_t further = unit * ((size_t)plan->agents - 1) + agent - 1;
    return agent == 0 ? unit_port(plan, unit, AGENT_PORT) : unit_port(plan, unit_count(plan), 0) + (unsigned)further;
}

static unsigned core_ports(const struct play_plan *plan)
{
    return UNIT_PORTS + (unsigned)unit_count(plan) * (UNIT_PORT_COUNT + (unsigned)plan->agents - 1);
}

unsigned play_plan_ports(const struct play_plan *plan)
{
    return core_ports(plan) + (unsigned)plan->core_brokers - PLAY_BROKERS + (plan->etcd ? 2 * PLAY_STORE_MEMBERS : 0);
}

/* Broker I of UNIT; the first is its primary at the beginning. */
static unsigned broker_port(const struct play_plan *plan, size_t unit, size_t i)
{
    return i < PLAY_BROKERS ? unit_port(plan, unit, PRIMARY_PORT + (enum unit_port)i)
                            : plan->port_base + core_ports(plan) + (unsigned)i - PLAY_BROKERS;
}

static size_t broker_count(const struct play_plan *plan, size_t unit)
{
    return unit + 1 == unit_count(plan) ? (size_t)plan->core_brokers : PLAY_BROKERS;
}

static unsigned store_port(const struct play_plan *plan, size_t member, bool peer)
{
    return plan->port_base + play_plan_ports(plan) - 2 * PLAY_STORE_MEMBERS + 2 * (unsigned)member + peer;
}

/* --- hosts -------------------------------------------------------------------------------------------------------- */

static void host_address(const struct play_plan *plan, size_t number, char address[16])
{
    if (plan->namespaces)
        snprintf(address, 16, "%.11s.%u", plan->network, (unsigned)number);
    else
        snprintf(address, 16, "127.0.0.1");
}

/* The unit whose agents guard UNIT's replica. Neighbours stand apart, the last has its neighbour before it. */
static size_t standby_of(const struct play_plan *plan, size_t unit)
{
    size_t units = (size_t)plan->units;
    bool is_last = unit + 1 == unit_count(plan) || (unit + 1 == units && units > 1);
    return is_last ? unit - 1 : unit + 1;
}

/* The unit on whose host UNIT's broker I stands. */
static size_t broker_host(const struct play_plan *plan, size_t unit, size_t i)
{
    if (i >= PLAY_BROKERS)
        return (i - PLAY_BROKERS) % (size_t)plan->units;
    return i == 0 ? unit : standby_of(plan, unit);
}

static void append_broker(struct buf *out, const struct play_plan *plan, size_t unit, size_t i)
{
    char address[16];
    host_address(plan, UNIT_HOSTS + broker_host(plan, unit, i), address);
    buf_printf(out, "\"redis://%s:%u\"", address, broker_port(plan, unit, i));
}

char *play_plan_store(const struct play_plan *plan)
{
    struct buf text = {0};
    char address[16];
    if (!plan->etcd)
        return play_path(plan->dir, "store");
    for (size_t i = 0; i < PLAY_STORE_MEMBERS; i++) {
        host_address(plan, STORE_HOSTS + i, address);
        buf_printf(&text, "%s%s:%u", i == 0 ? "etcd:http://" : ",", address, store_port(plan, i, false));
    }
    buf_printf(&text, "/ldcgate");
    return text.base;
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

static struct play_process *add_process(struct play_plan *plan, enum play_role role, size_t site, const char *name)
{
    struct play_process *process = &plan->processes[plan->count++];
    *process = (struct play_process){.role = role};
    snprintf(process->name, sizeof(process->name), "%s", name);
    snprintf(process->datacenter, sizeof(process->datacenter), "%s", datacenter_of(site));
    process->log = play_path(plan->dir, "logs/%s.log", name);
    return process;
}

/* On the host HOST, whose address ends in NUMBER. */
static void set_host(struct play_process *process, const struct play_plan *plan, const char *host, size_t number)
{
    snprintf(process->host, sizeof(process->host), "%s", host);
    if (plan->namespaces)
        hosts_namespace(plan->dir, host, process->namespace);
    host_address(plan, number, process->address);
}

/* Of UNIT, on the host of the unit LANDLORD, where the two differ. */
static struct play_process *add_of_unit(struct play_plan *plan, enum play_role role, size_t unit, size_t landlord,
                                        const char *name)
{
    char host[16];
    struct play_process *process = add_process(plan, role, landlord, name);
    unit_name(plan, unit, process->unit);
    unit_name(plan, landlord, host);
    set_host(process, plan, host, UNIT_HOSTS + landlord);
    return process;
}

/* TEXTS: NULL-terminated; each is handed over. */
static void set_command(struct play_process *process, char *const *texts)
{
    for (size_t i = 0; texts[i] != NULL; i++)
        process->argv[i] = texts[i];
}

static char *text_of(const char *text)
{
    return str_dup(str_of(text));
}

static char *program(const struct play_plan *plan, const char *name)
{
    return play_path(plan->programs, "%s", name);
}

/* In quotes, for YAML and for redis.conf, which both read JSON's escapes. */
static void append_quoted_path(struct buf *out, const char *dir, const char *rest)
{
    char *path = play_path(dir, "%s", rest);
    json_append_text(out, str_of(path));
    free(path);
}

static void set_config(struct play_process *process, const struct play_plan *plan, const char *ending, struct buf *text)
{
    process->config = play_path(plan->dir, "conf/%s.%s", process->name, ending);
    process->config_text = text->base;
}

static void append_store_peers(struct buf *out, const struct play_plan *plan)
{
    char address[16];
    for (size_t i = 0; i < PLAY_STORE_MEMBERS; i++) {
        host_address(plan, STORE_HOSTS + i, address);
        buf_printf(out, "%setcd-%zu=http://%s:%u", i > 0 ? "," : "", i + 1, address, store_port(plan, i, true));
    }
    buf_printf(out, "\n");
}

/* Each in a datacentre of its own: the third is a witness without units. */
static void add_store(struct play_plan *plan, size_t member)
{
    char name[16], folder[32];
    snprintf(name, sizeof(name), "etcd-%zu", member + 1);
    snprintf(folder, sizeof(folder), "etcd/%s", name);
    struct play_process *process = add_process(plan, PLAY_STORE, member, name);
    struct buf text = {0};
    unsigned client = store_port(plan, member, false), peer = store_port(plan, member, true);
    snprintf(process->datacenter, sizeof(process->datacenter), "dc%zu", member + 1);
    set_host(process, plan, name, STORE_HOSTS + member);
    const char *address = process->address;
    process->ports[0] = (struct play_port){"client", client};
    process->ports[1] = (struct play_port){"peer", peer};
    buf_printf(&text, "name: %s\ndata-dir: ", name);
    append_quoted_path(&text, plan->dir, folder);
    buf_printf(
        &text,
        "\nlisten-client-urls: http://%s:%u\nadvertise-client-urls: http://%s:%u\n"
        "listen-peer-urls: http://%s:%u\ninitial-advertise-peer-urls: http://%s:%u\n"
        "enable-grpc-gateway: true\nheartbeat-interval: 50\nelection-timeout: 500\nauto-compaction-mode: periodic\n"
        "auto-compaction-retention: \"1h\"\ninitial-cluster: ",
        address, client, address, client, address, peer, address, peer);
    append_store_peers(&text, plan);
    set_config(process, plan, "yaml", &text);
    set_command(process, (char *[]){text_of("etcd"), text_of("--config-file"), text_of(process->config), NULL});
}

static void add_broker(struct play_plan *plan, size_t unit, size_t i)
{
    char owner[16], name[48], number[24] = "", folder[64];
    unit_name(plan, unit, owner);
    if (i >= PLAY_BROKERS)
        snprintf(number, sizeof(number), "-%zu", i);
    snprintf(name, sizeof(name), "%s-%s%s", owner, i == 0 ? "broker" : "replica", number);
    snprintf(folder, sizeof(folder), "brokers/%s", name);
    struct play_process *process = add_of_unit(plan, PLAY_BROKER, unit, broker_host(plan, unit, i), name);
    struct buf text = {0};
    process->primary = i == 0;
    process->ports[0] = (struct play_port){"redis", broker_port(plan, unit, i)};
    buf_printf(&text, "port %u\nbind %s\ndaemonize no\ndir ", process->ports[0].number, process->address);
    append_quoted_path(&text, plan->dir, folder);
    buf_printf(&text, "\nappendonly yes\nappendfsync always\nsave \"\"\nmaxmemory-policy noeviction\n"
                      "auto-aof-rewrite-min-size 1gb\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n"
                      "repl-backlog-size 32mb\n");
    buf_printf(&text, "replicaof 127.0.0.1 1\n"); /* of nobody: it serves, or follows, when an agent says so */
    if (plan->namespaces)
        buf_printf(&text, "requirepass %s\nmasterauth %s\n", plan->token, plan->token);
    set_config(process, plan, "conf", &text);
    set_command(process, (char *[]){text_of("redis-server"), text_of(process->config), NULL});
}

static void add_app(struct play_plan *plan, size_t unit, bool blue)
{
    char owner[16], name[32];
    const char *color = blue ? "blue" : "green";
    unit_name(plan, unit, owner);
    snprintf(name, sizeof(name), "%s-%s", owner, color);
    struct play_process *process = add_of_unit(plan, PLAY_APP, unit, unit, name);
    struct buf listen = {0};
    process->ports[0] = (struct play_port){"http", unit_port(plan, unit, blue ? BLUE_PORT : GREEN_PORT)};
    buf_printf(&listen, "%s:%u", process->address, process->ports[0].number);
    bool guarded = plan->namespaces; /* it listens to more than this machine */
    set_command(process,
                (char *[]){program(plan, "ldc-sample-app"), text_of("--listen"), listen.base, text_of("--unit"),
                           text_of(owner), text_of("--color"), text_of(color), text_of("--name"), text_of(name),
                           text_of("--record"), play_path(plan->dir, "apps/%s.jsonl", name),
                           guarded ? text_of("--token-file") : NULL, guarded ? play_path(plan->dir, "token") : NULL,
                           NULL});
}

/* What the configurations of agents and gateways have in common. */
static void append_common(const struct play_plan *plan, const struct play_process *process, unsigned admin,
                          struct buf *out)
{
    char cache[48];
    snprintf(cache, sizeof(cache), "cache/%s.rules", process->name);
    buf_printf(out, "name: %s\ndatacenter: %s\npulse:\n  listen: %s:0\nadmin:\n  listen: %s:%u\n  token_file: ",
               process->name, process->datacenter, process->address, process->address, admin);
    append_quoted_path(out, plan->dir, "token");
    if (plan->namespaces) {
        buf_printf(out, "\nbroker:\n  password_file: ");
        append_quoted_path(out, plan->dir, "token");
    }
    buf_printf(out, "\nstore:\n  location: ");
    char *store = play_plan_store(plan);
    json_append_text(out, str_of(store));
    free(store);
    buf_printf(out, "\n  cache: ");
    append_quoted_path(out, plan->dir, cache);
    buf_printf(out, "\n");
}

static void append_guard(struct buf *out, const struct play_plan *plan, size_t host)
{
    const char *before = "guard:\n  brokers: [";
    for (size_t unit = 0; unit < unit_count(plan); unit++)
        for (size_t i = 0; i < broker_count(plan, unit); i++)
            if (broker_host(plan, unit, i) == host) {
                buf_printf(out, "%s", before);
                append_broker(out, plan, unit, i);
                before = ", ";
            }
    buf_printf(out, "]\n");
}

static void add_agent(struct play_plan *plan, size_t unit, size_t agent)
{
    char owner[16], name[48], number[24] = "";
    unit_name(plan, unit, owner);
    if (agent > 0)
        snprintf(number, sizeof(number), "-%zu", agent + 1);
    snprintf(name, sizeof(name), "%s-agent%s", owner, number);
    struct play_process *process = add_of_unit(plan, PLAY_AGENT, unit, unit, name);
    struct buf text = {0};
    process->ports[0] = (struct play_port){"admin", agent_port(plan, unit, agent)};
    append_common(plan, process, process->ports[0].number, &text);
    buf_printf(&text, "unit: %s\n", owner);
    append_guard(&text, plan, unit);
    set_config(process, plan, "yaml", &text);
    set_command(process, (char *[]){program(plan, "ldc-agent"), text_of("--config"), text_of(process->config), NULL});
}

static void add_gateway(struct play_plan *plan, size_t i)
{
    char name[32], log[48];
    snprintf(name, sizeof(name), "gateway-%zu", i + 1);
    snprintf(log, sizeof(log), "logs/%s.access.log", name);
    struct play_process *process = add_process(plan, PLAY_GATEWAY, i, name);
    struct buf text = {0};
    set_host(process, plan, name, GATEWAY_HOSTS + i);
    process->ports[0] = (struct play_port){"ingress", plan->port_base + (unsigned)i};
    process->ports[1] = (struct play_port){"admin", plan->port_base + ADMIN_PORTS + (unsigned)i};
    append_common(plan, process, process->ports[1].number, &text);
    buf_printf(&text, "threads: 1\ndrain_timeout: 3s\ningress:\n  listen: [\"%s:%u\"]\n", process->address,
               process->ports[0].number);
    if (plan->namespaces) /* where the operator's own clients come from */
        buf_printf(&text, "  trusted_peers: [\"127.0.0.0/8\", \"%s.0/24\"]\n", plan->network);
    buf_printf(&text, "log:\n  access: ");
    append_quoted_path(&text, plan->dir, log);
    buf_printf(&text, "\n");
    set_config(process, plan, "yaml", &text);
    set_command(process, (char *[]){program(plan, "ldc-gateway"), text_of("--config"), text_of(process->config), NULL});
}

void play_plan_make(struct play_plan *plan)
{
    size_t units = unit_count(plan);
    hosts_network(plan->dir, plan->network);
    plan->processes = mem_calloc(PLAY_STORE_MEMBERS + units * (UNIT_PORT_COUNT + (size_t)plan->agents) +
                                     (size_t)(plan->gateways + plan->core_brokers),
                                 sizeof(*plan->processes));
    for (size_t i = 0; plan->etcd && i < PLAY_STORE_MEMBERS; i++)
        add_store(plan, i);
    for (size_t unit = 0; unit < units; unit++)
        for (size_t i = 0; i < broker_count(plan, unit); i++)
            add_broker(plan, unit, i);
    for (size_t unit = 0; unit < units; unit++) {
        add_app(plan, unit, true);
        add_app(plan, unit, false);
    }
    for (size_t unit = 0; unit < units; unit++)
        for (size_t agent = 0; agent < (size_t)plan->agents; agent++)
            add_agent(plan, unit, agent);
    for (size_t i = 0; i < (size_t)plan->gateways; i++)
        add_gateway(plan, i);
}

void play_plan_free(struct play_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        struct play_process *process = &plan->processes[i];
        for (size_t j = 0; process->argv[j] != NULL; j++)
            free(process->argv[j]);
        free(process->config);
        free(process->config_text);
        free(process->log);
    }
    free(plan->processes);
    plan->processes = NULL;
    plan->count = 0;
}

/* --- rules -------------------------------------------------------------------------------------------------------- */

static void append_unit(const struct play_plan *plan, size_t unit, struct buf *out)
{
    char name[16], address[16];
    size_t units = (size_t)plan->units;
    unit_name(plan, unit, name);
    const char *kind = unit < units ? "A" : unit == units ? "B" : "core";
    buf_printf(out, "  %s:\n    kind: %s\n    datacenter: %s\n", name, kind, datacenter_of(unit));
    if (unit < units)
        buf_printf(out, "    slots: [\"%02zu-%02zu\"]\n    capacity_rps: 5000\n", (unit * 100 + units - 1) / units,
                   ((unit + 1) * 100 + units - 1) / units - 1);
    for (size_t i = 0; i < broker_count(plan, unit); i++) {
        buf_printf(out, i == 0 ? "    brokers: [" : ", ");
        append_broker(out, plan, unit, i);
    }
    buf_printf(out, "]\n");
    if (unit < units && units > 1) {
        unit_name(plan, standby_of(plan, unit), name);
        buf_printf(out, "    standby: %s\n", name);
    }
    host_address(plan, UNIT_HOSTS + unit, address);
    buf_printf(out, "    agents: [");
    for (size_t agent = 0; agent < (size_t)plan->agents; agent++)
        buf_printf(out, "%s\"http://%s:%u\"", agent > 0 ? ", " : "", address, agent_port(plan, unit, agent));
    buf_printf(out, "]\n");
    buf_printf(out, "    nodes: {blue: [\"http://%s:%u\"], green: [\"http://%s:%u\"]}\n", address,
               unit_port(plan, unit, BLUE_PORT), address, unit_port(plan, unit, GREEN_PORT));
    buf_printf(out, "    weights: {blue: 100, green: 0}\n");
}

void play_plan_rules(const struct play_plan *plan, struct buf *out)
{
    buf_printf(out, "# The rules that the playground began with. Change a copy and put it in force:\n"
                    "#   ldcctl rules diff FILE, ldcctl rules apply FILE\n"
                    "version: 1\n"
                    "identity:\n  sources: [\"header:X-User-Id\"]\n  on_missing: reject\n"
                    "sharding: {hash: modulo, slots: 100}\n"
                    "units:\n");
    for (size_t unit = 0; unit < unit_count(plan); unit++)
        append_unit(plan, unit, out);
    buf_printf(out, "topics:\n  payments: {partitions: 4}\n"
                    "collections:\n"
                    "  merchants: {staleness: 2s}\n"
                    "  rates: {staleness: 1s, digest: 5s}\n"
                    "  catalogue: {replication: snapshot, interval: 10s, staleness: 1m, when_stale: serve}\n"
                    "routes:\n"
                    "  - match: {path: \"/pay/*\", methods: [POST]}\n    zone: A\n    action: queue\n"
                    "    topic: payments\n    participants: [\"json:/payee\"]\n    cross_unit: core\n"
                    "  - {match: {path: \"/echo/*\"}, zone: A, action: proxy}\n"
                    "  - {match: {path: \"/search/*\"}, zone: B, action: proxy}\n"
                    "  - {match: {path: \"/core/*\"}, zone: core, action: proxy}\n"
                    "  - {match: {path: \"/-/c/*\"}, zone: C}\n");
}
