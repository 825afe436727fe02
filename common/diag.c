/* SPDX-License-Identifier: Apache-2.0 */
#include "common/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* One fault is one line, whatever was written in quotes. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

void diag_add(struct diag_list *list, enum diag_severity severity, int line, int column, const char *hint,
              const char *format, ...)
{
    if (severity == DIAG_ERROR)
        list->errors++;
    if (list->count == DIAG_MOST)
        return;
    if (list->items == NULL)
        list->items = mem_calloc(DIAG_MOST, sizeof(*list->items));
    char text[480];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    make_printable(text);
    list->items[list->count++] = (struct diag){.severity = severity,
                                               .line = line,
                                               .column = column,
                                               .message = str_dup(str_of(text)),
                                               .hint = hint ? str_dup(str_of(hint)) : NULL};
}

static int by_place(const void *left, const void *right)
{
    const struct diag *a = left, *b = right;
    return a->line != b->line ? (a->line > b->line) - (a->line < b->line)
                              : (a->column > b->column) - (a->column < b->column);
}

void diag_sort(struct diag_list *list)
{
    if (list->count > 0)
        qsort(list->items, list->count, sizeof(*list->items), by_place);
}

void diag_print(struct diag_list *list, struct buf *out)
{
    diag_sort(list);
    for (size_t i = 0; i < list->count; i++) {
        const struct diag *diag = &list->items[i];
        if (diag->line > 0)
            buf_printf(out, "%s:%d:%d: ", list->file, diag->line, diag->column);
        buf_printf(out, "%s%s", diag->severity == DIAG_WARNING ? "warning: " : "", diag->message);
        if (diag->hint != NULL)
            buf_printf(out, " (%s)", diag->hint);
        buf_append(out, "\n", 1);
    }
    if (list->errors > DIAG_MOST)
        buf_printf(out, "%s: and %zu more faults\n", list->file, list->errors - DIAG_MOST);
}

void diag_free(struct diag_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].message);
        free(list->items[i].hint);
    }
    free(list->items);
    *list = (struct diag_list){.file = list->file};
}
