/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memmem */
#include "common/broker_info.h"

#include <stdio.h>

#include "common/invariant.h"

#define NAME_MOST 48

/* What stands behind "NAME:" at the beginning of a line. Asked for every batch of messages, so not line by line. */
static const char *find(struct str info, struct str name)
{
    char wanted[NAME_MOST + 2] = "\n";
    INVARIANT(name.len < NAME_MOST);
    memcpy(wanted + 1, name.base, name.len);
    wanted[name.len + 1] = ':';
    if (str_starts(info, (struct str){wanted + 1, name.len + 1}))
        return info.base + name.len + 1;
    const char *at = info.len > 0 ? memmem(info.base, info.len, wanted, name.len + 2) : NULL;
    return at != NULL ? at + name.len + 2 : NULL;
}

struct str broker_info_text(struct str info, const char *name)
{
    const char *at = find(info, str_of(name));
    if (at == NULL)
        return (struct str){NULL, 0};
    struct str value = {at, (size_t)(info.base + info.len - at)};
    const char *end = memchr(at, '\n', value.len);
    if (end != NULL)
        value.len = (size_t)(end - at);
    value.len -= value.len > 0 && value.base[value.len - 1] == '\r';
    return value;
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
