/* SPDX-License-Identifier: Apache-2.0
 *
 * Diagnostics as JSON, for admin answers and for tools.
 */
#ifndef COMMON_DIAG_JSON_H
#define COMMON_DIAG_JSON_H

#include <jansson.h>

#include "common/diag.h"

/* [{"line","column","severity","message","hint"}...] in the order of the file; line 0: the fault does not stand in it.
 * A new reference. */
json_t *diag_to_json(struct diag_list *diags);

#endif
