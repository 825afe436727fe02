/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_page.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/json_text.h"

struct page *page_create(uint64_t after)
{
    struct page *page = mem_alloc(sizeof(*page));
    page->references = 1;
    page->after = page->until = after;
    page->count = 0;
    page->text = page->keys = (struct buf){NULL, 0, 0};
    return page;
}

void page_ref(struct page *page)
{
    page->references++;
}

void page_unref(struct page **slot)
{
    struct page *page = *slot;
    *slot = NULL;
    if (page == NULL || --page->references > 0)
        return;
    buf_free(&page->text);
    buf_free(&page->keys);
    free(page);
}

static void append_event(struct buf *out, const struct change *change)
{
    char at[CLOCK_UTC_SIZE];
    clock_format_utc(change->us, at);
    buf_printf(out, "event: %s\nid: %" PRIu64 "\ndata: {\"key\":", change->deleted ? "del" : "put", change->id.ms);
    json_append_text(out, change->key);
    if (!change->deleted || !change->repair)
        buf_printf(out, ",\"version\":%" PRIu64, change->version);
    buf_printf(out, ",\"was\":%" PRIu64 ",\"at\":\"%s\"%s}\n\n", change->was, at,
               change->repair ? ",\"repaired\":true" : "");
}

bool page_add(struct page *page, const struct change *change)
{
    if (page->count == PAGE_EVENTS || page->text.len >= PAGE_TEXT)
        return false;
    struct page_event *event = &page->events[page->count++];
    *event = (struct page_event){.seq = change->id.ms,
                                 .repair = change->repair,
                                 .text = (uint32_t)page->text.len,
                                 .key = (uint32_t)page->keys.len,
                                 .key_len = (uint32_t)change->key.len};
    append_event(&page->text, change);
    event->text_len = (uint32_t)page->text.len - event->text;
    buf_append_str(&page->keys, change->key);
    page->until = change->id.ms;
    return true;
}

unsigned page_seek(const struct page *page, uint64_t seq)
{
    unsigned at = 0;
    while (at < page->count &&
           (page->events[at].seq < seq || (page->events[at].seq == seq && !page->events[at].repair)))
        at++;
    return at;
}

static bool is_told(const struct page *page, const struct page_event *event, struct str prefix)
{
    return str_starts((struct str){page->keys.base + event->key, event->key_len}, prefix);
}

unsigned page_select(const struct page *page, unsigned *at, struct str prefix, h2o_iovec_t *out, unsigned most,
                     uint64_t *told)
{
    unsigned count = 0;
    for (; *at < page->count; ++*at) {
        const struct page_event *event = &page->events[*at];
        char *text = page->text.base + event->text;
        if (!is_told(page, event, prefix))
            continue;
        bool joins = count > 0 && out[count - 1].base + out[count - 1].len == text;
        if (!joins && count == most)
            break;
        if (!joins)
            out[count++] = h2o_iovec_init(text, 0);
        out[count - 1].len += event->text_len;
        ++*told;
    }
    return count;
}
