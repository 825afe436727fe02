/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client asks for beside the message itself, in its request's headers. The texts point into the request.
 */
#ifndef GATEWAY_PUBLISH_OPTIONS_H
#define GATEWAY_PUBLISH_OPTIONS_H

#include "gateway/exchange.h"

#define IDEMPOTENCY_KEY_MAX 255

struct publish_options {
    struct str idempotency_key; /* base NULL: none */
    bool waits;                 /* Prefer: wait=N (RFC 7240): the client wants the app's answer */
    uint64_t wait_ms;
    uint64_t due_us; /* wall; LDC-Delay or LDC-Deliver-At; 0: at once */
    bool prepares;   /* LDC-Transaction: prepare */
    struct str check_url;
};

/* Headers in LDC-* of peers that may not steer us are gone already. False where a header says something that it cannot
 * mean; FAULT is the sentence for the client. */
bool publish_options_read(const h2o_req_t *req, uint64_t now_us, struct publish_options *options,
                          const char **fault) MUST_CHECK;

#endif
