/* SPDX-License-Identifier: Apache-2.0
 *
 * Broker connections on the event loop of libh2o. What a loop turn writes is held back until broker_h2o_flush(), so
 * that it leaves in one system call a connection; replies are read as they come. Owned by one worker.
 */
#ifndef GATEWAY_BROKER_H2O_H
#define GATEWAY_BROKER_H2O_H

#include <h2o.h>

#include "common/broker.h"
#include "gateway/timers.h"

struct broker_h2o {
    h2o_loop_t *loop;
    struct timers timers;
    h2o_linklist_t unflushed; /* of attachments */
};

void broker_h2o_init(struct broker_h2o *self, h2o_loop_t *loop);
/* SELF is borrowed by the result and must outlive every broker made with it. */
struct broker_loop broker_h2o_loop(struct broker_h2o *self);
void broker_h2o_flush(struct broker_h2o *self);

#endif
