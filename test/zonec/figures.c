/* SPDX-License-Identifier: Apache-2.0 */
#include "test/zonec/figures.h"

#include <stdlib.h>

#include "common/str.h"

void figures_add(struct figures *figures, uint64_t us)
{
    if (figures->count == figures->capacity) {
        figures->capacity = figures->capacity * 2 + 1024;
        figures->times = mem_realloc(figures->times, figures->capacity * sizeof(*figures->times));
    }
    figures->times[figures->count++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static uint32_t quantile(const struct figures *figures, double share)
{
    size_t at = (size_t)(share * (double)figures->count);
    return figures->count == 0 ? 0 : figures->times[at < figures->count ? at : figures->count - 1];
}

void figures_print(struct figures *figures, const char *name, FILE *out)
{
    if (figures->count > 0)
        qsort(figures->times, figures->count, sizeof(*figures->times), by_size);
    fprintf(out, ",\"%s\":{\"count\":%zu,\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"p999_us\":%u,\"max_us\":%u}", name,
            figures->count, quantile(figures, 0.5), quantile(figures, 0.9), quantile(figures, 0.99),
            quantile(figures, 0.999), quantile(figures, 1.0));
}

void figures_clear(struct figures *figures)
{
    free(figures->times);
    *figures = (struct figures){0};
}
