/* SPDX-License-Identifier: Apache-2.0
 *
 * One line of a batch of changes of a collection, a JSON object:
 *
 *     {"key": "m-17", "value": {"rate": "1.25"}, "if_match": 41}
 *     {"key": "logo", "value_base64": "iVBORw0KGgo=", "type": "image/png"}
 *     {"key": "m-18", "delete": true}
 *
 * Pure. A value that is a string are its characters; any other one is JSON, as it is written there.
 */
#ifndef GATEWAY_COLLECTION_ITEM_H
#define GATEWAY_COLLECTION_ITEM_H

#include "common/str.h"
#include "router/verdict.h"

struct json_t;

/* Zero-initialise it; read it as often as needed, each time over what was there; collection_item_free() at the end. The
 * texts point into the line, or live in the item until the next reading. */
struct collection_item {
    struct str key, type, value;
    bool deletes;
    struct buf condition;    /* as ldc1_c_put takes it */
    char fault[160];         /* a sentence for the client where the verdict is not OK */
    struct json_t *document; /* owned */
    struct buf decoded;      /* owned */
};

/* VERDICT_OK, BAD_JSON or BAD_REQUEST. */
enum verdict collection_item_read(struct collection_item *item, struct str line);
void collection_item_free(struct collection_item *item);

#endif
