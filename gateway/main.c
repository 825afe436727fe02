/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "common/measure.h"
#include "common/version.h"
#include "gateway/admin.h"
#include "gateway/control.h"

#define EXIT_USAGE 2

static const char help[] = "ldc-gateway: takes requests in, finds each user's unit, and carries them there.\n"
                           "\n"
                           "  --config FILE        read the configuration from FILE (YAML)\n"
                           "  --set NAME=VALUE     set one option, over the file; may be repeated\n"
                           "  --check              read the configuration, print what it means, and end\n"
                           "  --document-options   print the table of the options, as Markdown\n"
                           "  --document-metrics   print the table of the metrics, as Markdown\n"
                           "  --document-admin     print the table of the admin listener's resources, as Markdown\n"
                           "  --document-problems  print the table of the problems that clients can get, as Markdown\n"
                           "  --version, --help\n"
                           "\n"
                           "SIGHUP reads configuration, certificates and rules again; SIGUSR1 reopens the access log;\n"
                           "SIGTERM and SIGINT drain and end, a second one ends at once.\n";

/* What the command line asks for. */
struct command {
    const char *config_path;
    const char **overrides; /* NULL-terminated */
    size_t override_count;
    const char *misused; /* the argument that is unknown, or lacks its value */
    int (*run)(const struct command *command);
};

static int serve(const struct command *command)
{
    return control_run(command->config_path, command->overrides);
}

static int check(const struct command *command)
{
    struct gateway_config config = {0};
    struct diag_list diags = {.file = command->config_path};
    struct buf text = {NULL, 0, 0};
    int result = gateway_config_load(command->config_path, command->overrides, &config, &diags);
    if (result == 0)
        options_show(gateway_options, gateway_option_count, &config, &text);
    else
        diag_print(&diags, &text);
    fputs(text.base, result == 0 ? stdout : stderr);
    buf_free(&text);
    diag_free(&diags);
    options_free(gateway_options, gateway_option_count, &config);
    return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print_document(void (*document)(struct buf *out))
{
    struct buf out = {NULL, 0, 0};
    document(&out);
    fputs(out.base, stdout);
    buf_free(&out);
    return EXIT_SUCCESS;
}

static void options(struct buf *out)
{
    options_document(gateway_options, gateway_option_count, out);
}

static int document_options(const struct command *command)
{
    (void)command;
    return print_document(options);
}

static int document_metrics(const struct command *command)
{
    (void)command;
    return print_document(admin_document_metrics);
}

static int document_admin(const struct command *command)
{
    (void)command;
    return print_document(admin_document);
}

static void problems(struct buf *out)
{
    buf_append_str(out,
                   STR_LIT("| Type | Status | Retry-After | Proxy-Status error | Meaning |\n|---|---|---|---|---|\n"));
    for (enum verdict verdict = VERDICT_OK + 1; verdict < VERDICT_COUNT; verdict++) {
        const struct verdict_info *info = verdict_info(verdict);
        buf_printf(out, "| `urn:ldcgate:problem:%s` | %d | %s | %s | %s. |\n", info->name, info->status,
                   info->retry_after ? "yes" : "", info->proxy_status, info->title);
    }
}

static int document_problems(const struct command *command)
{
    (void)command;
    return print_document(problems);
}

static int print_version(const struct command *command)
{
    (void)command;
    puts("ldc-gateway " LDCGATE_VERSION);
    return EXIT_SUCCESS;
}

static int print_help(const struct command *command)
{
    (void)command;
    fputs(help, stdout);
    return EXIT_SUCCESS;
}

static const struct {
    const char *flag;
    int (*run)(const struct command *command);
} actions[] = {
    {"--check", check},
    {"--document-options", document_options},
    {"--document-metrics", document_metrics},
    {"--document-admin", document_admin},
    {"--document-problems", document_problems},
    {"--version", print_version},
    {"--help", print_help},
};

static bool take_action(struct command *command, const char *flag)
{
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        if (strcmp(flag, actions[i].flag) == 0) {
            command->run = actions[i].run;
            return true;
        }
    }
    return false;
}

static bool parse(int argc, char **argv, struct command *command)
{
    command->overrides = mem_calloc((size_t)argc + 1, sizeof(*command->overrides));
    for (int i = 1; i < argc; i++) {
        bool valued = i + 1 < argc;
        if (strcmp(argv[i], "--config") == 0 && valued)
            command->config_path = argv[++i];
        else if (strcmp(argv[i], "--set") == 0 && valued)
            command->overrides[command->override_count++] = argv[++i];
        else if (!take_action(command, argv[i])) {
            command->misused = argv[i];
            return false;
        }
    }
    return true;
}

#ifdef __SANITIZE_ADDRESS__
/* libh2o gives nobody the spare buffers of a thread that ends. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:h2o_mem_alloc_recycle\n";
}
#endif

int main(int argc, char **argv)
{
    struct command command = {.run = serve};
    int status = EXIT_USAGE;
    if (parse(argc, argv, &command))
        status = command.run(&command);
    else
        fprintf(stderr,
                "ldc-gateway: '%s' is unknown, or lacks its value\n"
                "usage: ldc-gateway [--config FILE] [--set NAME=VALUE]... (--help tells more)\n",
                command.misused);
    free(command.overrides);
    return status;
}
