/* SPDX-License-Identifier: Apache-2.0
 *
 * The reason phrases of HTTP status codes (RFC 9110), for status lines and problem titles.
 */
#ifndef COMMON_HTTP_STATUS_H
#define COMMON_HTTP_STATUS_H

/* "Status" for a code that this project never sends. */
const char *http_status_reason(int status);

#endif
