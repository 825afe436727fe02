/* SPDX-License-Identifier: Apache-2.0
 *
 * Percent-encoding of URLs (RFC 3986) and of form queries. Pure; the caller owns the buffers.
 */
#ifndef COMMON_PERCENT_H
#define COMMON_PERCENT_H

#include "common/str.h"

/* The byte that the escape at TEXT[AT] ("%41") stands for, or -1 where it is malformed. */
int percent_byte(struct str text, size_t at);

/* TEXT decoded into OUT (cleared first). False for a broken escape or a decoded NUL. */
bool percent_decode(struct str text, bool plus_is_space, struct buf *out);

/* What CloudEvents' HTTP binding wants escaped besides. */
#define PERCENT_CLOUDEVENTS "\"%"

/* Appends TEXT to OUT, with %XX for each byte that is not printable ASCII, for blanks, and for those of ESCAPED. */
void percent_encode(struct str text, const char *escaped, struct buf *out);

/* The decoded value of the first NAME=value in QUERY ("a=1&b=2") into OUT; false where it is absent or broken. */
bool percent_query(struct str query, const char *name, struct buf *out);

#endif
