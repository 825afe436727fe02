/* SPDX-License-Identifier: Apache-2.0
 *
 * GET and HEAD of /-/c/COLLECTION/KEY: one value.
 */
#ifndef GATEWAY_COLLECTION_READ_H
#define GATEWAY_COLLECTION_READ_H

#include "gateway/collections.h"

void collection_read_serve(struct exchange *exchange, const struct collection_path *path);

#endif
