/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "unit-agent/bucket_proof.h"

#define MOST 8

/* A reply as EXEC gives it: the sequence, the sums, one bucket. */
struct scene {
    redisReply seq, sums, hash, reply, words[2 * MOST];
    redisReply *elements[3], *word_list[2 * MOST];
    struct buf packed[MOST];
    char sum[COLLECTION_SUM_SIZE];
    uint32_t number;
};

static struct str at(const char *base)
{
    return str_of(base);
}

static void add(struct scene *scene, const char *key, const char *value, uint64_t version)
{
    size_t i = scene->hash.elements / 2;
    scene->packed[i].len = 0;
    collection_pack(at(key), at("text/plain"), at(value), &scene->packed[i]);
    memcpy(scene->packed[i].base + 1, &version, sizeof(version));
    scene->words[2 * i] = (redisReply){.type = REDIS_REPLY_STRING, .str = (char *)key, .len = strlen(key)};
    scene->words[2 * i + 1] =
        (redisReply){.type = REDIS_REPLY_STRING, .str = scene->packed[i].base, .len = scene->packed[i].len};
    scene->word_list[2 * i] = &scene->words[2 * i];
    scene->word_list[2 * i + 1] = &scene->words[2 * i + 1];
    scene->hash.elements += 2;
}

static struct bucket look(struct scene *scene)
{
    struct bucket bucket;
    assert_true(bucket_read(&scene->reply, scene->number, 1, 0, &bucket));
    return bucket;
}

static void keep_sum(struct scene *scene)
{
    struct bucket bucket = look(scene);
    uint64_t sum = bucket_sum(&bucket);
    memcpy(scene->sum, &sum, sizeof(scene->sum));
}

static int make(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    scene->number = collection_bucket(at("merchant-1"));
    scene->seq = (redisReply){.type = REDIS_REPLY_STRING, .str = "17", .len = 2};
    scene->sums = (redisReply){.type = REDIS_REPLY_STRING, .str = scene->sum, .len = sizeof(scene->sum)};
    scene->hash = (redisReply){.type = REDIS_REPLY_ARRAY, .element = scene->word_list};
    scene->elements[0] = &scene->seq, scene->elements[1] = &scene->sums, scene->elements[2] = &scene->hash;
    scene->reply = (redisReply){.type = REDIS_REPLY_ARRAY, .elements = 3, .element = scene->elements};
    add(scene, "merchant-1", "one", 17);
    keep_sum(scene);
    *state = scene;
    return 0;
}

static int end(void **state)
{
    struct scene *scene = *state;
    for (size_t i = 0; i < MOST; i++)
        buf_free(&scene->packed[i]);
    free(scene);
    return 0;
}

static enum bucket_fault judge(struct scene *scene)
{
    struct bucket bucket = look(scene);
    return bucket_judge(&bucket, NULL);
}

static void what_was_written_is_sound(void **state)
{
    struct bucket bucket = look(*state);
    assert_int_equal(bucket.seq, 17);
    assert_int_equal(bucket.count, 1);
    assert_int_equal(judge(*state), BUCKET_SOUND);
}

static void a_flipped_bit_is_found(void **state)
{
    struct scene *scene = *state;
    scene->packed[0].base[scene->packed[0].len - 1] ^= 1;
    assert_int_equal(judge(scene), BUCKET_BAD_VALUE);
}

static void another_version_is_found_by_the_sum(void **state)
{
    struct scene *scene = *state;
    scene->packed[0].base[1] ^= 1;
    assert_int_equal(judge(scene), BUCKET_BAD_SUM);
}

static void a_missing_key_is_found_by_the_sum(void **state)
{
    struct scene *scene = *state;
    scene->hash.elements = 0;
    assert_int_equal(judge(scene), BUCKET_BAD_SUM);
}

static void a_key_of_another_bucket_is_found(void **state)
{
    struct scene *scene = *state;
    add(scene, "merchant-2", "two", 3);
    keep_sum(scene);
    size_t where = 0;
    struct bucket bucket = look(scene);
    assert_int_equal(bucket_judge(&bucket, &where), BUCKET_BAD_VALUE);
    assert_int_equal(where, 1);
}

static void what_is_no_value_at_all_is_found(void **state)
{
    struct scene *scene = *state;
    scene->words[1].len = 5;
    assert_int_equal(judge(scene), BUCKET_BAD_VALUE);
}

static void a_key_of_another_type_is_found(void **state)
{
    struct scene *scene = *state;
    scene->hash = (redisReply){.type = REDIS_REPLY_ERROR, .str = "WRONGTYPE", .len = 9};
    assert_int_equal(judge(scene), BUCKET_NO_HASH);
}

