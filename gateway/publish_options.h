/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client asks for beside the message itself, in its request's headers. The texts point into the request.
 */
#ifndef GATEWAY_PUBLISH_OPTIONS_H
#define GATEWAY_PUBLISH_OPTIONS_H

#include "gateway/config.h"
#include "gateway/exchange.h"

#define IDEMPOTENCY_KEY_MAX 255

struct publish_options {
    struct str idempotency_key; /* base NULL: none */
    bool waits;                 /* Prefer: wait=N (RFC 7240): the client wants the app's answer */
    uint64_t wait_ms;
    uint64_t due_us;   /* wall, by our clock; LDC-Delay or LDC-Deliver-At; 0: at once */
    uint64_t delay_us; /* LDC-Delay: the broker counts it by its own clock; 0: `due_us` stands */
    bool prepares;     /* LDC-Transaction: prepare */
    struct str check_url;
    const struct gateway_config *config; /* for those that are due later, or prepared */
};

/* Headers in LDC-* of peers that may not steer us are gone already. False where a header says something that it cannot
 * mean; FAULT is the sentence for the client, in the request's pool or static. CONFIG is borrowed. */
bool publish_options_read(h2o_req_t *req, const struct gateway_config *config, uint64_t now_us,
                          struct publish_options *options, const char **fault) MUST_CHECK;

#endif
