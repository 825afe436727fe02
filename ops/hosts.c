/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/hosts.h"

#include <dirent.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "ops/program.h"

#define NAMESPACES "/run/netns"
#define ROUTER     "router"
#define GATE       "169.254.0.1" /* the router's address on each of its wires */
#define OUR_NUMBER 1U            /* where ldcctl runs, in the playground's network */

static uint64_t hash_of(const char *dir)
{
    return XXH3_64bits(dir, strlen(dir));
}

void hosts_network(const char *dir, char network[16])
{
    uint64_t hash = hash_of(dir);
    snprintf(network, 16, "10.%u.%u", (unsigned)(1 + (hash >> 24) % 254), (unsigned)(hash >> 32 & 0xff));
}

/* "ldc-1a2b3c": also the name of our end of the wire, which may have 15 bytes. */
static void prefix_of(const char *dir, char prefix[PLAY_NAMESPACE])
{
    snprintf(prefix, PLAY_NAMESPACE, "ldc-%06x", (unsigned)(hash_of(dir) & 0xffffff));
}

void hosts_namespace(const char *dir, const char *host, char name[PLAY_NAMESPACE])
{
    char prefix[PLAY_NAMESPACE];
    prefix_of(dir, prefix);
    snprintf(name, PLAY_NAMESPACE, "%.11s-%.20s", prefix, host);
}

void hosts_router(const char *dir, char name[PLAY_NAMESPACE])
{
    hosts_namespace(dir, ROUTER, name);
}

int hosts_check(struct error *err)
{
    if (geteuid() != 0)
        return error_set(err, ERROR_SYSTEM,
                         "network namespaces are made by root alone: run it as root, or leave out "
                         "--hosts");
    if (!program_found("ip") || !program_found("iptables-restore"))
        return error_set(err, ERROR_SYSTEM, "ip or iptables is missing: `make deps` installs them");
    return 0;
}

/* --- make --------------------------------------------------------------------------------------------------------- */

static int run_ip(const char *namespace, struct buf *commands, struct error *err)
{
    int result = program_run(namespace, (const char *const[]){"ip", "-batch", "-", NULL}, buf_str(commands), err);
    buf_free(commands);
    return result;
}

/* The first process of each host stands for it. */
static bool begins_host(const struct play_plan *plan, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(plan->processes[j].host, plan->processes[i].host) == 0)
            return false;
    return true;
}

/* All namespaces, and the wires between them. */
static int make_wires(const struct play_plan *plan, struct error *err)
{
    char router[PLAY_NAMESPACE], ours[PLAY_NAMESPACE], name[PLAY_NAMESPACE];
    struct buf text = {0};
    prefix_of(plan->dir, ours);
    hosts_router(plan->dir, router);
    buf_printf(&text, "netns add %s\nlink add %s type veth peer name ours netns %s\n", router, ours, router);
    for (size_t i = 0; i < plan->count; i++) {
        if (!begins_host(plan, i))
            continue;
        hosts_namespace(plan->dir, plan->processes[i].host, name);
        buf_printf(&text, "netns add %s\nlink add %s netns %s type veth peer name eth0 netns %s\n", name,
                   plan->processes[i].host, router, name);
    }
    buf_printf(&text, "addr add %s.%u/32 dev %s\nlink set %s up\n", plan->network, OUR_NUMBER, ours, ours);
    buf_printf(&text, "route add %s.0/24 via " GATE " dev %s onlink src %s.%u\n", plan->network, ours, plan->network,
               OUR_NUMBER);
    return run_ip(NULL, &text, err);
}

static void append_wire(struct buf *out, const char *wire, const char *address)
{
    buf_printf(out, "addr add " GATE "/32 dev %s\nlink set %s up\nroute add %s/32 dev %s\n", wire, wire, address, wire);
}

static int set_up_router(const struct play_plan *plan, struct error *err)
{
    char router[PLAY_NAMESPACE], ours[24];
    struct buf text = {0};
    snprintf(ours, sizeof(ours), "%s.%u", plan->network, OUR_NUMBER);
    hosts_router(plan->dir, router);
    append_wire(&text, "ours", ours);
    for (size_t i = 0; i < plan->count; i++)
        if (begins_host(plan, i))
            append_wire(&text, plan->processes[i].host, plan->processes[i].address);
    if (run_ip(router, &text, err) != 0)
        return -1;
    const char *const forward[] = {"sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward", NULL};
    return program_run(router, forward, STR_LIT(""), err);
}

static int set_up_host(const struct play_plan *plan, const struct play_process *process, struct error *err)
{
    char name[PLAY_NAMESPACE];
    struct buf text = {0};
    hosts_namespace(plan->dir, process->host, name);
    buf_printf(&text, "link set lo up\naddr add %s/32 dev eth0\nlink set eth0 up\n", process->address);
    buf_printf(&text, "route add default via " GATE " dev eth0 onlink\n");
    return run_ip(name, &text, err);
}

int hosts_make(const struct play_plan *plan, struct error *err)
{
    int result = hosts_remove(plan->dir, err);
    if (result == 0)
        result = make_wires(plan, err);
    for (size_t i = 0; i < plan->count && result == 0; i++)
        if (begins_host(plan, i))
            result = set_up_host(plan, &plan->processes[i], err);
    return result == 0 ? set_up_router(plan, err) : -1;
}

/* --- remove ------------------------------------------------------------------------------------------------------- */

int hosts_remove(const char *dir, struct error *err)
{
    char prefix[PLAY_NAMESPACE];
    struct buf text = {0};
    prefix_of(dir, prefix);
    if (if_nametoindex(prefix) != 0) /* namespaces go in their own time, and would take it along then */
        buf_printf(&text, "link del %s\n", prefix);
    hosts_namespace(dir, "", prefix);
    DIR *folder = opendir(NAMESPACES);
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            buf_printf(&text, "netns del %s\n", entry->d_name);
    if (folder != NULL)
        closedir(folder);
    return text.len > 0 ? run_ip(NULL, &text, err) : 0;
}
