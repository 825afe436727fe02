/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* timegm */
#include "gateway/publish_options.h"

#include <stdio.h>
#include <time.h>

#include "common/clock.h"
#include "common/measure.h"
#include "common/options.h"
#include "common/url.h"

#define CHECK_URL_MAX 2048
#define HTTP_PORT     80

/* Each returns NULL, or what is wrong with the value. */
typedef const char *(*read_fn)(struct publish_options *options, struct str value, uint64_t now_us);

static const char *read_key(struct publish_options *options, struct str value, uint64_t now_us)
{
    (void)now_us;
    if (options->idempotency_key.base != NULL)
        return "Idempotency-Key stands twice";
    if (value.len == 0 || value.len > IDEMPOTENCY_KEY_MAX)
        return "Idempotency-Key must have 1 to 255 characters";
    for (size_t i = 0; i < value.len; i++)
        if (value.base[i] <= ' ' || value.base[i] > '~')
            return "Idempotency-Key must be visible ASCII, without blanks";
    options->idempotency_key = value;
    return NULL;
}

/* RFC 7240: what cannot be understood in a preference is passed over; of two the first counts. */
static const char *read_prefer(struct publish_options *options, struct str value, uint64_t now_us)
{
    struct str preference, name;
    uint64_t seconds;
    (void)now_us;
    while (str_next(&value, ',', &preference)) {
        struct str rest = preference;
        str_next(&rest, '=', &name);
        struct str number;
        if (!str_equal_nocase(str_trim(name), STR_LIT("wait")) || !str_next(&rest, ';', &number) || options->waits ||
            !str_to_u64(str_trim(number), &seconds) || seconds > UINT32_MAX)
            continue;
        options->waits = true;
        options->wait_ms = seconds * 1000;
    }
    return NULL;
}

#define MOST_SECONDS 100000000000ULL /* of what times and delays are read at all */

static bool parse_seconds(struct str value, uint64_t *us)
{
    uint64_t seconds;
    if (!str_to_u64(value, &seconds) || seconds > MOST_SECONDS)
        return false;
    *us = seconds * 1000000;
    return true;
}

static bool parse_delay(struct str value, uint64_t *us)
{
    int64_t ms;
    if (parse_seconds(value, us))
        return true;
    if (!option_parse_duration(value, &ms) || ms > (int64_t)MOST_SECONDS * 1000)
        return false;
    *us = (uint64_t)ms * 1000;
    return true;
}

/* The form of dates that HTTP makes (RFC 9110, IMF-fixdate). */
static bool parse_http_date(struct str value, uint64_t *us)
{
    struct tm utc = {0};
    if (h2o_time_parse_rfc1123(value.base, value.len, &utc) != 0)
        return false;
    time_t seconds = timegm(&utc);
    *us = (uint64_t)seconds * 1000000;
    return seconds >= 0;
}

static const char *read_delay(struct publish_options *options, struct str value, uint64_t now_us)
{
    if (options->due_us != 0)
        return "The time of delivery stands twice";
    if (!parse_delay(value, &options->delay_us))
        return "LDC-Delay must be seconds, or a duration such as 250ms, 90s, 15m, 2h or 40d";
    options->due_us = now_us + options->delay_us;
    return NULL;
}

static const char *read_deliver_at(struct publish_options *options, struct str value, uint64_t now_us)
{
    uint64_t due_us;
    (void)now_us;
    if (options->due_us != 0)
        return "The time of delivery stands twice";
    if (!clock_parse_utc(value, &due_us) && !parse_http_date(value, &due_us) && !parse_seconds(value, &due_us))
        return "LDC-Deliver-At must be a time such as 2026-01-31T13:37:00Z, a date of HTTP, or seconds since 1970";
    options->due_us = due_us > 0 ? due_us : 1;
    return NULL;
}

static const char *read_transaction(struct publish_options *options, struct str value, uint64_t now_us)
{
    (void)now_us;
    if (!str_equal(value, STR_LIT("prepare")))
        return "LDC-Transaction must be prepare";
    options->prepares = true;
    return NULL;
}

static const char *read_check_url(struct publish_options *options, struct str value, uint64_t now_us)
{
    (void)now_us;
    if (options->check_url.base != NULL)
        return "LDC-Check-Url stands twice";
    options->check_url = value;
    return NULL;
}

static const struct {
    struct str name;
    read_fn read;
} headers[] = {
    {STR_LIT("idempotency-key"), read_key},
    {STR_LIT("prefer"), read_prefer},
    {STR_LIT("ldc-delay"), read_delay},
    {STR_LIT("ldc-deliver-at"), read_deliver_at},
    {STR_LIT("ldc-transaction"), read_transaction},
    {STR_LIT("ldc-check-url"), read_check_url},
};

static read_fn reader_of(struct str name)
{
    for (size_t i = 0; i < COUNT_OF(headers); i++)
        if (str_equal(name, headers[i].name))
            return headers[i].read;
    return NULL;
}

static bool is_check_url(struct str text)
{
    struct url url;
    struct error err;
    for (size_t i = 0; i < text.len; i++)
        if (text.base[i] <= ' ' || text.base[i] > '~')
            return false;
    return text.len <= CHECK_URL_MAX && url_parse(text, HTTP_PORT, &url, &err) == 0 &&
           (str_equal(url.scheme, STR_LIT("http")) || str_equal(url.scheme, STR_LIT("https")));
}

static const char *too_far(h2o_mem_pool_t *pool, int64_t longest_ms)
{
    char *text = h2o_mem_alloc_pool(pool, 96);
    int64_t days = longest_ms / DAY_MS, hours = longest_ms % DAY_MS / HOUR_MS;
    snprintf(text, 96, "Messages can be put off for %lld days and %lld hours at most (timers.longest)", (long long)days,
             (long long)hours);
    return text;
}

/* What no single header can say: NULL, or the fault. */
static const char *check_together(const struct publish_options *options, h2o_mem_pool_t *pool, uint64_t now_us)
{
    int64_t longest_ms = options->config->timers.longest;
    if (options->due_us > now_us && options->due_us - now_us > (uint64_t)longest_ms * 1000)
        return too_far(pool, longest_ms);
    if (options->prepares && options->due_us != 0)
        return "A prepared message cannot be put off as well";
    if (options->prepares != (options->check_url.base != NULL))
        return "LDC-Transaction and LDC-Check-Url come together";
    if (options->prepares && !is_check_url(options->check_url))
        return "LDC-Check-Url must be an http or https URL of 2048 characters at most";
    return NULL;
}

bool publish_options_read(h2o_req_t *req, const struct gateway_config *config, uint64_t now_us,
                          struct publish_options *options, const char **fault)
{
    *options = (struct publish_options){.config = config};
    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_header_t *field = &req->headers.entries[i];
        read_fn read = reader_of((struct str){field->name->base, field->name->len});
        if (read == NULL)
            continue;
        *fault = read(options, str_trim((struct str){field->value.base, field->value.len}), now_us);
        if (*fault != NULL)
            return false;
    }
    *fault = check_together(options, &req->pool, now_us);
    return *fault == NULL;
}
