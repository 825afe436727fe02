/* SPDX-License-Identifier: Apache-2.0 */
#include "common/etcd_call.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/file.h"

#define ROUNDS     2
#define LOGINS     2    /* in one call: the second with a fresh token */
#define LOGIN_MS   1000 /* checking a password takes etcd's CPU a while */
#define TOKEN_MOST 500
#define TRUSTED_US 2000000 /* a token with which nothing was answered for so long is dropped */

/* gRPC codes. */
enum code {
    CODE_CANCELLED = 1,
    CODE_UNKNOWN = 2,
    CODE_INVALID = 3,
    CODE_DEADLINE = 4,
    CODE_EXHAUSTED = 8, /* its quota of space is used */
    CODE_ABORTED = 10,
    CODE_INTERNAL = 13,
    CODE_UNAVAILABLE = 14,
    CODE_UNAUTHENTICATED = 16,
};

enum verdict {
    ANSWERED = 0,
    REFUSED,
    LOG_IN_AGAIN,
    TRY_ANOTHER,
};

void etcd_session_open(struct etcd_session *session, const struct etcd_access *access, const atomic_bool *give_up)
{
    *session = (struct etcd_session){.access = access, .give_up = give_up, .http = http_caller_create()};
}

void etcd_session_forget(struct etcd_session *session)
{
    free(session->token);
    session->token = NULL;
}

void etcd_session_close(struct etcd_session *session)
{
    etcd_session_forget(session);
    http_caller_destroy(&session->http);
}

/* --- one try ------------------------------------------------------------------------------------------------------ */

static long post(struct etcd_session *session, const char *path, struct str body, const char *const *fields,
                 int64_t timeout_ms, struct buf *answer, struct error *err)
{
    struct buf url = {NULL, 0, 0};
    buf_printf(&url, "%s%s", session->access->endpoints[session->at], path);
    struct http_request request = {.method = "POST",
                                   .url = url.base,
                                   .headers = fields,
                                   .body = body,
                                   .timeout_ms = timeout_ms,
                                   .connect_timeout_ms = timeout_ms,
                                   .tls = &session->access->tls,
                                   .most_response = (size_t)64 << 20};
    long status = http_caller_call(session->http, &request, answer, err);
    buf_free(&url);
    return status;
}

/* A token that a restarted member does not know, or that is older than a change of users. */
static bool wants_login(int code, const char *message)
{
    return code == CODE_UNAUTHENTICATED || strstr(message, "invalid auth token") != NULL ||
           strstr(message, "revision in header is old") != NULL;
}

static enum verdict judge(struct etcd_session *session, long status, struct str body, struct error *err)
{
    char message[200];
    if (status == -1)
        return TRY_ANOTHER;
    if (status == 200)
        return ANSWERED;
    int code = etcd_refusal_parse(body, message, sizeof(message));
    const char *endpoint = session->access->endpoints[session->at];
    if (session->token != NULL && wants_login(code, message)) {
        error_set(err, ERROR_REFUSED, "%s: %s", endpoint, message);
        return LOG_IN_AGAIN;
    }
    bool passes = status >= 500 || code == CODE_CANCELLED || code == CODE_DEADLINE || code == CODE_ABORTED ||
                  code == CODE_INTERNAL || code == CODE_UNAVAILABLE;
    enum error_code refusal = code == CODE_EXHAUSTED ? ERROR_SYSTEM : ERROR_REFUSED;
    error_set(err, passes ? ERROR_UNREACHABLE : refusal, "%s: %s", endpoint, message);
    return passes ? TRY_ANOTHER : REFUSED;
}

/* --- logging in --------------------------------------------------------------------------------------------------- */

static enum verdict log_in_with(struct etcd_session *session, const char *password, struct error *err)
{
    static const char *const fields[] = {"Content-Type: application/json", NULL};
    struct buf body = {NULL, 0, 0}, text = {NULL, 0, 0};
    struct etcd_answer answer = {0};
    etcd_authenticate_format(session->access->user, password, &body);
    long status = post(session, "/v3/auth/authenticate", buf_str(&body), fields, LOGIN_MS, &text, err);
    enum verdict verdict = judge(session, status, buf_str(&text), err);
    if (verdict == ANSWERED && etcd_answer_parse(buf_str(&text), &answer, err) == -1)
        verdict = REFUSED;
    if (verdict == ANSWERED && (answer.token == NULL || strlen(answer.token) > TOKEN_MOST)) {
        error_set(err, ERROR_REFUSED, "%s gives no token of use to %s", session->access->endpoints[session->at],
                  session->access->user);
        verdict = REFUSED;
    }
    if (verdict == ANSWERED)
        session->token = str_dup(str_of(answer.token));
    etcd_answer_free(&answer);
    if (body.base != NULL)
        explicit_bzero(body.base, body.capacity);
    buf_free(&body);
    buf_free(&text);
    return verdict;
}

