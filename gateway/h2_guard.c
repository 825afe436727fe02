/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/h2_guard.h"

#include <h2o/http2.h>

#include "gateway/worker.h"

void h2_guard_accept(struct worker *worker, h2o_socket_t *sock)
{
    h2o_http2_accept(&worker->accept, sock, *h2o_get_timestamp(&worker->h2o, NULL, NULL));
}

static bool connection_specific(const h2o_iovec_t *name)
{
    static const h2o_iovec_t names[] = {{H2O_STRLIT("connection")},
                                        {H2O_STRLIT("keep-alive")},
                                        {H2O_STRLIT("proxy-connection")},
                                        {H2O_STRLIT("transfer-encoding")},
                                        {H2O_STRLIT("upgrade")}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (h2o_memis(name->base, name->len, names[i].base, names[i].len))
            return true;
    return false;
}

bool request_fields_acceptable(h2o_req_t *req, const char **fault)
{
    *fault = "A field of this name belongs to HTTP/1 connections";
    for (size_t i = 0; i < req->headers.size; i++)
        if (connection_specific(req->headers.entries[i].name))
            return false;
    return true;
}
