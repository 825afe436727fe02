/* SPDX-License-Identifier: Apache-2.0 */
#include "router/collection.h"

const char *replication_name(enum collection_replication replication)
{
    static const char *const names[] = {[COLLECTION_BUS] = "bus", [COLLECTION_SNAPSHOT] = "snapshot"};
    return names[replication];
}

const char *stale_name(enum collection_stale when_stale)
{
    static const char *const names[] = {
        [COLLECTION_STALE_CORE] = "core", [COLLECTION_STALE_SERVE] = "serve", [COLLECTION_STALE_REFUSE] = "refuse"};
    return names[when_stale];
}

const char *writers_name(enum collection_writers writers)
{
    static const char *const names[] = {[COLLECTION_WRITERS_TRUSTED] = "trusted", [COLLECTION_WRITERS_ANY] = "any"};
    return names[writers];
}
