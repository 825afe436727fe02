/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/workers.h"

#include <semaphore.h>
#include <unistd.h>

#include "common/invariant.h"

int workers_start(struct gateway *gateway, struct error *err)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned count = gateway->config.threads > 0 ? (unsigned)gateway->config.threads
                     : processors > 0            ? (unsigned)processors
                                                 : 1;
    gateway->workers = mem_calloc(count, sizeof(*gateway->workers));
    for (unsigned i = 0; i < count; i++) {
        if (worker_start(&gateway->workers[i], gateway, i, err) == -1)
            return -1;
        gateway->worker_count = i + 1;
    }
    return 0;
}

void workers_adopt(struct gateway *gateway, struct view *view)
{
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_adopt(&gateway->workers[i], view);
}

uint64_t workers_epoch(const struct gateway *gateway)
{
    uint64_t lowest = gateway->worker_count > 0 ? UINT64_MAX : 0;
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        uint64_t epoch = atomic_load_explicit(&gateway->workers[i].epoch, memory_order_acquire);
        lowest = epoch < lowest ? epoch : lowest;
    }
    return lowest;
}

/* One call on all threads. `resume` is waited for only where they must stand still. */
struct call {
    void (*fn)(struct worker *worker, void *arg);
    void *arg;
    sem_t arrived, resume;
};

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) == -1)
        ;
}

static void run_call(struct worker *worker, void *arg)
{
    struct call *call = arg;
    call->fn(worker, call->arg);
    INVARIANT(sem_post(&call->arrived) == 0);
}

void workers_call(struct gateway *gateway, void (*fn)(struct worker *worker, void *arg), void *arg)
{
    struct call call = {.fn = fn, .arg = arg};
    INVARIANT(sem_init(&call.arrived, 0, 0) == 0);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_post(&gateway->workers[i], run_call, &call);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        wait_for(&call.arrived);
    sem_destroy(&call.arrived);
}

static void stand_still(struct worker *worker, void *arg)
{
    struct call *call = arg;
    (void)worker;
    INVARIANT(sem_post(&call->arrived) == 0);
    wait_for(&call->resume);
    INVARIANT(sem_post(&call->arrived) == 0);
}

void workers_pause(struct gateway *gateway, void (*fn)(struct gateway *gateway, void *arg), void *arg)
{
    struct call call = {0};
    INVARIANT(sem_init(&call.arrived, 0, 0) == 0 && sem_init(&call.resume, 0, 0) == 0);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_post(&gateway->workers[i], stand_still, &call);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        wait_for(&call.arrived);
    fn(gateway, arg);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        INVARIANT(sem_post(&call.resume) == 0);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        wait_for(&call.arrived); /* none looks at `call` any more */
    sem_destroy(&call.arrived);
    sem_destroy(&call.resume);
}

void workers_drain(struct gateway *gateway)
{
    workers_call(gateway, worker_drain, NULL);
}

void workers_stop(struct gateway *gateway)
{
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_stop(&gateway->workers[i]);
    gateway->worker_count = 0;
}

uint64_t workers_sum(const struct gateway *gateway, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < gateway->worker_count; i++)
        sum += stat_get((const stat_value *)((const char *)&gateway->workers[i].stats + offset));
    return sum;
}
