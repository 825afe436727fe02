/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* timegm */
#include "common/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t now_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_wall_us(void)
{
    return now_us(CLOCK_REALTIME);
}

uint64_t clock_monotonic_us(void)
{
    return now_us(CLOCK_MONOTONIC);
}

void clock_format_utc(uint64_t wall_us, char *text)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t used = strftime(text, CLOCK_UTC_SIZE, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + used, CLOCK_UTC_SIZE - used, ".%06uZ", (unsigned)(wall_us % 1000000));
}

/* COUNT digits at the start of *TEXT, at most MOST. */
static bool take_digits(struct str *text, size_t count, int most, int *value)
{
    *value = 0;
    if (text->len < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (text->base[i] < '0' || text->base[i] > '9')
            return false;
        *value = *value * 10 + (text->base[i] - '0');
    }
    *text = (struct str){text->base + count, text->len - count};
    return *value <= most;
}

/* One of the characters of ANY; *TAKEN: which. */
static bool take_char(struct str *text, const char *any, char *taken)
{
    if (text->len == 0 || strchr(any, text->base[0]) == NULL || text->base[0] == '\0')
        return false;
    *taken = text->base[0];
    *text = (struct str){text->base + 1, text->len - 1};
    return true;
}

/* Decimals beyond microseconds are dropped. */
static bool take_fraction(struct str *text, uint64_t *us)
{
    char mark;
    int digit;
    uint64_t unit = 100000;
    *us = 0;
    if (!take_char(text, ".", &mark))
        return true;
    if (!take_digits(text, 1, 9, &digit))
        return false;
    do {
        *us += unit * (uint64_t)digit;
        unit /= 10;
    } while (take_digits(text, 1, 9, &digit));
    return true;
}

static bool take_offset(struct str *text, int64_t *seconds)
{
    char sign, colon;
    int hours = 0, minutes = 0;
    if (!take_char(text, "Zz+-", &sign))
        return false;
    if (sign != 'Z' && sign != 'z' &&
        (!take_digits(text, 2, 23, &hours) || !take_char(text, ":", &colon) || !take_digits(text, 2, 59, &minutes)))
        return false;
    *seconds = (int64_t)(hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
    return text->len == 0;
}

bool clock_parse_utc(struct str text, uint64_t *wall_us)
{
    struct tm utc = {0};
    char mark;
    uint64_t us;
    int64_t offset;
    bool date = take_digits(&text, 4, 9999, &utc.tm_year) && take_char(&text, "-", &mark) &&
                take_digits(&text, 2, 12, &utc.tm_mon) && take_char(&text, "-", &mark) &&
                take_digits(&text, 2, 31, &utc.tm_mday) && take_char(&text, "Tt", &mark);
    bool time = date && take_digits(&text, 2, 23, &utc.tm_hour) && take_char(&text, ":", &mark) &&
                take_digits(&text, 2, 59, &utc.tm_min) && take_char(&text, ":", &mark) &&
                take_digits(&text, 2, 60, &utc.tm_sec) && take_fraction(&text, &us) && take_offset(&text, &offset);
    if (!time || utc.tm_mon == 0 || utc.tm_mday == 0)
        return false;
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    int second = utc.tm_sec, month = utc.tm_mon;
    utc.tm_sec = 0; /* a leap second may carry into the next month; no day of this one may */
    int64_t seconds = (int64_t)timegm(&utc) + second - offset;
    if (utc.tm_mon != month || seconds < 0)
        return false;
    *wall_us = (uint64_t)seconds * 1000000 + us;
    return true;
}
