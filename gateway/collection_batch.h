/* SPDX-License-Identifier: Apache-2.0
 *
 * POST of many changes of a collection in one request, a JSON object a line. They take effect in their order, each by
 * itself: one that is refused does not stop those behind it. The answer, which comes when all are decided, has a
 * verdict for each. When the client goes away, what is on its way to the origin takes effect, and the rest is dropped.
 */
#ifndef GATEWAY_COLLECTION_BATCH_H
#define GATEWAY_COLLECTION_BATCH_H

#include "gateway/collections.h"

void collection_batch_serve(struct exchange *exchange, const struct collection_path *path);

#endif
