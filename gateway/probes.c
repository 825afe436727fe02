/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "gateway/probes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/invariant.h"
#include "common/log.h"
#include "common/loop.h"

/* One connection attempt. */
struct probe {
    struct probe *next;
    struct probes *probes;
    struct node *node;
    int fd;
    sd_event_source *answer, *deadline;
};

struct probes {
    sd_event *loop;
    const struct gateway_config *config;
    struct control_stats *stats;
    struct view *view;
    sd_event_source *tick;
    struct probe *under_way;
    bool *told; /* by node id: that it is out stands in the log */
    size_t told_count;
};

/* Once for each time that it goes out, and once when it is back. */
static void tell(struct probes *probes, const struct node *node, bool out)
{
    if (node->id >= probes->told_count) {
        size_t count = (size_t)node->id * 2 + 16;
        probes->told = mem_realloc(probes->told, count * sizeof(*probes->told));
        memset(probes->told + probes->told_count, 0, (count - probes->told_count) * sizeof(*probes->told));
        probes->told_count = count;
    }
    if (probes->told[node->id] == out)
        return;
    probes->told[node->id] = out;
    if (out)
        log_warning("node.out", "%s: a connection to it failed", node->url);
    else
        log_info("node.back", "%s takes connections again", node->url);
}

static void end(struct probe *probe, bool connected)
{
    struct probe **at = &probe->probes->under_way;
    while (*at != probe)
        at = &(*at)->next;
    *at = probe->next;
    if (connected) {
        atomic_store_explicit(&probe->node->refused, false, memory_order_relaxed);
        tell(probe->probes, probe->node, false);
    }
    sd_event_source_disable_unref(probe->answer);
    sd_event_source_disable_unref(probe->deadline);
    close(probe->fd);
    free(probe);
}

static int on_answer(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    (void)source, (void)events;
    int failed = 0;
    socklen_t len = sizeof(failed);
    bool connected = getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) == 0 && failed == 0;
    end(arg, connected);
    return 0;
}

static int on_deadline(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    end(arg, false);
    return 0;
}

static void start(struct probes *probes, struct node *node)
{
    int fd = socket(node->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return;
    tell(probes, node, true);
    stat_add(&probes->stats->node_probes_total, 1);
    struct probe *probe = mem_calloc(1, sizeof(*probe));
    *probe = (struct probe){.next = probes->under_way, .probes = probes, .node = node, .fd = fd};
    probes->under_way = probe;
    bool connected = connect(fd, (const struct sockaddr *)&node->address, node->address_len) == 0;
    if (connected || errno != EINPROGRESS) {
        end(probe, connected);
        return;
    }
    uint64_t timeout_us = (uint64_t)probes->config->proxy.connect_timeout * 1000;
    INVARIANT(sd_event_add_io(probes->loop, &probe->answer, fd, EPOLLOUT, on_answer, probe) >= 0);
    INVARIANT(sd_event_add_time_relative(probes->loop, &probe->deadline, CLOCK_MONOTONIC, timeout_us, 0, on_deadline,
                                         probe) >= 0);
}

static bool is_under_way(const struct probes *probes, const struct node *node)
{
    for (const struct probe *probe = probes->under_way; probe != NULL; probe = probe->next)
        if (probe->node == node)
            return true;
    return false;
}

static void probe_unit(struct probes *probes, uint32_t unit)
{
    for (int color = 0; color < COLOR_COUNT; color++) {
        for (uint32_t i = 0; i < probes->view->table->units[unit].nodes[color].count; i++) {
            struct node *node = probes->view->units[unit].nodes[color][i];
            if (atomic_load_explicit(&node->refused, memory_order_relaxed) && !is_under_way(probes, node))
                start(probes, node);
        }
    }
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct probes *probes = arg;
    for (uint32_t unit = 0; probes->view != NULL && unit < probes->view->table->unit_count; unit++)
        probe_unit(probes, unit);
    return loop_wake_in(source, (uint64_t)probes->config->proxy.probe_interval * 1000);
}

void probes_adopt(struct probes *probes, struct view *view)
{
    view_ref(view);
    view_unref(&probes->view);
    probes->view = view;
}

struct probes *probes_create(sd_event *loop, const struct gateway_config *config, struct control_stats *stats)
{
    struct probes *probes = mem_calloc(1, sizeof(*probes));
    *probes = (struct probes){.loop = loop, .config = config, .stats = stats};
    INVARIANT(sd_event_add_time_relative(loop, &probes->tick, CLOCK_MONOTONIC, 0, 0, on_tick, probes) >= 0);
    return probes;
}

void probes_destroy(struct probes **probes)
{
    if (*probes == NULL)
        return;
    while ((*probes)->under_way != NULL)
        end((*probes)->under_way, false);
    sd_event_source_disable_unref((*probes)->tick);
    view_unref(&(*probes)->view);
    free((*probes)->told);
    free(*probes);
    *probes = NULL;
}
