/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/publish_options.h"

#include "common/clock.h"
#include "common/options.h"

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

static const char *read_delay(struct publish_options *options, struct str value, uint64_t now_us)
{
    int64_t delay_ms;
    if (options->due_us != 0)
        return "The time of delivery stands twice";
    if (!option_parse_duration(value, &delay_ms) || delay_ms > INT64_MAX / 2000)
        return "LDC-Delay must be a duration such as 250ms, 5s, 2m or 1h";
    options->due_us = now_us + (uint64_t)delay_ms * 1000;
    return NULL;
}

static const char *read_deliver_at(struct publish_options *options, struct str value, uint64_t now_us)
{
    (void)now_us;
    if (options->due_us != 0)
        return "The time of delivery stands twice";
    if (!clock_parse_utc(value, &options->due_us))
        return "LDC-Deliver-At must be a time such as 2026-01-31T13:37:00Z";
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
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        if (str_equal(name, headers[i].name))
            return headers[i].read;
    return NULL;
}

bool publish_options_read(const h2o_req_t *req, uint64_t now_us, struct publish_options *options, const char **fault)
{
    *options = (struct publish_options){.idempotency_key = {NULL, 0}};
    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_header_t *field = &req->headers.entries[i];
        read_fn read = reader_of((struct str){field->name->base, field->name->len});
        if (read == NULL)
            continue;
        *fault = read(options, str_trim((struct str){field->value.base, field->value.len}), now_us);
        if (*fault != NULL)
            return false;
    }
    return true;
}
