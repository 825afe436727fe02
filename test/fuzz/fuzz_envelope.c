/* SPDX-License-Identifier: Apache-2.0
 *
 * What a broker may hold: entries of any fields, message ids of any text. Fields are separated by 0xff, names and
 * values in turn; the first part is read as a message id as well.
 */
#include "common/invariant.h"
#include "common/protocol.h"
#include "test/fuzz/replay.h"

#define MOST_FIELDS 64

static void check_id(struct str text)
{
    struct protocol_id id;
    char key[PROTOCOL_KEY_MAX];
    if (!protocol_id_parse(text, &id))
        return;
    INVARIANT(text.len < PROTOCOL_ID_MAX);
    INVARIANT(protocol_key(key, id.unit, id.topic, id.partition, "stream") < PROTOCOL_KEY_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = {(const char *)data, size}, part, names[MOST_FIELDS], values[MOST_FIELDS];
    struct envelope envelope;
    size_t count = 0;
    for (size_t i = 0; i < 2 * MOST_FIELDS && str_next(&rest, '\xff', &part); i++) {
        if (i == 0)
            check_id(part);
        if (i % 2 == 0)
            names[i / 2] = part;
        else
            values[count++] = part;
    }
    if (envelope_decode(names, values, count, &envelope))
        for (int field = 0; field < ENVELOPE_FIELDS; field++)
            INVARIANT(envelope.fields[field].base != NULL);
    return 0;
}
