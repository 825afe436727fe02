/* SPDX-License-Identifier: Apache-2.0 */
#include "common/yaml_doc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static void assert_str(struct str actual, const char *expected)
{
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.base, expected, actual.len);
}

static void each_node_knows_its_place(void **state)
{
    (void)state;
    static const char text[] = "a: [1, \"2\", {b: c}]\n"
                               "d:\n"
                               "  - |\n"
                               "    long\n"
                               "  - x\xc3\xa4y: z\n";
    struct diag_list diags = {.file = "x"};
    struct yaml_doc *doc = yaml_doc_parse(text, strlen(text), &diags);
    assert_non_null(doc);
    const struct yaml_node *root = yaml_doc_root(doc), *a = yaml_get(root, "a"), *d = yaml_get(root, "d");
    assert_int_equal(root->kind, YAML_MAPPING);
    assert_int_equal(root->count, 2);
    assert_int_equal(root->keys[1].line, 2);
    assert_int_equal(root->keys[1].column, 1);
    assert_int_equal(a->kind, YAML_SEQUENCE);
    assert_int_equal(a->count, 3);
    assert_int_equal(a->items[1].column, 8);
    assert_true(a->items[1].quoted);
    assert_false(a->items[0].quoted);
    assert_str(yaml_get(&a->items[2], "b")->text, "c");
    assert_str(d->items[0].text, "long\n");
    assert_true(d->items[0].quoted);
    assert_int_equal(d->items[1].items[0].line, 5);
    assert_int_equal(d->items[1].items[0].column, 10); /* in characters, not bytes */
    assert_null(yaml_get(root, "b"));
    assert_null(yaml_get(a, "b"));
    yaml_doc_destroy(&doc);
    assert_null(doc);
    diag_free(&diags);
}

static void what_is_not_one_plain_document_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *diagnostics;
    } rows[] = {
        {"a: [1, 2\nb: 3\n", "x:2:2: this is not YAML: did not find expected ',' or ']' "
                             "(while parsing a flow sequence from line 1 on)\n"},
        {"a: \"cut", "x:1:8: this is not YAML: found unexpected end of stream "
                     "(while scanning a quoted scalar from line 1 on)\n"},
        {"a:\n\tb: 1\n", "x:2:1: this is not YAML: found character that cannot start any token "
                         "(while scanning for the next token from line 2 on)\n"},
        {"ok: \xc3\xa4\nbad: \xc3\xa4\xff\n", "x:2:7: this is not YAML: invalid leading UTF-8 octet\n"},
        {"a: \xed\xa0\x80\n", "x:1:4: this is not YAML: invalid Unicode character\n"},
        {"\xff\xfe"
         "a",
         "x:1:1: this is not YAML: invalid leading UTF-8 octet\n"},
        {"a: \x01\n", "x:1:4: this is not YAML: control characters are not allowed\n"},
        {"a: \"\\0\"\n", "x:1:4: a text must not hold a zero byte\n"},
        {"--- 1\n--- 2\n", "x:2:1: a second document starts here\n"},
        {"a: 1\nb: 2\na: 3\n", "x:3:1: the key \"a\" stands here twice, before on line 1\n"},
        {"[x, y]: 1\n", "x:1:1: a key must be plain text\n"},
        {"a: &x 1\nb: *x\nc: !!str 3\n", "x:1:4: anchors are not supported (write the value out where it is used)\n"
                                         "x:2:4: aliases are not supported (write the value out where it is used)\n"
                                         "x:3:4: tags are not supported (quote a value to make it a text)\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct diag_list diags = {.file = "x"};
        struct buf text = {NULL, 0, 0};
        assert_null(yaml_doc_parse(rows[i].text, strlen(rows[i].text), &diags));
        diag_print(&diags, &text);
        assert_string_equal(text.base, rows[i].diagnostics);
        diag_free(&diags);
        buf_free(&text);
    }
}