static void an_empty_bucket_has_the_sum_nought_which_need_not_be_written(void **state)
{
    struct scene *scene = *state;
    scene->hash.elements = 0;
    scene->sums.len = 0;
    assert_int_equal(judge(scene), BUCKET_SOUND);
    scene->sums.len = 1;
    scene->sum[0] = 1;
    assert_int_equal(judge(scene), BUCKET_BAD_SUM);
}

static void what_is_no_answer_is_refused(void **state)
{
    struct scene *scene = *state;
    struct bucket bucket;
    assert_false(bucket_read(NULL, 0, 1, 0, &bucket));
    assert_false(bucket_read(&scene->reply, 0, 2, 0, &bucket));
    redisReply refused = {.type = REDIS_REPLY_ERROR, .str = "EXECABORT", .len = 9};
    assert_false(bucket_read(&refused, 0, 1, 0, &bucket));
}

/* --- proofs ------------------------------------------------------------------------------------------------------- */

/* The changes that were asked for: "KEY CONDITION LENGTH;" each. */
static void note_change(void *arg, const struct str words[BUCKET_CHANGE_WORDS])
{
    buf_printf(arg, "%.*s %.*s %zu;", STR_ARG(words[0]), STR_ARG(words[2]), words[3].len);
}

static enum bucket_proof prove(struct scene *scene, const struct bucket *evidence, struct buf *changes)
{
    struct bucket wrong = look(scene);
    return bucket_prove(&wrong, evidence, note_change, changes);
}

static void what_a_kept_sum_fits_is_written_again(void **state)
{
    struct scene *scene = *state;
    struct bucket sound = look(scene), *evidence = bucket_dup(&sound);
    struct buf changes = {0};
    scene->packed[0].base[scene->packed[0].len - 1] ^= 1;
    assert_int_equal(prove(scene, evidence, &changes), BUCKET_WHOLE_PROVEN);
    assert_string_equal(changes.base, "merchant-1 match 17 40;");

    changes.len = scene->hash.elements = 0;
    assert_int_equal(prove(scene, evidence, &changes), BUCKET_WHOLE_PROVEN);
    assert_string_equal(changes.base, "merchant-1 match 0 40;");

    changes.len = 0;
    add(scene, "stray", "x", 3);
    assert_int_equal(prove(scene, evidence, &changes), BUCKET_WHOLE_PROVEN);
    assert_string_equal(changes.base, "stray match 3 0;merchant-1 match 0 40;");
    buf_free(&changes);
    free(evidence);
}

static void the_same_values_under_a_sum_that_fits_nothing_are_alike(void **state)
{
    struct scene *scene = *state;
    struct bucket sound = look(scene), *evidence = bucket_dup(&sound);
    struct buf changes = {0};
    scene->sum[0] ^= 1;
    assert_int_equal(prove(scene, evidence, &changes), BUCKET_ALIKE);
    assert_int_equal(changes.len, 0);
    buf_free(&changes);
    free(evidence);
}

static void a_value_speaks_for_itself_under_a_sum_that_fits_nothing(void **state)
{
    struct scene *scene = *state;
    struct bucket sound = look(scene), *evidence = bucket_dup(&sound);
    struct buf changes = {0};
    scene->packed[0].base[scene->packed[0].len - 1] ^= 1;
    scene->sum[0] ^= 1;
    assert_int_equal(prove(scene, evidence, &changes), BUCKET_VALUES_PROVEN);
    assert_string_equal(changes.base, "merchant-1 match 17 40;");

    changes.len = 0;
    scene->packed[0].base[1] ^= 1; /* of another version than the evidence knows */
    assert_int_equal(prove(scene, evidence, &changes), BUCKET_UNPROVEN);
    assert_int_equal(changes.len, 0);
    buf_free(&changes);
    free(evidence);
}

static void a_missing_key_is_not_made_up(void **state)
{
    struct scene *scene = *state;
    struct bucket sound = look(scene), *evidence = bucket_dup(&sound);
    struct buf changes = {0};
    scene->hash.elements = 0;
    scene->sum[0] ^= 1;
    assert_int_equal(prove(scene, evidence, &changes), BUCKET_UNPROVEN);
    assert_int_equal(changes.len, 0);
    buf_free(&changes);
    free(evidence);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, end)
        TEST(what_was_written_is_sound),
        TEST(a_flipped_bit_is_found),
        TEST(another_version_is_found_by_the_sum),
        TEST(a_missing_key_is_found_by_the_sum),
        TEST(a_key_of_another_bucket_is_found),
        TEST(what_is_no_value_at_all_is_found),
        TEST(a_key_of_another_type_is_found),
        TEST(an_empty_bucket_has_the_sum_nought_which_need_not_be_written),
        TEST(what_is_no_answer_is_refused),
        TEST(what_a_kept_sum_fits_is_written_again),
        TEST(the_same_values_under_a_sum_that_fits_nothing_are_alike),
        TEST(a_value_speaks_for_itself_under_a_sum_that_fits_nothing),
        TEST(a_missing_key_is_not_made_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
