/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON strings for those who write by hand because they write many: logs, the access log, problem documents. Whoever
 * builds or reads documents uses jansson.
 */
#ifndef COMMON_JSON_TEXT_H
#define COMMON_JSON_TEXT_H

#include "common/str.h"

/* Appends TEXT in quotes, escaped (RFC 8259). Bytes that are no well-formed UTF-8 become U+FFFD, one each. */
void json_append_text(struct buf *out, struct str text);

#endif
