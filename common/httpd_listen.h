/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening socket of an admin server, from the text that the operator wrote. Owned by the httpd.
 */
#ifndef COMMON_HTTPD_LISTEN_H
#define COMMON_HTTPD_LISTEN_H

#include "common/error.h"
#include "common/str.h"

struct httpd_listen {
    int fd;
    unsigned port;
    char *unix_path; /* removed at close */
};

/* TEXT: "HOST:PORT" with a numeric host or localhost, "[::1]:PORT", or "unix:/path". An address beyond loopback is
 * refused unless HAS_TOKEN. A unix socket that nobody listens on any more is replaced. */
int httpd_listen_open(struct httpd_listen *listener, const char *text, bool has_token, struct error *err) MUST_CHECK;
void httpd_listen_close(struct httpd_listen *listener);

#endif
