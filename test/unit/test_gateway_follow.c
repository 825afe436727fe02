/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* accept4 */
#include "gateway/follow.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/httpd.h"
#include "gateway/view.h"
#include "rules/rules.h"

#define TOKEN "s3cret"

/* An agent's health stream: the real admin server, on the loop of the test. */
struct agent {
    struct httpd *httpd;
    struct httpd_stream *stream;
    unsigned port, opened;
};

struct fixture {
    sd_event *loop;
    struct registry *registry;
    struct view *view;
    struct follow *follow;
    struct agent agents[2];
};

static void gone(void *arg)
{
    ((struct agent *)arg)->stream = NULL;
}

static void open_stream(struct httpd_request *request, void *context)
{
    struct agent *agent = context;
    agent->stream = httpd_stream_open(request, gone, agent);
    agent->opened++;
}

static void start_agent(struct fixture *f, struct agent *agent, const char *token)
{
    static const struct httpd_route routes[] = {{"GET", "/v1/health/stream", open_stream, false, "Health."}};
    char listen[32];
    struct error err;
    snprintf(listen, sizeof(listen), "127.0.0.1:%u", agent->port);
    struct httpd_config config = {
        .listen = listen, .token = token, .routes = routes, .route_count = 1, .context = agent};
    agent->httpd = httpd_create(f->loop, &config, &err);
    if (agent->httpd == NULL)
        fail_msg("%s", err.text);
    agent->port = httpd_port(agent->httpd);
}

static void stop_agent(struct agent *agent)
{
    httpd_destroy(&agent->httpd);
    agent->stream = NULL;
}

static struct view *make_view(struct fixture *f, unsigned agent_count)
{
    struct buf text = {NULL, 0, 0};
    struct diag_list diags = {.file = "rules"};
    struct error err;
    buf_printf(&text,
               "version: 1\nidentity: {sources: [\"header:X\"]}\nsharding: {hash: modulo, slots: 10}\n"
               "units:\n  RZ01: {kind: A, datacenter: x, slots: [\"0-9\"], brokers: [\"redis://127.0.0.1:1\"], "
               "agents: [\"http://127.0.0.1:%u\"",
               f->agents[0].port);
    if (agent_count == 2)
        buf_printf(&text, ", \"http://127.0.0.1:%u\"", f->agents[1].port);
    buf_printf(&text, "],\n    nodes: {blue: [\"http://127.0.0.1:5\", \"http://127.0.0.1:6\"]}}\n"
                      "routes: [{match: {path: \"/*\"}, zone: A, action: proxy}]\n");
    struct table *table = rules_load(buf_str(&text), 1, &diags);
    if (table == NULL)
        fail_msg("%s", diags.items[0].message);
    struct view *view = view_create(f->registry, table, &err);
    assert_non_null(view);
    diag_free(&diags);
    buf_free(&text);
    return view;
}

static int enter(void **state)
{
    struct fixture *f = mem_calloc(1, sizeof(*f));
    *state = f;
    sd_event_new(&f->loop);
    f->registry = registry_create();
    for (int i = 0; i < 2; i++)
        start_agent(f, &f->agents[i], TOKEN);
    f->view = make_view(f, 2);
    f->follow = follow_create(f->loop, f->registry, TOKEN);
    follow_adopt(f->follow, f->view->table);
    return 0;
}

static int leave(void **state)
{
    struct fixture *f = *state;
    follow_destroy(&f->follow);
    assert_null(f->follow);
    for (int i = 0; i < 2; i++)
        stop_agent(&f->agents[i]);
    view_unref(&f->view);
    registry_destroy(&f->registry);
    sd_event_unref(f->loop);
    free(f);
    return 0;
}

