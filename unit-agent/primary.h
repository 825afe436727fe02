/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to a unit's primary broker, wherever that is: another URL means another connection. Embedded in who uses
 * it, and owned by it.
 */
#ifndef AGENT_PRIMARY_H
#define AGENT_PRIMARY_H

#include <systemd/sd-event.h>

#include "common/broker.h"
#include "unit-agent/config.h"

struct primary {
    const struct agent_config *options; /* borrowed for life, as are the next two */
    const char *password;               /* NULL: none */
    broker_state_fn changed;            /* NULL: who uses it looks by itself */
    void *arg;
    struct broker_loop loop;
    struct broker *broker; /* NULL: none is known */
    char *url;
};

/* OPTIONS and PASSWORD are borrowed. */
void primary_init(struct primary *primary, sd_event *loop, const struct agent_config *options, const char *password,
                  broker_state_fn changed, void *arg);

/* URL: empty: there is none. Where it is another one, what is under way is called back with NULL. */
void primary_adopt(struct primary *primary, struct str url);

bool primary_is_ready(const struct primary *primary);

/* Calls back what is under way, with NULL. */
void primary_close(struct primary *primary);

#endif
