/* SPDX-License-Identifier: Apache-2.0
 *
 * The reason phrases of HTTP status codes, for status lines and problem titles: those that this project sends, and
 * those of RFC 9110 and its neighbours that an app may answer with.
 */
#ifndef COMMON_HTTP_STATUS_H
#define COMMON_HTTP_STATUS_H

/* "Status" for any other code. */
const char *http_status_reason(int status);

#endif
