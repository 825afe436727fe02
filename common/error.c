/* SPDX-License-Identifier: Apache-2.0 */
#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, enum error_code code, const char *format, ...)
{
    if (err == NULL)
        return -1;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    err->code = code;
    return -1;
}

int error_set_errno(struct error *err, int system_errno, const char *format, ...)
{
    if (err == NULL)
        return -1;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(system_errno));
    err->code = ERROR_SYSTEM;
    return -1;
}

int error_at(struct error *err, const char *where)
{
    if (err == NULL)
        return -1;
    struct error why = *err;
    return error_set(err, why.code, "%s: %s", where, why.text);
}
