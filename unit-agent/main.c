/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "common/measure.h"
#include "common/version.h"
#include "unit-agent/admin.h"
#include "unit-agent/agent.h"

#define EXIT_USAGE 2

static const char help[] = "ldc-agent: brings the messages of one unit's streams to the unit's app.\n"
                           "\n"
                           "  --config FILE        read the configuration from FILE (YAML)\n"
                           "  --set NAME=VALUE     set one option, over the file; may be repeated\n"
                           "  --check              read the configuration, print what it means, and end\n"
                           "  --document-options   print the table of the options, as Markdown\n"
                           "  --document-metrics   print the table of the metrics, as Markdown\n"
                           "  --document-admin     print the table of the admin listener's resources, as Markdown\n"
                           "  --version, --help\n"
                           "\n"
                           "SIGHUP reads configuration and rules again; SIGTERM and SIGINT finish what is in flight,\n"
                           "record it and end, a second one ends at once.\n";

static int check(const char *path, const char *const *overrides)
{
    struct agent_config config = {0};
    struct diag_list diags = {.file = path ? path : "options"};
    struct buf text = {0};
    int result = agent_config_load(path, overrides, &config, &diags);
    if (result == 0)
        options_show(agent_options, agent_option_count, &config, &text);
    else
        diag_print(&diags, &text);
    fputs(buf_str(&text).base, result == 0 ? stdout : stderr);
    buf_free(&text);
    diag_free(&diags);
    options_free(agent_options, agent_option_count, &config);
    return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void document_options(struct buf *out)
{
    options_document(agent_options, agent_option_count, out);
}

static void print_version(struct buf *out)
{
    buf_printf(out, "ldc-agent " LDCGATE_VERSION "\n");
}

static void print_help(struct buf *out)
{
    buf_append_str(out, str_of(help));
}

static const struct {
    const char *flag;
    void (*print)(struct buf *out);
} papers[] = {
    {"--document-options", document_options},
    {"--document-metrics", admin_document_metrics},
    {"--document-admin", admin_document},
    {"--version", print_version},
    {"--help", print_help},
};

static bool print_paper(const char *flag)
{
    struct buf out = {0};
    for (size_t i = 0; i < COUNT_OF(papers); i++)
        if (strcmp(flag, papers[i].flag) == 0)
            papers[i].print(&out);
    bool known = out.len > 0;
    fputs(buf_str(&out).base, stdout);
    buf_free(&out);
    return known;
}

int main(int argc, char **argv)
{
    const char *path = NULL, **overrides = mem_calloc((size_t)argc + 1, sizeof(*overrides));
    int (*run)(const char *path, const char *const *overrides) = agent_run;
    int status = -1;
    size_t count = 0;
    int i;
    for (i = 1; i < argc && status == -1; i++) {
        bool valued = i + 1 < argc;
        if (strcmp(argv[i], "--config") == 0 && valued)
            path = argv[++i];
        else if (strcmp(argv[i], "--set") == 0 && valued)
            overrides[count++] = argv[++i];
        else if (strcmp(argv[i], "--check") == 0)
            run = check;
        else
            status = print_paper(argv[i]) ? EXIT_SUCCESS : EXIT_USAGE;
    }
    if (status == EXIT_USAGE)
        fprintf(stderr,
                "ldc-agent: '%s' is unknown, or lacks its value\n"
                "usage: ldc-agent [--config FILE] [--set NAME=VALUE]... (--help tells more)\n",
                argv[i - 1]);
    if (status == -1)
        status = run(path, overrides);
    free(overrides);
    return status;
}
