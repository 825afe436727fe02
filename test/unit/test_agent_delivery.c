/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/httpd.h"
#include "unit-agent/delivery.h"

#define PATIENCE_US 60000000ULL
#define NODES       3

/* Nodes of an app on the same loop as the agent's parts; the partition is a real one, and its broker confirms at once.
 */
struct app {
    struct httpd *httpd;
    char url[64];
    int status; /* what it answers; 0: it keeps the request */
    const char *retry_after;
    unsigned served, attempt, busy, most_busy; /* ATTEMPT: of the request that it saw last */
    struct httpd_request *kept[64];
};

static sd_event *loop;
static struct app apps[NODES];
static struct agent_config config;
static struct agent_stats stats;
static struct nodes *nodes;
static struct delivery *delivery;
static struct partition *partition;
static unsigned acknowledged, node_changes, settled;
static struct {
    unsigned count, failed;
    long last_status;
    char last_node[64];
    uint64_t longest_us;
} attempts;

/* What left, for the cases to look at. */
static struct {
    unsigned parked, dead;
    int64_t wait_ms;
    uint32_t attempts;
    long status;
    const char *reason;
} left;

static void serve(struct httpd_request *request, void *context)
{
    struct app *app = context;
    app->served++;
    app->attempt = (unsigned)atoi(httpd_request_header(request, "ldc-attempt").base);
    if (app->retry_after != NULL)
        httpd_add_header(request, "Retry-After", app->retry_after);
    if (app->status != 0) {
        httpd_respond(request, app->status, NULL, STR_LIT(""));
        return;
    }
    app->kept[app->busy++] = request;
    app->most_busy = app->busy > app->most_busy ? app->busy : app->most_busy;
}

static void health(struct httpd_request *request, void *context)
{
    (void)context;
    httpd_respond(request, 200, NULL, STR_LIT(""));
}

static const struct httpd_route routes[] = {
    {"GET", "/healthz", health, true, "Lives."},
    {"POST", "/", serve, true, "Serves."},
};

static void app_start(struct app *app, unsigned port)
{
    char listen_at[32];
    struct error err = {0};
    struct httpd_config httpd_config = {.listen = listen_at,
                                        .routes = routes,
                                        .route_count = sizeof(routes) / sizeof(*routes),
                                        .context = app,
                                        .most_body = 4096};
    snprintf(listen_at, sizeof(listen_at), "127.0.0.1:%u", port);
    app->httpd = httpd_create(loop, &httpd_config, &err);
    assert_non_null(app->httpd);
    snprintf(app->url, sizeof(app->url), "http://127.0.0.1:%u", httpd_port(app->httpd));
}

static bool may_begin(void *arg)
{
    (void)arg;
    return true;
}

static void on_acknowledged(void *arg, struct partition *of)
{
    (void)arg;
    acknowledged++;
    assert_ptr_equal(of, partition);
}

static void on_attempted(void *arg, const struct message *message, const struct delivery_attempt *attempt)
{
    (void)arg, (void)message;
    assert_true(attempt->began_us <= attempt->ended_us);
    uint64_t us = attempt->ended_us - attempt->began_us;
    attempts.count++;
    attempts.failed += attempt->response->status < 200 || attempt->response->status >= 300;
    attempts.last_status = attempt->response->status;
    attempts.longest_us = us > attempts.longest_us ? us : attempts.longest_us;
    snprintf(attempts.last_node, sizeof(attempts.last_node), "%s", attempt->node);
}

static void on_settled(void *arg, const struct message *message, const struct http_response *response)
{
    (void)arg, (void)message, (void)response;
    settled++;
}

static void on_changed(void *arg)
{
    (void)arg;
    node_changes++;
    if (delivery != NULL)
        delivery_wake(delivery);
}

/* BLUE and GREEN: how many nodes of each there are. */
static void adopt(uint32_t blue, uint32_t green)
{
    struct str urls[NODES];
    for (int i = 0; i < NODES; i++)
        urls[i] = str_of(apps[i].url);
    struct table_unit unit = {.nodes = {[COLOR_BLUE] = {urls, blue}, [COLOR_GREEN] = {urls + blue, green}}};
    nodes_adopt(nodes, &unit);
}

