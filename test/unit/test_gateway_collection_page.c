/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/collection_feed.h"

static struct change put(uint64_t seq, const char *key)
{
    return (struct change){.id = {seq, 0}, .key = str_of(key), .version = seq, .us = 1795000000000000};
}

static struct change repair(uint64_t seq, uint64_t number, const char *key, uint64_t version)
{
    return (struct change){.id = {seq, number},
                           .repair = true,
                           .deleted = version == 0,
                           .key = str_of(key),
                           .version = version,
                           .us = 1795000000000000};
}

static void add(struct page *page, struct change change)
{
    assert_true(page_add(page, &change));
}

static struct str told(const struct page *page, unsigned from, const char *prefix, struct buf *out)
{
    h2o_iovec_t vectors[PAGE_EVENTS];
    uint64_t events = 0;
    unsigned count = page_select(page, &from, str_of(prefix), vectors, PAGE_EVENTS, &events);
    assert_int_equal(from, page->count);
    for (unsigned i = 0; i < count; i++)
        buf_append(out, vectors[i].base, vectors[i].len);
    return buf_str(out);
}

static void assert_told(const struct page *page, unsigned from, const char *prefix, const char *expected)
{
    struct buf out = {NULL, 0, 0};
    buf_append(&out, "", 0);
    assert_string_equal(told(page, from, prefix, &out).base, expected);
    buf_free(&out);
}

static void a_change_becomes_an_event(void **state)
{
    (void)state;
    struct page *page = page_create(16);
    struct change gone = put(18, "tea");
    gone.deleted = true;
    gone.was = 12;
    add(page, put(17, "a\"\n"));
    add(page, gone);
    add(page, repair(18, 1, "b", 9));
    add(page, repair(18, 2, "c", 0));
    assert_told(page, 0, "",
                "event: put\nid: 17\ndata: {\"key\":\"a\\\"\\n\",\"version\":17,\"was\":0,"
                "\"at\":\"2026-11-18T11:06:40.000000Z\"}\n\n"
                "event: del\nid: 18\ndata: {\"key\":\"tea\",\"version\":18,\"was\":12,"
                "\"at\":\"2026-11-18T11:06:40.000000Z\"}\n\n"
                "event: put\nid: 18\ndata: {\"key\":\"b\",\"version\":9,\"was\":0,"
                "\"at\":\"2026-11-18T11:06:40.000000Z\",\"repaired\":true}\n\n"
                "event: del\nid: 18\ndata: {\"key\":\"c\",\"was\":0,"
                "\"at\":\"2026-11-18T11:06:40.000000Z\",\"repaired\":true}\n\n");
    assert_int_equal(page->after, 16);
    assert_int_equal(page->until, 18);
    page_unref(&page);
    assert_null(page);
}

static void a_page_takes_so_much_and_no_more(void **state)
{
    (void)state;
    char key[1000];
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    struct page *page = page_create(0);
    struct change change = put(1, key);
    for (; page_add(page, &change); change.id.ms++)
        ;
    assert_in_range(page->text.len, PAGE_TEXT, PAGE_TEXT + 1200);
    assert_int_equal(page->until, page->count);
    page_unref(&page);
    page = page_create(0);
    for (change = put(1, "k"); page_add(page, &change); change.id.ms++)
        ;
    assert_in_range(page->count, 100, PAGE_EVENTS);
    page_unref(&page);
}

static void who_was_told_some_goes_on_behind_it(void **state)
{
    (void)state;
    struct page *page = page_create(4);
    add(page, put(5, "a"));
    add(page, put(6, "b"));
    add(page, repair(6, 1, "x", 2));
    add(page, put(7, "c"));
    assert_int_equal(page_seek(page, 3), 0);
    assert_int_equal(page_seek(page, 4), 0);
    assert_int_equal(page_seek(page, 5), 1);
    assert_int_equal(page_seek(page, 6), 2); /* nobody knows whether the repair was told */
    assert_int_equal(page_seek(page, 7), 4);
    page_unref(&page);
}

