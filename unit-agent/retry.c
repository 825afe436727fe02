/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/retry.h"

#include <stdlib.h>

#include "common/measure.h"

void retry_adopt(struct retry *retry, const struct table_retry *rules)
{
    size_t ladder = rules->ladder_count * sizeof(*rules->ladder_ms);
    size_t statuses = rules->dead_status_count * sizeof(*rules->dead_statuses);
    if (rules->ladder_count == 0) /* no rules that were compiled, see struct table_retry */
        return;
    retry->ladder_ms = mem_realloc(retry->ladder_ms, ladder);
    memcpy(retry->ladder_ms, rules->ladder_ms, ladder);
    retry->dead_statuses = mem_realloc(retry->dead_statuses, statuses + 1);
    if (statuses > 0)
        memcpy(retry->dead_statuses, rules->dead_statuses, statuses);
    retry->ladder_count = rules->ladder_count;
    retry->dead_status_count = rules->dead_status_count;
    retry->attempts = rules->attempts;
}

void retry_preset(struct retry *retry)
{
    static const int64_t ladder_ms[] = {10000, 60000, 600000};
    retry_adopt(retry, &(struct table_retry){
                           .attempts = UINT32_MAX, .ladder_ms = ladder_ms, .ladder_count = COUNT_OF(ladder_ms)});
}

void retry_free(struct retry *retry)
{
    free(retry->ladder_ms);
    free(retry->dead_statuses);
    *retry = (struct retry){0};
}

bool retry_is_dead(const struct retry *retry, long status)
{
    for (uint32_t i = 0; i < retry->dead_status_count; i++)
        if (retry->dead_statuses[i] == status)
            return true;
    return false;
}

int64_t retry_spread_ms(int64_t wait_ms, uint64_t random)
{
    int64_t spread_ms = wait_ms / 5;
    return spread_ms > 0 ? wait_ms - spread_ms + (int64_t)(random % (uint64_t)(2 * spread_ms + 1)) : wait_ms;
}

int64_t retry_wait_ms(const struct retry *retry, uint32_t attempts, uint64_t random)
{
    uint32_t step = attempts < retry->ladder_count ? attempts : retry->ladder_count;
    return retry_spread_ms(retry->ladder_ms[step - 1], random);
}