/* Turns the loop until CONDITION holds. */
#define UNTIL(f, condition)                                                                                            \
    do {                                                                                                               \
        uint64_t until_us = clock_monotonic_us() + 60000000;                                                           \
        while (!(condition)) {                                                                                         \
            if (clock_monotonic_us() > until_us)                                                                       \
                fail_msg("not in time: %s", #condition);                                                               \
            sd_event_run((f)->loop, 20000);                                                                            \
        }                                                                                                              \
    } while (0)

static bool is_reported(const struct fixture *f, uint32_t node)
{
    return atomic_load(&f->view->units[0].nodes[COLOR_BLUE][node]->reported);
}

static void say(struct agent *agent, const char *data)
{
    assert_true(httpd_stream_send(agent->stream, "health", str_of(data)));
}

#define DOWN_5                                                                                                         \
    "{\"nodes\":[\n{\"url\":\"http://127.0.0.1:5\",\"up\":false,\"fault\":\"refused\"},\n"                             \
    "{\"url\":\"http://127.0.0.1:6\",\"up\":true}]}"
#define ALL_UP "{\"nodes\":[{\"url\":\"http://127.0.0.1:5\",\"up\":true},{\"url\":\"http://127.0.0.1:6\",\"up\":true}]}"

/* What follow tells of the first agent. */
struct told {
    struct follow_agent agents[2];
    char faults[2][256];
    size_t count;
};

static void tell(const struct follow_agent *agent, void *arg)
{
    struct told *told = arg;
    snprintf(told->faults[told->count], sizeof(told->faults[0]), "%s", agent->fault);
    told->agents[told->count++] = *agent;
}

static struct told told(const struct fixture *f)
{
    struct told told = {.count = 0};
    follow_each(f->follow, tell, &told);
    return told;
}

static void a_node_that_an_agent_calls_down_is_out_until_it_is_up_again(void **state)
{
    struct fixture *f = *state;
    UNTIL(f, f->agents[0].stream != NULL);
    assert_false(told(f).agents[0].heard);
    assert_int_equal(told(f).agents[0].age_ms, -1);
    say(&f->agents[0], DOWN_5);
    UNTIL(f, is_reported(f, 0));
    assert_false(is_reported(f, 1));
    struct told now = told(f);
    assert_int_equal(now.count, 2);
    assert_true(now.agents[0].heard);
    assert_string_equal(now.faults[0], "");
    assert_string_equal(now.agents[0].unit, "RZ01");
    assert_int_equal(json_array_size(json_object_get(now.agents[0].report, "nodes")), 2);
    say(&f->agents[0], ALL_UP);
    UNTIL(f, !is_reported(f, 0));
}

static void one_agent_that_calls_it_down_is_enough(void **state)
{
    struct fixture *f = *state;
    UNTIL(f, f->agents[0].stream != NULL && f->agents[1].stream != NULL);
    say(&f->agents[0], DOWN_5);
    UNTIL(f, is_reported(f, 0));
    say(&f->agents[1], ALL_UP);
    UNTIL(f, told(f).agents[1].heard);
    assert_true(is_reported(f, 0));
    say(&f->agents[1], DOWN_5);
    say(&f->agents[0], ALL_UP);
    UNTIL(f, told(f).agents[0].age_ms < 100 &&
                 json_is_true(
                     json_object_get(json_array_get(json_object_get(told(f).agents[0].report, "nodes"), 0), "up")));
    assert_true(is_reported(f, 0));
}

static void the_verdicts_of_an_agent_that_falls_silent_end(void **state)
{
    struct fixture *f = *state;
    UNTIL(f, f->agents[0].stream != NULL);
    uint64_t said_us = clock_monotonic_us();
    say(&f->agents[0], DOWN_5);
    UNTIL(f, is_reported(f, 0));
    UNTIL(f, !is_reported(f, 0));
    uint64_t lease_us = clock_monotonic_us() - said_us;
    assert_in_range(lease_us, FOLLOW_LEASE_US, FOLLOW_LEASE_US + 30000000);
    assert_false(told(f).agents[0].heard);
    assert_string_equal(told(f).faults[0], "it fell silent");
    unsigned before = f->agents[0].opened;
    UNTIL(f, f->agents[0].opened > before); /* the stream is opened anew in the end */
}

static void an_agent_that_dies_is_heard_again_when_it_is_back(void **state)
{
    struct fixture *f = *state;
    UNTIL(f, f->agents[0].stream != NULL);
    say(&f->agents[0], DOWN_5);
    UNTIL(f, is_reported(f, 0));
    stop_agent(&f->agents[0]);
    UNTIL(f, !is_reported(f, 0));
    assert_int_not_equal(strlen(told(f).faults[0]), 0);
    start_agent(f, &f->agents[0], TOKEN);
    UNTIL(f, f->agents[0].stream != NULL);
    say(&f->agents[0], DOWN_5);
    UNTIL(f, is_reported(f, 0));
    assert_true(told(f).agents[0].heard);
}

static void what_is_no_report_is_told_and_changes_nothing(void **state)
{
    static const char *const rubbish[] = {
        "{", "[]", "null", "\xff", "{\"nodes\":1}", "{\"nodes\":[1,{},{\"url\":3},{\"url\":\"http://127.0.0.1:5\"}]}"};
    struct fixture *f = *state;
    UNTIL(f, f->agents[0].stream != NULL);
    say(&f->agents[0], "no JSON");
    UNTIL(f, strcmp(told(f).faults[0], "its report is no JSON object") == 0);
    for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++)
        say(&f->agents[0], rubbish[i]);
    say(&f->agents[0], DOWN_5);
    UNTIL(f, is_reported(f, 0));
    assert_false(is_reported(f, 1));
}

