/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks many processes the same question at once, again and again where that is wanted, so that one that hangs holds
 * up no other.
 */
#ifndef OPS_POLL_H
#define OPS_POLL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct poll_answer {
    size_t index;       /* into the URLs */
    const json_t *json; /* NULL: none came, and `fault` says why */
    const char *fault;
};

enum poll_next {
    POLL_AGAIN = 0, /* ask this one again, an interval later */
    POLL_ENOUGH,    /* this one has said enough */
    POLL_STOP,      /* ask nobody any more */
};

/* Called for each answer and each failure. */
typedef enum poll_next (*poll_fn)(void *arg, const struct poll_answer *answer);

struct poll_question {
    const char *const *urls; /* base URLs */
    size_t url_count;
    const char *path, *token; /* token: may be NULL */
    int64_t each_ms;          /* within which one answer must come */
    int64_t interval_ms;      /* between an answer and the next question */
    int64_t deadline_ms;      /* after which nobody is asked any more, and what is under way is given up */
};

/* Blocks until every one has said enough, or somebody said stop, or the deadline. */
void poll_all(const struct poll_question *question, poll_fn answered, void *arg);

#endif
