/* SPDX-License-Identifier: Apache-2.0
 *
 * A node's answer: its head, read strictly, and the framing of its body (RFC 9112, section 6.3). Pure: no I/O;
 * everything points into the caller's bytes.
 */
#ifndef GATEWAY_RESPONSE_H
#define GATEWAY_RESPONSE_H

#include "common/http1.h"
#include "common/str.h"

/* Heads beyond it are malformed, and so is the 17th informational answer before the final one. */
#define RESPONSE_HEAD_MAX          65536
#define RESPONSE_INFORMATIONAL_MAX 16

enum response_verdict {
    RESPONSE_COMPLETE = 0,
    RESPONSE_PARTIAL, /* read more */
    RESPONSE_MALFORMED,
};

enum response_framing {
    RESPONSE_NO_BODY = 0,
    RESPONSE_LENGTH,
    RESPONSE_CHUNKED,
    RESPONSE_UNTIL_CLOSE,
};

struct response {
    int status;
    struct str reason;
    struct http1_header fields[HTTP1_MAX_HEADERS];
    size_t field_count;
    enum response_framing framing;
    bool has_length;   /* Content-Length is there: of an answer to HEAD and of a 304 too */
    uint64_t length;   /* below SIZE_MAX */
    bool keep_alive;   /* the node will take another request on the connection */
    bool upgrade;      /* Upgrade is there */
    bool names_fields; /* Connection names fields, which then belong to this hop alone */
    const char *bytes; /* of the head, which ends with its empty line */
    size_t size;
    const char *fault; /* what is malformed: a sentence */
};

/* Reads the head at the start of BYTES, whose first SCANNED an earlier PARTIAL call has seen. IS_HEAD: it answers a
 * HEAD request. COMPLETE fills *response whole, MALFORMED only `fault`. Informational answers are answers here. */
enum response_verdict response_parse(struct str bytes, size_t scanned, bool is_head, struct response *response);

/* True where the answer's Connection names the field NAME, which then is of this hop alone (RFC 9110, 7.6.1). */
bool response_names(const struct response *response, struct str name);

/* Where the reader stands in a body. */
struct response_body {
    enum response_framing framing;
    uint64_t left; /* RESPONSE_LENGTH: bytes to come */
    struct http1_chunked chunks;
};

/* Right behind the head. */
void response_body_begin(const struct response *response, struct response_body *body);

/* Takes the next *LEN raw BYTES and decodes them in place: *LEN becomes the payload's length, *SURPLUS counts bytes
 * behind the end of the body, which no request has asked for. COMPLETE: it ended here. RESPONSE_UNTIL_CLOSE stays
 * PARTIAL until the connection closes. */
enum response_verdict response_body_read(struct response_body *body, char *bytes, size_t *len, size_t *surplus);

#endif
