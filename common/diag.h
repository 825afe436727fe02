/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything that is wrong with a file that an operator wrote, each fault with its place: `file:line:col: message`,
 * and a hint. Loaders collect all faults and never stop at the first. The list owns its texts.
 */
#ifndef COMMON_DIAG_H
#define COMMON_DIAG_H

#include <stddef.h>

#include "common/str.h"

enum diag_severity {
    DIAG_ERROR = 0,
    DIAG_WARNING,
};

struct diag {
    enum diag_severity severity;
    int line, column;     /* from 1; line 0: the fault does not stand in the file */
    char *message, *hint; /* hint may be NULL */
};

struct diag_list {
    const char *file; /* borrowed: what the operator calls it */
    struct diag *items;
    size_t count, errors;
};

#define DIAG_MOST 200 /* further faults are counted in `errors` but not kept */

/* Adds one fault. HINT may be NULL. */
void diag_add(struct diag_list *list, enum diag_severity severity, int line, int column, const char *hint,
              const char *format, ...) __attribute__((format(printf, 6, 7)));

/* Orders the list by place. */
void diag_sort(struct diag_list *list);

/* Orders the list and prints one `file:line:col: message (hint)` a line into OUT. */
void diag_print(struct diag_list *list, struct buf *out);

void diag_free(struct diag_list *list);

#endif