/* A listener on the agent's port that sends an event without end; false until the client hangs up. */
static bool pour(int listener, int *connection)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ";
    static char flood[65536];
    if (*connection == -1) {
        *connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (*connection != -1)
            assert_int_equal(send(*connection, head, sizeof(head) - 1, MSG_NOSIGNAL), sizeof(head) - 1);
        return false;
    }
    memset(flood, 'x', sizeof(flood));
    return send(*connection, flood, sizeof(flood), MSG_NOSIGNAL) == -1 && errno != EAGAIN;
}

static void an_event_without_end_is_cut_off(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)f->agents[0].port)};
    int connection = -1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    stop_agent(&f->agents[0]);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 5), 0);
    UNTIL(f, pour(listener, &connection));
    assert_string_equal(told(f).faults[0], "its event is too long");
    close(connection);
    close(listener);
    start_agent(f, &f->agents[0], TOKEN);
    UNTIL(f, f->agents[0].stream != NULL);
    say(&f->agents[0], DOWN_5);
    UNTIL(f, is_reported(f, 0));
}

static void an_agent_that_refuses_the_token_is_told(void **state)
{
    struct fixture *f = *state;
    stop_agent(&f->agents[0]);
    start_agent(f, &f->agents[0], "another");
    UNTIL(f, strcmp(told(f).faults[0], "it answered with status 401") == 0);
    stop_agent(&f->agents[0]);
    start_agent(f, &f->agents[0], TOKEN);
    UNTIL(f, f->agents[0].stream != NULL);
}

static void agents_that_the_rules_no_longer_name_are_dropped_with_their_verdicts(void **state)
{
    struct fixture *f = *state;
    UNTIL(f, f->agents[0].stream != NULL && f->agents[1].stream != NULL);
    say(&f->agents[1], DOWN_5);
    UNTIL(f, is_reported(f, 0));
    struct view *fewer = make_view(f, 1);
    view_unref(&f->view);
    f->view = fewer;
    unsigned opened = f->agents[0].opened;
    follow_adopt(f->follow, f->view->table);
    assert_false(is_reported(f, 0));
    assert_int_equal(told(f).count, 1);
    UNTIL(f, f->agents[1].stream == NULL);
    assert_int_equal(f->agents[0].opened, opened); /* who stays keeps its stream */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)
    const struct CMUnitTest tests[] = {
        TEST(a_node_that_an_agent_calls_down_is_out_until_it_is_up_again),
        TEST(one_agent_that_calls_it_down_is_enough),
        TEST(the_verdicts_of_an_agent_that_falls_silent_end),
        TEST(an_agent_that_dies_is_heard_again_when_it_is_back),
        TEST(what_is_no_report_is_told_and_changes_nothing),
        TEST(an_event_without_end_is_cut_off),
        TEST(an_agent_that_refuses_the_token_is_told),
        TEST(agents_that_the_rules_no_longer_name_are_dropped_with_their_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
