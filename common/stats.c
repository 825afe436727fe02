/* SPDX-License-Identifier: Apache-2.0 */
#include "common/stats.h"

#include <math.h>

#define EXACT 4 /* values below it have a bucket each, and so have those of the first doubling behind it */

unsigned stat_bucket(uint64_t us)
{
    if (us < EXACT)
        return (unsigned)us;
    unsigned exponent = 63 - (unsigned)__builtin_clzll(us);
    unsigned bucket = (exponent - 1) * 4 + (unsigned)(us >> (exponent - 2)) - 4;
    return bucket < STAT_BUCKETS ? bucket : STAT_BUCKETS - 1;
}

/* Where the bucket ends, exclusively: its times were cut to whole microseconds, so the time itself was below that. */
static uint64_t bound_of(unsigned bucket)
{
    unsigned next = bucket + 1;
    return next < EXACT ? next : (uint64_t)(next % 4 + 4) << (next / 4 - 1);
}

void stat_observe(struct stat_histogram *histogram, uint64_t us)
{
    stat_add(&histogram->buckets[stat_bucket(us)], 1);
    stat_add(&histogram->sum_us, us);
}

static uint64_t sum_buckets(const struct stat_histogram *const *histograms, size_t count, uint64_t *sums)
{
    uint64_t total = 0;
    for (unsigned bucket = 0; bucket < STAT_BUCKETS; bucket++) {
        sums[bucket] = 0;
        for (size_t i = 0; i < count; i++)
            sums[bucket] += stat_get(&histograms[i]->buckets[bucket]);
        total += sums[bucket];
    }
    return total;
}

/* As if the times of a bucket were spread evenly over it. */
static uint64_t within(unsigned bucket, double share)
{
    uint64_t begin = bucket > 0 ? bound_of(bucket - 1) : 0;
    return begin + (uint64_t)ceil(share * (double)(bound_of(bucket) - begin));
}

uint64_t stat_quantile_us(const struct stat_histogram *const *histograms, size_t count, double q)
{
    uint64_t sums[STAT_BUCKETS];
    uint64_t total = sum_buckets(histograms, count, sums);
    if (total == 0)
        return 0;
    uint64_t rank = q > 0 ? (uint64_t)ceil(q * (double)total) : 1;
    unsigned bucket = 0;
    for (; bucket < STAT_BUCKETS - 1 && (sums[bucket] < rank); bucket++)
        rank -= sums[bucket];
    return within(bucket, sums[bucket] > 0 ? (double)rank / (double)sums[bucket] : 1);
}

void stats_print_head(const char *name, const char *type, const char *help, struct buf *out)
{
    buf_printf(out, "# HELP ldcgate_%s %s\n# TYPE ldcgate_%s %s\n", name, help, name, type);
}

static const char *kind_name(enum stat_kind kind)
{
    return kind == STAT_COUNTER ? "counter" : "gauge";
}

static void print_value(const char *name, const char *labels, uint64_t value, struct buf *out)
{
    bool labelled = labels[0] != '\0';
    buf_printf(out, "ldcgate_%s%s%s%s %llu\n", name, labelled ? "{" : "", labels, labelled ? "}" : "",
               (unsigned long long)value);
}

void stats_print(const struct stat_row *rows, size_t row_count, const void *const *blocks, size_t count,
                 const char *labels, struct buf *out)
{
    for (size_t row = 0; row < row_count; row++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < count; i++)
            sum += stat_get((const stat_value *)((const char *)blocks[i] + rows[row].offset));
        stats_print_head(rows[row].name, kind_name(rows[row].kind), rows[row].help, out);
        print_value(rows[row].name, labels, sum, out);
    }
}

void stats_print_histogram(const char *name, const char *help, const struct stat_histogram *const *histograms,
                           size_t count, const char *labels, struct buf *out)
{
    const char *comma = labels[0] != '\0' ? "," : "";
    uint64_t sums[STAT_BUCKETS], seen = 0, sum_us = 0;
    uint64_t total = sum_buckets(histograms, count, sums);
    for (size_t i = 0; i < count; i++)
        sum_us += stat_get(&histograms[i]->sum_us);

    stats_print_head(name, "histogram", help, out);
    for (unsigned bucket = 0; bucket < STAT_BUCKETS - 1; bucket++) {
        seen += sums[bucket];
        buf_printf(out, "ldcgate_%s_bucket{%s%sle=\"%.9g\"} %llu\n", name, labels, comma,
                   (double)bound_of(bucket) / 1e6, (unsigned long long)seen);
    }
    buf_printf(out, "ldcgate_%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma, (unsigned long long)total);
    const char *open = labels[0] != '\0' ? "{" : "", *close = labels[0] != '\0' ? "}" : "";
    buf_printf(out, "ldcgate_%s_sum%s%s%s %.6f\n", name, open, labels, close, (double)sum_us / 1e6);
    buf_printf(out, "ldcgate_%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)total);
}

void stats_document(const struct stat_row *rows, size_t row_count, struct buf *out)
{
    for (size_t row = 0; row < row_count; row++)
        buf_printf(out, "| `ldcgate_%s` | %s | %s |\n", rows[row].name, kind_name(rows[row].kind), rows[row].help);
}
