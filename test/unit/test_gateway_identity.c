/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "gateway/identity.h"

/* A request as libh2o hands it over, and the rules' sources that read it. */
struct fixture {
    h2o_req_t req;
    struct source sources[2];
    struct table table;
    struct str user;
    char fault[160];
};

static void begin(struct fixture *fixture, enum source_kind kind, const char *name, const char *path)
{
    memset(fixture, 0, sizeof(*fixture));
    h2o_mem_init_pool(&fixture->req.pool);
    fixture->req.path = h2o_iovec_init(path, strlen(path));
    fixture->req.path_normalized = h2o_url_normalize_path(&fixture->req.pool, path, strlen(path),
                                                          &fixture->req.query_at, &fixture->req.norm_indexes);
    fixture->sources[0] = (struct source){.kind = kind, .name = str_of(name), .text = STR_LIT("the source")};
    fixture->table.sources = fixture->sources;
    fixture->table.source_count = 1;
}

static void add_header(struct fixture *fixture, const char *name, const char *value)
{
    h2o_add_header_by_str(&fixture->req.pool, &fixture->req.headers, name, strlen(name), 1, NULL, value, strlen(value));
}

static enum verdict end(struct fixture *fixture)
{
    struct identity identity = {.req = &fixture->req, .table = &fixture->table};
    enum verdict verdict = identity_user(&identity, &fixture->user);
    identity_dispose(&identity);
    return verdict;
}

static void expect(struct fixture *fixture, enum verdict verdict, const char *user)
{
    assert_int_equal(end(fixture), verdict);
    if (verdict == VERDICT_OK && user == NULL)
        assert_null(fixture->user.base);
    else if (verdict == VERDICT_OK)
        assert_true(str_equal(fixture->user, str_of(user)));
    h2o_mem_clear_pool(&fixture->req.pool);
}

static void a_header_names_the_user(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, SOURCE_HEADER, "x-user-id", "/");
    expect(&fixture, VERDICT_OK, NULL);
    begin(&fixture, SOURCE_HEADER, "x-user-id", "/");
    add_header(&fixture, "x-user-id", "42");
    expect(&fixture, VERDICT_OK, "42");
    begin(&fixture, SOURCE_HEADER, "x-user-id", "/");
    add_header(&fixture, "x-user-id", "");
    expect(&fixture, VERDICT_OK, NULL);
}

static void two_values_are_refused_whatever_they_are(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, SOURCE_HEADER, "x-user-id", "/");
    add_header(&fixture, "x-user-id", "42");
    add_header(&fixture, "x-user-id", "42");
    expect(&fixture, VERDICT_BAD_REQUEST, NULL);
    begin(&fixture, SOURCE_COOKIE, "uid", "/");
    add_header(&fixture, "cookie", "uid=1; uid=2");
    expect(&fixture, VERDICT_BAD_REQUEST, NULL);
    begin(&fixture, SOURCE_QUERY, "uid", "/x?uid=1&uid=1");
    expect(&fixture, VERDICT_BAD_REQUEST, NULL);
    begin(&fixture, SOURCE_JSON, "/user", "/");
    fixture.req.entity = h2o_iovec_init(H2O_STRLIT("{\"user\":1,\"user\":2}"));
    expect(&fixture, VERDICT_BAD_JSON, NULL);
}

