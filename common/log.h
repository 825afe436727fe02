/* SPDX-License-Identifier: Apache-2.0
 *
 * The program's own log: one JSON object a line on standard error: {"time","level","program","pid","event","text"}.
 * Whole lines by one write(2), so threads and processes that share a file do not tear each other's lines.
 * Never pass a token, a password, a key or a URL that may hold one.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>

enum log_level {
    LOG_LEVEL_ERROR = 0,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/* PROGRAM is borrowed for the process's life. May be called again, to change the level. */
void log_setup(const char *program, enum log_level most);

/* "error", "warning", "info" or "debug"; false for anything else. */
bool log_level_parse(const char *text, enum log_level *level);

/* EVENT is a short stable name ("rules.adopted"); FORMAT is a sentence for people, its text is JSON-escaped here. */
void log_event(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define log_error(...)   log_event(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_event(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_event(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_event(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
