/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rules are in force in this gateway: follows the store's record, compiles what it names, hands the view to the
 * workers, keeps the cache file. Owned by the control thread, which alone calls it; others of that thread read the
 * fields.
 *
 * Lifecycle: open (from the cache file, where there is one, then from the store) -> sync, whenever the store may have
 * changed -> close. Epochs never fall: a store that is behind the rules in force was reset or restored, and is told
 * of rather than followed. A version that does not load changes nothing.
 */
#ifndef GATEWAY_ROLLOUT_H
#define GATEWAY_ROLLOUT_H

#include "common/diag.h"
#include "common/store.h"
#include "gateway/control_stats.h"
#include "gateway/gateway.h"

enum rollout_store {
    ROLLOUT_STORE_UP = 0,
    ROLLOUT_STORE_AWAY,
    ROLLOUT_STORE_BEHIND,
};

/* The newest version that was refused; record.epoch 0: none since the last one that was not. */
struct rollout_refusal {
    struct store_record record;
    struct diag_list diags;
    uint64_t at_us;   /* wall */
    uint64_t mono_us; /* of the last attempt */
    bool may_pass;    /* the fault lies outside the text: a host that does not resolve, a key file that is missing */
};

struct rollout {
    struct gateway *gateway;
    struct control_stats *stats;
    struct store *store;
    struct view *view;          /* in force; NULL: none yet. The same as the gateway's */
    struct store_record record; /* of the view, with the newest epoch; version 0: none */
    enum rollout_store state;
    char fault[480];   /* why the store is not up */
    uint64_t since_us; /* wall; when `state` came about */
    struct rollout_refusal refusal;
    char cache_fault[480]; /* "" where the cache file holds the rules in force, or is not asked for */
};

/* Begins with what the store has, or the cache file while it is away. Fails only where the location is no location. */
int rollout_open(struct rollout *rollout, struct gateway *gateway, struct control_stats *stats,
                 struct error *err) MUST_CHECK;
void rollout_close(struct rollout *rollout);

/* Asks the store, and does what is to be done. Never fails: it tells by its fields, its counters and the log. */
void rollout_sync(struct rollout *rollout);

/* Reads the key of tokens again, which may be another one under the same name; the old one stays where that fails. */
int rollout_renew_key(struct rollout *rollout, struct error *err) MUST_CHECK;

/* Hands the workers the rules in force with the units' colours as they are now. */
void rollout_recolor(struct rollout *rollout);

/* The epoch that all workers serve. */
uint64_t rollout_epoch(const struct rollout *rollout);

/* The table of TEXT, loaded and joined as a gateway does, with one reference; NULL where it would not be taken. Faults
 * to DIAGS. */
struct table *rollout_try(const struct rollout *rollout, struct str text, struct diag_list *diags);

/* Appends the text in force; from the cache file while the store is away. */
int rollout_text(const struct rollout *rollout, struct buf *text, struct error *err) MUST_CHECK;

const char *rollout_store_name(enum rollout_store state);

#endif
