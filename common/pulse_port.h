/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a process sends and hears pulses: a UDP socket and a thread of its own, so that nothing else which the process
 * does (rules to compile, a store or a disk that is slow) makes it look dead or makes it deaf.
 *
 * Lifecycle: open (the socket has its port) -> start (the thread runs; the hooks are called on it and nowhere else)
 * -> stop -> close. The owner calls these from one thread of its own.
 */
#ifndef COMMON_PULSE_PORT_H
#define COMMON_PULSE_PORT_H

#include "common/address.h"
#include "common/pulse.h"
#include "common/stats.h"

struct pulse_stats {
#define STAT(name, kind, help) stat_value name;
#include "common/pulse_stats_tbl.h"
#undef STAT
};

extern const struct stat_row pulse_stat_rows[];
extern const size_t pulse_stat_row_count;

struct pulse_port;

struct pulse_port_config {
    const char *listen; /* "HOST:PORT", numeric; port 0: any */
    const char *secret; /* NULL: none, which is refused beyond loopback */
    const char *host;   /* what others call this machine, where `listen` is any address */
    uint64_t period_us; /* of the ticks */
    bool agent;         /* who sends here is an agent; else a gateway */
    const char *place;  /* copied into each pulse; "" for none */
    struct pulse_stats *stats;
    /* The thread's hooks. LAG_US: how late this turn began. NOW_US is monotonic. */
    void (*tick)(void *arg, uint64_t now_us, uint64_t lag_us);
    void (*heard)(void *arg, uint64_t now_us, const struct pulse *pulse);
    void (*rung)(void *arg, uint64_t now_us); /* after pulse_port_ring() */
    void *arg;
};

/* CONFIG's texts are borrowed for its life. NULL with *err. */
struct pulse_port *pulse_port_open(const struct pulse_port_config *config, struct error *err) MUST_CHECK;
/* NAME is the sender's in each pulse. */
int pulse_port_start(struct pulse_port *port, const char *name, struct error *err) MUST_CHECK;
/* Ends the thread, where there is one: no hook is called any more. */
void pulse_port_stop(struct pulse_port *port);
void pulse_port_close(struct pulse_port **port);

/* "HOST:PORT" for others; lives as long as the port. */
const char *pulse_port_address(const struct pulse_port *port);
uint64_t pulse_port_incarnation(const struct pulse_port *port);

/* Wakes the thread, from any other: something is to be sent before the next tick. */
void pulse_port_ring(struct pulse_port *port);

/* For a fifth of a second what comes is gathered for a millisecond before it is read, and not for four: something waits
 * for it. From any thread; a record that is heard does it by itself. */
void pulse_port_hurry(struct pulse_port *port);

/* Where the system allows it, a busy machine does not hold the calling thread up: for threads that are waited for in
 * the milliseconds of a failover, and have few instructions. */
void pulse_hurry_thread(void);

/* --- from the hooks ----------------------------------------------------------------------------------------------- */

/* Sends PULSE to each of TO; fills in name, place, incarnation, seq and sent_us. Never blocks: what the network does
 * not take is counted, and gone. */
void pulse_port_send(struct pulse_port *port, struct pulse *pulse, const struct address *to, size_t count);

/* From `tick`: the next one comes at AT_US, where that is before its time. */
void pulse_port_tick_by(struct pulse_port *port, uint64_t at_us);

/* The AGENT or gateway called NAME registered with INCARNATION. One that is older than what was heard of it is believed
 * only after a second of silence: its clock was set back between two starts. False: that is not over yet. */
bool pulse_port_registered(struct pulse_port *port, bool agent, const char *name, uint64_t incarnation);

#endif
