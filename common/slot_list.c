/* SPDX-License-Identifier: Apache-2.0 */
#include "common/slot_list.h"

#include <stdio.h>
#include <string.h>

#include "common/str.h"

struct run {
    uint64_t first, last; /* inclusive */
};

static bool next_run(struct str *rest, struct run *run, bool *valid)
{
    struct str part, first;
    if (!str_next(rest, ',', &part))
        return false;
    *valid = str_next(&part, '-', &first) && str_to_u64(first, &run->first);
    run->last = run->first;
    if (*valid && part.base != NULL)
        *valid = str_to_u64(part, &run->last) && run->first < run->last;
    return *valid;
}

static bool is_all(const char *list)
{
    return strcmp(list, "*") == 0;
}

bool slot_list_is_valid(const char *list)
{
    struct str rest = str_of(list);
    struct run run;
    bool valid = true;
    if (list[0] == '\0' || is_all(list))
        return true;
    while (next_run(&rest, &run, &valid))
        ;
    return valid;
}

bool slot_list_has(const char *list, uint32_t slot)
{
    struct str rest = str_of(list);
    struct run run;
    bool valid;
    if (is_all(list))
        return true;
    while (next_run(&rest, &run, &valid))
        if (run.first <= slot && slot <= run.last)
            return true;
    return false;
}

void slot_list_mark(const char *list, bool *slots, uint32_t count)
{
    for (uint32_t slot = 0; slot < count; slot++)
        slots[slot] = slots[slot] || slot_list_has(list, slot);
}

void slot_list_format(const bool *slots, uint32_t count, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (uint32_t first = 0, after; first < count; first = after) {
        after = first + 1;
        if (!slots[first])
            continue;
        while (after < count && slots[after])
            after++;
        int put = snprintf(out + len, size - len, first + 1 < after ? "%s%u-%u" : "%s%u", len > 0 ? "," : "", first,
                           after - 1);
        len += (size_t)put;
        if (len >= size) {
            memcpy(out, "*", 2);
            return;
        }
    }
}
