/* SPDX-License-Identifier: Apache-2.0
 *
 * The head of an HTTP/1 request, read strictly (RFC 9112): what two parsers could read in two ways is refused, since
 * that is what request smuggling is made of. Pure: no I/O, no allocation; results point into the caller's bytes.
 */
#ifndef COMMON_HTTP1_H
#define COMMON_HTTP1_H

#include "common/str.h"

#define HTTP1_MAX_HEADERS         100
#define HTTP1_MAX_CHUNK_EXTENSION 256   /* bytes a chunk */
#define HTTP1_MAX_TRAILERS        16384 /* bytes a body */

enum http1_verdict {
    HTTP1_COMPLETE = 0,
    HTTP1_PARTIAL,             /* read more */
    HTTP1_BAD_REQUEST,         /* 400 and close */
    HTTP1_HEAD_TOO_LARGE,      /* 431 and close */
    HTTP1_URI_TOO_LONG,        /* 414 and close: the request line alone exceeds the head's limit */
    HTTP1_BAD_VERSION,         /* 505 and close */
    HTTP1_UNKNOWN_CODING,      /* a transfer coding other than chunked: refuse and close */
    HTTP1_UNKNOWN_EXPECTATION, /* 417 and close */
};

struct http1_header {
    struct str name, value; /* the value is trimmed */
};

struct http1_head {
    struct str method;
    struct str target; /* origin-form, or "*"; of an absolute-form the part behind the authority */
    struct str host;   /* the target's authority, else the Host field; base NULL: HTTP/1.0 without one */
    int minor_version; /* HTTP/1.x: 0, or 1 for every later one */
    struct http1_header headers[HTTP1_MAX_HEADERS];
    size_t header_count;
    bool chunked, has_length, keep_alive, expect_continue;
    uint64_t content_length;
    size_t size;       /* bytes of the head, with its empty line */
    const char *fault; /* one sentence for the client where the verdict is a refusal */
};

/* Reads the head that starts at BYTES. HEAD_LIMIT bounds it (431 beyond, also while it is still PARTIAL).
 * SCANNED: how many of the bytes an earlier PARTIAL call has seen, so that slow heads cost linear time; 0 at first. */
enum http1_verdict http1_parse_head(struct str bytes, size_t head_limit, size_t scanned, struct http1_head *head);

/* What HTTP/1's request line and Host may hold; HTTP/2's pseudo fields must fit too, since nodes are spoken to in
 * HTTP/1. CONNECT is no valid method here; the target is a path, or "*" for OPTIONS. */
bool http1_valid_method(struct str method);
bool http1_valid_target(struct str method, struct str target);
bool http1_valid_host(struct str host);

/* A chunked body, strictly: no bare LF, no blanks around sizes, extensions within HTTP1_MAX_CHUNK_EXTENSION, trailers
 * checked, within HTTP1_MAX_TRAILERS, and dropped. Zero-initialise it. */
struct http1_chunked {
    int state;
    uint64_t left;
    size_t line; /* bytes of the current chunk's extension, or of the trailers */
};

/* Decodes what is in BYTES[0..*LEN) in place: *LEN becomes the decoded length, *USED the raw bytes consumed.
 * HTTP1_PARTIAL: feed more from the raw byte that follows. HTTP1_COMPLETE: the body ended; bytes behind *USED belong
 * to the next request. */
enum http1_verdict http1_decode_chunked(struct http1_chunked *state, char *bytes, size_t *len, size_t *used);

#endif
