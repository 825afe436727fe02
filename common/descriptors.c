/* SPDX-License-Identifier: Apache-2.0 */
#include "common/descriptors.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"

#define TELL_EVERY_US 60000000

uint32_t descriptors_raise(void)
{
    struct rlimit limit;
    INVARIANT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
        limit = raised;
    return limit.rlim_cur < UINT32_MAX ? (uint32_t)limit.rlim_cur : UINT32_MAX;
}

static bool is_time_to_tell(void)
{
    static _Atomic uint64_t told_us;
    uint64_t before_us = atomic_load(&told_us), now_us = clock_monotonic_us();
    return (before_us == 0 || now_us - before_us >= TELL_EVERY_US) &&
           atomic_compare_exchange_strong(&told_us, &before_us, now_us);
}

bool descriptors_are_out(int failed, const char *wanted_for)
{
    if (failed != EMFILE && failed != ENFILE && failed != ENOBUFS && failed != ENOMEM)
        return false;
    if (is_time_to_tell())
        log_error("process.descriptors", "%s: out of %s: raise LimitNOFILE, or let in fewer connections", wanted_for,
                  failed == EMFILE || failed == ENFILE ? "file descriptors" : "memory for sockets");
    return true;
}
