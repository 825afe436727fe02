/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/bucket_proof.h"

#include <inttypes.h>
#include <stdio.h>

static bool is_same(const struct bucket *wrong, size_t i, const struct bucket *evidence, size_t k)
{
    return k < evidence->count && str_equal(bucket_value(wrong, i), bucket_value(evidence, k));
}

static void change_key(const struct bucket *wrong, size_t i, const struct bucket *evidence, size_t k,
                       bucket_change_fn change, void *arg)
{
    char number[16], condition[32];
    uint64_t version = i < wrong->count ? bucket_version(wrong, i) : 0;
    const struct str words[BUCKET_CHANGE_WORDS] = {
        i < wrong->count ? bucket_key(wrong, i) : bucket_key(evidence, k),
        {number, (size_t)snprintf(number, sizeof(number), "%u", wrong->number)},
        {condition, (size_t)snprintf(condition, sizeof(condition), "match %" PRIu64, version)},
        k < evidence->count ? bucket_value(evidence, k) : STR_LIT(""),
        STR_LIT("")};
    change(arg, words);
}

/* All that WRONG lacks, has too many, or has otherwise than EVIDENCE. Returns how many keys; CHANGE may be NULL. */
static size_t change_all(const struct bucket *wrong, const struct bucket *evidence, bucket_change_fn change, void *arg)
{
    size_t count = 0;
    for (size_t i = 0; i < wrong->count; i++) {
        size_t k = bucket_find(evidence, bucket_key(wrong, i));
        if (is_same(wrong, i, evidence, k))
            continue;
        count++;
        if (change != NULL)
            change_key(wrong, i, evidence, k, change, arg);
    }
    for (size_t k = 0; k < evidence->count; k++) {
        if (bucket_find(wrong, bucket_key(evidence, k)) < wrong->count)
            continue;
        count++;
        if (change != NULL)
            change_key(wrong, wrong->count, evidence, k, change, arg);
    }
    return count;
}

/* Whether entry I still says which value was written, and EVIDENCE has that one. */
static bool is_proven(const struct bucket *wrong, size_t i, const struct bucket *evidence, size_t k)
{
    struct collection_value is, was;
    return k < evidence->count && collection_unpack(bucket_value(wrong, i), &is) &&
           collection_unpack(bucket_value(evidence, k), &was) && is.version == was.version && is.check == was.check;
}

/* Of a bucket whose sum is not to be relied on: the values that speak for themselves. False where one does not. */
static bool change_bad(const struct bucket *wrong, const struct bucket *evidence, bucket_change_fn change, void *arg)
{
    size_t bad = 0, proven = 0;
    for (size_t i = 0; i < wrong->count; i++) {
        if (bucket_entry_is_good(wrong, i))
            continue;
        bad++;
        proven += is_proven(wrong, i, evidence, bucket_find(evidence, bucket_key(wrong, i)));
    }
    for (size_t i = 0; i < wrong->count && bad == proven; i++)
        if (!bucket_entry_is_good(wrong, i))
            change_key(wrong, i, evidence, bucket_find(evidence, bucket_key(wrong, i)), change, arg);
    return bad > 0 && bad == proven;
}

/* A sum that the evidence makes is what the functions kept for these very values. A sum that it does not make may be of
 * a moment before or after, or wrong itself. */
enum bucket_proof bucket_prove(const struct bucket *wrong, const struct bucket *evidence, bucket_change_fn change,
                               void *arg)
{
    if (wrong->is_hash && change_all(wrong, evidence, NULL, NULL) == 0)
        return BUCKET_ALIKE;
    if (bucket_sum(evidence) == wrong->sum) {
        change_all(wrong, evidence, change, arg);
        return BUCKET_WHOLE_PROVEN;
    }
    return change_bad(wrong, evidence, change, arg) ? BUCKET_VALUES_PROVEN : BUCKET_UNPROVEN;
}
