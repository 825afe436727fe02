/* SPDX-License-Identifier: Apache-2.0
 *
 * GET and HEAD of /-/c/COLLECTION?prefix=&after=&limit=: the keys, page by page.
 */
#ifndef GATEWAY_COLLECTION_LIST_H
#define GATEWAY_COLLECTION_LIST_H

#include "gateway/collections.h"

void collection_list_serve(struct exchange *exchange, const struct collection_path *path);

#endif
