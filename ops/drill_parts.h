/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a run of a drill, for each other: what happened, who is meant, what is done, what holds, what came of
 * it. A run is borrowed by every call; times are CLOCK_MONOTONIC in us.
 */
#ifndef OPS_DRILL_PARTS_H
#define OPS_DRILL_PARTS_H

#include "ops/drill_run.h"
#include "ops/fleet.h"

/* --- drill_log.c: what happened ----------------------------------------------------------------------------------- */

struct drill_event {
    uint64_t at_us;
    const char *kind;           /* as report.json has it: "inject", "note"... */
    const char *gateway, *unit; /* "" where none is meant */
    uint64_t epoch;             /* 0: none */
};

/* To events.jsonl, to the round that is under way, and to whoever looks on. */
void drill_log(struct drill_run *run, const struct drill_event *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for something that happens now, to nobody in particular. */
void drill_note(struct drill_run *run, const char *kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A line for whoever looks on, and for nobody else. */
void drill_say(const struct drill_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What the gateways say of the time since the round's fault, or since they were asked last, added to its events, which
 * are in order then. */
void drill_log_collect(struct drill_run *run);

/* --- drill_target.c: who is meant ----------------------------------------------------------------------------------
 */

#define DRILL_TARGETS_MOST 512

/* The unit that STEP means, borrowed. */
struct str drill_unit_of(const struct drill_run *run, const struct drill_step *step);
uint32_t drill_unit_index(const struct drill_run *run, const struct drill_step *step);

/* The processes that STEP means, of the topology, borrowed. FLEET tells who leads. Returns how many; none is an error.
 */
int drill_targets(const struct drill_run *run, const struct drill_step *step, const struct fleet *fleet,
                  const json_t *targets[DRILL_TARGETS_MOST], struct error *err) MUST_CHECK;

/* What the status of a gateway says of a unit; NULL where it does not. */
const json_t *drill_unit_status(const struct fleet *fleet, struct str unit);

/* "http://ADDRESS:PORT" of a process' listener, into URL. */
void drill_url(const json_t *process, const char *port, char *url, size_t size);

/* --- drill_step.c: what is done --------------------------------------------------------------------------------------
 */

/* Strikes whoever STEP means, notes in the round when, and how much was known then. */
int drill_do_fault(struct drill_run *run, const struct drill_step *step, struct error *err) MUST_CHECK;
/* Undoes all faults, of applications too. */
int drill_do_heal(struct drill_run *run, struct error *err) MUST_CHECK;
/* Does what an operator does, again and again until it is taken or the step's `within` is over. */
int drill_do_operator(struct drill_run *run, const struct drill_step *step, struct error *err) MUST_CHECK;

/* --- drill_wait.c: what holds ----------------------------------------------------------------------------------------
 */

/* Appends a reason to those that stand in *WHY. */
void drill_because(struct buf *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether WAIT holds now; else *WHY is appended to. UNIT: whom it is about; NO_UNIT: all, where it
 * is about more than the load's answers. SINCE_US: what DRILL_SERVES counts from. */
bool drill_holds(struct drill_run *run, enum drill_wait wait, uint32_t unit, uint64_t since_us, struct buf *why);

/* Appends why the gateways leave UNIT where it is. */
void drill_add_refusal(struct drill_run *run, uint32_t unit, struct buf *why);

/* Appends why the round has to be aborted; nothing where it has not. */
void drill_aborts(struct drill_run *run, struct buf *why);

/* Whether somebody wants the run to end: a signal, or `drill abort`. */
void drill_catch_signals(void);
bool drill_told_to_stop(void);

/* --- drill_requests.c: what requests came to
 * -------------------------------------------------------------------------- */

#define DRILL_OTHERS UINT32_MAX /* all units but the drill's */
#define DRILL_EVERY  (UINT32_MAX - 1)

struct drill_tally {
    size_t asked, accepted, failed, unknown;
    double p50_ms, p99_ms, most_ms; /* until the answer, or until now */
    char reason[32];                /* of the last that was not accepted */
};

/* Of requests of UNIT that were asked for between FROM_US and TO_US. */
void drill_tally(struct drill_run *run, uint32_t unit, uint64_t from_us, uint64_t to_us, struct drill_tally *tally);

/* When GATEWAY first had a message of UNIT accepted after the round's fault; 0: not yet. SINCE_US 0: in an epoch newer
 * than before the fault; else one that was asked for since then. */
uint64_t drill_first_success(struct drill_run *run, uint32_t unit, size_t gateway, uint64_t since_us);

/* Whether GATEWAY is not among the round's targets. */
bool drill_gateway_spared(const struct drill_run *run, size_t gateway);

/* For the report, new references: the latencies around ROUND's fault, and whom the faults touched, each by unit. */
json_t *drill_samples(struct drill_run *run, const struct drill_round *round);
json_t *drill_blast(struct drill_run *run);
/* Writes requests.csv into the run's folder. */
int drill_save_requests(struct drill_run *run, struct error *err) MUST_CHECK;

/* --- drill_round.c: from an injection to the steady state after it --------------------------------------------------
 */

/* Method, then rollback, then what came of it, added to the run's rounds. True where the next one may begin. */
bool drill_go_round(struct drill_run *run, unsigned number);

/* --- drill_guard.c: before anything is done -------------------------------------------------------------------------
 */

/* The run's `rails`: -1 with *err where one forbids the drill. */
int drill_guard(struct drill_run *run, struct error *err) MUST_CHECK;
/* Runs the load for as long as the drill says, and fills in the run's `steady`: -1 with *err where it is not steady. */
int drill_steady(struct drill_run *run, struct error *err) MUST_CHECK;
/* Looks once more, when all is over, and fills in what the same checks give then. */
void drill_steady_after(struct drill_run *run);

/* --- drill_proof.c, drill_result.c: what came of it ------------------------------------------------------------------
 */

/* How far the applications' records reach: for the run, before its load begins. */
json_t *drill_proof_begin(const struct drill_run *run);
/* Where each accepted message is now: the report's `proof`. */
json_t *drill_proof(struct drill_run *run);

/* What each spared gateway did when, and when it served again: the round's `chain`. */
json_t *drill_chain(struct drill_run *run, const struct drill_round *round);
/* The first word counts: why the round has not passed. */
void drill_fail(struct drill_round *round, enum drill_end end, const char *why);
const char *drill_end_name(enum drill_end end);

/* The report's entry of the round, and what it expected: `end` and `why` of the round are set. */
json_t *drill_result_round(struct drill_run *run, struct drill_round *round);
json_t *drill_result(struct drill_run *run, enum drill_end end, const char *why);

#endif