static int setup(void **state)
{
    (void)state;
    static const char *const given[] = {"unit=RZ01",
                                        "delivery.concurrency=8",
                                        "delivery.backoff_min=5ms",
                                        "delivery.backoff_max=20ms",
                                        "health.interval=100ms",
                                        NULL};
    struct diag_list diags = {.file = "test"};
    config = (struct agent_config){0};
    assert_int_equal(agent_config_load(NULL, given, &config, &diags), 0);
    assert_true(sd_event_new(&loop) >= 0);
    memset(apps, 0, sizeof(apps));
    memset(&stats, 0, sizeof(stats));
    acknowledged = node_changes = settled = 0;
    memset(&attempts, 0, sizeof(attempts));
    memset(&left, 0, sizeof(left));
    for (int i = 0; i < NODES; i++) {
        app_start(&apps[i], 0);
        apps[i].status = 200;
    }
    nodes = nodes_create(loop, &config, on_changed, NULL);
    delivery = delivery_create(loop, &(struct delivery_config){.options = &config,
                                                               .unit = STR_LIT("RZ01"),
                                                               .nodes = nodes,
                                                               .stats = &stats,
                                                               .attempted = on_attempted,
                                                               .settled = on_settled,
                                                               .acknowledged = on_acknowledged,
                                                               .may_begin = may_begin});
    static const struct partition_name name = {
        .unit = STR_LIT("RZ01"), .topic = STR_LIT("payments"), .subscription = STR_LIT("default")};
    partition = partition_create(&name, (struct partition_hooks){delivery_ready, delivery_withdraw, delivery});
    partition_restore(partition, &(struct cursor){0});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    partition_destroy(&partition);
    delivery_destroy(&delivery);
    nodes_destroy(&nodes);
    for (int i = 0; i < NODES; i++)
        httpd_destroy(&apps[i].httpd);
    loop = sd_event_unref(loop);
    options_free(agent_options, agent_option_count, &config);
    return 0;
}

static struct envelope envelope_of(const char *user, const char *color)
{
    return (struct envelope){.fields = {
                                 [ENVELOPE_ID] = STR_LIT("id"),
                                 [ENVELOPE_USER] = str_of(user),
                                 [ENVELOPE_SLOT] = STR_LIT("1"),
                                 [ENVELOPE_EPOCH] = STR_LIT("1"),
                                 [ENVELOPE_INGRESS] = STR_LIT("1"),
                                 [ENVELOPE_COLOR] = str_of(color),
                                 [ENVELOPE_METHOD] = STR_LIT("POST"),
                                 [ENVELOPE_PATH] = STR_LIT("/pay"),
                                 [ENVELOPE_HEADERS] = STR_LIT(""),
                                 [ENVELOPE_BODY] = STR_LIT("body"),
                             }};
}

static void add(unsigned number, const char *user, const char *color)
{
    struct envelope envelope = envelope_of(user, color);
    assert_true(partition_add(partition, (struct stream_id){number, 0}, &envelope));
}

static void note_fate(const struct message *message)
{
    left.parked += message->fate == FATE_PARKED;
    left.dead += message->fate == FATE_DEAD;
    left.wait_ms = message->wait_ms;
    left.attempts = message->fate == FATE_PARKED ? message->attempt - 1 : message->attempt;
    left.status = message->status;
    left.reason = message->reason;
}

/* A broker's park that is always due: whoever went in is tried again at once. */
static void park_turn(void)
{
    for (struct message *head; (head = park_take_ended(partition)) != NULL;) {
        struct envelope envelope = envelope_of(head->lane->user, color_name(head->color));
        struct stream_id id = head->span.first;
        bool again = head->fate == FATE_PARKED;
        note_fate(head);
        park_leave(partition, head, again);
        if (again)
            assert_true(park_fetch(partition, id, &envelope, left.attempts));
    }
}

static void end_write(void)
{
    char user[32] = "";
    struct stream_id id = {0, 0};
    for (const struct message *message = partition->recording.head; message != NULL; message = message->link) {
        if (message->fate != FATE_TAKEN)
            note_fate(message);
        if (message->fate == FATE_PARKED)
            snprintf(user, sizeof(user), "%s", message->lane->user);
        id = message->span.first;
    }
    partition_end_write(partition, true);
    struct envelope envelope = envelope_of(user, "blue");
    if (user[0] != '\0')
        assert_true(park_fetch(partition, id, &envelope, left.attempts));
}

