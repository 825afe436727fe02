/* SPDX-License-Identifier: Apache-2.0
 *
 * Properties of loaded rules. Run from the project's root.
 */
#include "rules/rules.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/file.h"

static struct buf read_text(const char *path)
{
    struct buf text = {NULL, 0, 0};
    struct error err;
    if (file_read(path, 1 << 24, &text, &err) == -1)
        fail_msg("%s", err.text);
    return text;
}

/* Loads TEXT, which must be sound. */
static struct table *load(struct str text)
{
    struct diag_list diags = {.file = "x"};
    struct table *table = rules_load(text, 42, &diags);
    struct buf out = {NULL, 0, 0};
    diag_print(&diags, &out);
    if (table == NULL)
        fail_msg("%s", out.base);
    buf_free(&out);
    diag_free(&diags);
    return table;
}

static size_t count_errors(struct str text)
{
    struct diag_list diags = {.file = "x"};
    struct table *table = rules_load(text, 42, &diags);
    size_t errors = diags.errors;
    assert_int_equal(table == NULL, errors > 0);
    table_unref(&table);
    diag_free(&diags);
    return errors;
}

static void assert_str(struct str actual, const char *expected)
{
    if (!str_equal(actual, str_of(expected)))
        fail_msg("\"%.*s\", not \"%s\"", STR_ARG(actual), expected);
}

static void the_example_rules_have_not_even_a_warning(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob("conf/rules*.yaml", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct buf text = read_text(found.gl_pathv[i]);
        struct diag_list diags = {.file = found.gl_pathv[i]};
        struct table *table = rules_load(buf_str(&text), 1, &diags);
        assert_non_null(table);
        assert_int_equal(diags.count, 0);
        table_unref(&table);
        diag_free(&diags);
        buf_free(&text);
    }
    globfree(&found);
}

static void the_reference_in_the_documentation_is_the_schema(void **state)
{
    (void)state;
    struct buf text = read_text("docs/RULES.md"), reference = {NULL, 0, 0};
    rules_document(&reference);
    assert_true(reference.len > 5000);
    if (strstr(text.base, reference.base) == NULL)
        fail_msg("docs/RULES.md differs from the schema; run `make docs`");
    buf_free(&text);
    buf_free(&reference);
}

static void a_table_holds_what_was_written(void **state)
{
    (void)state;
    struct buf text = read_text("test/golden/product.yaml");
    struct table *table = load(buf_str(&text));
    const struct table_unit *unit = &table->units[0];
    buf_free(&text); /* the table owns its texts */
    assert_int_equal(table->epoch, 42);
    assert_int_equal(table->source_count, 6);
    assert_str(table->sources[0].name, "x-user-id");
    assert_str(table->sources[0].text, "header:X-User-Id");
    assert_int_equal(table->sources[4].kind, SOURCE_JSON);
    assert_str(table->sources[4].name, "/user/id");
    assert_int_equal(table->jwt.algorithm, JWT_ES256);
    assert_str(table->jwt.key_file, "/etc/ldcgate/jwt.pem");
    assert_str(table->jwt.audience, "shop");
    assert_int_equal(table->jwt.leeway_s, 30);
    assert_str(unit->name, "RZ01");
    assert_str(unit->datacenter, "hz1");
    assert_int_equal(unit->standby, 1);
    assert_int_equal(unit->broker_count, 2);
    assert_str(unit->brokers[1], "redis://10.0.2.5:6379");
    assert_str(unit->agents[0], "http://10.0.1.6:9100");
    assert_str(unit->nodes[COLOR_GREEN].urls[0], "http://10.0.1.11:8080");
    assert_int_equal(unit->max_in_flight, 500);
    assert_true(unit->capacity_rps == 2000);
    assert_int_equal(unit->line, 9);
    assert_int_equal(table->units[2].weights[COLOR_GREEN], 100);
    assert_int_equal(table->core_unit, 4);
    assert_int_equal(table->topic_count, 1);
    assert_int_equal(table->topics[0].partitions, 16);
    assert_int_equal(table->topics[0].retention_ms, 300000);
    assert_int_equal(table->routes[0].timeout_ms, 2000);
    assert_int_equal(table->routes[0].max_body, 65536);
    assert_int_equal(table->routes[0].methods, 1 << 2);
    assert_int_equal(table->routes[0].cross_unit, CROSS_CORE);
    assert_str(table->routes[0].participants[0].name, "/payee");
    assert_int_equal(table->routes[1].retries, 2);
    assert_int_equal(table->routes[2].retries, 1);
    assert_int_equal(table->routes[4].action, ACTION_ZONE_C);
    assert_int_equal(table->override_count, 3);
    assert_int_equal(table_unit_index(table, STR_LIT("BZ01")), 3);
    assert_int_equal(table_unit_index(table, STR_LIT("BZ0")), NO_UNIT);
    assert_in_range(table->bytes, 1000, 100000);
    table_unref(&table);
}

