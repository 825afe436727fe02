/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "unit-agent/copy_queue.h"

/* "{ID, {op, OP, us, US}}" as hiredis reads it from a broker. */
static redisReply *entry_of(const char *id, const char *op, const char *us)
{
    char text[256];
    void *reply = NULL;
    redisReader *reader = redisReaderCreate();
    int len =
        snprintf(text, sizeof(text), "*2\r\n$%zu\r\n%s\r\n*4\r\n$2\r\nop\r\n$%zu\r\n%s\r\n$2\r\nus\r\n$%zu\r\n%s\r\n",
                 strlen(id), id, strlen(op), op, strlen(us), us);
    assert_int_equal(redisReaderFeed(reader, text, (size_t)len), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    redisReaderFree(reader);
    return reply;
}

static bool add(struct copy_queue *queue, const char *id, const char *us)
{
    redisReply *entry = entry_of(id, "beat", us);
    bool added = copy_queue_add(queue, entry);
    freeReplyObject(entry);
    return added;
}

static void an_entry_becomes_the_words_of_c_apply(void **state)
{
    (void)state;
    struct copy_queue queue = {0};
    assert_true(add(&queue, "17-3", "99"));
    copy_queue_cover(&queue, queue.added);
    struct copy_batch batch = copy_queue_batch(&queue, 10, 1000);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.us, 99);
    char text[256];
    snprintf(text, sizeof(text), "%.*s", STR_ARG(batch.words));
    assert_string_equal(text, "$2\r\n17\r\n$4\r\nbeat\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$2\r\n99\r\n$0\r\n\r\n");
    copy_queue_free(&queue);
}

static void what_is_no_entry_is_refused(void **state)
{
    (void)state;
    struct copy_queue queue = {0};
    redisReply nothing = {.type = REDIS_REPLY_NIL};
    assert_false(copy_queue_add(&queue, &nothing));
    assert_false(add(&queue, "x-3", "99"));
    assert_int_equal(copy_queue_count(&queue), 0);
    copy_queue_free(&queue);
}

static void only_what_is_covered_is_handed_out_in_its_order(void **state)
{
    (void)state;
    struct copy_queue queue = {0};
    char id[40], us[32];
    uint64_t next = 1, covered = 0;
    for (unsigned round = 0; round < 1000; round++) {
        for (unsigned i = 0; i < round % 7; i++) {
            snprintf(us, sizeof(us), "%lu", (unsigned long)queue.added + 1);
            snprintf(id, sizeof(id), "%s-0", us);
            assert_true(add(&queue, id, us));
        }
        if (round % 3 == 0)
            copy_queue_cover(&queue, covered);
        covered = queue.added;
        struct copy_batch batch = copy_queue_batch(&queue, 5, 200);
        assert_true(batch.count <= 5 && (batch.count <= 1 || batch.words.len <= 200));
        assert_true(queue.taken + batch.count <= queue.covered);
        next += batch.count;
        if (batch.count > 0)
            assert_int_equal(batch.us, next - 1);
        copy_queue_take(&queue, batch.count);
    }
    copy_queue_free(&queue);
}

static void what_was_claimed_before_it_was_cleared_covers_nothing_that_came_later(void **state)
{
    (void)state;
    struct copy_queue queue = {0};
    assert_true(add(&queue, "1-0", "1"));
    uint64_t claimed = queue.added;
    copy_queue_clear(&queue);
    assert_true(add(&queue, "1-0", "1"));
    copy_queue_cover(&queue, claimed);
    assert_int_equal(copy_queue_batch(&queue, 1, 1).count, 0);
    copy_queue_cover(&queue, queue.added);
    assert_int_equal(copy_queue_batch(&queue, 1, 1).count, 1);
    copy_queue_free(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_becomes_the_words_of_c_apply),
        cmocka_unit_test(what_is_no_entry_is_refused),
        cmocka_unit_test(only_what_is_covered_is_handed_out_in_its_order),
        cmocka_unit_test(what_was_claimed_before_it_was_cleared_covers_nothing_that_came_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