static void turn(void)
{
    assert_true(sd_event_run(loop, 2000) >= 0);
    park_turn();
    if (partition->writing)
        end_write();
    if (partition->dirty && !partition->writing) {
        struct partition_record record = {0};
        partition_begin_write(partition, &record);
        buf_free(&record.done);
    }
}

static void run_until(const unsigned *count, unsigned wanted)
{
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; *count < wanted;) {
        assert_true(clock_monotonic_us() < until_us);
        turn();
    }
}

static void release(struct app *app)
{
    while (app->busy > 0)
        httpd_respond(app->kept[--app->busy], 200, NULL, STR_LIT(""));
}

static struct node *node_of(const struct app *app)
{
    struct node *node = nodes_first(nodes);
    while (node != NULL && strcmp(node->url, app->url) != 0)
        node = node->next;
    return node;
}

/* --- cases ------------------------------------------------------------------------------------------------------- */

static void a_message_is_acknowledged_by_a_2xx(void **state)
{
    (void)state;
    adopt(1, 0);
    apps[0].status = 204;
    add(1, "a", "blue");
    run_until(&acknowledged, 1);
    assert_int_equal(apps[0].served, 1);
    assert_int_equal(apps[0].attempt, 1);
    assert_int_equal(stat_get(&stats.agent_acknowledged_total), 1);
}

/* The rules of the topic: ATTEMPTS, waits of 100 and 200 ms, 422 is hopeless. */
static void set_retry(uint32_t attempts_most)
{
    static const int64_t ladder_ms[] = {100, 200};
    static const uint16_t dead_statuses[] = {422};
    retry_adopt(&partition->retry, &(struct table_retry){attempts_most, ladder_ms, 2, dead_statuses, 1});
}

static void a_failed_message_is_parked_and_its_attempts_count_up_until_it_works(void **state)
{
    (void)state;
    adopt(1, 0);
    set_retry(16);
    apps[0].status = 500;
    add(1, "a", "blue");
    run_until(&left.parked, 1);
    assert_int_equal(left.attempts, 1);
    assert_in_range(left.wait_ms, 80, 120);
    run_until(&left.parked, 2);
    assert_int_equal(left.attempts, 2);
    assert_in_range(left.wait_ms, 160, 240);
    apps[0].status = 302; /* not followed, and no success */
    run_until(&left.parked, 3);
    assert_in_range(left.wait_ms, 160, 240);
    assert_int_equal(settled, 0);
    apps[0].status = 200;
    run_until(&settled, 1);
    assert_int_equal(apps[0].attempt, apps[0].served);
    assert_int_equal(stat_get(&stats.agent_retries_total), apps[0].served - 1);
    assert_int_equal(attempts.count, apps[0].served);
    assert_int_equal(attempts.failed, apps[0].served - 1);
    assert_int_equal(attempts.last_status, 200);
    assert_string_equal(attempts.last_node, apps[0].url);
    turn();
    assert_int_equal(partition->park.user_count, 0);
}

static void after_the_last_attempt_it_is_a_dead_letter(void **state)
{
    (void)state;
    adopt(1, 0);
    set_retry(3);
    apps[0].status = 500;
    add(1, "a", "blue");
    run_until(&left.dead, 1);
    assert_int_equal(apps[0].served, 3);
    assert_int_equal(left.parked, 2);
    assert_int_equal(left.attempts, 3);
    assert_int_equal(left.status, 500);
    assert_string_equal(left.reason, "attempts");
    assert_int_equal(settled, 1);
}

static void what_no_retry_can_mend_is_a_dead_letter_at_once_and_its_user_goes_on(void **state)
{
    (void)state;
    adopt(1, 0);
    set_retry(16);
    apps[0].status = 422;
    add(1, "a", "blue");
    add(2, "a", "blue");
    run_until(&left.dead, 1);
    assert_int_equal(left.attempts, 1);
    assert_int_equal(left.status, 422);
    assert_string_equal(left.reason, "status");
    apps[0].status = 200;
    run_until(&settled, 2);
    assert_int_equal(left.dead + stat_get(&stats.agent_acknowledged_total), 2);
    assert_int_equal(left.parked, 0);
}

