/* SPDX-License-Identifier: Apache-2.0
 *
 * Who keeps account of what happens to messages, beside those whose work it is: the traces. Owned by the agent.
 */
#ifndef AGENT_OBSERVER_H
#define AGENT_OBSERVER_H

#include "common/stream_id.h"

struct message;
struct partition;

struct observer {
    void (*covered)(void *arg, struct partition *partition, struct stream_id id); /* up to ID: replicas hold them */
    /* The broker knows what became of MESSAGE, which is its `fate`; borrowed for the call. */
    void (*recorded)(void *arg, const struct message *message);
    void *arg;
};

/* SELF may be NULL: nobody keeps account. */
static inline void observer_covered(const struct observer *self, struct partition *partition, struct stream_id id)
{
    if (self != NULL)
        self->covered(self->arg, partition, id);
}

static inline void observer_recorded(const struct observer *self, const struct message *message)
{
    if (self != NULL)
        self->recorded(self->arg, message);
}

#endif
