/* SPDX-License-Identifier: Apache-2.0
 *
 * A process's own configuration: one table row an option, and the row drives everything: parsing, range errors,
 * defaults, `config show`, `config options`, the refusal to reload what cannot be reloaded, and docs/OPTIONS.md.
 * The struct that the rows fill belongs to the program; strings and lists in it are freed by options_free().
 */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include <stdint.h>

#include "common/diag.h"
#include "common/error.h"
#include "common/str.h"

struct option;

/* One of the setters below: showing, comparing and freeing know these alone.
 * Parses TEXT into the field at FIELD. On a fault returns -1 with *err, which need not name the option. */
typedef int (*option_set_fn)(const struct option *option, struct str text, void *field, struct error *err);

struct option {
    const char *name; /* dotted path in the YAML file: "ingress.listen" */
    option_set_fn set;
    size_t offset;
    int64_t min, max;   /* numbers; both 0: unbounded */
    const char *preset; /* the default, as text, through the same setter; NULL: must be given */
    bool reloadable;    /* takes effect at SIGHUP */
    const char *doc;    /* one sentence */
};

int option_set_bool(const struct option *option, struct str text, void *field, struct error *err); /* bool */
int option_set_int(const struct option *option, struct str text, void *field, struct error *err);  /* int64_t */
int option_set_size(const struct option *option, struct str text, void *field,
                    struct error *err); /* int64_t bytes: 16KiB, 1MiB */
int option_set_duration(const struct option *option, struct str text, void *field,
                        struct error *err); /* int64_t ms: 250ms, 5s, 2m, 1h */
int option_set_string(const struct option *option, struct str text, void *field,
                      struct error *err); /* char * (NULL when empty) */
/* A YAML list, or one string with commas: struct option_strings. */
int option_set_strings(const struct option *option, struct str text, void *field, struct error *err);

struct option_strings {
    char **items;
    size_t count;
};

/* The same two number forms for others who read durations and sizes (rule files). Return false on bad text. */
bool option_parse_duration(struct str text, int64_t *ms);
bool option_parse_size(struct str text, int64_t *bytes);

/* Fills CONFIG (zeroed by the caller) from TEXT, then from "NAME=VALUE" strings in OVERRIDES (NULL-terminated, may
 * be NULL; they are what `--set` gave), then from the presets. Every fault goes to DIAGS. -1 where there was one. */
int options_load(const struct option *table, size_t count, void *config, struct str text, const char *const *overrides,
                 struct diag_list *diags) MUST_CHECK;

/* The same from the file at PATH (NULL: none). A file that cannot be read is a fault too. */
int options_load_file(const struct option *table, size_t count, void *config, const char *path,
                      const char *const *overrides, struct diag_list *diags) MUST_CHECK;

/* Whether a name (NULL: none was given) is of letters, digits and the bytes of MORE, and at most MOST long. */
bool option_is_name(const char *name, const char *more, size_t most);

/* Which options differ between two loaded configurations and are not reloadable: names, comma-separated, into OUT. */
size_t options_unreloadable(const struct option *table, size_t count, const void *before, const void *after,
                            struct buf *out);

/* Swaps the values of all reloadable options between two loaded configurations; the others stay where they are. */
void options_exchange(const struct option *table, size_t count, void *config, void *other);

/* Calls FN for each option with its value as text: what, read again, gives the same value. */
typedef void (*option_each_fn)(const struct option *option, struct str value, void *arg);
void options_each(const struct option *table, size_t count, const void *config, option_each_fn fn, void *arg);

void options_show(const struct option *table, size_t count, const void *config,
                  struct buf *out);                                               /* name = value lines */
void options_document(const struct option *table, size_t count, struct buf *out); /* Markdown table */
void options_free(const struct option *table, size_t count, void *config);

#endif