static void what_is_put_off_for_long_is_parked_and_counts_no_attempt(void **state)
{
    (void)state;
    adopt(1, 0);
    set_retry(2);
    apps[0].status = 503;
    apps[0].retry_after = "7";
    add(1, "a", "blue");
    run_until(&left.parked, 4);
    assert_int_equal(left.attempts, 0);
    assert_in_range(left.wait_ms, 7000, 7000);
    apps[0].status = 200;
    run_until(&settled, 1);
    assert_int_equal(apps[0].attempt, 1);
    assert_int_equal(left.dead, 0);
}

static void retry_after_is_kept_and_counts_as_no_attempt(void **state)
{
    (void)state;
    adopt(1, 0);
    apps[0].status = 503;
    apps[0].retry_after = "1";
    add(1, "a", "blue");
    run_until(&apps[0].served, 1);
    uint64_t from_us = clock_monotonic_us();
    apps[0].status = 429;
    apps[0].retry_after = NULL;
    run_until(&apps[0].served, 2);
    assert_in_range(clock_monotonic_us() - from_us, 990000, PATIENCE_US);
    apps[0].status = 200;
    run_until(&acknowledged, 1);
    assert_int_equal(apps[0].attempt, 1);
    assert_int_equal(stat_get(&stats.agent_deferred_total), 2);
    assert_int_equal(stat_get(&stats.agent_retries_total), 0);
}

static void many_users_go_at_once_and_one_user_one_at_a_time(void **state)
{
    (void)state;
    char user[16];
    adopt(1, 0);
    apps[0].status = 0;
    for (unsigned i = 1; i <= 4; i++)
        add(i, "a", "blue");
    run_until(&apps[0].served, 1);
    for (int i = 0; i < 20; i++)
        turn();
    assert_int_equal(apps[0].busy, 1);
    for (unsigned i = 5; i <= 24; i++) {
        snprintf(user, sizeof(user), "u%u", i);
        add(i, user, "blue");
    }
    run_until(&apps[0].busy, 8);
    for (int i = 0; i < 20; i++)
        turn();
    assert_int_equal(apps[0].busy, 8); /* delivery.concurrency */
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; acknowledged < 24;) {
        assert_true(clock_monotonic_us() < until_us);
        release(&apps[0]);
        turn();
    }
    assert_int_equal(apps[0].most_busy, 8);
    assert_int_equal(apps[0].served, 24);
}

static void deliveries_take_turns_over_the_nodes(void **state)
{
    (void)state;
    char user[16];
    adopt(3, 0);
    for (unsigned i = 1; i <= 30; i++) {
        snprintf(user, sizeof(user), "u%u", i);
        add(i, user, "blue");
    }
    run_until(&acknowledged, 30);
    for (int i = 0; i < NODES; i++)
        assert_int_equal(apps[i].served, 10);
}

static void a_message_goes_to_its_colour_and_to_any_where_its_colour_has_no_nodes(void **state)
{
    (void)state;
    adopt(1, 1);
    add(1, "a", "blue");
    add(2, "b", "green");
    run_until(&acknowledged, 2);
    assert_int_equal(apps[0].served, 1);
    assert_int_equal(apps[1].served, 1);
    adopt(1, 0);
    add(3, "c", "green");
    run_until(&acknowledged, 3);
    assert_int_equal(apps[0].served, 2);
}

static void a_dead_node_is_taken_out_and_comes_back(void **state)
{
    (void)state;
    adopt(2, 0);
    unsigned port = httpd_port(apps[0].httpd);
    httpd_destroy(&apps[0].httpd);
    add(1, "a", "blue");
    add(2, "b", "blue");
    run_until(&acknowledged, 2);
    assert_int_equal(apps[1].served, 2);
    run_until(&node_changes, 2); /* adopted, and down */
    assert_false(node_of(&apps[0])->up);
    assert_string_not_equal(node_of(&apps[0])->fault, "");
    app_start(&apps[0], port);
    run_until(&node_changes, 3);
    assert_true(node_of(&apps[0])->up);
    add(3, "c", "blue");
    add(4, "d", "blue");
    run_until(&acknowledged, 4);
    assert_int_equal(apps[0].served, 1);
}

