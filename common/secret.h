/* SPDX-License-Identifier: Apache-2.0
 *
 * Comparing what a peer presents with a token or a password. Pure.
 */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include "common/str.h"

/* In a time that tells nothing about how much of GIVEN was right. SECRET is not empty. */
bool secret_equal(struct str given, struct str secret);

#endif