static void nesting_ends_at_32_levels(void **state)
{
    (void)state;
    for (int depth = 31; depth <= 100000; depth = depth < 34 ? depth + 1 : depth * 10) {
        struct buf text = {NULL, 0, 0};
        for (int i = 0; i < depth; i++)
            buf_append(&text, "[", 1);
        for (int i = 0; i < depth; i++)
            buf_append(&text, "]", 1);
        struct diag_list diags = {.file = "x"};
        struct yaml_doc *doc = yaml_doc_parse(text.base, text.len, &diags);
        assert_int_equal(doc != NULL, depth <= 32);
        assert_int_equal(diags.errors, depth <= 32 ? 0 : 1);
        yaml_doc_destroy(&doc);
        diag_free(&diags);
        buf_free(&text);
    }
}

static void a_file_of_comments_is_an_empty_value(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "# nothing yet\n", "\xef\xbb\xbf", "---\n"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct diag_list diags = {.file = "x"};
        struct yaml_doc *doc = yaml_doc_parse(texts[i], strlen(texts[i]), &diags);
        assert_non_null(doc);
        assert_int_equal(yaml_doc_root(doc)->kind, YAML_SCALAR);
        assert_int_equal(yaml_doc_root(doc)->text.len, 0);
        yaml_doc_destroy(&doc);
        diag_free(&diags);
    }
}

static void every_cut_of_a_document_is_read_or_refused_whole(void **state)
{
    (void)state;
    static const char text[] = "a: {b: [1, 'x', \"y\\n\"], c: >\n  folded\n  text\n}\nd:\n- e: f\n- |\n  g\n";
    for (size_t len = 0; len <= strlen(text); len++) {
        struct diag_list diags = {.file = "x"};
        struct yaml_doc *doc = yaml_doc_parse(text, len, &diags);
        assert_int_equal(doc == NULL, diags.errors > 0);
        yaml_doc_destroy(&doc);
        diag_free(&diags);
    }
}

static void a_large_mapping_is_searched_for_duplicates(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0};
    for (int i = 0; i < 20000; i++)
        buf_printf(&text, "k%d: 1\n", (i * 7919) % 20000);
    buf_printf(&text, "k77: 2\n");
    struct diag_list diags = {.file = "x"};
    assert_null(yaml_doc_parse(text.base, text.len, &diags));
    assert_int_equal(diags.errors, 1);
    assert_int_equal(diags.items[0].line, 20001);
    diag_free(&diags);
    buf_free(&text);
}

static void the_nearest_name_is_within_two_edits(void **state)
{
    (void)state;
    static const char *const names[] = {"datacenter", "slots", "standby", "kind", NULL};
    assert_string_equal(yaml_nearest(STR_LIT("datacentre"), names), "datacenter");
    assert_string_equal(yaml_nearest(STR_LIT("slot"), names), "slots");
    assert_string_equal(yaml_nearest(STR_LIT("knd"), names), "kind");
    assert_null(yaml_nearest(STR_LIT("brokers"), names));
    assert_string_equal(yaml_nearest(STR_LIT("Slots"), names), "slots");
    assert_null(yaml_nearest(STR_LIT("k"), names));
    assert_null(yaml_nearest(STR_LIT("C"), (const char *const[]){"A", "B", NULL}));
    assert_null(yaml_nearest(STR_LIT(""), names));
    char longest[1000];
    memset(longest, 's', sizeof(longest));
    assert_null(yaml_nearest((struct str){longest, sizeof(longest)}, names));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_node_knows_its_place),
        cmocka_unit_test(what_is_not_one_plain_document_is_refused_with_its_place),
        cmocka_unit_test(nesting_ends_at_32_levels),
        cmocka_unit_test(a_file_of_comments_is_an_empty_value),
        cmocka_unit_test(every_cut_of_a_document_is_read_or_refused_whole),
        cmocka_unit_test(a_large_mapping_is_searched_for_duplicates),
        cmocka_unit_test(the_nearest_name_is_within_two_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
