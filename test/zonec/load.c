/* SPDX-License-Identifier: Apache-2.0 */
/* The program: options, signals, the loop, and one line of JSON a second, the last one with "final":true.
 *
 * SIGTERM: begins nothing more, and ends when all that was begun is accepted. SIGUSR1: ends a phase, whose figures are
 * printed then. */
#include "test/zonec/load.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

#include "common/clock.h"

#define PATIENCE_US 5000000  /* for an answer */
#define SETTLE_US   60000000 /* for all that is under way to be accepted, at the end */
#define SECOND_US   1000000

static volatile sig_atomic_t told_to_stop, told_phase;

static void on_signal(int number)
{
    if (number == SIGUSR1)
        told_phase = 1;
    else
        told_to_stop = 1;
}

uint64_t load_random(struct load *load)
{
    load->random ^= load->random << 13;
    load->random ^= load->random >> 7;
    load->random ^= load->random << 17;
    return load->random;
}

void load_key(char key[LOAD_KEY_SIZE], uint32_t number)
{
    snprintf(key, LOAD_KEY_SIZE, "merchant-%07u", number);
}

void load_get(struct load *load, struct buf *out, uint32_t key, size_t unit, uint64_t min_version)
{
    char name[LOAD_KEY_SIZE];
    load_key(name, key);
    buf_printf(out, "GET /-/c/%s/%s HTTP/1.1\r\nHost: load\r\nLDC-Unit: %s\r\n", load->options.collection, name,
               load->options.units[unit]);
    if (min_version > 0)
        buf_printf(out, "LDC-Min-Version: %" PRIu64 "\r\n", min_version);
    buf_printf(out, "\r\n");
}

/* --- options ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    size_t offset;
} NUMBERS[] = {
#define NUMBER(name, field)                                                                                            \
    {                                                                                                                  \
        name, offsetof(struct load_options, field)                                                                     \
    }
    NUMBER("keys", keys),
    NUMBER("writers", writers),
    NUMBER("readers", readers),
    NUMBER("probers", probers),
    NUMBER("rate", rate),
    NUMBER("reads-rate", reads_rate),
    NUMBER("probe-rate", probe_rate),
    NUMBER("count", count),
    NUMBER("first", first),
    NUMBER("value-size", value_size),
    NUMBER("deletes", deletes),
};
#define NUMBER_COUNT (sizeof(NUMBERS) / sizeof(NUMBERS[0]))

static void fail(const char *what)
{
    fprintf(stderr,
            "zonec-load: %s\n"
            "zonec-load --target [HOST:]PORT ... [--unit NAME ...] [--collection NAME] [--journal FILE] [--seed N]\n"
            "  [--in-order]",
            what);
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        fprintf(stderr, " [--%s N]", NUMBERS[i].name);
    fprintf(stderr, "\n");
    exit(2);
}

static bool set_number(struct load_options *options, const char *name, const char *value)
{
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        if (strcmp(NUMBERS[i].name, name) == 0) {
            *(uint32_t *)((char *)options + NUMBERS[i].offset) = (uint32_t)strtoul(value, NULL, 10);
            return true;
        }
    return false;
}

static void set_option(struct load *load, const char *name, const char *value)
{
    if (strcmp(name, "target") == 0 && !client_set_add_target(&load->set, value))
        fail("a target is HOST:PORT, and there are not too many");
    else if (strcmp(name, "unit") == 0 && load->units == LOAD_UNITS_MOST)
        fail("too many units");
    else if (strcmp(name, "unit") == 0)
        load->options.units[load->units++] = value;
    else if (strcmp(name, "collection") == 0)
        load->options.collection = value;
    else if (strcmp(name, "journal") == 0)
        load->options.journal = value;
    else if (strcmp(name, "seed") == 0)
        load->random = strtoull(value, NULL, 10) * 0x9E3779B97F4A7C15u + 88172645463325252u;
}

static void read_options(struct load *load, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--in-order") == 0) {
            load->options.in_order = true;
            continue;
        }
        if (strncmp(argv[i], "--", 2) != 0 || i + 1 == argc)
            fail(argv[i]);
        if (!set_number(&load->options, argv[i] + 2, argv[i + 1]))
            set_option(load, argv[i] + 2, argv[i + 1]);
        i++;
    }
    if (load->set.target_count == 0 || load->options.keys == 0)
        fail("a target and keys are wanted");
}

/* --- what is told ------------------------------------------------------------------------------------------------- */

