/* SPDX-License-Identifier: Apache-2.0
 *
 * What the live traffic looks like, so that a rule change can be weighed before it is made: a sample of the distinct
 * users and a sample of the requests of the last minutes. Each worker owns one; observing allocates nothing.
 *
 * Time is cut into panes that are forgotten one by one. In each pane, the users are those whose hash lies below a bound
 * that is halved whenever the table is full: a uniform sample of the distinct users, each with the exact count of its
 * requests, and as good as the k smallest hashes (Wegman's adaptive sampling, Flajolet 1990). The requests are a
 * uniform reservoir (Vitter's algorithm R, 1985), whose members stand for as many requests as they were drawn from.
 */
#ifndef GATEWAY_SAMPLER_H
#define GATEWAY_SAMPLER_H

#include "common/str.h"

#define SAMPLER_USER_MAX 64 /* bytes of a user that are kept */
#define SAMPLER_PANE_US  75000000
#define SAMPLER_PANES    4    /* five minutes, the last pane being the current one */
#define SAMPLER_USERS    1365 /* most of a pane; at least half of them where there are as many */
#define SAMPLER_REQUESTS 1024 /* of a pane */

struct sampler;

struct sampler *sampler_create(void);
void sampler_destroy(struct sampler **sampler);

/* NOW_US: monotonic. */
void sampler_observe(struct sampler *sampler, struct str user, uint64_t now_us);

/* How far back the samplers look at NOW_US: the pane that is being filled, and the whole ones before it. */
static inline uint64_t sampler_window_us(uint64_t now_us)
{
    return (SAMPLER_PANES - 1) * (uint64_t)SAMPLER_PANE_US + now_us % SAMPLER_PANE_US;
}

struct traffic_user {
    uint64_t hash;     /* XXH3 of the whole user */
    uint64_t requests; /* of this user (users); for which it stands (sample) */
    uint8_t len;
    char text[SAMPLER_USER_MAX];
};

/* What one or more samplers saw. Zero-initialise it. */
struct traffic {
    uint64_t requests;          /* all of the window */
    uint64_t bound;             /* the users are all whose hash is at most this; 0: none were collected */
    struct traffic_user *users; /* each once, by hash */
    size_t user_count;
    struct traffic_user *sample; /* each user once, by hash */
    size_t sample_count;
};

/* Adds what SAMPLER has seen; from the thread that owns it. Then traffic_finish() before anybody reads. */
void sampler_collect(const struct sampler *sampler, uint64_t now_us, struct traffic *traffic);
void traffic_merge(struct traffic *into, const struct traffic *from);
/* Joins what belongs to one user and keeps at most MOST users, those of the smallest hashes. */
void traffic_finish(struct traffic *traffic, size_t most);
/* How many distinct users the window has seen, about. */
uint64_t traffic_distinct(const struct traffic *traffic);
void traffic_free(struct traffic *traffic);

#endif
