/* SPDX-License-Identifier: Apache-2.0 */
#include "router/verdict.h"

#include "common/invariant.h"

static const struct verdict_info infos[VERDICT_COUNT] = {
#define VERDICT_ROW(name, status, problem, proxy_status, retry, title) {status, problem, proxy_status, retry, title},
    VERDICTS(VERDICT_ROW)
#undef VERDICT_ROW
};

const struct verdict_info *verdict_info(enum verdict verdict)
{
    INVARIANT(verdict >= 0 && verdict < VERDICT_COUNT);
    return &infos[verdict];
}
