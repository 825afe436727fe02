/* SPDX-License-Identifier: Apache-2.0 */
#include "common/protocol.h"

#include "common/invariant.h"

#define UNIQUE_DIGITS 24
#define SUFFIX_MOST   (PROTOCOL_KEY_MAX - 2 * PROTOCOL_NAME_MAX - 20)

const char *const envelope_names[ENVELOPE_FIELDS] = {
    [ENVELOPE_ID] = "id",         [ENVELOPE_USER] = "user",     [ENVELOPE_SLOT] = "slot",
    [ENVELOPE_EPOCH] = "epoch",   [ENVELOPE_INGRESS] = "in_us", [ENVELOPE_COLOR] = "color",
    [ENVELOPE_METHOD] = "method", [ENVELOPE_PATH] = "path",     [ENVELOPE_HEADERS] = "headers",
    [ENVELOPE_BODY] = "body",     [ENVELOPE_NUMBER] = "n",      [ENVELOPE_STORED] = "st_us",
    [ENVELOPE_REPLY] = "reply",   [ENVELOPE_ONLY] = "only",
};

static char *put(char *at, struct str text)
{
    memcpy(at, text.base, text.len);
    return at + text.len;
}

static char *put_number(char *at, unsigned number)
{
    return at + str_from_u64(number, at);
}

static char *put_hex(char *at, uint64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value >>= 4)
        at[i] = "0123456789abcdef"[value & 15];
    return at + digits;
}

/* Both texts are made for each message, so without printf. */
size_t protocol_key(char *key, struct str unit, struct str topic, unsigned partition, const char *suffix)
{
    INVARIANT(unit.len <= PROTOCOL_NAME_MAX && topic.len <= PROTOCOL_NAME_MAX && strlen(suffix) < SUFFIX_MOST);
    char *at = put(put(key, STR_LIT("ldc:{")), unit);
    at = put(put(at, STR_LIT("/")), topic);
    at = put_number(put(at, STR_LIT("/")), partition);
    at = put(put(at, STR_LIT("}:")), str_of(suffix));
    *at = '\0';
    return (size_t)(at - key);
}

size_t protocol_unit_key(char *key, struct str unit, const char *suffix)
{
    INVARIANT(unit.len <= PROTOCOL_NAME_MAX && strlen(suffix) < SUFFIX_MOST);
    char *at = put(put(key, STR_LIT("ldc:{")), unit);
    at = put(put(at, STR_LIT("}:")), str_of(suffix));
    *at = '\0';
    return (size_t)(at - key);
}

size_t protocol_id_format(char *id, struct str unit, struct str topic, unsigned partition, uint64_t wall_us,
                          uint64_t random)
{
    INVARIANT(unit.len <= PROTOCOL_NAME_MAX && topic.len <= PROTOCOL_NAME_MAX);
    char *at = put(put(id, unit), STR_LIT("."));
    at = put(put(at, topic), STR_LIT("."));
    at = put(put_number(at, partition), STR_LIT("."));
    at = put_hex(put_hex(at, wall_us / 1000, UNIQUE_DIGITS / 2), random, UNIQUE_DIGITS / 2);
    *at = '\0';
    return (size_t)(at - id);
}

static bool is_name(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.base[i], letter = c | 0x20;
        if (!(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return text.len > 0 && text.len <= PROTOCOL_NAME_MAX;
}

static bool is_unique(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!((text.base[i] >= '0' && text.base[i] <= '9') || (text.base[i] >= 'a' && text.base[i] <= 'f')))
            return false;
    return text.len == UNIQUE_DIGITS;
}

bool protocol_id_parse(struct str text, struct protocol_id *id)
{
    struct str partition, unique;
    uint64_t number;
    if (!str_next(&text, '.', &id->unit) || !str_next(&text, '.', &id->topic) || !str_next(&text, '.', &partition) ||
        !str_next(&text, '.', &unique) || text.base != NULL)
        return false;
    if (!is_name(id->unit) || !is_name(id->topic) || !is_unique(unique) || partition.len > 5 ||
        !str_to_u64(partition, &number))
        return false;
    id->partition = (unsigned)number;
    return true;
}

bool protocol_key_parse(struct str text, struct protocol_id *parts, struct str *suffix)
{
    static const struct str start = {"ldc:{", 5};
    struct str partition;
    uint64_t number;
    if (!str_starts(text, start))
        return false;
    text = (struct str){text.base + start.len, text.len - start.len};
    if (!str_next(&text, '/', &parts->unit) || !str_next(&text, '/', &parts->topic) ||
        !str_next(&text, '}', &partition) || text.len < 2 || text.base[0] != ':' || !is_name(parts->unit) ||
        !is_name(parts->topic) || partition.len > 5 || !str_to_u64(partition, &number))
        return false;
    parts->partition = (unsigned)number;
    *suffix = (struct str){text.base + 1, text.len - 1};
    return true;
}

static int field_index(struct str name)
{
    for (int i = 0; i < ENVELOPE_FIELDS; i++)
        if (str_equal(name, str_of(envelope_names[i])))
            return i;
    return -1;
}

static bool is_number(struct str text)
{
    uint64_t number;
    return str_to_u64(text, &number);
}

static bool is_number_or_empty(struct str text)
{
    return text.len == 0 || is_number(text);
}

bool envelope_decode(const struct str *names, const struct str *values, size_t count, struct envelope *envelope)
{
    struct str *fields = envelope->fields;
    memset(envelope, 0, sizeof(*envelope));
    for (size_t i = 0; i < count; i++) {
        int field = field_index(names[i]);
        if (field >= 0)
            fields[field] = (struct str){values[i].base ? values[i].base : "", values[i].len};
    }
    for (int i = 0; i < ENVELOPE_FIELDS; i++) {
        if (i < ENVELOPE_REQUIRED && fields[i].base == NULL)
            return false;
        if (fields[i].base == NULL)
            fields[i] = STR_LIT("");
    }
    return fields[ENVELOPE_ID].len > 0 && is_number(fields[ENVELOPE_EPOCH]) &&
           is_number_or_empty(fields[ENVELOPE_SLOT]) && is_number_or_empty(fields[ENVELOPE_NUMBER]) &&
           is_number_or_empty(fields[ENVELOPE_STORED]);
}
