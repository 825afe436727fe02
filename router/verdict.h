/* SPDX-License-Identifier: Apache-2.0
 *
 * What can become of a request: one list of verdicts, each with its HTTP status, the name of its problem type
 * (urn:ldcgate:problem:NAME), its RFC 9209 Proxy-Status error token ("" where the client is at fault), whether the
 * answer carries Retry-After, and a title. The counters, the problem documents and docs/PROBLEMS.md come from this
 * list.
 */
#ifndef ROUTER_VERDICT_H
#define ROUTER_VERDICT_H

#define VERDICTS(X)                                                                                                    \
    /* routing */                                                                                                      \
    X(OK, 200, "ok", "", 0, "The request was routed")                                                                  \
    X(NO_RULES, 503, "no-rules", "proxy_configuration_error", 1, "This gateway has no rules yet")                      \
    X(NO_ROUTE, 404, "no-route", "", 0, "No route matches this path and method")                                       \
    X(METHOD_NOT_ALLOWED, 405, "method-not-allowed", "", 0, "The path is routed, but not for this method")             \
    X(MISSING_USER, 400, "missing-user", "", 0, "No identity source yields a user")                                    \
    X(BAD_USER, 400, "bad-user-id", "", 0, "The user ID does not fit the hash")                                        \
    X(BAD_TOKEN, 401, "bad-token", "", 0, "The bearer token is not valid")                                             \
    X(BAD_JSON, 400, "bad-json", "", 0, "The body is not the JSON that this route needs")                              \
    X(CROSS_UNIT, 409, "cross-unit", "", 0, "The participants live in different units")                                \
    X(NO_UNIT, 503, "no-unit", "destination_unavailable", 1, "No unit of this zone can take the request")              \
    X(STALE_EPOCH, 409, "stale-epoch", "", 0, "The caller knows an older state than the one in force")                 \
    X(NO_COLLECTION, 404, "no-collection", "", 0, "There is no such zone C collection")                                \
    X(NO_KEY, 404, "no-key", "", 0, "The collection has no such key")                                                  \
    X(CONDITION, 412, "condition-failed", "", 0, "The value has another version than the request wants")               \
    X(WATCHERS_FULL, 503, "watchers-full", "connection_limit_reached", 1, "Too many clients watch collections here")   \
    /* what the ingress refuses */                                                                                     \
    X(BAD_REQUEST, 400, "bad-request", "", 0, "The request is malformed")                                              \
    X(BODY_TOO_LARGE, 413, "body-too-large", "", 0, "The body exceeds the limit")                                      \
    X(URI_TOO_LONG, 414, "uri-too-long", "", 0, "The request target exceeds the limit")                                \
    X(HEAD_TOO_LARGE, 431, "head-too-large", "", 0, "The header block exceeds the limit")                              \
    X(EXPECTATION, 417, "expectation-failed", "", 0, "The expectation cannot be met")                                  \
    X(TOO_SLOW, 408, "too-slow", "", 0, "The request did not arrive in time")                                          \
    X(BAD_VERSION, 505, "bad-version", "", 0, "The HTTP version is not supported")                                     \
    X(UNTRUSTED_PEER, 403, "untrusted-peer", "", 0, "Only trusted peers may do this")                                  \
    X(NOT_FOUND, 404, "not-found", "", 0, "There is nothing at this reserved path")                                    \
    X(BODIES_FULL, 503, "overloaded", "connection_limit_reached", 1, "The gateway holds too many request bodies")      \
    X(ANSWERS_FULL, 503, "answers-full", "connection_limit_reached", 1, "Too many answers wait for their clients")     \
    /* the unit */                                                                                                     \
    X(UNIT_BUSY, 503, "unit-busy", "connection_limit_reached", 1, "The unit has too many requests in flight")          \
    X(SWITCHING, 503, "unit-switching", "destination_unavailable", 1, "The unit is being switched over")               \
    X(BROKER_AWAY, 503, "broker-unavailable", "destination_unavailable", 1, "The unit's broker is not reachable")      \
    X(BROKER_FULL, 503, "broker-full", "destination_unavailable", 1, "The unit's broker refuses messages")             \
    X(BACKLOG_FULL, 503, "backlog-full", "destination_unavailable", 1, "Too many messages wait for their delivery")    \
    X(IDEMPOTENCY_CONFLICT, 422, "idempotency-conflict", "", 0, "The idempotency key was used for another request")    \
    X(MESSAGE_STATE, 409, "message-state", "", 0, "The message is in a state that does not allow this")                \
    X(OUTCOME_UNKNOWN, 503, "outcome-unknown", "connection_timeout", 1,                                                \
      "The broker did not confirm in time; what was sent may have been stored")                                        \
    X(REPLY_TIMEOUT, 504, "reply-timeout", "http_response_timeout", 0, "The app did not answer the message in time")   \
    X(REPLY_MISSING, 502, "reply-missing", "http_response_incomplete", 0, "There is no answer of the app to pass on")  \
    X(NODE_AWAY, 503, "node-unavailable", "destination_unavailable", 1, "No node of the unit is reachable")            \
    X(NODE_RESET, 502, "node-reset", "connection_terminated", 0, "The node closed the connection before it answered")  \
    X(NODE_PROTOCOL, 502, "node-protocol", "http_protocol_error", 0, "The node's answer is malformed")                 \
    X(NODE_TIMEOUT, 504, "node-timeout", "http_response_timeout", 0, "The node did not answer in time")                \
    /* collections */                                                                                                  \
    X(STALE_COPY, 503, "stale-copy", "destination_unavailable", 1, "No copy of the collection is as new as wanted")    \
    X(BAD_VALUE, 502, "bad-value", "proxy_internal_error", 0, "What is stored is not what was written")                \
    X(DRAINING, 503, "draining", "", 1, "The gateway is shutting down")

enum verdict {
#define VERDICT_ENUM(name, status, problem, proxy_status, retry, title) VERDICT_##name,
    VERDICTS(VERDICT_ENUM)
#undef VERDICT_ENUM
        VERDICT_COUNT,
};

struct verdict_info {
    int status;
    const char *name, *proxy_status;
    int retry_after;
    const char *title;
};

const struct verdict_info *verdict_info(enum verdict verdict);

#endif
