/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of a batch, cut into its items: a JSON array of CloudEvents, or a JSON value a line. Pure; what comes out
 * points into the caller's bytes. Brackets and quotes alone say where an item ends, so that one which is malformed
 * inside leaves the others whole; who reads an item parses it.
 */
#ifndef GATEWAY_BATCH_TEXT_H
#define GATEWAY_BATCH_TEXT_H

#include "common/str.h"
#include "router/verdict.h"

enum batch_format {
    BATCH_NONE = 0,
    BATCH_EVENTS, /* application/cloudevents-batch+json */
    BATCH_LINES,  /* application/x-ndjson */
};

/* Of a Content-Type's value, whatever its parameters. */
enum batch_format batch_format(struct str content_type);

/* A zeroed list owns its items after batch_split(), for free(). */
struct batch_slices {
    struct str *items;
    size_t count, room;
};

/* Cuts TEXT; empty lines are no items. VERDICT_OK; BAD_JSON where it is no array, BODY_TOO_LARGE where it has more than
 * MOST items, with a sentence in *FAULT. */
enum verdict batch_split(enum batch_format format, struct str text, size_t most, struct batch_slices *slices,
                         const char **fault);

/* The value of the member NAME of a well-formed JSON object, as it is written; base NULL where NAME stands nowhere in
 * this spelling. */
struct str batch_member(struct str object, struct str name);

/* Decodes RFC 4648 base64 with its padding, appending to OUT. False where TEXT is none. */
bool batch_decode_base64(struct str text, struct buf *out);

#endif
