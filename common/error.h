/* SPDX-License-Identifier: Apache-2.0
 *
 * The fault of an operator or of the environment: what went wrong and what to do about it, in one sentence.
 * The caller owns the struct (usually on its stack) and lends it; a function that can fail this way returns
 * -1 (or NULL) with *err filled, and leaves *err alone when it succeeds. Secrets never go into the text.
 */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

enum error_code {
    ERROR_NONE = 0,
    ERROR_INPUT,       /* what the operator wrote is wrong */
    ERROR_SYSTEM,      /* a system call failed: file, socket, memory */
    ERROR_UNREACHABLE, /* a peer does not answer */
    ERROR_REFUSED,     /* a peer answered no */
    ERROR_CONFLICT,    /* somebody else changed it first */
    ERROR_TIMEOUT,     /* not done in time; the outcome may be unknown */
};

struct error {
    enum error_code code;
    char text[480];
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Fills ERR (may be NULL) with CODE and a formatted TEXT, cut to what fits. Always returns -1. */
int error_set(struct error *err, enum error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same with ": " and the text of the errno in SYSTEM_ERRNO behind it. Always returns -1. */
int error_set_errno(struct error *err, int system_errno, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts WHERE, such as the option that is at fault, and ": " before the text. ERR may be NULL. Always returns -1. */
int error_at(struct error *err, const char *where);

#endif
