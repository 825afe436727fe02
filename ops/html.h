/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces of an HTML page, appended to a buffer. Whatever is text comes out as text: markup in it is escaped, control
 * characters become '?'.
 */
#ifndef OPS_HTML_H
#define OPS_HTML_H

#include "common/str.h"

/* As text, whatever stands in it. */
void html_text(struct buf *out, const char *text);

/* <TAG>text</TAG>, where OPEN is the tag with its attributes as they stand: "td class=\"right\"". */
void html_element(struct buf *out, const char *open, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
