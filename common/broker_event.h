/* SPDX-License-Identifier: Apache-2.0
 *
 * Broker connections on an sd-event loop.
 */
#ifndef COMMON_BROKER_EVENT_H
#define COMMON_BROKER_EVENT_H

#include <systemd/sd-event.h>

#include "common/broker.h"

/* LOOP is borrowed and must outlive every broker made with the result. */
struct broker_loop broker_loop_of_event(sd_event *loop);

/* Of those with few bytes, which are read and written before all that waits in LOOP: for who looks after brokers. */
struct broker_loop broker_loop_first(sd_event *loop);

#endif