static void failover_is_automatic_and_careful_where_the_rules_say_nothing(void **state)
{
    (void)state;
    struct buf text = read_text("test/golden/product.yaml");
    struct table *table = load(buf_str(&text));
    const struct table_failover *failover = &table->failover;
    buf_free(&text);
    assert_true(failover->automatic);
    assert_int_equal(failover->gap_ms, 40);
    assert_int_equal(failover->cooldown_ms, 600000);
    assert_int_equal(failover->window_ms, 60000);
    assert_int_equal(failover->clean_ms, 3000);
    assert_int_equal(failover->max_units, 1);
    assert_int_equal(failover->max_share, 34);
    table_unref(&table);
}

static void failover_is_as_it_was_written(void **state)
{
    (void)state;
    struct buf text = read_text("test/golden/failover.yaml");
    struct table *table = load(buf_str(&text));
    const struct table_failover *failover = &table->failover;
    buf_free(&text);
    assert_false(failover->automatic);
    assert_int_equal(failover->gap_ms, 60);
    assert_int_equal(failover->cooldown_ms, 3600000);
    assert_int_equal(failover->window_ms, 300000);
    assert_int_equal(failover->clean_ms, 10000);
    assert_int_equal(failover->max_units, 2);
    assert_int_equal(failover->max_share, 20);
    table_unref(&table);
}

static void a_topic_that_is_not_listed_has_the_presets(void **state)
{
    (void)state;
    struct buf text = read_text("test/golden/colors.yaml");
    struct table *table = load(buf_str(&text));
    assert_int_equal(table->topic_count, 1);
    assert_str(table->topics[0].name, "t");
    assert_int_equal(table->topics[0].partitions, 8);
    assert_int_equal(table->topics[0].retention_ms, 300000);
    assert_int_equal(table->topics[0].idempotency_window_ms, 300000);
    assert_int_equal(table->topics[0].max_backlog, 0);
    assert_int_equal(table->topics[0].subscription_count, 1);
    assert_str(table->topics[0].subscriptions[0].name, "default");
    assert_false(table->topics[0].subscriptions[0].broadcast);
    assert_int_equal(table->topics[0].retry.attempts, 16);
    assert_int_equal(table->topics[0].retry.ladder_count, 10);
    assert_int_equal(table->topics[0].retry.ladder_ms[0], 10000);
    assert_int_equal(table->topics[0].retry.ladder_ms[9], 7200000);
    assert_int_equal(table->topics[0].retry.dead_status_count, 4);
    assert_int_equal(table->topics[0].retry.dead_statuses[3], 422);
    assert_int_equal(table->routes[0].durability, DURABILITY_AUTO);
    table_unref(&table);
    buf_free(&text);
}

static void a_collection_holds_what_was_written(void **state)
{
    (void)state;
    struct diag_list diags = {0};
    struct buf text = read_text("test/golden/collections.yaml");
    struct table *table = rules_load(buf_str(&text), 1, &diags);
    assert_int_equal(table->collection_count, 7);
    const struct table_collection *preset = table_collection(table, STR_LIT("merchants"));
    assert_int_equal(preset->replication, COLLECTION_BUS);
    assert_int_equal(preset->when_stale, COLLECTION_STALE_CORE);
    assert_int_equal(preset->staleness_ms, 2000);
    assert_int_equal(preset->digest_ms, 10000);
    assert_int_equal(preset->keep_ms, 3600000);
    assert_int_equal(preset->feed, 100000);
    assert_int_equal(preset->push.len, 0);
    const struct table_collection *rates = table_collection(table, STR_LIT("rates"));
    assert_int_equal(rates->when_stale, COLLECTION_STALE_REFUSE);
    assert_int_equal(rates->digest_ms, 1000);
    assert_int_equal(rates->feed, 5000);
    assert_str(rates->push, "http://127.0.0.1:9000/changed");
    const struct table_collection *catalogue = table_collection(table, STR_LIT("catalogue"));
    assert_int_equal(catalogue->replication, COLLECTION_SNAPSHOT);
    assert_int_equal(catalogue->interval_ms, 60000);
    assert_null(table_collection(table, STR_LIT("unknown")));
    table_unref(&table);
    diag_free(&diags);
    buf_free(&text);
}

