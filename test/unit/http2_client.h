/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP/2 client that sends what it is told to, frame by frame, on a connection to the ingress that
 * ingress_driver.h drives. The test owns it.
 */
#ifndef TEST_UNIT_HTTP2_CLIENT_H
#define TEST_UNIT_HTTP2_CLIENT_H

#include "common/str.h"

enum frame_type {
    DATA = 0,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION,
    EXTENSION,
};

enum frame_flag {
    END_STREAM = 1,
    ACK = 1,
    END_HEADERS = 4,
};

#define CALM 11

/* One client: what it will send, what it has read, what it has seen. */
struct h2_client {
    int fd;
    struct buf out, in;
    uint32_t next_stream;
    bool ended;
    int goaway; /* its error code, or -1 */
    unsigned goaways;
    unsigned resets;
};

/* What came for one stream. */
struct h2_answer {
    int status;
    struct buf body;
    bool ended, reset;
};

struct h2_client open_client(void);
struct h2_client open_narrow_client(void); /* takes little at once: what is sent to it waits at the sender */
void close_client(struct h2_client *client);

/* These add to what flush_client() will send. */
void put_frame(struct h2_client *client, enum frame_type type, unsigned flags, uint32_t stream, struct str payload);
void put_settings(struct h2_client *client);
uint32_t put_request(struct h2_client *client, const char *method, const char *path, unsigned flags);
uint32_t put_block(struct h2_client *client, struct buf *block, unsigned flags); /* a new stream; frees BLOCK */

/* A block with the four pseudo fields, and a literal field more. */
struct buf request_block(const char *method, const char *path);
void put_field(struct buf *block, struct str name, struct str value);

/* False where the connection is gone. */
bool flush_client(struct h2_client *client);

/* Reads a part of what comes. False where the connection has ended, or nothing comes. */
bool hear_frame(struct h2_client *client);

/* Reads frames until STREAM's answer is over, or the connection is (STREAM 0). False where that never happens. */
bool listen_for(struct h2_client *client, uint32_t stream, struct h2_answer *answer);

/* Sends all there is; the status of the answer on STREAM, whose body holds MARK (may be NULL). 0: the stream was
 * reset, -1: no answer at all. */
int ask(struct h2_client *client, uint32_t stream, const char *mark);

#endif
