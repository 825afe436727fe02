/* SPDX-License-Identifier: Apache-2.0
 *
 * What a gateway or an agent answered, as JSON that a terminal can be shown.
 */
#ifndef OPS_ANSWER_H
#define OPS_ANSWER_H

#include <jansson.h>

#include "common/str.h"

/* TEXT as JSON, a new reference, or NULL where it is none. Control characters in its strings and keys, but for tabs and
 * line ends (rules go back as they came), become '?': names and notes come from others, and a terminal obeys what it is
 * shown. */
json_t *answer_parse(struct str text);

#endif
