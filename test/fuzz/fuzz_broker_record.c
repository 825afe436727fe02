/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store and a broker may say: the first line is read as a broker record, the rest as a broker's answer to
 * INFO. A record that is taken comes back from its own text, and nothing is believed of a broker that is another one.
 */
#include "common/broker_info.h"
#include "common/broker_record.h"
#include "common/invariant.h"
#include "test/fuzz/replay.h"

static void check_info(struct str info)
{
    struct broker_replica replica;
    uint64_t number;
    for (unsigned i = 0; i < 100 && broker_info_replica(info, i, &replica); i++)
        INVARIANT(replica.ip.len <= info.len && replica.state.len <= info.len);
    if (broker_info_number(info, "sync_full", &number))
        INVARIANT(broker_info_text(info, "sync_full").len > 0);
}

static void check_record(const struct broker_record *record, struct str info)
{
    struct broker_record again;
    struct buf text = {0};
    char why[32];
    broker_record_format(record, &text);
    INVARIANT(broker_record_parse(buf_str(&text), &again, NULL) == 0);
    INVARIANT(again.member_count == record->member_count && again.wait == record->wait);
    INVARIANT(strcmp(again.run_id, record->run_id) == 0 && strcmp(again.by, record->by) == 0);
    INVARIANT(strcmp(again.target, record->target) == 0 && again.hold == record->hold);
    INVARIANT(strcmp(again.target_consumer, record->target_consumer) == 0);
    INVARIANT(again.drained.at_us == record->drained.at_us && strcmp(again.drained.why, record->drained.why) == 0);
    INVARIANT(strcmp(record->run_id, "another") == 0 ||
              !broker_record_covers(record, info, "another", why, sizeof(why)));
    if (broker_record_covers(record, info, record->run_id, NULL, 0))
        INVARIANT(broker_info_is(info, "role", "master"));
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str info = {(const char *)data, size}, text;
    struct broker_record record;
    str_next(&info, '\n', &text);
    check_info(info);
    if (broker_record_parse(text, &record, NULL) == 0)
        check_record(&record, info);
    return 0;
}
