/* SPDX-License-Identifier: Apache-2.0
 *
 * A datagram as the network may bring it, and the same bytes sealed with the key, as a faulty member of the deployment
 * may send them. What is taken comes back the same when it is written again.
 */
#include "common/invariant.h"
#include "common/pulse.h"
#include "test/fuzz/replay.h"

static void check_taken(struct pulse_key *key, const struct pulse *pulse)
{
    uint8_t bytes[PULSE_MOST];
    struct pulse again;
    size_t len = pulse_encode(key, pulse, bytes);
    INVARIANT(len <= PULSE_MOST && pulse_decode(key, bytes, len, &again) == PULSE_FINE);
    INVARIANT(memcmp(pulse, &again, sizeof(again)) == 0);
    INVARIANT(strlen(pulse->name) < PULSE_NAME_SIZE && strlen(pulse->place) < PULSE_NAME_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pulse_key *key = pulse_key_create(STR_LIT("fuzz"));
    struct pulse pulse;
    uint8_t sealed[PULSE_MOST + PULSE_SEAL];
    if (pulse_decode(key, data, size, &pulse) == PULSE_FINE)
        check_taken(key, &pulse);
    if (size <= PULSE_MOST) {
        memcpy(sealed, data, size);
        pulse_seal(key, sealed, size);
        enum pulse_fault fault = pulse_decode(key, sealed, size + PULSE_SEAL, &pulse);
        INVARIANT(fault != PULSE_FORGED);
        if (fault == PULSE_FINE)
            check_taken(key, &pulse);
    }
    pulse_key_destroy(&key);
    return 0;
}
