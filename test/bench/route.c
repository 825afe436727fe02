/* SPDX-License-Identifier: Apache-2.0
 *
 * What a routing decision costs, without any network: one JSON object on standard output. Nanoseconds are medians of
 * rounds; users come in random order out of many, so that no cache knows them.
 *
 *   route_*_ns      table_match and table_route of a typical request, by hash; route_ns is the slowest of them
 *   override_ns     finding the owner of a user among a million who are overridden (override_route_ns: the whole
 *                   decision for them; override_miss_ns: finding the owner of somebody else)
 *   override_bytes  of memory for each of them
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/invariant.h"
#include "rules/rules.h"

#define USERS     65536
#define OVERRIDES 1000000
#define ROUNDS    7
#define LOOKUPS   1000000

struct users {
    struct str ids[USERS];
    char texts[USERS][16];
};

/* Of this thread's CPU time: other processes shall not count. */
static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Ten digits, below OVERRIDES where they shall hit an override. */
static void make_users(struct users *users, bool overridden)
{
    uint64_t state = 88172645463325252;
    for (size_t i = 0; i < USERS; i++) {
        uint64_t number = overridden ? next_random(&state) % OVERRIDES : OVERRIDES + next_random(&state) % 8000000000;
        int len = snprintf(users->texts[i], sizeof(users->texts[i]), "%010llu", (unsigned long long)number);
        users->ids[i] = (struct str){users->texts[i], (size_t)len};
    }
}

static void add_units(struct buf *text, unsigned slots, unsigned count)
{
    buf_printf(text, "units:\n");
    for (unsigned i = 0; i < count; i++)
        buf_printf(text,
                   "  RZ%02u: {kind: A, datacenter: hz1, slots: [\"%u-%u\"], brokers: [\"redis://b%u:6379\"],\n"
                   "         nodes: {blue: [\"http://n%u:80\"], green: [\"http://n%u:81\"]}, "
                   "weights: {blue: 90, green: 10}}\n",
                   i, slots * i / count, slots * (i + 1) / count - 1, i, i, i);
    buf_printf(text,
               "  CORE: {kind: core, datacenter: hz1, brokers: [\"redis://c:1\"], nodes: {blue: [\"http://c:2\"]}}\n");
}

static void add_overrides(struct buf *text, unsigned users, unsigned prefixes)
{
    buf_printf(text, "overrides:\n  - unit: RZ01\n    users: [\"x\"");
    for (unsigned i = 0; i < users; i++)
        buf_printf(text, ", \"%010u\"", i);
    buf_printf(text, "]\n");
    for (unsigned i = 0; i < prefixes; i++)
        buf_printf(text, "  - {prefix: \"vip-%.*u-\", unit: RZ02}\n", (int)(3 + i % 3), i);
}

static void make_rules(struct buf *text, const char *hash, unsigned users, unsigned prefixes)
{
    buf_printf(text,
               "version: 1\nidentity: {sources: [\"header:X-User-Id\"]}\nsharding: {hash: %s, slots: 16384}\n"
               "routes:\n"
               "  - {match: {path: \"/users/*/orders\", methods: [POST]}, zone: A, action: queue, topic: orders}\n"
               "  - {match: {path: \"/catalog/*\"}, zone: A}\n"
               "  - {match: {path: \"/settle\"}, zone: core}\n"
               "  - {match: {path: \"/-/c/*\"}, zone: C}\n"
               "  - {match: {path: \"/pay/*\", methods: [POST]}, zone: A, action: queue, topic: payments}\n"
               "  - {match: {path: \"/echo/*\"}, zone: A}\n",
               hash);
    add_units(text, 16384, 8);
    add_overrides(text, users, prefixes);
}

static struct table *load(const char *hash, unsigned users, unsigned prefixes, double *load_ms)
{
    struct buf text = {NULL, 0, 0};
    struct diag_list diags = {.file = "generated"};
    make_rules(&text, hash, users, prefixes);
    uint64_t start = now_ns();
    struct table *table = rules_load(buf_str(&text), 1, &diags);
    *load_ms = (double)(now_ns() - start) / 1e6;
    INVARIANT(table != NULL);
    diag_free(&diags);
    buf_free(&text);
    return table;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static uint64_t route(const struct table *table, struct str user)
{
    static const struct str method = {"POST", 4}, path = {"/pay/transfer/17", 16};
    struct routing routing = {.user = user};
    struct decision decision;
    INVARIANT(table_match(table, method, path, &routing.route) == VERDICT_OK);
    INVARIANT(table_route(table, &routing, &decision) == VERDICT_OK);
    return decision.unit + decision.color;
}

static uint64_t look_up(const struct table *table, struct str user)
{
    struct decision decision;
    INVARIANT(table_owner(table, user, &decision) == VERDICT_OK);
    return decision.unit;
}

/* The median over the rounds of the nanoseconds that one call of DECIDE takes. */
static double measure(const struct table *table, const struct users *users,
                      uint64_t (*decide)(const struct table *table, struct str user))
{
    double rounds[ROUNDS];
    uint64_t checksum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = now_ns();
        for (unsigned i = 0; i < LOOKUPS; i++)
            checksum += decide(table, users->ids[i % USERS]);
        rounds[round] = (double)(now_ns() - start) / LOOKUPS;
    }
    INVARIANT(checksum > 0);
    qsort(rounds, ROUNDS, sizeof(rounds[0]), by_value);
    return rounds[ROUNDS / 2];
}

static double resident_mb(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*s %ld", &pages) != 1)
        pages = 0;
    if (file != NULL)
        fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static double measure_hash(const char *hash, const struct users *users)
{
    double load_ms;
    struct table *table = load(hash, 900, 100, &load_ms);
    double ns = measure(table, users, route);
    printf("\"route_%s_ns\": %.1f, \"load_%s_ms\": %.1f, ", hash, ns, hash, load_ms);
    table_unref(&table);
    return ns;
}

static void measure_overrides(struct users *users)
{
    double load_ms, load_few_ms, before, after;
    struct table *few = load("xxh3", 0, 0, &load_few_ms);
    malloc_trim(0);
    before = resident_mb();
    struct table *many = load("xxh3", OVERRIDES, 0, &load_ms);
    malloc_trim(0);
    after = resident_mb();
    printf("\"override_bytes\": %.1f, \"override_resident_bytes\": %.1f, \"override_load_ms\": %.0f, ",
           (double)(many->bytes - few->bytes) / OVERRIDES, (after - before) * 1e6 / OVERRIDES, load_ms);
    make_users(users, true);
    printf("\"override_ns\": %.1f, ", measure(many, users, look_up));
    printf("\"override_route_ns\": %.1f, ", measure(many, users, route));
    make_users(users, false);
    printf("\"override_miss_ns\": %.1f, ", measure(many, users, look_up));
    table_unref(&few);
    table_unref(&many);
}

int main(void)
{
    static const char *const hashes[] = {"modulo", "crc16", "xxh3"};
    struct users *users = mem_alloc(sizeof(*users));
    double slowest = 0;
    printf("{");
    measure_overrides(users);
    for (int i = 0; i < 3; i++) {
        double ns = measure_hash(hashes[i], users);
        slowest = ns > slowest ? ns : slowest;
    }
    printf("\"route_ns\": %.1f}\n", slowest);
    free(users);
    return 0;
}