static void a_second_value_in_disguise_is_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    const char *queries[] = {"/x?uid=1&%75id=2", "/x?ui%64=2&uid=1", "/x?uid=1&uid", "/x?uid&uid=1"};
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        begin(&fixture, SOURCE_QUERY, "uid", queries[i]);
        expect(&fixture, VERDICT_BAD_REQUEST, NULL);
    }
    begin(&fixture, SOURCE_QUERY, "uid", "/x?%75id=2&x%zz=1&uid2");
    expect(&fixture, VERDICT_OK, "2");
    begin(&fixture, SOURCE_HEADER, "x-user-id", "/");
    add_header(&fixture, "x-user-id", "42");
    add_header(&fixture, "x_user_id", "43");
    expect(&fixture, VERDICT_BAD_REQUEST, NULL);
    begin(&fixture, SOURCE_HEADER, "x-user-id", "/");
    add_header(&fixture, "x-user_id", "43");
    expect(&fixture, VERDICT_BAD_REQUEST, NULL);
    begin(&fixture, SOURCE_HEADER, "x_user_id", "/");
    add_header(&fixture, "x_user_id", "43");
    expect(&fixture, VERDICT_OK, "43");
}

static void an_escaped_slash_names_nobody(void **state)
{
    (void)state;
    struct fixture fixture;
    const char *paths[] = {"/users/42%2F43", "/users%2f42", "/users/42/x%5Cy?a=1"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        begin(&fixture, SOURCE_PATH, "/users/{uid}", paths[i]);
        expect(&fixture, VERDICT_BAD_REQUEST, NULL);
    }
    begin(&fixture, SOURCE_PATH, "/users/{uid}", "/users/4%32?next=%2F");
    expect(&fixture, VERDICT_OK, "42");
    begin(&fixture, SOURCE_PATH, "/users/{uid}", "/files/a%2Fb");
    expect(&fixture, VERDICT_OK, NULL);
}

static void a_cookie_names_the_user(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, SOURCE_COOKIE, "uid", "/");
    add_header(&fixture, "cookie", "a=b; uid=7 ;xuid=9");
    expect(&fixture, VERDICT_OK, "7");
    begin(&fixture, SOURCE_COOKIE, "uid", "/");
    add_header(&fixture, "cookie", "uid=\"8\"");
    expect(&fixture, VERDICT_OK, "8");
    begin(&fixture, SOURCE_COOKIE, "uid", "/");
    add_header(&fixture, "cookie", "uid");
    expect(&fixture, VERDICT_OK, NULL);
}

static void a_query_parameter_names_the_user(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, SOURCE_QUERY, "uid", "/x?a=1&uid=4%32");
    expect(&fixture, VERDICT_OK, "42");
    begin(&fixture, SOURCE_QUERY, "uid", "/x?uid=a+b");
    expect(&fixture, VERDICT_OK, "a b");
    begin(&fixture, SOURCE_QUERY, "uid", "/x?uid=%4");
    expect(&fixture, VERDICT_BAD_REQUEST, NULL);
    begin(&fixture, SOURCE_QUERY, "uid", "/x");
    expect(&fixture, VERDICT_OK, NULL);
}

static void a_path_segment_names_the_user(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, SOURCE_PATH, "/users/{uid}", "/users/42/orders?x=1");
    expect(&fixture, VERDICT_OK, "42");
    begin(&fixture, SOURCE_PATH, "/users/{uid}", "/orders/42");
    expect(&fixture, VERDICT_OK, NULL);
    begin(&fixture, SOURCE_PATH, "/users/{uid}", "/users");
    expect(&fixture, VERDICT_OK, NULL);
    begin(&fixture, SOURCE_PATH, "/users/{uid}/pay", "/users/42/see");
    expect(&fixture, VERDICT_OK, NULL);
}

static enum verdict read_json(struct fixture *fixture, const char *pointer, const char *body)
{
    begin(fixture, SOURCE_JSON, pointer, "/");
    fixture->req.entity = h2o_iovec_init(body, strlen(body));
    return end(fixture);
}

