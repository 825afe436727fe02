/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters that carry their own manual. A program writes its list once, in a header of lines
 * `STAT(name, kind, "help")`, and includes it to make the struct, the table and so the Prometheus text and the
 * documentation. Each thread owns one struct and is its only writer; readers sum over threads with relaxed loads.
 */
#ifndef COMMON_STATS_H
#define COMMON_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/str.h"

enum stat_kind {
    STAT_COUNTER = 0,
    STAT_GAUGE,
};

typedef _Atomic uint64_t stat_value;

struct stat_row {
    const char *name;
    enum stat_kind kind;
    const char *help;
    size_t offset; /* of the stat_value in the program's struct */
};

/* One writer a value: a plain load and store, no locked instruction. */
static inline void stat_add(stat_value *value, uint64_t n)
{
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void stat_set(stat_value *value, uint64_t n)
{
    atomic_store_explicit(value, n, memory_order_relaxed);
}

static inline uint64_t stat_get(const stat_value *value)
{
    return atomic_load_explicit((stat_value *)value, memory_order_relaxed);
}

/* Latencies in whole microseconds: exact below 8, then four buckets to a doubling; the last begins at 235 s. */
#define STAT_BUCKETS 108
struct stat_histogram {
    stat_value buckets[STAT_BUCKETS];
    stat_value sum_us;
};

/* Which bucket holds US. */
unsigned stat_bucket(uint64_t us);
void stat_observe(struct stat_histogram *histogram, uint64_t us);
/* Quantile Q (0..1) of the sum of COUNT histograms, to the microsecond above; between the bounds of its bucket it is
 * interpolated, as PromQL's histogram_quantile does. 0 when empty. */
uint64_t stat_quantile_us(const struct stat_histogram *const *histograms, size_t count, double q);

/* A metric's HELP and TYPE lines: "counter", "gauge", "histogram". For series that no struct holds. */
void stats_print_head(const char *name, const char *type, const char *help, struct buf *out);

/* Prometheus text: HELP, TYPE and the sum over the COUNT structs in BLOCKS, prefixed "ldcgate_". LABELS such as
 * `unit="RZ01"` or "". */
void stats_print(const struct stat_row *rows, size_t row_count, const void *const *blocks, size_t count,
                 const char *labels, struct buf *out);
void stats_print_histogram(const char *name, const char *help, const struct stat_histogram *const *histograms,
                           size_t count, const char *labels, struct buf *out);

/* One Markdown table row a metric, for docs/METRICS.md. */
void stats_document(const struct stat_row *rows, size_t row_count, struct buf *out);

#endif
