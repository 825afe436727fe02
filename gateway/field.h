/* SPDX-License-Identifier: Apache-2.0
 *
 * One field of a request, by its name. What it says belongs to the request.
 */
#ifndef GATEWAY_FIELD_H
#define GATEWAY_FIELD_H

#include <h2o.h>

#include "common/str.h"

/* The value of the first field of that NAME, in lower case; base NULL: there is none. */
static inline struct str field_of(const h2o_req_t *req, struct str name)
{
    ssize_t at = h2o_find_header_by_str(&req->headers, name.base, name.len, -1);
    return at < 0 ? (struct str){NULL, 0}
                  : (struct str){req->headers.entries[at].value.base, req->headers.entries[at].value.len};
}

#endif
