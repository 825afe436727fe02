/* SPDX-License-Identifier: Apache-2.0
 *
 * What h2o/http2_internal.h asks of klib's khash.h, which libh2o's development package does not bring: the layout of a
 * hash table (klib 0.2) and the look-up in it. Read only; the tables are libh2o's. Two bits a bucket say whether it is
 * empty (2) or deleted (1); buckets are probed at triangular distances.
 */
#ifndef GATEWAY_KLIB_KHASH_H
#define GATEWAY_KLIB_KHASH_H

#include <stdint.h>

typedef uint32_t khint_t;
typedef khint_t khiter_t;

#define khash_t(name)      kh_##name##_t
#define kh_get(name, h, k) kh_get_##name(h, k)
#define kh_end(h)          ((h)->n_buckets)
#define kh_val(h, at)      ((h)->vals[at])
#define kh_exist(h, at)    (((h)->flags[(at) >> 4] >> (((at)&15) << 1) & 3) == 0)
#define kh_empty(h, at)    (((h)->flags[(at) >> 4] >> (((at)&15) << 1) & 2) != 0)

#define KHASH_MAP_INIT_INT64(name, value_t)                                                                            \
    typedef struct {                                                                                                   \
        khint_t n_buckets, size, n_occupied, upper_bound;                                                              \
        uint32_t *flags;                                                                                               \
        uint64_t *keys;                                                                                                \
        value_t *vals;                                                                                                 \
    } kh_##name##_t;                                                                                                   \
    static inline khint_t kh_get_##name(const kh_##name##_t *h, uint64_t key)                                          \
    {                                                                                                                  \
        if (h->n_buckets == 0)                                                                                         \
            return 0;                                                                                                  \
        khint_t mask = h->n_buckets - 1, at = (khint_t)(key >> 33 ^ key ^ key << 11) & mask;                           \
        for (khint_t step = 1; step <= h->n_buckets && !kh_empty(h, at); at = (at + step++) & mask)                    \
            if (kh_exist(h, at) && h->keys[at] == key)                                                                 \
                return at;                                                                                             \
        return h->n_buckets;                                                                                           \
    }

#endif
