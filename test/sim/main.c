/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs seeds, and mutants: what the simulator finds with a rule taken out, to show that it would find it.
 *
 *   simulation [--seeds N] [--from N]      N seeds (2000) from the first one on
 *   simulation --seed N [--trace]          this one, again
 *   simulation --mutants [--seeds N]       each rule taken out in turn: some of N seeds must fail
 *   simulation --mutant NAME ...           with this rule taken out
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/str.h"
#include "test/sim/queue.h"
#include "test/sim/world.h"

static const char *const mutant_names[MUTANTS] = {
    [MUTANT_NONE] = "none",
    [MUTANT_BROKER_EPOCH] = "broker-epoch",
    [MUTANT_THIRD_REPLICA] = "third-replica",
    [MUTANT_FENCED_BOOT] = "fenced-boot",
    [MUTANT_WARDEN_RUN] = "warden-run",
    [MUTANT_PRE_STAMP] = "pre-stamp",
    [MUTANT_STALE_DEMOTE] = "stale-demote",
    [MUTANT_CAS] = "compare-and-set",
    [MUTANT_FENCE] = "switch-fence",
    [MUTANT_LEVEL] = "switch-level",
    [MUTANT_GIVE_UP] = "switch-give-up",
};

/* Of the core's rules, by the refusal that they give. */
static const char *const rule_names[CORE_REFUSALS] = {
    [CORE_NOT_SUSPECTED] = "suspicion",
    [CORE_NOT_AUTOMATIC] = "automatic",
    [CORE_NO_RECORD] = "record",
    [CORE_DOUBTS_ITSELF] = "doubt",
    [CORE_COOLING_DOWN] = "cooldown",
    [CORE_DRAINED] = "drained",
    [CORE_NO_STANDBY] = "standby",
    [CORE_STANDBY_RESTARTED] = "standby-run",
    [CORE_STANDBY_UNWELL] = "standby-well",
    [CORE_STANDBY_OBJECTS] = "standby-veto",
    [CORE_NO_HEADROOM] = "headroom",
    [CORE_FROZEN] = "window",
    [CORE_STORE_AWAY] = "store",
    [CORE_NO_MAJORITY] = "majority",
    [CORE_NO_OTHER_SITE] = "other-site",
    [CORE_UNDECIDED] = "undecided",
};

struct options {
    uint64_t seeds, from;
    bool mutants;
};

static bool run_one(struct world *world, uint64_t seed)
{
    if (sim_run(world, seed))
        return true;
    printf("seed %lu: %s\n", (unsigned long)seed, world->failure);
    return false;
}

static int run_seeds(struct world *world, const struct options *options)
{
    uint64_t failed = 0, failovers = 0, switches = 0, acknowledged = 0, events = 0;
    for (uint64_t i = 0; i < options->seeds && failed < 10; i++) {
        failed += !run_one(world, options->from + i);
        failovers += world->failovers;
        switches += world->switches;
        acknowledged += world->acknowledged;
        events += world->events;
    }
    printf("%lu seeds, %lu failed: %lu events, %lu messages acknowledged, %lu failovers, %lu planned switches\n",
           (unsigned long)options->seeds, (unsigned long)failed, (unsigned long)events, (unsigned long)acknowledged,
           (unsigned long)failovers, (unsigned long)switches);
    return failed > 0;
}

/* Whether some seed fails; says which. */
static bool is_caught(struct world *world, const struct options *options, const char *name)
{
    for (uint64_t i = 0; i < options->seeds; i++)
        if (!sim_run(world, options->from + i)) {
            printf("caught %-16s seed %lu: %s\n", name, (unsigned long)(options->from + i), world->failure);
            return true;
        }
    printf("MISSED %s\n", name);
    return false;
}

static int run_mutants(struct world *world, const struct options *options)
{
    unsigned missed = 0, all = 0;
    for (enum mutant mutant = MUTANT_NONE + 1; mutant < MUTANTS; mutant++, all++) {
        world->mutant = mutant;
        missed += !is_caught(world, options, mutant_names[mutant]);
    }
    world->mutant = MUTANT_NONE;
    for (enum core_refusal rule = CORE_NOT_SUSPECTED; rule < CORE_REFUSALS; rule++, all++) {
        world->waived = rule;
        missed += !is_caught(world, options, rule_names[rule]);
    }
    printf("%u mutants, %u missed\n", all, missed);
    return missed > 0;
}

static bool choose_mutant(struct world *world, const char *name)
{
    for (enum mutant i = 0; i < MUTANTS; i++)
        if (strcmp(name, mutant_names[i]) == 0)
            world->mutant = i;
    for (enum core_refusal i = CORE_NOT_SUSPECTED; i < CORE_REFUSALS; i++)
        if (strcmp(name, rule_names[i]) == 0)
            world->waived = i;
    return world->mutant != MUTANT_NONE || world->waived != CORE_MAY_MOVE;
}

static bool read_options(int argc, char **argv, struct world *world, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            world->trace = true;
        } else if (strcmp(argv[i], "--mutants") == 0) {
            options->mutants = true;
        } else if (value != NULL && strcmp(argv[i], "--seeds") == 0) {
            options->seeds = strtoull(argv[++i], NULL, 10);
        } else if (value != NULL && strcmp(argv[i], "--from") == 0) {
            options->from = strtoull(argv[++i], NULL, 10);
        } else if (value != NULL && strcmp(argv[i], "--seed") == 0) {
            options->from = strtoull(argv[++i], NULL, 10);
            options->seeds = 1;
        } else if (value == NULL || strcmp(argv[i], "--mutant") != 0 || !choose_mutant(world, argv[++i])) {
            fprintf(stderr,
                    "usage: simulation [--seeds N] [--from N] [--seed N] [--trace] [--mutants] [--mutant NAME]\n");
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.seeds = 2000, .from = 1};
    struct world *world = mem_calloc(1, sizeof(*world));
    setvbuf(stdout, NULL, _IOLBF, 0); /* what was found so far counts, should the run be ended */
    if (!read_options(argc, argv, world, &options))
        return 2;
    world->queue = queue_create();
    world->gateways = mem_calloc(GATEWAYS_MOST, sizeof(*world->gateways));
    int code = options.mutants ? run_mutants(world, &options) : run_seeds(world, &options);
    queue_destroy(&world->queue);
    free(world->gateways);
    free(world);
    return code;
}
