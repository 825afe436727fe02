/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/park.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/invariant.h"
#include "unit-agent/lane.h"
#include "unit-agent/partition.h"

static char *key_of(const struct partition_name *name, const char *what, const char *cursor_name, const char *end)
{
    char suffix[2 * PROTOCOL_NAME_MAX + 80], key[PROTOCOL_KEY_MAX] = "";
    snprintf(suffix, sizeof(suffix), "%s:%s%s", what, cursor_name, end);
    return str_dup((struct str){key, protocol_key(key, name->unit, name->topic, name->number, suffix)});
}

void park_name(struct park *park, const struct partition_name *name, const char *cursor_name)
{
    park->users_key = key_of(name, "parked", cursor_name, "");
    park->tries_key = key_of(name, "tries", cursor_name, "");
    park->dead_key = key_of(name, "dead", cursor_name, "");
    park->prefix = key_of(name, "park", cursor_name, ":");
}

void park_free(struct park *park)
{
    free(park->users_key);
    free(park->tries_key);
    free(park->dead_key);
    free(park->prefix);
}

void park_add_user(struct partition *partition, struct str user)
{
    struct lane *lane = lanes_get(&partition->lanes, user);
    INVARIANT(lane->head == NULL);
    partition->park.user_count += !lane->parked;
    lane->parked = true;
}

bool park_fetch(struct partition *partition, struct stream_id id, const struct envelope *envelope, uint32_t attempts)
{
    struct lane *lane = lanes_find(&partition->lanes, envelope->fields[ENVELOPE_USER]);
    struct park *park = &partition->park;
    if (partition->quiesced || lane == NULL || !lane->parked || lane->fetched != NULL ||
        (lane->head != NULL && stream_id_compare(lane->head->span.first, id) <= 0))
        return false;
    struct message *head = message_create(id, envelope);
    head->partition = partition;
    head->lane = lane;
    head->from_park = true;
    head->attempt = attempts + 1;
    head->next = park->heads;
    park->heads = lane->fetched = head;
    park->head_count++;
    partition->bytes += head->bytes;
    head->state = MESSAGE_READY;
    if (partition_admits(partition, head)) {
        partition->hooks.ready(partition->hooks.arg, head);
        return true;
    }
    head->fate = FATE_PARKED;
    head->wait_ms = PARK_BARRED_MS;
    park_end(partition, head);
    return true;
}

void park_end(struct partition *partition, struct message *head)
{
    head->state = MESSAGE_DONE;
    message_queue_put(&partition->park.ended, head);
}

struct message *park_take_ended(struct partition *partition)
{
    struct message *head = message_queue_take(&partition->park.ended);
    if (head != NULL)
        head->state = MESSAGE_RECORDING;
    return head;
}

void park_end_again(struct partition *partition, struct message *head)
{
    INVARIANT(head->state == MESSAGE_RECORDING);
    park_end(partition, head);
}

bool park_owes(const struct park *park)
{
    const struct message *head = park->heads;
    while (head != NULL && head->state < MESSAGE_DONE)
        head = head->next;
    return head != NULL;
}

static void drop(struct partition *partition, struct message *head)
{
    struct park *park = &partition->park;
    struct message **at = &park->heads;
    while (*at != head)
        at = &(*at)->next;
    *at = head->next;
    park->head_count--;
    partition->bytes -= head->bytes;
    head->lane->fetched = NULL;
    message_free(head);
}

void park_leave(struct partition *partition, struct message *head, bool more)
{
    struct lane *lane = head->lane;
    INVARIANT(head->state == MESSAGE_RECORDING);
    drop(partition, head);
    /* What is on its way to the park makes the user parked again, if it is not still. */
    if (more || (lane->head != NULL && lane->head->state != MESSAGE_WAITING))
        return;
    lane->parked = false;
    partition->park.user_count--;
    partition_proceed(partition, lane);
}

void park_withdraw(struct partition *partition)
{
    for (struct message *head = partition->park.heads, *next; head != NULL; head = next) {
        next = head->next;
        if (head->state != MESSAGE_READY && head->state != MESSAGE_BACKING_OFF)
            continue;
        partition->hooks.withdraw(partition->hooks.arg, head);
        drop(partition, head);
    }
}

void park_reset(struct partition *partition)
{
    struct park *park = &partition->park;
    for (struct message *head; (head = park->heads) != NULL;) {
        if (head->state < MESSAGE_LEAVING)
            partition->hooks.withdraw(partition->hooks.arg, head);
        drop(partition, head);
    }
    park->ended = (struct message_queue){0};
    park->user_count = 0;
    park->messages = park->dead = 0;
    park->due_us = 0;
    park->asking = false;
}
