/* SPDX-License-Identifier: Apache-2.0
 *
 * What the live traffic looks like, so that a rule change can be weighed before it is made: a sample of the distinct
 * users and a sample of the requests of the last minutes. Each worker owns one; observing allocates nothing.
 */
#ifndef GATEWAY_SAMPLER_H
#define GATEWAY_SAMPLER_H

#include "common/str.h"

struct sampler;

struct sampler *sampler_create(void);
void sampler_destroy(struct sampler **sampler);

/* NOW_US: monotonic. */
void sampler_observe(struct sampler *sampler, struct str user, uint64_t now_us);

#endif
