/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls of a store that must succeed, whatever keeps it.
 */
#ifndef TEST_UNIT_STORE_CALLS_H
#define TEST_UNIT_STORE_CALLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/store.h"

static inline uint64_t put_document(struct store *store, const char *name, uint64_t expected, const char *text)
{
    uint64_t now;
    struct error err = {ERROR_NONE, ""};
    if (store_document_put(store, name, expected, str_of(text), &now, &err) == -1)
        fail_msg("%s", err.text);
    return now;
}

static inline void assert_document(struct store *store, const char *name, uint64_t version, const char *text)
{
    struct buf found = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    uint64_t at = 99;
    if (store_document_get(store, name, &found, &at, &err) == -1)
        fail_msg("%s", err.text);
    assert_int_equal(at, version);
    assert_string_equal(found.base ? found.base : "", text);
    buf_free(&found);
}

static inline struct store_record current(struct store *store)
{
    struct store_record record;
    struct error err = {ERROR_NONE, ""};
    if (store_current(store, &record, &err) == -1)
        fail_msg("%s", err.text);
    return record;
}

#endif
