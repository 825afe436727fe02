/* SPDX-License-Identifier: Apache-2.0
 *
 * How an answer is put on an HTTP/1 connection: which framing its body gets, and the bytes of its head. A part of the
 * connection that it belongs to; pure, but for the request's pool.
 */
#ifndef GATEWAY_HTTP1_ANSWER_H
#define GATEWAY_HTTP1_ANSWER_H

#include <h2o.h>
#include <stdbool.h>
#include <stdint.h>

struct http1_answer {
    bool begun, ended;
    bool broken;   /* ended before its end */
    bool bodiless; /* HEAD, 1xx, 204, 304: whatever the generator sends is dropped */
    bool chunked, bounded;
    uint64_t left; /* of a bounded body */
    char size_line[20];
};

#define HTTP1_ANSWER_EXTRA 3 /* vectors that the framing may add */

/* Frames IN[0..COUNT) for the wire into OUT, which has room for HTTP1_ANSWER_EXTRA more, and returns how many it
 * holds. What cannot be framed so that the client sees its end clears req->http1_is_persistent. */
size_t http1_answer_frame(struct http1_answer *answer, h2o_req_t *req, const h2o_iovec_t *in, size_t count,
                          h2o_send_state_t state, h2o_iovec_t *out);

#endif