static void events_of_a_prefix_are_few_vectors(void **state)
{
    (void)state;
    h2o_iovec_t vectors[2];
    unsigned event = 0;
    uint64_t count = 0;
    struct page *page = page_create(0);
    const char *keys[] = {"a1", "a2", "b", "a3", "b", "a4", "b"};
    for (unsigned i = 0; i < 7; i++)
        add(page, put(i + 1, keys[i]));
    assert_int_equal(page_select(page, &event, STR_LIT("a"), vectors, 2, &count), 2);
    assert_int_equal(event, 5); /* there was no vector for the next one */
    assert_int_equal(count, 3);
    assert_int_equal(vectors[0].len, page->events[0].text_len + page->events[1].text_len);
    assert_int_equal(page_select(page, &event, STR_LIT("a"), vectors, 2, &count), 1);
    assert_int_equal(event, 7);
    event = 0;
    assert_int_equal(page_select(page, &event, STR_LIT(""), vectors, 2, &count), 1);
    assert_int_equal(vectors[0].len, page->text.len);
    event = 0;
    assert_int_equal(page_select(page, &event, STR_LIT("z"), vectors, 2, &count), 0);
    assert_int_equal(event, 7);
    page_unref(&page);
}

static struct look *look(uint64_t seq, struct stream_id last, unsigned count, const struct change *changes)
{
    static struct look one;
    one = (struct look){.standing = LOOK_OPEN, .seq = seq, .last = last, .count = count};
    for (unsigned i = 0; i < count; i++)
        one.changes[i] = changes[i];
    return &one;
}

static void a_gap_is_seen(void **state)
{
    (void)state;
    const struct stream_id behind = {5, 0};
    const struct change next[] = {put(6, "a"), repair(6, 1, "x", 3), put(7, "b")}, late[] = {put(7, "b")};
    const struct change hole[] = {put(6, "a"), put(8, "b")}, mended[] = {repair(5, 1, "x", 3)};
    assert_true(feed_is_gapless(look(7, (struct stream_id){7, 0}, 3, next), behind, 5));
    assert_true(feed_is_gapless(look(9, (struct stream_id){7, 0}, 3, next), behind, 5)); /* there is more */
    assert_true(feed_is_gapless(look(5, behind, 0, NULL), behind, 5));
    assert_true(feed_is_gapless(look(5, (struct stream_id){5, 1}, 1, mended), behind, 5));
    assert_true(feed_is_gapless(look(6, (struct stream_id){5, 9}, 0, NULL), behind, 5)); /* others were looked at */
    assert_false(feed_is_gapless(look(7, (struct stream_id){7, 0}, 1, late), behind, 5));
    assert_false(feed_is_gapless(look(8, (struct stream_id){8, 0}, 2, hole), behind, 5));
    assert_false(feed_is_gapless(look(7, behind, 0, NULL), behind, 5)); /* the log is empty */
    assert_false(
        feed_is_gapless(look(7, (struct stream_id){7, 3}, 0, NULL), behind, 5)); /* but for what changes nothing */
}

static void a_place_is_found_among_the_pages(void **state)
{
    (void)state;
    struct feed feed = {.seq = 9, .first = 70, .end = 72};
    uint64_t number;
    unsigned event;
    struct page *pages[] = {page_create(4), page_create(6)};
    add(pages[0], put(5, "a"));
    add(pages[0], put(6, "b"));
    for (uint64_t seq = 7; seq <= 9; seq++)
        add(pages[1], put(seq, "c"));
    feed.pages[70 % FEED_PAGES] = pages[0];
    feed.pages[71 % FEED_PAGES] = pages[1];
    assert_false(feed_find(&feed, 3, &number, &event));
    const struct {
        uint64_t seq, number;
        unsigned event;
    } places[] = {{4, 70, 0}, {5, 70, 1}, {6, 71, 0}, {8, 71, 2}, {9, 72, 0}};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        assert_true(feed_find(&feed, places[i].seq, &number, &event));
        assert_int_equal(number, places[i].number);
        assert_int_equal(event, places[i].event);
    }
    page_unref(&pages[0]);
    page_unref(&pages[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_becomes_an_event),
        cmocka_unit_test(a_page_takes_so_much_and_no_more),
        cmocka_unit_test(who_was_told_some_goes_on_behind_it),
        cmocka_unit_test(events_of_a_prefix_are_few_vectors),
        cmocka_unit_test(a_gap_is_seen),
        cmocka_unit_test(a_place_is_found_among_the_pages),
    };
    return cmocka_run_group_tests_name("collection_page", tests, NULL, NULL);
}
