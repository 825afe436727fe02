/* SPDX-License-Identifier: Apache-2.0
 *
 * What a playground consists of: every process with its ports, its configuration and its command line. All of it
 * follows from the folder, the numbers of gateways and units, and the first port, so that a playground that is
 * started again finds its brokers where its rules say. The plan owns its texts.
 *
 * With namespaces each gateway, each unit and each member of the store has a host of its own; a unit's replica stands
 * on the host of the unit that is its standby, further ones of the core on those of the first units. Else all are at
 * 127.0.0.1. A broker is guarded by the agents of the unit on whose host it stands.
 */
#ifndef OPS_PLAY_PLAN_H
#define OPS_PLAY_PLAN_H

#include <sys/types.h>

#include "common/error.h"
#include "common/str.h"

#define PLAY_GATEWAYS_MOST 10
#define PLAY_UNITS_MOST    100
#define PLAY_AGENTS_MOST   10 /* of a unit */
#define PLAY_BROKERS       2  /* of a unit */
#define PLAY_BROKERS_MOST  5  /* of the core */
#define PLAY_ARGS_MOST     16
#define PLAY_STORE_MEMBERS 3
#define PLAY_NAMESPACE     40 /* bytes that a network namespace's name takes at most */

/* In the order in which they start; they end the other way round. */
enum play_role {
    PLAY_STORE = 0, /* etcd's members */
    PLAY_BROKER,
    PLAY_APP,
    PLAY_AGENT,
    PLAY_GATEWAY,
    PLAY_ROLES,
};

struct play_port {
    const char *name; /* "ingress", "admin", "redis", "http", "client", "peer"; NULL: none */
    unsigned number;
};

struct play_process {
    char name[32];
    enum play_role role;
    char unit[16]; /* "" for gateways */
    char datacenter[8];
    char host[16];                  /* "RZ01", "gateway-1", "etcd-1" */
    char address[16];               /* where it listens, IPv4 */
    char namespace[PLAY_NAMESPACE]; /* of the network, where it has a host; "": our own */
    bool primary;                   /* brokers */
    struct play_port ports[2];
    char *argv[PLAY_ARGS_MOST]; /* NULL-terminated */
    char *config, *config_text; /* a file that is written before the start; NULL: none */
    char *log;

    pid_t pid;            /* 0: does not run */
    pid_t shown_pid;      /* the last it had: a 0 in topology.json would be a process group to whoever kills by it */
    uint64_t start_ticks; /* when PID began, so that a number that was given out again is not taken for it */
    uint64_t restart_us;  /* monotonic, when it is to be started again; 0: it is not */
};

struct play_plan {
    const char *dir;                 /* absolute */
    const char *programs;            /* the folder of ldc-gateway and the others */
    int64_t gateways, units, agents; /* agents: of each unit */
    int64_t core_brokers;            /* of the core unit; any other has two */
    unsigned port_base;
    bool etcd;         /* holds the store; else a folder does */
    bool namespaces;   /* hosts; else all stand on this machine itself */
    const char *token; /* of the admin listeners, and of brokers that listen to more than this machine */
    char network[16];  /* what the hosts' addresses begin with, such as "10.77.3" */
    struct play_process *processes;
    size_t count;
    struct play_process supervisor; /* who stays with them and takes them along; pid 0: nobody */
    bool supervised;                /* and starts again what dies */
};

/* Fills in the processes; the other fields are set, and what they point at outlives the plan. */
void play_plan_make(struct play_plan *plan);
void play_plan_free(struct play_plan *plan);

/* How many ports from port_base on it takes. */
unsigned play_plan_ports(const struct play_plan *plan);

/* Appends the rules that the playground begins with. */
void play_plan_rules(const struct play_plan *plan, struct buf *out);

/* Where the store is, as processes are told it, for free(). */
char *play_plan_store(const struct play_plan *plan);

const char *play_role_name(enum play_role role);

/* DIR and the formatted rest of the path, for free(). */
char *play_path(const char *dir, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
