/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/http2_client.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "test/unit/ingress_driver.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static struct h2_client begin_client(int fd)
{
    struct h2_client client = {.fd = fd, .next_stream = 1, .goaway = -1};
    buf_append_str(&client.out, STR_LIT(PREFACE));
    return client;
}

struct h2_client open_client(void)
{
    return begin_client(dial());
}

struct h2_client open_narrow_client(void)
{
    return begin_client(dial_narrow());
}

void close_client(struct h2_client *client)
{
    close(client->fd);
    buf_free(&client->out);
    buf_free(&client->in);
}

void put_frame(struct h2_client *client, enum frame_type type, unsigned flags, uint32_t stream, struct str payload)
{
    unsigned char head[9] = {(unsigned char)(payload.len >> 16),
                             (unsigned char)(payload.len >> 8),
                             (unsigned char)payload.len,
                             (unsigned char)type,
                             (unsigned char)flags,
                             (unsigned char)(stream >> 24),
                             (unsigned char)(stream >> 16),
                             (unsigned char)(stream >> 8),
                             (unsigned char)stream};
    buf_append(&client->out, head, sizeof(head));
    buf_append_str(&client->out, payload);
}

void put_settings(struct h2_client *client)
{
    put_frame(client, SETTINGS, 0, 0, STR_LIT(""));
}

/* A literal field without indexing; the lengths stay below 127. */
void put_field(struct buf *block, struct str name, struct str value)
{
    unsigned char name_len = (unsigned char)name.len, value_len = (unsigned char)value.len;
    buf_append(block, "\0", 1);
    buf_append(block, &name_len, 1);
    buf_append_str(block, name);
    buf_append(block, &value_len, 1);
    buf_append_str(block, value);
}

struct buf request_block(const char *method, const char *path)
{
    struct buf block = {NULL, 0, 0};
    put_field(&block, STR_LIT(":method"), str_of(method));
    put_field(&block, STR_LIT(":scheme"), STR_LIT("http"));
    put_field(&block, STR_LIT(":path"), str_of(path));
    put_field(&block, STR_LIT(":authority"), STR_LIT("h"));
    return block;
}

uint32_t put_block(struct h2_client *client, struct buf *block, unsigned flags)
{
    uint32_t stream = client->next_stream;
    client->next_stream += 2;
    put_frame(client, HEADERS, END_HEADERS | flags, stream, buf_str(block));
    buf_free(block);
    return stream;
}

uint32_t put_request(struct h2_client *client, const char *method, const char *path, unsigned flags)
{
    struct buf block = request_block(method, path);
    return put_block(client, &block, flags);
}

bool flush_client(struct h2_client *client)
{
    size_t sent = 0;
    while (sent < client->out.len) {
        ssize_t n = send(client->fd, client->out.base + sent, client->out.len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    buf_consume(&client->out, client->out.len);
    return true;
}

static uint32_t number(const char *at, int bytes)
{
    uint32_t result = 0;
    for (int i = 0; i < bytes; i++)
        result = result << 8 | (unsigned char)at[i];
    return result;
}

/* libh2o writes the status first: an index of the static table, or a literal of three digits. */
static int status_of(const char *block)
{
    static const int indexed[] = {200, 204, 206, 304, 400, 404, 500};
    unsigned char first = (unsigned char)block[0];
    return first >= 0x88 && first <= 0x8e ? indexed[first - 0x88] : atoi(block + 2);
}

static void take_frame(struct h2_client *client, uint32_t stream, struct h2_answer *answer)
{
    const char *head = client->in.base, *payload = head + 9;
    uint32_t len = number(head, 3), id = number(head + 5, 4);
    if (head[3] == GOAWAY)
        client->goaway = (int)number(payload + 4, 4);
    client->goaways += head[3] == GOAWAY;
    client->resets += head[3] == RST_STREAM;
    if (id == stream && answer != NULL) {
        if (head[3] == HEADERS)
            answer->status = status_of(payload);
        if (head[3] == DATA)
            buf_append(&answer->body, payload, len);
        answer->reset |= head[3] == RST_STREAM;
        answer->ended |= (head[3] == HEADERS || head[3] == DATA) && (head[4] & END_STREAM);
    }
    buf_consume(&client->in, 9 + len);
}

static void take_frames(struct h2_client *client, uint32_t stream, struct h2_answer *answer)
{
    while (client->in.len >= 9 && client->in.len >= 9 + number(client->in.base, 3))
        take_frame(client, stream, answer);
}

static bool hear_bytes(struct h2_client *client, int patience_ms)
{
    struct pollfd ready = {.fd = client->fd, .events = POLLIN};
    if (patience_ms <= 0 || poll(&ready, 1, patience_ms) <= 0)
        return false;
    ssize_t n = recv(client->fd, buf_reserve(&client->in, 65536), 65536, 0);
    client->ended = n <= 0;
    client->in.len += n > 0 ? (size_t)n : 0;
    return !client->ended;
}

bool hear_frame(struct h2_client *client)
{
    bool heard = hear_bytes(client, PATIENCE_MS);
    take_frames(client, 0, NULL);
    return heard;
}

bool listen_for(struct h2_client *client, uint32_t stream, struct h2_answer *answer)
{
    uint64_t until = clock_monotonic_us() + PATIENCE_MS * 1000;
    do {
        take_frames(client, stream, answer);
        if (answer != NULL && (answer->ended || answer->reset))
            return true;
    } while (hear_bytes(client, (int)((int64_t)(until - clock_monotonic_us()) / 1000)));
    return client->ended && stream == 0;
}

int ask(struct h2_client *client, uint32_t stream, const char *mark)
{
    struct h2_answer answer = {0};
    flush_client(client);
    bool heard = listen_for(client, stream, &answer);
    buf_append(&answer.body, "", 1);
    if (heard && mark != NULL && strstr(answer.body.base, mark) == NULL)
        fail_msg("no \"%s\" in \"%s\"", mark, answer.body.base);
    buf_free(&answer.body);
    return !heard ? -1 : answer.ended ? answer.status : 0;
}
