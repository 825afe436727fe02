/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/response.h"

/* libh2o exports its picohttpparser without a header of its own; struct http1_header has the layout of its field. */
int phr_parse_response(const char *bytes, size_t len, int *minor_version, int *status, const char **reason,
                       size_t *reason_len, struct http1_header *fields, size_t *field_count, size_t scanned);

struct framing_fields {
    bool length_seen, coding_seen, close, keep_alive;
};

static enum response_verdict malformed(struct response *response, const char *fault)
{
    response->fault = fault;
    return RESPONSE_MALFORMED;
}

static void read_connection(struct response *response, struct framing_fields *seen, struct str options)
{
    struct str option;
    while (str_next(&options, ',', &option)) {
        option = str_trim(option);
        if (str_equal_nocase(option, STR_LIT("close")))
            seen->close = true;
        else if (str_equal_nocase(option, STR_LIT("keep-alive")))
            seen->keep_alive = true;
        else if (option.len > 0 && !str_equal_nocase(option, STR_LIT("upgrade")))
            response->names_fields = true;
    }
}

static const char *read_length(struct response *response, struct framing_fields *seen, struct str value)
{
    if (seen->length_seen)
        return "The answer has two lengths";
    seen->length_seen = true;
    if (!str_to_u64(value, &response->length) || response->length >= SIZE_MAX)
        return "The answer's length is no number";
    return NULL;
}

static const char *read_field(struct response *response, struct framing_fields *seen, const struct http1_header *field)
{
    struct str name = field->name, value = str_trim(field->value);
    if (name.base == NULL)
        return "The answer folds a header field over two lines";
    switch (name.len) {
    case 7:
        response->upgrade |= str_equal_nocase(name, STR_LIT("upgrade"));
        break;
    case 10:
        if (str_equal_nocase(name, STR_LIT("connection")))
            read_connection(response, seen, value);
        break;
    case 14:
        if (str_equal_nocase(name, STR_LIT("content-length")))
            return read_length(response, seen, value);
        break;
    case 17:
        if (!str_equal_nocase(name, STR_LIT("transfer-encoding")))
            break;
        if (seen->coding_seen || !str_equal_nocase(value, STR_LIT("chunked")))
            return "The answer's transfer coding is not chunked";
        seen->coding_seen = true;
        break;
    }
    return NULL;
}

static bool has_no_body(int status, bool is_head)
{
    return is_head || status < 200 || status == 204 || status == 304;
}

static const char *read_fields(struct response *response, int minor_version, bool is_head)
{
    struct framing_fields seen = {0};
    for (size_t i = 0; i < response->field_count; i++) {
        const char *fault = read_field(response, &seen, &response->fields[i]);
        if (fault != NULL)
            return fault;
    }
    if (seen.coding_seen && (seen.length_seen || minor_version == 0))
        return seen.length_seen ? "The answer has both a length and a transfer coding"
                                : "The answer has a transfer coding in HTTP/1.0";
    response->has_length = seen.length_seen;
    response->keep_alive = !seen.close && (minor_version > 0 || seen.keep_alive);
    response->framing = has_no_body(response->status, is_head) ? RESPONSE_NO_BODY
                        : seen.coding_seen                     ? RESPONSE_CHUNKED
                        : seen.length_seen                     ? RESPONSE_LENGTH
                                                               : RESPONSE_UNTIL_CLOSE;
    /* A body where none may be would be read as the answer to the next request. */
    if (response->status == 204 && (seen.coding_seen || (seen.length_seen && response->length > 0)))
        response->keep_alive = false;
    return NULL;
}

enum response_verdict response_parse(struct str bytes, size_t scanned, bool is_head, struct response *response)
{
    int minor_version, size;
    response->fault = NULL;
    response->has_length = response->upgrade = response->names_fields = false;
    response->field_count = HTTP1_MAX_HEADERS;
    size = phr_parse_response(bytes.base, bytes.len, &minor_version, &response->status, &response->reason.base,
                              &response->reason.len, response->fields, &response->field_count, scanned);
    if (size == -2)
        return bytes.len < RESPONSE_HEAD_MAX ? RESPONSE_PARTIAL : malformed(response, "The answer's head is too long");
    if (size < 0)
        return malformed(response, "The answer is no HTTP/1 answer, or has too many header fields");
    if (response->status < 100 || response->status > 599)
        return malformed(response, "The answer's status is not in 100..599");
    response->bytes = bytes.base;
    response->size = (size_t)size;
    const char *fault = read_fields(response, minor_version, is_head);
    return fault != NULL ? malformed(response, fault) : RESPONSE_COMPLETE;
}

bool response_names(const struct response *response, struct str name)
{
    for (size_t i = 0; response->names_fields && i < response->field_count; i++) {
        struct str options = response->fields[i].value, option;
        if (!str_equal_nocase(response->fields[i].name, STR_LIT("connection")))
            continue;
        while (str_next(&options, ',', &option))
            if (str_equal_nocase(str_trim(option), name))
                return true;
    }
    return false;
}

void response_body_begin(const struct response *response, struct response_body *body)
{
    *body = (struct response_body){.framing = response->framing, .left = response->length};
}

static enum response_verdict read_chunks(struct response_body *body, char *bytes, size_t *len, size_t *surplus)
{
    size_t raw = *len, used;
    enum http1_verdict verdict = http1_decode_chunked(&body->chunks, bytes, len, &used);
    if (verdict == HTTP1_PARTIAL)
        return RESPONSE_PARTIAL;
    *surplus = raw - used;
    return verdict == HTTP1_COMPLETE ? RESPONSE_COMPLETE : RESPONSE_MALFORMED;
}

enum response_verdict response_body_read(struct response_body *body, char *bytes, size_t *len, size_t *surplus)
{
    *surplus = 0;
    if (body->framing == RESPONSE_CHUNKED)
        return read_chunks(body, bytes, len, surplus);
    if (body->framing == RESPONSE_UNTIL_CLOSE)
        return RESPONSE_PARTIAL;
    uint64_t left = body->framing == RESPONSE_LENGTH ? body->left : 0;
    if (*len > left) {
        *surplus = *len - (size_t)left;
        *len = (size_t)left;
    }
    body->left = left - *len;
    return body->left == 0 ? RESPONSE_COMPLETE : RESPONSE_PARTIAL;
}
