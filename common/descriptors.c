/* SPDX-License-Identifier: Apache-2.0 */
#include "common/descriptors.h"

#include <sys/resource.h>

#include "common/invariant.h"

uint32_t descriptors_raise(void)
{
    struct rlimit limit;
    INVARIANT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
        limit = raised;
    return limit.rlim_cur < UINT32_MAX ? (uint32_t)limit.rlim_cur : UINT32_MAX;
}
