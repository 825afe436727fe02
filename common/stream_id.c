/* SPDX-License-Identifier: Apache-2.0 */
#include "common/stream_id.h"

#include <stdio.h>

bool stream_id_parse(struct str text, struct stream_id *id)
{
    struct str ms;
    id->seq = 0;
    return str_next(&text, '-', &ms) && str_to_u64(ms, &id->ms) && (text.base == NULL || str_to_u64(text, &id->seq));
}

size_t stream_id_format(char *text, struct stream_id id)
{
    return (size_t)snprintf(text, STREAM_ID_TEXT, "%lu-%lu", (unsigned long)id.ms, (unsigned long)id.seq);
}
