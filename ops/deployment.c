/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/deployment.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"
#include "common/http_client.h"
#include "ops/answer.h"
#include "ops/ctl.h"

#define READ_TIMEOUT_MS   2000
#define CHANGE_TIMEOUT_MS 10000
#define MOST_TOPOLOGY     (4 * 1024 * 1024)

static char *format_path(const char *folder, const char *rest)
{
    struct buf path = {0};
    buf_printf(&path, "%s%s", folder, rest);
    return path.base;
}

char *deployment_folder(const struct args *args)
{
    const char *given = args_value(args, "--dir"), *home = getenv("HOME");
    if (given != NULL)
        return str_dup(str_of(given));
    if (home != NULL && *home)
        return format_path(home, "/.ldcgate/playground");
    struct buf path = {0};
    buf_printf(&path, "/tmp/ldcgate-%u/playground", (unsigned)getuid());
    return path.base;
}

static int add_url(struct deployment *deployment, struct str url, struct error *err)
{
    url = str_trim(url);
    while (url.len > 0 && url.base[url.len - 1] == '/')
        url.len--;
    if (!str_starts(url, STR_LIT("http://")) && !str_starts(url, STR_LIT("https://")))
        return error_set(err, ERROR_INPUT, "'%.*s' is no admin URL such as http://127.0.0.1:9080", STR_ARG(url));
    if (deployment->url_count == DEPLOYMENT_GATEWAYS)
        return error_set(err, ERROR_INPUT, "more than %d gateways", DEPLOYMENT_GATEWAYS);
    deployment->urls[deployment->url_count++] = str_dup(url);
    return 0;
}

static int from_urls(struct deployment *deployment, const char *urls, const char *token_file, struct error *err)
{
    struct str rest = str_of(urls), url;
    while (str_next(&rest, ',', &url))
        if (add_url(deployment, url, err) != 0)
            return -1;
    if (token_file != NULL && (deployment->token = file_read_secret(token_file, err)) == NULL)
        return -1;
    return 0;
}

static int from_topology(struct deployment *deployment, const json_t *topology, const char *path, struct error *err)
{
    const json_t *urls = json_object_get(topology, "admin");
    for (size_t i = 0; i < json_array_size(urls); i++)
        if (add_url(deployment, str_of(json_string_value(json_array_get(urls, i))), err) != 0)
            return -1;
    const char *token = ctl_text(topology, "token");
    deployment->token = *token ? str_dup(str_of(token)) : NULL;
    if (deployment->url_count == 0)
        return error_set(err, ERROR_INPUT, "%s names no admin listener: is it whole? `playground up` writes it anew",
                         path);
    return 0;
}

static int from_folder(struct deployment *deployment, const char *folder, struct error *err)
{
    char *path = format_path(folder, "/topology.json");
    struct buf text = {0};
    int result = -1;
    if (access(path, F_OK) != 0)
        error_set(err, ERROR_UNREACHABLE,
                  "no playground runs in %s; start one with `ldcctl playground up --dir %s`, or name a gateway's admin "
                  "listener by --gateway or LDC_GATEWAY",
                  folder, folder);
    else if (file_read(path, MOST_TOPOLOGY, &text, err) == 0) {
        json_t *topology = json_loadb(text.base, text.len, 0, NULL);
        result = topology != NULL ? from_topology(deployment, topology, path, err)
                                  : error_set(err, ERROR_INPUT, "%s is not JSON; `playground up` writes it anew", path);
        json_decref(topology);
    }
    buf_free(&text);
    free(path);
    return result;
}

int deployment_find(const struct args *args, struct deployment *deployment, struct error *err)
{
    *deployment = (struct deployment){0};
    const char *urls = args_value(args, "--gateway"), *token_file = args_value(args, "--token-file");
    bool folder_given = args_value(args, "--dir") != NULL;
    if (urls != NULL && folder_given)
        return error_set(err, ERROR_INPUT, "--dir and --gateway name two deployments; give one");
    if (urls == NULL && !folder_given)
        urls = getenv("LDC_GATEWAY");
    if (token_file == NULL)
        token_file = getenv("LDC_TOKEN_FILE");
    if (urls != NULL && *urls)
        return from_urls(deployment, urls, token_file, err);
    char *folder = deployment_folder(args);
    int result = from_folder(deployment, folder, err);
    free(folder);
    return result;
}

void deployment_free(struct deployment *deployment)
{
    for (size_t i = 0; i < deployment->url_count; i++)
        free(deployment->urls[i]);
    free(deployment->token);
    *deployment = (struct deployment){0};
}

static int refused(long status, const json_t *problem, const char *url, bool token_given, struct error *err)
{
    const char *detail = ctl_text(problem, "detail");
    if (status == 401)
        return error_set(err, ERROR_REFUSED, "%s wants %s token: name its file by --token-file or LDC_TOKEN_FILE", url,
                         token_given ? "another" : "a");
    if (!*detail)
        detail = ctl_text(problem, "title");
    enum error_code code = status == 409 ? ERROR_CONFLICT : ERROR_REFUSED;
    if (*detail)
        return error_set(err, code, "%s (%ld from %s)", detail, status, url);
    return error_set(err, code, "%s answered %ld", url, status);
}

static long ask_one(const struct deployment *deployment, const char *url, const char *method, const char *target,
                    struct str body, json_t **answer, struct error *err)
{
    struct buf text = {0}, whole = {0};
    buf_printf(&whole, "%s%s", url, target);
    bool reads = strcmp(method, "GET") == 0;
    int64_t patience_ms = deployment->patience_ms > 0 ? deployment->patience_ms : READ_TIMEOUT_MS;
    struct http_request request = {.method = method,
                                   .url = whole.base,
                                   .body = body,
                                   .timeout_ms = reads ? patience_ms : CHANGE_TIMEOUT_MS,
                                   .bearer_token = deployment->token};
    long status = http_call(&request, &text, err);
    *answer = status > 0 ? answer_parse(buf_str(&text)) : NULL;
    buf_free(&text);
    buf_free(&whole);
    return status;
}

int deployment_ask(struct deployment *deployment, const char *method, const char *target, struct str body,
                   json_t **answer, struct error *err)
{
    *answer = NULL;
    for (size_t tried = 0; tried < deployment->url_count; tried++) {
        const char *url = deployment->urls[deployment->first];
        long status = ask_one(deployment, url, method, target, body, answer, err);
        if (status > 0)
            return status >= 200 && status < 300 ? 0 : refused(status, *answer, url, deployment->token != NULL, err);
        /* Who took a change in but did not answer may have made it: it is not asked for twice. */
        if (err->code != ERROR_UNREACHABLE && strcmp(method, "GET") != 0)
            return -1;
        deployment->first = (deployment->first + 1) % deployment->url_count;
    }
    return -1;
}

json_t *deployment_get(struct deployment *deployment, const char *target, struct error *err)
{
    json_t *answer;
    if (deployment_ask(deployment, "GET", target, STR_LIT(""), &answer, err) != 0) {
        json_decref(answer);
        return NULL;
    }
    if (answer == NULL)
        error_set(err, ERROR_REFUSED, "the answer to %s is not JSON", target);
    return answer;
}

void deployment_add_query(struct buf *target, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(target, "%s%s=", memchr(target->base, '?', target->len) ? "&" : "?", name);
    for (const unsigned char *c = (const unsigned char *)value; *c; c++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", *c))
            buf_append(target, c, 1);
        else
            buf_printf(target, "%%%02X", *c);
}