static void a_json_pointer_names_the_user(void **state)
{
    (void)state;
    struct fixture fixture;
    const char *body =
        "{\"user\":{\"id\":42,\"a/b\":\"x\",\"m~n\":\"y\"},\"list\":[\"p\",\"q\"],\"no\":null,\"f\":1.5}";
    const struct {
        const char *pointer, *user;
    } rows[] = {{"/user/id", "42"}, {"/user/a~1b", "x"}, {"/user/m~0n", "y"},  {"/list/1", "q"},  {"/list/2", NULL},
                {"/list/x", NULL},  {"/no", NULL},       {"/user/id/x", NULL}, {"/nothing", NULL}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(read_json(&fixture, rows[i].pointer, body), VERDICT_OK);
        assert_true(str_equal(fixture.user, str_of(rows[i].user)));
        h2o_mem_clear_pool(&fixture.req.pool);
    }
    assert_int_equal(read_json(&fixture, "/f", body), VERDICT_BAD_USER);
    h2o_mem_clear_pool(&fixture.req.pool);
    assert_int_equal(read_json(&fixture, "/user", body), VERDICT_BAD_USER);
    h2o_mem_clear_pool(&fixture.req.pool);
    assert_int_equal(read_json(&fixture, "/user", "{\"user\":"), VERDICT_BAD_JSON);
    h2o_mem_clear_pool(&fixture.req.pool);
    assert_int_equal(read_json(&fixture, "/user", ""), VERDICT_OK);
    h2o_mem_clear_pool(&fixture.req.pool);
}

static void an_id_that_could_hurt_a_log_or_a_key_is_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    char lengthy[300];
    memset(lengthy, '1', sizeof(lengthy) - 1);
    lengthy[sizeof(lengthy) - 1] = '\0';
    const char *bad[] = {"a\tb", "a\x7f", "\xff\xfe", "\xed\xa0\x80", lengthy};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        begin(&fixture, SOURCE_HEADER, "x-user-id", "/");
        add_header(&fixture, "x-user-id", bad[i]);
        expect(&fixture, VERDICT_BAD_USER, NULL);
    }
    begin(&fixture, SOURCE_QUERY, "uid", "/x?uid=a%00b");
    expect(&fixture, VERDICT_BAD_USER, NULL);
}

static void a_path_that_two_readers_read_differently_is_not_plain(void **state)
{
    (void)state;
    const char *plain[] = {"/", "/pay/x", "/a.b/..c/...", "/a%2fb", "/%70ay", "//x"};
    const char *not_plain[] = {"/pay/../search", "/pay/%2e%2E/x", "/pay/.%2e", "/a/.",  "/a/./b",
                               "/x%2f..%2fpay",  "/x\\..\\pay",   "/a%00b",    "/a%zz", "/a%4"};
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        assert_true(identity_path_plain(str_of(plain[i])));
    for (size_t i = 0; i < sizeof(not_plain) / sizeof(not_plain[0]); i++)
        assert_false(identity_path_plain(str_of(not_plain[i])));
}

static void the_first_source_that_says_something_wins(void **state)
{
    (void)state;
    struct fixture fixture;
    for (int both = 0; both < 2; both++) {
        begin(&fixture, SOURCE_HEADER, "x-user-id", "/x?uid=2");
        fixture.sources[1] = (struct source){.kind = SOURCE_QUERY, .name = STR_LIT("uid")};
        fixture.table.source_count = 2;
        if (both)
            add_header(&fixture, "x-user-id", "1");
        expect(&fixture, VERDICT_OK, both ? "1" : "2");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_names_the_user),
        cmocka_unit_test(two_values_are_refused_whatever_they_are),
        cmocka_unit_test(a_second_value_in_disguise_is_refused),
        cmocka_unit_test(an_escaped_slash_names_nobody),
        cmocka_unit_test(a_cookie_names_the_user),
        cmocka_unit_test(a_query_parameter_names_the_user),
        cmocka_unit_test(a_path_segment_names_the_user),
        cmocka_unit_test(a_json_pointer_names_the_user),
        cmocka_unit_test(an_id_that_could_hurt_a_log_or_a_key_is_refused),
        cmocka_unit_test(a_path_that_two_readers_read_differently_is_not_plain),
        cmocka_unit_test(the_first_source_that_says_something_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
