/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/broker.h"

#define HEAD_MOST 23 /* kind, digits, CR LF */

static char *write_head(char *at, char kind, size_t length)
{
    *at++ = kind;
    at += str_from_u64(length, at);
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

void broker_put_count(struct buf *wire, size_t count)
{
    char *at = buf_reserve(wire, HEAD_MOST);
    wire->len += (size_t)(write_head(at, '*', count) - at);
}

/* A message has some thirty words: each is written in one go. */
void broker_put_word(struct buf *wire, struct str word)
{
    char *start = buf_reserve(wire, HEAD_MOST + word.len + 2), *at = write_head(start, '$', word.len);
    if (word.len > 0)
        memcpy(at, word.base, word.len);
    at += word.len;
    *at++ = '\r';
    *at++ = '\n';
    *at = '\0';
    wire->len += (size_t)(at - start);
}

bool broker_is_error(const redisReply *reply, const char *word)
{
    return reply != NULL && reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, word, strlen(word)) == 0;
}
