/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/message.h"

#include <stdlib.h>

#include "common/http1.h"
#include "common/invariant.h"

static bool is_clean(struct str text, bool may_break_lines)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.base[i];
        if ((c < 0x20 && c != '\t' && !(c == '\n' && may_break_lines)) || c == 0x7f)
            return false;
    }
    return true;
}

bool message_fits_http(const struct envelope *envelope)
{
    const struct str *fields = envelope->fields;
    struct str path = fields[ENVELOPE_PATH];
    return is_clean(fields[ENVELOPE_USER], false) && is_clean(fields[ENVELOPE_ID], false) && is_clean(path, false) &&
           is_clean(fields[ENVELOPE_HEADERS], true) && http1_valid_method(fields[ENVELOPE_METHOD]) && path.len > 0 &&
           path.base[0] == '/' && memchr(path.base, ' ', path.len) == NULL;
}

struct message *message_create(struct stream_id id, const struct envelope *envelope)
{
    size_t bytes = sizeof(struct message);
    for (int i = 0; i < ENVELOPE_FIELDS; i++)
        bytes += envelope->fields[i].len + 1;
    struct message *message = mem_alloc(bytes);
    *message = (struct message){.span = {.first = id, .last = id, .count = 1}, .bytes = bytes, .attempt = 1};
    message->span.message = message;
    char *at = (char *)(message + 1);
    for (int i = 0; i < ENVELOPE_FIELDS; i++) { /* zero-terminated, for libcurl */
        struct str field = envelope->fields[i];
        if (field.len > 0)
            memcpy(at, field.base, field.len);
        at[field.len] = '\0';
        message->envelope.fields[i] = (struct str){at, field.len};
        at += field.len + 1;
    }
    struct str color = message->envelope.fields[ENVELOPE_COLOR];
    message->color = str_equal(color, str_of(color_name(COLOR_GREEN))) ? COLOR_GREEN : COLOR_BLUE;
    (void)str_to_u64(message->envelope.fields[ENVELOPE_INGRESS], &message->ingress_us);
    return message;
}

void message_free(struct message *message)
{
    INVARIANT(message->transfer == NULL && message->timer == NULL);
    free(message);
}

void message_queue_put(struct message_queue *queue, struct message *message)
{
    message->link = NULL;
    if (queue->tail != NULL)
        queue->tail->link = message;
    else
        queue->head = message;
    queue->tail = message;
    queue->count++;
}

struct message *message_queue_take(struct message_queue *queue)
{
    struct message *message = queue->head;
    if (message == NULL)
        return NULL;
    queue->head = message->link;
    if (queue->head == NULL)
        queue->tail = NULL;
    queue->count--;
    message->link = NULL;
    return message;
}

void message_queue_remove(struct message_queue *queue, struct message *message)
{
    struct message *before = NULL;
    for (struct message *at = queue->head; at != NULL && at != message; at = at->link)
        before = at;
    INVARIANT(before == NULL ? queue->head == message : before->link == message);
    if (before == NULL)
        queue->head = message->link;
    else
        before->link = message->link;
    if (queue->tail == message)
        queue->tail = before;
    queue->count--;
    message->link = NULL;
}
