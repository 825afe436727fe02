/* SPDX-License-Identifier: Apache-2.0
 *
 * One item of a batch, read into what a message is made of. A line is its body as it stands; of a CloudEvent (JSON
 * format 1.0) the data is the body, and the attributes are headers. Pure.
 */
#ifndef GATEWAY_BATCH_ITEM_H
#define GATEWAY_BATCH_ITEM_H

#include "gateway/batch_text.h"

struct json_t;

/* Zero-initialise it; read it as often as needed, each time over what was there; batch_item_free() at the end. The
 * texts point into the item's bytes, or live in the buffers until the next reading. */
struct batch_item {
    struct json_t *json;       /* what `json:` sources look into; NULL: nothing */
    struct str body;           /* the message's */
    struct str headers;        /* "name: value\n" lines: the content type and the event's ce-* */
    struct str subject;        /* of the event; base NULL: none */
    struct str event;          /* source and id, percent-encoded, with a space between them; base NULL: no event */
    char fault[160];           /* a sentence for the client where the verdict is not OK */
    struct json_t *document;   /* owned */
    struct buf lines, decoded; /* owned */
};

/* TEXT well-formed or not. VERDICT_OK, BAD_JSON or BAD_REQUEST. */
enum verdict batch_item_read(struct batch_item *item, enum batch_format format, struct str text);
void batch_item_free(struct batch_item *item);

#endif