static void a_colour_whose_nodes_are_all_down_waits_and_holds_up_no_other(void **state)
{
    (void)state;
    adopt(1, 1);
    unsigned port = httpd_port(apps[1].httpd);
    httpd_destroy(&apps[1].httpd);
    run_until(&node_changes, 2);
    add(1, "g", "green");
    add(2, "b", "blue");
    run_until(&acknowledged, 1);
    assert_int_equal(apps[0].served, 1);
    assert_int_equal(stat_get(&stats.agent_deliveries_in_flight), 0);
    app_start(&apps[1], port);
    run_until(&acknowledged, 2);
    assert_int_equal(apps[1].served, 1);
}

static void a_node_that_left_the_rules_finishes_what_it_has(void **state)
{
    (void)state;
    adopt(1, 0);
    apps[0].status = 0;
    add(1, "a", "blue");
    run_until(&apps[0].busy, 1);
    struct str other = str_of(apps[1].url);
    nodes_adopt(nodes, &(struct table_unit){.nodes = {[COLOR_BLUE] = {&other, 1}}});
    assert_non_null(node_of(&apps[0]));
    release(&apps[0]);
    run_until(&acknowledged, 1);
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; node_of(&apps[0]) != NULL;) {
        assert_true(clock_monotonic_us() < until_us); /* a probe may still be under way */
        turn();
    }
    add(2, "b", "blue");
    run_until(&acknowledged, 2);
    assert_int_equal(apps[1].served, 1);
}

static void what_is_withdrawn_is_not_delivered(void **state)
{
    (void)state;
    adopt(1, 0);
    apps[0].status = 503;
    add(1, "backing off", "blue");
    run_until(&apps[0].served, 1);
    apps[0].status = 0;
    for (unsigned i = 2; i <= 12; i++) {
        char user[16];
        snprintf(user, sizeof(user), "u%u", i);
        add(i, user, "blue");
    }
    run_until(&apps[0].busy, 8); /* some in flight, some ready */
    partition_reset(partition);
    assert_int_equal(stat_get(&stats.agent_deliveries_in_flight), 0);
    unsigned served = apps[0].served;
    release(&apps[0]);
    for (int i = 0; i < 50; i++)
        turn();
    assert_int_equal(apps[0].served, served);
    assert_int_equal(acknowledged, 0);
}

static void after_stop_nothing_begins(void **state)
{
    (void)state;
    adopt(1, 0);
    apps[0].status = 0;
    add(1, "a", "blue");
    run_until(&apps[0].busy, 1);
    delivery_stop(delivery);
    add(2, "b", "blue");
    for (int i = 0; i < 20; i++)
        turn();
    assert_int_equal(apps[0].served, 1);
    release(&apps[0]);
    run_until(&acknowledged, 1);
    assert_int_equal(stat_get(&stats.agent_deliveries_in_flight), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_acknowledged_by_a_2xx),
        TEST(a_failed_message_is_parked_and_its_attempts_count_up_until_it_works),
        TEST(after_the_last_attempt_it_is_a_dead_letter),
        TEST(what_no_retry_can_mend_is_a_dead_letter_at_once_and_its_user_goes_on),
        TEST(what_is_put_off_for_long_is_parked_and_counts_no_attempt),
        TEST(retry_after_is_kept_and_counts_as_no_attempt),
        TEST(many_users_go_at_once_and_one_user_one_at_a_time),
        TEST(deliveries_take_turns_over_the_nodes),
        TEST(a_message_goes_to_its_colour_and_to_any_where_its_colour_has_no_nodes),
        TEST(a_dead_node_is_taken_out_and_comes_back),
        TEST(a_colour_whose_nodes_are_all_down_waits_and_holds_up_no_other),
        TEST(a_node_that_left_the_rules_finishes_what_it_has),
        TEST(what_is_withdrawn_is_not_delivered),
        TEST(after_stop_nothing_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