static void print_counts(const struct load *load, const struct load_phase *phase, double seconds)
{
    printf("{\"seconds\":%.3f,\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"reads\":%" PRIu64
           ",\"reads_refused\":%" PRIu64 ",\"reads_lost\":%" PRIu64 ",\"warned\":%" PRIu64 ",\"anomalies\":%" PRIu64
           ",\"highest\":%" PRIu64 ",\"by_core\":%" PRIu64 ",\"core_back\":%" PRIu64,
           seconds, phase->accepted, phase->refused, phase->lost, phase->reads, phase->read_refused, phase->read_lost,
           phase->warned, load->known.anomalies, load->known.highest, phase->by_core, phase->core_back);
}

static void end_phase(struct load *load, bool final)
{
    struct load_phase *phase = &load->phase;
    uint64_t now_us = clock_monotonic_us();
    print_counts(load, phase, (double)(now_us - phase->began_us) / 1e6);
    figures_print(&phase->writes, "writes", stdout);
    figures_print(&phase->waits, "waits", stdout);
    figures_print(&phase->reading, "reading", stdout);
    figures_print(&phase->readable, "readable", stdout);
    figures_print(&phase->everywhere, "everywhere", stdout);
    for (size_t i = 0; i < load->units; i++) {
        figures_print(&phase->visible[i], load->options.units[i], stdout);
        figures_clear(&phase->visible[i]);
    }
    printf(",\"%s\":true}\n", final ? "final" : "phase");
    fflush(stdout);
    figures_clear(&phase->writes);
    figures_clear(&phase->waits);
    figures_clear(&phase->reading);
    figures_clear(&phase->readable);
    figures_clear(&phase->everywhere);
    *phase = (struct load_phase){.began_us = now_us};
}

static void print_second(const struct load *load, uint64_t now_us)
{
    print_counts(load, &load->phase, (double)(now_us - load->phase.began_us) / 1e6);
    printf("}\n");
    fflush(stdout);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

/* At the end of the load what is under way has SETTLE_US to be accepted. */
static bool is_over(struct load *load, uint64_t now_us, uint64_t *end_us)
{
    load->stopping = load->stopping || told_to_stop;
    bool begun_all = load->stopping || writers_done(load);
    if (begun_all && *end_us == 0)
        *end_us = now_us + SETTLE_US;
    return begun_all && ((writers_done(load) && probing_done(load)) || now_us > *end_us);
}

static void run(struct load *load)
{
    uint64_t now_us = clock_monotonic_us(), second_us = now_us + SECOND_US, end_us = 0;
    load->phase.began_us = now_us;
    while (!is_over(load, now_us, &end_us)) {
        writers_turn(load, now_us);
        readers_turn(load, now_us);
        probing_turn(load, now_us);
        client_set_turn(&load->set, probing_next_us(load, writers_next_us(load)));
        now_us = clock_monotonic_us();
        if (told_phase) {
            told_phase = 0;
            end_phase(load, false);
        }
        if (now_us >= second_us) {
            print_second(load, now_us);
            second_us += SECOND_US;
        }
    }
}

int main(int argc, char **argv)
{
    static struct load load = {.random = 88172645463325252u,
                               .options = {.collection = "merchants",
                                           .journal = "/dev/null",
                                           .keys = 1000,
                                           .writers = 16,
                                           .probers = 4,
                                           .value_size = 100,
                                           .first = 1}};
    client_set_open(&load.set, PATIENCE_US);
    read_options(&load, argc, argv);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    FILE *journal = fopen(load.options.journal, "w");
    if (journal == NULL)
        fail("the journal cannot be written");
    known_open(&load.known, 2 * load.units + 1, load.options.keys, journal);
    writers_create(&load);
    readers_create(&load);
    probing_create(&load);
    run(&load);
    known_tell(&load.known);
    writers_tell(&load, journal);
    fclose(journal);
    end_phase(&load, true);
    bool settled = writers_done(&load);
    writers_destroy(&load);
    readers_destroy(&load);
    probing_destroy(&load);
    known_close(&load.known);
    return settled ? 0 : 1;
}
