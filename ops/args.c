/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/args.h"

#include <stdio.h>

#define NAME_MAX_LEN 40
#define FLAGS_MOST   32

/* One piece of a grammar: a word, or a flag with or without a value. */
struct piece {
    struct str name; /* "FILE", "--note" */
    bool is_flag, has_value, optional;
    bool may_be_empty; /* its value: a text for people */
};

static struct str unbracket(struct str token, bool *opens, bool *closes)
{
    *opens = token.len > 0 && token.base[0] == '[';
    *closes = token.len > 0 && token.base[token.len - 1] == ']';
    return (struct str){token.base + *opens, token.len - *opens - *closes};
}

static bool next_piece(struct str *grammar, struct piece *piece)
{
    struct str token;
    bool opens, closes;
    do
        if (!str_next(grammar, ' ', &token))
            return false;
    while (token.len == 0);
    *piece = (struct piece){.name = unbracket(token, &opens, &closes), .optional = opens};
    piece->is_flag = piece->name.len > 0 && piece->name.base[0] == '-';
    piece->has_value = piece->is_flag && !closes && str_next(grammar, ' ', &token);
    piece->may_be_empty = piece->has_value && str_starts(token, STR_LIT("TEXT"));
    return true;
}

static bool find_flag(const char *grammar, struct str name, struct piece *piece)
{
    struct str rest = str_of(grammar);
    while (next_piece(&rest, piece))
        if (piece->is_flag && str_equal(piece->name, name))
            return true;
    return false;
}

static size_t flag_names(const char *grammar, struct str *names, size_t count)
{
    struct str rest = str_of(grammar);
    for (struct piece piece; count < FLAGS_MOST && next_piece(&rest, &piece);)
        if (piece.is_flag)
            names[count++] = piece.name;
    return count;
}

static int unknown_flag(struct str name, const char *verb, const char *global, struct error *err)
{
    struct str names[FLAGS_MOST];
    size_t count = flag_names(global, names, flag_names(verb, names, 0));
    struct str nearest = args_nearest(name, names, count);
    if (nearest.base == NULL)
        return error_set(err, ERROR_INPUT, "unknown flag %.*s", STR_ARG(name));
    return error_set(err, ERROR_INPUT, "unknown flag %.*s; did you mean %.*s?", STR_ARG(name), STR_ARG(nearest));
}

/* Takes the flag at ARGV[0], and its value. Returns how many texts that were, or -1. */
static int take_flag(struct args *args, const char *verb, const char *global, int count, char *const *argv,
                     struct error *err)
{
    const char *equals = argv[0][1] == '-' ? strchr(argv[0], '=') : NULL;
    struct str name = equals ? (struct str){argv[0], (size_t)(equals - argv[0])} : str_of(argv[0]);
    struct piece piece;
    if (!find_flag(verb, name, &piece) && !find_flag(global, name, &piece))
        return unknown_flag(name, verb, global, err);
    if (args->flag_count == ARGS_MOST)
        return error_set(err, ERROR_INPUT, "too many flags");
    if (equals != NULL && !piece.has_value)
        return error_set(err, ERROR_INPUT, "%.*s takes no value", STR_ARG(name));
    if (equals == NULL && piece.has_value && count < 2)
        return error_set(err, ERROR_INPUT, "%.*s wants a value", STR_ARG(name));
    bool separate = piece.has_value && equals == NULL;
    const char *value = equals ? equals + 1 : separate ? argv[1] : "";
    /* Such as a script's variable that is not set: --unit of nothing would mean all units. */
    if (piece.has_value && *value == '\0' && !piece.may_be_empty)
        return error_set(err, ERROR_INPUT, "%.*s wants a value that is not empty", STR_ARG(name));
    args->flags[args->flag_count].name = piece.name;
    args->flags[args->flag_count++].value = value;
    return separate ? 2 : 1;
}

int args_take(struct args *args, const char *verb, const char *global, int count, char *const *argv, bool only_leading,
              struct error *err)
{
    bool words_only = false;
    int i = 0;
    while (i < count) {
        bool is_word = words_only || argv[i][0] != '-' || argv[i][1] == '\0';
        if (is_word && only_leading)
            return i;
        if (!is_word && strcmp(argv[i], "--") == 0) {
            words_only = true;
            i++;
            continue;
        }
        if (is_word && args->word_count == ARGS_MOST)
            return error_set(err, ERROR_INPUT, "too many words");
        int taken = 1;
        if (is_word)
            args->words[args->word_count++] = argv[i];
        else if ((taken = take_flag(args, verb, global, count - i, argv + i, err)) < 0)
            return -1;
        i += taken;
    }
    return i;
}

int args_check(const struct args *args, const char *verb, struct error *err)
{
    struct str rest = str_of(verb);
    size_t words = 0;
    for (struct piece piece; next_piece(&rest, &piece);) {
        char name[NAME_MAX_LEN];
        snprintf(name, sizeof(name), "%.*s", STR_ARG(piece.name));
        bool given = piece.is_flag ? args_value(args, name) != NULL : words++ < args->word_count;
        if (!given && !piece.optional)
            return error_set(err, ERROR_INPUT, "%s is missing", name);
    }
    if (args->word_count > words)
        return error_set(err, ERROR_INPUT, "'%s' is one word too many", args->words[words]);
    for (size_t i = 0; i < args->word_count; i++)
        if (*args->words[i] == '\0')
            return error_set(err, ERROR_INPUT, "a word is empty");
    return 0;
}

const char *args_value(const struct args *args, const char *flag)
{
    for (size_t i = args->flag_count; i-- > 0;)
        if (str_equal(args->flags[i].name, str_of(flag)))
            return args->flags[i].value;
    return NULL;
}

const char *args_word(const struct args *args, size_t i)
{
    return i < args->word_count ? args->words[i] : NULL;
}

int args_number(const struct args *args, const char *flag, int64_t min, int64_t max, int64_t *out, struct error *err)
{
    const char *text = args_value(args, flag);
    uint64_t value;
    if (text == NULL)
        return 0;
    if (!str_to_u64(str_of(text), &value) || value > (uint64_t)max || (int64_t)value < min)
        return error_set(err, ERROR_INPUT, "%s wants a number from %lld to %lld, not '%s'", flag, (long long)min,
                         (long long)max, text);
    *out = (int64_t)value;
    return 0;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t distance(struct str a, struct str b)
{
    size_t rows[3][NAME_MAX_LEN + 1] = {{0}};
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b.len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = a.base[i - 1] == b.base[j - 1];
            row[j] = least(least(row[j - 1], last[j]) + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && a.base[i - 1] == b.base[j - 2] && a.base[i - 2] == b.base[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[b.len];
}

struct str args_nearest(struct str word, const struct str *names, size_t count)
{
    struct str nearest = {NULL, 0};
    size_t best = word.len / 3 + (word.len > 3 ? 2 : 1);
    for (size_t i = 0; i < count && word.len <= NAME_MAX_LEN; i++) {
        size_t steps = names[i].len <= NAME_MAX_LEN ? distance(word, names[i]) : best;
        if (steps < best) {
            best = steps;
            nearest = names[i];
        }
    }
    return nearest;
}
