/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/freshness.h"

#include <h2o/token.h>

#include "gateway/field.h"

#define MOST_SECONDS (INT64_MAX / 1000000)

static bool is_number(struct str text)
{
    size_t digits = 0;
    while (digits < text.len && text.base[digits] >= '0' && text.base[digits] <= '9')
        digits++;
    return digits > 0 && digits == text.len;
}

/* Of numbers of any length; what is none is zero. */
static int64_t ms_of(struct str seconds)
{
    uint64_t number;
    if (!is_number(seconds))
        return 0;
    return str_to_u64(seconds, &number) && number <= MOST_SECONDS ? (int64_t)number * 1000 : FRESHNESS_ANY;
}

/* One directive: `max-age=N`, `max-age="N"` or `no-cache`. The least of all counts. */
static void read_directive(struct str directive, struct freshness *freshness)
{
    struct str value = str_trim(directive), name = {NULL, 0};
    str_next(&value, '=', &name);
    bool no_cache = str_equal_nocase(name, STR_LIT("no-cache"));
    if (!no_cache && !str_equal_nocase(name, STR_LIT("max-age")))
        return;
    if (value.base != NULL && value.len >= 2 && value.base[0] == '"' && value.base[value.len - 1] == '"')
        value = (struct str){value.base + 1, value.len - 2};
    int64_t ms = no_cache ? 0 : ms_of(value);
    freshness->max_age_ms = ms < freshness->max_age_ms ? ms : freshness->max_age_ms;
}

static void read_cache_control(const h2o_req_t *req, struct freshness *freshness)
{
    for (ssize_t at = -1; (at = h2o_find_header(&req->headers, H2O_TOKEN_CACHE_CONTROL, at)) >= 0;) {
        struct str rest = {req->headers.entries[at].value.base, req->headers.entries[at].value.len};
        for (struct str directive; str_next(&rest, ',', &directive);)
            read_directive(directive, freshness);
    }
}

bool freshness_read(const h2o_req_t *req, struct freshness *freshness)
{
    *freshness = (struct freshness){.max_age_ms = FRESHNESS_ANY};
    read_cache_control(req, freshness);
    struct str version = field_of(req, STR_LIT("ldc-min-version"));
    return version.base == NULL || str_to_u64(version, &freshness->min_version);
}

static void add(h2o_req_t *req, const char *name, size_t name_len, char *from, const char *to)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, name_len, 0, NULL, from, (size_t)(to - from));
}

static char *put(char *to, struct str text)
{
    memcpy(to, text.base, text.len);
    return to + text.len;
}

void freshness_add_headers(h2o_req_t *req, const struct standing *standing)
{
    char *text = h2o_mem_alloc_pool(&req->pool, 128), *end = text + str_from_u64(standing->lag_us / 1000000, text);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_AGE, NULL, text, (size_t)(end - text));
    char *seq = end;
    end = seq + str_from_u64(standing->seq, seq);
    add(req, H2O_STRLIT("ldc-collection-sequence"), seq, end);
    char *lag = end;
    if (standing->counted) {
        end = put(lag, STR_LIT("seq="));
        end += str_from_u64(standing->changes, end);
        end = put(end, STR_LIT(", "));
    }
    end = put(end, STR_LIT("ms="));
    end += str_from_u64(standing->lag_us / 1000, end);
    add(req, H2O_STRLIT("ldc-zone-lag"), lag, end);
    static const h2o_iovec_t warnings[] = {[FRESHNESS_STALE] = {H2O_STRLIT("110 ldcgate \"Response is Stale\"")},
                                           [FRESHNESS_UNHEARD] = {H2O_STRLIT("111 ldcgate \"Revalidation Failed\"")}};
    if (standing->warning != FRESHNESS_GOOD)
        h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("warning"), 0, NULL,
                              warnings[standing->warning].base, warnings[standing->warning].len);
}
