/* SPDX-License-Identifier: Apache-2.0
 *
 * The few URLs that operators write: http://host:port (nodes, agents) and redis://host:port (brokers), with IPv6 in
 * brackets. No user info: credentials live in files that the configuration names, never in rules.
 */
#ifndef COMMON_URL_H
#define COMMON_URL_H

#include "common/error.h"
#include "common/str.h"

struct url {
    struct str scheme, host; /* host without brackets; both borrow TEXT */
    unsigned port;
    struct str path; /* "" or "/..." */
};

/* Takes TEXT apart. PRESET_PORT 0 means that the port must be there. */
int url_parse(struct str text, unsigned preset_port, struct url *url, struct error *err) MUST_CHECK;

#endif