/* The file is read each time: the password may be another by now. */
static enum verdict log_in(struct etcd_session *session, struct error *err)
{
    const struct etcd_access *access = session->access;
    if (access->user == NULL || session->token != NULL)
        return ANSWERED;
    char *password = access->password_file != NULL ? file_read_secret(access->password_file, err) : NULL;
    if (password == NULL && access->password_file == NULL)
        error_set(err, ERROR_INPUT, "etcd's user %s has no password file", access->user);
    if (password == NULL)
        return REFUSED;
    enum verdict verdict = log_in_with(session, password, err);
    explicit_bzero(password, strlen(password));
    free(password);
    return verdict;
}

static void fill_head(const struct etcd_session *session, struct etcd_head *head)
{
    *head = (struct etcd_head){.fields = {"Content-Type: application/json"}};
    if (session->token == NULL)
        return;
    snprintf(head->text, sizeof(head->text), "Authorization: %s", session->token); /* without "Bearer" */
    head->fields[1] = head->text;
}

int etcd_session_head(struct etcd_session *session, struct etcd_head *head, struct error *err)
{
    if (log_in(session, err) != ANSWERED)
        return -1;
    fill_head(session, head);
    return 0;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static enum verdict try_one(struct etcd_session *session, const char *path, struct str body, int64_t timeout_ms,
                            struct etcd_answer *answer, struct error *err)
{
    struct buf text = {NULL, 0, 0};
    enum verdict verdict = log_in(session, err);
    for (int i = 0; verdict == ANSWERED && i < LOGINS; i++) {
        struct etcd_head head;
        fill_head(session, &head);
        text.len = 0;
        long status = post(session, path, body, head.fields, timeout_ms, &text, err);
        verdict = judge(session, status, buf_str(&text), err);
        if (verdict != LOG_IN_AGAIN)
            break;
        etcd_session_forget(session);
        verdict = i + 1 < LOGINS ? log_in(session, err) : REFUSED;
    }
    if (verdict == ANSWERED && etcd_answer_parse(buf_str(&text), answer, err) == -1)
        verdict = TRY_ANOTHER;
    buf_free(&text);
    return verdict;
}

/* A simple token names a place in etcd's log, and a member that has not come there yet waits for it before it says that
 * it does not know the token. In an etcd that was restored from a snapshot that is for ever. */
static void distrust_token(struct etcd_session *session, uint64_t began_us)
{
    if (session->silent_us == 0)
        session->silent_us = began_us;
    if (clock_monotonic_us() - session->silent_us > TRUSTED_US)
        etcd_session_forget(session);
}

int etcd_call(struct etcd_session *session, const char *path, struct str body, unsigned patience,
              struct etcd_answer *answer, struct error *err)
{
    const struct etcd_access *access = session->access;
    uint64_t began_us = clock_monotonic_us();
    *answer = (struct etcd_answer){0};
    for (unsigned i = 0; i < ROUNDS * access->endpoint_count; i++) {
        int64_t timeout_ms = access->try_ms * patience * (i < access->endpoint_count ? 1 : ROUNDS);
        if (session->give_up != NULL && atomic_load(session->give_up))
            return error_set(err, ERROR_UNREACHABLE, "the store is being closed");
        enum verdict verdict = try_one(session, path, body, timeout_ms, answer, err);
        if (verdict == ANSWERED || verdict == REFUSED)
            session->silent_us = 0;
        if (verdict == ANSWERED)
            return 0;
        if (verdict == REFUSED)
            return -1;
        session->at = (session->at + 1) % access->endpoint_count;
    }
    distrust_token(session, began_us);
    return -1;
}

void etcd_session_warm(struct etcd_session *session, const char *key)
{
    const struct etcd_access *access = session->access;
    struct buf body = {NULL, 0, 0};
    unsigned at = session->at;
    etcd_range_format(&(struct etcd_range){.key = key}, &body);
    for (unsigned i = 0; i < access->endpoint_count; i++) {
        struct etcd_answer answer = {0};
        struct error err;
        session->at = i;
        (void)try_one(session, ETCD_RANGE, buf_str(&body), access->try_ms, &answer, &err);
        etcd_answer_free(&answer);
    }
    session->at = at;
    buf_free(&body);
}
