/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages that the router between a playground's hosts loses: rules of its packet filter.
 */
#ifndef OPS_FAULT_NETWORK_H
#define OPS_FAULT_NETWORK_H

#include "ops/fault.h"
#include "ops/play_plan.h"

/* A FAULT of the kinds FAULT_DROP and FAULT_LOSS; what is done already is not done twice. */
int fault_network_cut(const struct play_plan *plan, const struct fault *fault, uint64_t *at_us,
                      struct error *err) MUST_CHECK;

/* Nothing where the playground has no networks. */
int fault_network_mend_all(const struct play_plan *plan, struct error *err) MUST_CHECK;

#endif
