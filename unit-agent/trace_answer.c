/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /v1/queue/trace: where a message of this unit is, and what happened to it.
 */
#include "common/httpd_admin.h"
#include "common/lookup.h"
#include "common/protocol.h"
#include "unit-agent/operations.h"

#define MOST_SUBSCRIPTIONS 64

static void on_found(void *arg, enum lookup_verdict verdict, const json_t *document)
{
    struct httpd_request *request = arg;
    if (verdict == LOOKUP_FOUND)
        httpd_admin_respond(
            request, 200,
            json_pack("{s:O,s:i,s:[O]}", "unit", json_object_get(document, "unit"), "count", 1, "items", document));
    else if (verdict == LOOKUP_NOTHING)
        httpd_respond_problem(request, 404, "not-found",
                              "No such message: it was never stored, or it was delivered and its traces are gone");
    else
        httpd_respond_problem(request, 503, "broker-unavailable", "The broker does not answer; ask again");
}

static size_t subscriptions_of(const struct table *table, struct str name, struct lookup_subscription *subscriptions)
{
    size_t count = 0;
    for (uint32_t i = 0; table != NULL && i < table->topic_count; i++) {
        const struct table_topic *topic = &table->topics[i];
        for (uint32_t k = 0; str_equal(topic->name, name) && k < topic->subscription_count; k++)
            if (count < MOST_SUBSCRIPTIONS)
                subscriptions[count++] =
                    (struct lookup_subscription){topic->subscriptions[k].name, topic->subscriptions[k].broadcast};
    }
    if (count == 0) /* a topic that the rules do not name any more */
        subscriptions[count++] = (struct lookup_subscription){STR_LIT(PROTOCOL_DEFAULT_SUBSCRIPTION), false};
    return count;
}

void operations_trace(struct operations *operations, struct httpd_request *request)
{
    struct lookup_subscription subscriptions[MOST_SUBSCRIPTIONS];
    struct broker *broker = operations_broker(operations);
    struct protocol_id parts;
    struct buf id = {0};
    if (!httpd_request_query(request, "id", &id) || !protocol_id_parse(buf_str(&id), &parts)) {
        httpd_respond_problem(request, 400, "bad-request", "id: a message id is wanted");
    } else {
        size_t count = subscriptions_of(operations_table(operations), parts.topic, subscriptions);
        if (broker == NULL || lookup_start(broker, buf_str(&id), subscriptions, count, on_found, request) == NULL)
            httpd_respond_problem(request, 503, "broker-unavailable",
                                  broker ? broker_fault(broker) : "the rules name no broker");
    }
    buf_free(&id);
}
