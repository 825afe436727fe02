/* SPDX-License-Identifier: Apache-2.0
 *
 * Store records and members as JSON: the form in which backends keep them and admin listeners show them.
 */
#ifndef COMMON_STORE_JSON_H
#define COMMON_STORE_JSON_H

#include <jansson.h>

#include "common/store.h"

/* {"epoch","rules_epoch","version","restores","at","at_us","by","note","sha256"}; "at" is at_us for people. The caller
 * owns the reference. */
json_t *store_record_to_json(const struct store_record *record);
/* False where JSON is no such object: "at" and unknown keys do not count. */
bool store_record_from_json(const json_t *json, struct store_record *record);

/* {"name","role","unit","datacenter","admin","pulse","incarnation","pid"}: a member that is listed is alive. */
json_t *store_member_to_json(const struct store_member *member);
bool store_member_from_json(const json_t *json, struct store_member *member);

#endif