static void a_topic_holds_what_was_written(void **state)
{
    (void)state;
    struct buf text = read_text("test/golden/topics.yaml");
    struct table *table = load(buf_str(&text));
    const struct table_topic *wide = &table->topics[0], *preset = &table->topics[1];
    assert_int_equal(table->topic_count, 3);
    assert_int_equal(wide->partitions, 20000);
    assert_int_equal(wide->idempotency_window_ms, 86400000);
    assert_int_equal(wide->max_backlog, 1000000);
    assert_int_equal(wide->subscription_count, 2);
    assert_str(wide->subscriptions[0].name, "ledger");
    assert_int_equal(wide->subscriptions[0].filter_count, 0);
    assert_str(wide->subscriptions[1].name, "audit");
    assert_true(wide->subscriptions[1].broadcast);
    assert_int_equal(wide->subscriptions[1].filter_count, 2);
    assert_str(wide->subscriptions[1].filter[0], "x-kind: refund");
    assert_str(wide->subscriptions[1].filter[1], "x-size: big");
    assert_str(wide->subscriptions[1].nodes[0], "http://audit:80");
    assert_int_equal(wide->retry.attempts, 3);
    assert_int_equal(wide->retry.ladder_count, 2);
    assert_int_equal(wide->retry.ladder_ms[1], 5000);
    assert_int_equal(wide->retry.dead_statuses[1], 599);
    assert_int_equal(preset->retry.attempts, 16);
    assert_int_equal(table->routes[0].durability, DURABILITY_REPLICATED);
    assert_int_equal(table->routes[1].durability, DURABILITY_LOCAL);
    assert_int_equal(table->routes[2].durability, DURABILITY_AVAILABLE);
    table_unref(&table);
    buf_free(&text);
}

static void a_topic_with_broadcasts_alone_has_no_backlog_that_could_fill_up(void **state)
{
    (void)state;
    struct buf text = read_text("test/golden/warnings.yaml");
    struct table *table = load(buf_str(&text));
    const struct table_topic *news = &table->topics[1];
    buf_free(&text);
    assert_str(news->name, "news");
    assert_true(news->subscriptions[0].broadcast);
    assert_int_equal(news->max_backlog, 0);
    table_unref(&table);
}

static void every_cut_of_a_rule_file_is_loaded_or_refused_whole(void **state)
{
    (void)state;
    struct buf text = read_text("test/golden/product.yaml");
    size_t refused = 0;
    for (size_t len = 0; len < text.len; len++)
        refused += count_errors((struct str){text.base, len}) > 0;
    assert_in_range(refused, text.len / 2, text.len - 1);
    buf_free(&text);
}

static void every_change_of_a_byte_is_loaded_or_refused_whole(void **state)
{
    (void)state;
    struct buf text = read_text("test/golden/overrides.yaml");
    static const char bytes[] = {'\0', '\n', ' ', '[', '}', '"', ':', '-', '9', '\xff'};
    for (size_t i = 0; i < text.len * sizeof(bytes); i += 7) {
        char before = text.base[i / sizeof(bytes)];
        text.base[i / sizeof(bytes)] = bytes[i % sizeof(bytes)];
        count_errors(buf_str(&text));
        text.base[i / sizeof(bytes)] = before;
    }
    assert_int_equal(count_errors(buf_str(&text)), 0);
    buf_free(&text);
}

/* Units of random slots, written as ranges where slots happen to follow each other. */
struct layout {
    unsigned slots, units;
    uint8_t owners[300];
};

static void write_slots(const struct layout *layout, unsigned unit, struct buf *text)
{
    for (unsigned slot = 0, end; slot < layout->slots; slot = end) {
        for (end = slot + 1; end < layout->slots && layout->owners[end] == layout->owners[slot];)
            end++;
        if (layout->owners[slot] == unit)
            buf_printf(text, end == slot + 1 ? "\"%u\", " : "\"%u-%u\", ", slot, end - 1);
    }
}

