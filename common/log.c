/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json_text.h"

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static const char *program_name = "ldcgate";
static _Atomic int most_level = LOG_LEVEL_INFO;

void log_setup(const char *program, enum log_level most)
{
    program_name = program;
    atomic_store_explicit(&most_level, (int)most, memory_order_relaxed);
}

bool log_level_parse(const char *text, enum log_level *level)
{
    for (int i = 0; i <= LOG_LEVEL_DEBUG; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void write_line(const struct buf *line)
{
    while (write(STDERR_FILENO, line->base, line->len) == -1 && errno == EINTR)
        ;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&most_level, memory_order_relaxed))
        return;
    int saved_errno = errno;
    char text[1024], time[CLOCK_UTC_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    clock_format_utc(clock_wall_us(), time);

    struct buf line = {NULL, 0, 0};
    buf_printf(&line,
               "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"pid\":%ld,\"event\":\"%s\",\"text\":", time,
               level_names[level], program_name, (long)getpid(), event);
    json_append_text(&line, str_of(text));
    buf_append(&line, "}\n", 2);
    write_line(&line);
    buf_free(&line);
    errno = saved_errno;
}
