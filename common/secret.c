/* SPDX-License-Identifier: Apache-2.0 */
#include "common/secret.h"

bool secret_equal(struct str given, struct str secret)
{
    volatile unsigned char difference = given.len != secret.len;
    for (size_t i = 0; i < given.len; i++)
        difference |= (unsigned char)(given.base[i] ^ secret.base[i % secret.len]);
    return difference == 0;
}