static void write_layout(const struct layout *layout, struct buf *text)
{
    text->len = 0;
    buf_printf(text, "version: 1\nsharding: {hash: modulo, slots: %u}\nunits:\n", layout->slots);
    for (unsigned unit = 0; unit < layout->units; unit++) {
        buf_printf(text, "  U%u: {kind: A, datacenter: x, slots: [", unit);
        write_slots(layout, unit, text);
        buf_printf(text, "]}\n");
    }
}

static void assert_owners(const struct layout *layout, const struct table *table)
{
    for (unsigned slot = 0; slot < layout->slots; slot++) {
        char user[16];
        struct decision decision;
        int len = snprintf(user, sizeof(user), "%u", slot);
        assert_int_equal(table_owner(table, (struct str){user, (size_t)len}, &decision), VERDICT_OK);
        assert_int_equal(decision.unit, layout->owners[slot]);
        assert_int_equal(decision.slot, slot);
        assert_int_equal(decision.line, 4 + layout->owners[slot]);
    }
}

static void each_slot_has_one_owner_or_the_file_is_refused(void **state)
{
    (void)state;
    unsigned seed = 31337;
    struct buf text = {NULL, 0, 0};
    for (int round = 0; round < 300; round++) {
        struct layout layout = {.slots = 1 + (unsigned)rand_r(&seed) % 300, .units = 1 + (unsigned)rand_r(&seed) % 6};
        for (unsigned slot = 0; slot < layout.slots; slot++) {
            bool stays = slot > 0 && rand_r(&seed) % 4 != 0;
            layout.owners[slot] = stays ? layout.owners[slot - 1] : (uint8_t)((unsigned)rand_r(&seed) % layout.units);
        }
        write_layout(&layout, &text);
        struct table *table = load(buf_str(&text));
        assert_owners(&layout, table);
        table_unref(&table);
        /* nobody's slot, then two units' slot */
        unsigned slot = (unsigned)rand_r(&seed) % layout.slots;
        layout.owners[slot] = 99;
        write_layout(&layout, &text);
        assert_int_equal(count_errors(buf_str(&text)), 1);
        buf_printf(&text, "  TWICE: {kind: A, datacenter: x, slots: [\"%u\", \"%u\"]}\n", slot, slot);
        assert_int_equal(count_errors(buf_str(&text)), 1);
    }
    buf_free(&text);
}

static void two_loads_decide_alike(void **state)
{
    (void)state;
    struct buf text = read_text("test/golden/hash_modulo_any.yaml");
    struct table *one = load(buf_str(&text)), *other = load(buf_str(&text));
    for (unsigned i = 0; i < 10000; i++) {
        char user[16];
        struct decision a, b;
        int len = snprintf(user, sizeof(user), i % 2 ? "u%u" : "%u", i);
        struct routing routing = {.user = {user, (size_t)len}};
        assert_int_equal(table_route(one, &routing, &a), VERDICT_OK);
        assert_int_equal(table_route(other, &routing, &b), VERDICT_OK);
        assert_int_equal(a.unit, b.unit);
        assert_int_equal(a.slot, b.slot);
        assert_int_equal(a.color, b.color);
        assert_int_equal(a.line, b.line);
    }
    table_unref(&one);
    table_unref(&other);
    buf_free(&text);
}

static void raising_a_weight_in_the_file_only_adds_users(void **state)
{
    (void)state;
    static const char format[] = "version: 1\nsharding: {hash: modulo, slots: 1}\n"
                                 "units:\n  R: {kind: A, datacenter: x, slots: [0], nodes: {blue: [\"http://b:1\"], "
                                 "green: [\"http://g:1\"]}, weights: {blue: %u, green: %u}}\n";
    unsigned green[3] = {0};
    struct table *tables[3];
    for (unsigned i = 0; i < 3; i++) {
        struct buf text = {NULL, 0, 0};
        buf_printf(&text, format, 100 - 10 * i, 10 * i);
        tables[i] = load(buf_str(&text));
        buf_free(&text);
    }
    for (unsigned i = 0; i < 10000; i++) {
        char user[16];
        struct str id = {user, (size_t)snprintf(user, sizeof(user), "%u", i)};
        enum color before = COLOR_BLUE;
        for (unsigned j = 0; j < 3; j++) {
            enum color color = table_color(&tables[j]->units[0], id);
            assert_true(color >= before);
            green[j] += color == COLOR_GREEN;
            before = color;
        }
    }
    assert_int_equal(green[0], 0);
    assert_in_range(green[1], 900, 1100);
    assert_in_range(green[2], 1850, 2150);
    for (unsigned i = 0; i < 3; i++)
        table_unref(&tables[i]);
}

