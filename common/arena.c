/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/invariant.h"

#define BLOCK_SIZE (32 * 1024)

struct arena_block {
    struct arena_block *older;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

static char *take(struct arena *arena, size_t size, size_t alignment)
{
    struct arena_block *block = arena->newest;
    size_t start = block ? (block->used + alignment - 1) & ~(alignment - 1) : 0;
    if (block == NULL || start > block->size || block->size - start < size) {
        size_t bytes = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        block = mem_alloc(sizeof(*block) + bytes);
        *block = (struct arena_block){.older = arena->newest, .size = bytes};
        arena->newest = block;
        arena->bytes += sizeof(*block) + bytes;
        start = 0;
    }
    block->used = start + size;
    return block->bytes + start;
}

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    INVARIANT(!__builtin_mul_overflow(count, size, &bytes));
    return memset(take(arena, bytes, alignof(max_align_t)), 0, bytes);
}

struct str arena_str(struct arena *arena, struct str s)
{
    if (s.base == NULL)
        return s;
    char *copy = take(arena, s.len + 1, 1);
    memcpy(copy, s.base, s.len);
    copy[s.len] = '\0';
    return (struct str){copy, s.len};
}

#define HUGE_PAGE ((size_t)2 << 20)

void *arena_alloc_table(size_t size)
{
    if (size < HUGE_PAGE)
        return mem_calloc(1, size);
    size_t rounded = (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    void *table = aligned_alloc(HUGE_PAGE, rounded);
    INVARIANT(table != NULL);
    madvise(table, rounded, MADV_HUGEPAGE); /* a wish: small pages do as well */
    return memset(table, 0, rounded);
}

void arena_free(struct arena *arena)
{
    for (struct arena_block *block = arena->newest, *older; block != NULL; block = older) {
        older = block->older;
        free(block);
    }
    *arena = (struct arena){NULL, 0};
}
