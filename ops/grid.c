/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/grid.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void add_cell(struct grid *grid, char *cell)
{
    if (grid->count == grid->room) {
        grid->room = grid->room ? grid->room * 2 : 64;
        grid->cells = mem_realloc(grid->cells, grid->room * sizeof(*grid->cells));
    }
    grid->cells[grid->count++] = cell;
}

void grid_begin(struct grid *grid, const char *heads)
{
    *grid = (struct grid){0};
    struct str rest = str_of(heads), head;
    while (str_next(&rest, '|', &head)) {
        add_cell(grid, str_dup(head));
        grid->columns++;
    }
}

void grid_add(struct grid *grid, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    add_cell(grid, str_dup(str_of(text)));
}

/* Characters, not bytes. */
static size_t width(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void append_blanks(struct buf *out, size_t count)
{
    for (; count > 0; count--)
        buf_append(out, " ", 1);
}

static void append_row(const struct grid *grid, size_t row, const size_t *widths, const bool *right, struct buf *out)
{
    for (size_t column = 0; column < grid->columns; column++) {
        const char *cell = grid->cells[row * grid->columns + column];
        size_t missing = widths[column] - width(cell);
        append_blanks(out, right[column] ? missing : 0);
        buf_append_str(out, str_of(cell));
        if (column + 1 < grid->columns)
            append_blanks(out, (right[column] ? 0 : missing) + 2);
    }
    while (out->len > 0 && out->base[out->len - 1] == ' ')
        out->len--;
    buf_append(out, "\n", 1);
}

void grid_end(struct grid *grid, struct buf *out)
{
    size_t *widths = mem_calloc(grid->columns, sizeof(*widths));
    bool *right = mem_calloc(grid->columns, sizeof(*right));
    for (size_t column = 0; column < grid->columns; column++)
        if ((right[column] = grid->cells[column][0] == '>'))
            memmove(grid->cells[column], grid->cells[column] + 1, strlen(grid->cells[column]));
    for (size_t i = 0; i < grid->count; i++)
        if (width(grid->cells[i]) > widths[i % grid->columns])
            widths[i % grid->columns] = width(grid->cells[i]);
    for (size_t row = 0; row < grid->count / grid->columns; row++)
        append_row(grid, row, widths, right, out);
    for (size_t i = 0; i < grid->count; i++)
        free(grid->cells[i]);
    free(grid->cells);
    free(widths);
    free(right);
    *grid = (struct grid){0};
}

void grid_print(struct grid *grid)
{
    struct buf out = {0};
    grid_end(grid, &out);
    fwrite(out.base, 1, out.len, stdout);
    buf_free(&out);
}
