/* SPDX-License-Identifier: Apache-2.0 */
#include "common/broker_info.h"

#include <stdio.h>

struct str broker_info_text(struct str info, const char *name)
{
    struct str wanted = str_of(name), rest = info, line;
    while (str_next(&rest, '\n', &line)) {
        if (line.len <= wanted.len || line.base[wanted.len] != ':' || !str_starts(line, wanted))
            continue;
        struct str value = {line.base + wanted.len + 1, line.len - wanted.len - 1};
        value.len -= value.len > 0 && value.base[value.len - 1] == '\r';
        return value;
    }
    return (struct str){NULL, 0};
}

bool broker_info_number(struct str info, const char *name, uint64_t *value)
{
    return str_to_u64(broker_info_text(info, name), value);
}

bool broker_info_is(struct str info, const char *name, const char *value)
{
    struct str found = broker_info_text(info, name);
    return found.base != NULL && str_equal(found, str_of(value));
}

bool broker_info_replica(struct str info, unsigned index, struct broker_replica *replica)
{
    char name[24];
    snprintf(name, sizeof(name), "slave%u", index);
    struct str rest = broker_info_text(info, name), pair, key;
    *replica = (struct broker_replica){.ip = {NULL, 0}};
    if (rest.base == NULL)
        return false;
    while (str_next(&rest, ',', &pair)) {
        struct str value = pair;
        str_next(&value, '=', &key);
        if (str_equal(key, STR_LIT("ip")))
            replica->ip = value;
        else if (str_equal(key, STR_LIT("state")))
            replica->state = value;
        else if (str_equal(key, STR_LIT("port")) && !str_to_u64(value, &replica->port))
            replica->port = 0;
        else if (str_equal(key, STR_LIT("offset")) && !str_to_u64(value, &replica->offset))
            replica->offset = 0;
        else if (str_equal(key, STR_LIT("lag")) && !str_to_u64(value, &replica->lag_s))
            replica->lag_s = UINT32_MAX;
    }
    return true;
}
