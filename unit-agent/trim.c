/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/trim.h"

#include "unit-agent/lease.h"

#define MOST_AT_ONCE 10000
#define MOST_KEYS    600

/* Never beyond what the cursors of all subscriptions say: the broker looks at them once more. Whole nodes of the stream
 * go at a time, which costs little. */
bool trim_compose(struct command *command, struct str unit, const struct partition *partition,
                  const struct survey *survey, uint64_t now_ms)
{
    uint64_t kept_ms = (uint64_t)partition->retention_ms;
    struct stream_id least = {now_ms > kept_ms ? now_ms - kept_ms : 0, 0};
    char listeners[PROTOCOL_KEY_MAX];
    unsigned shared = 0;
    protocol_unit_key(listeners, unit, "listeners");
    command_begin(command, "trim");
    command_add_text(command, partition->stream_key);
    command_add_text(command, listeners);
    const struct partition *at = partition->lease != NULL ? partition->lease->first : partition;
    for (; at != NULL && shared < MOST_KEYS; at = at->sibling) {
        if (at->broadcast || !at->owned)
            continue;
        least = stream_id_compare(at->recorded, least) < 0 ? at->recorded : least;
        command_add_text(command, at->cursor_key);
        shared++;
    }
    command_end_keys(command);
    command_add_id(command, least);
    command_add_number(command, MOST_AT_ONCE);
    return stream_id_compare(survey->first, least) < 0;
}