static void many_faults_are_counted_but_not_all_kept(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0}, out = {NULL, 0, 0};
    buf_printf(&text, "version: 1\nsharding: {hash: modulo, slots: 1}\nunits:\n");
    buf_printf(&text, "  R: {kind: A, datacenter: x, slots: [0]}\noverrides:\n");
    for (int i = 0; i < 1000; i++)
        buf_printf(&text, "  - {prefix: a%d, unit: nobody}\n", i);
    struct diag_list diags = {.file = "x"};
    assert_null(rules_load(buf_str(&text), 1, &diags));
    assert_int_equal(diags.errors, 1000);
    assert_int_equal(diags.count, DIAG_MOST);
    diag_print(&diags, &out);
    assert_non_null(strstr(out.base, "and 800 more faults\n"));
    diag_free(&diags);
    buf_free(&out);
    buf_free(&text);
}

static void sixteen_thousand_ranges_and_a_hundred_thousand_overrides_load(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0};
    buf_printf(&text, "version: 1\nsharding: {hash: xxh3, slots: 16384}\nunits:\n");
    for (unsigned unit = 0; unit < 2; unit++) {
        buf_printf(&text, "  R%u: {kind: A, datacenter: x, slots: [", unit);
        for (unsigned slot = unit; slot < 16384; slot += 2)
            buf_printf(&text, "%u, ", slot);
        buf_printf(&text, "]}\n");
    }
    buf_printf(&text, "overrides:\n  - unit: R1\n    users: [x");
    for (unsigned i = 0; i < 100000; i++)
        buf_printf(&text, ", \"user-%u\"", i);
    buf_printf(&text, "]\n");
    struct table *table = load(buf_str(&text));
    struct decision decision;
    for (unsigned i = 0; i < 100000; i++) {
        char user[32];
        int len = snprintf(user, sizeof(user), "user-%u", i);
        assert_int_equal(table_owner(table, (struct str){user, (size_t)len}, &decision), VERDICT_OK);
        assert_int_equal(decision.unit, 1);
        assert_int_equal(decision.by, BY_OVERRIDE_USER);
    }
    assert_int_equal(table_owner(table, STR_LIT("user-100000"), &decision), VERDICT_OK);
    assert_int_equal(decision.by, BY_SLOT);
    assert_int_equal(decision.unit, decision.slot % 2);
    assert_true(table->bytes < 100 * 100000);
    table_unref(&table);
    buf_free(&text);
}

/* More ranges than slots can only overlap; they must not cost time beyond measure. */
static void hostile_slot_lists_end_soon(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0};
    buf_printf(&text, "version: 1\nsharding: {hash: xxh3, slots: 16384}\nunits:\n");
    for (unsigned unit = 0; unit < 20; unit++) {
        buf_printf(&text, "  R%u: {kind: A, datacenter: x, slots: [", unit);
        for (unsigned i = 0; i < 16384; i++)
            buf_printf(&text, "0-16383, ");
        buf_printf(&text, "]}\n");
    }
    assert_true(count_errors(buf_str(&text)) >= 16383);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_rules_have_not_even_a_warning),
        cmocka_unit_test(the_reference_in_the_documentation_is_the_schema),
        cmocka_unit_test(a_table_holds_what_was_written),
        cmocka_unit_test(failover_is_automatic_and_careful_where_the_rules_say_nothing),
        cmocka_unit_test(failover_is_as_it_was_written),
        cmocka_unit_test(a_topic_that_is_not_listed_has_the_presets),
        cmocka_unit_test(a_collection_holds_what_was_written),
        cmocka_unit_test(a_topic_holds_what_was_written),
        cmocka_unit_test(a_topic_with_broadcasts_alone_has_no_backlog_that_could_fill_up),
        cmocka_unit_test(every_cut_of_a_rule_file_is_loaded_or_refused_whole),
        cmocka_unit_test(every_change_of_a_byte_is_loaded_or_refused_whole),
        cmocka_unit_test(each_slot_has_one_owner_or_the_file_is_refused),
        cmocka_unit_test(two_loads_decide_alike),
        cmocka_unit_test(raising_a_weight_in_the_file_only_adds_users),
        cmocka_unit_test(many_faults_are_counted_but_not_all_kept),
        cmocka_unit_test(sixteen_thousand_ranges_and_a_hundred_thousand_overrides_load),
        cmocka_unit_test(hostile_slot_lists_end_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
