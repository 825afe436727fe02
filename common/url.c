/* SPDX-License-Identifier: Apache-2.0 */
#include "common/url.h"

#include <ctype.h>

#define HOST_MOST 255 /* of a name in the DNS */

/* Cuts the part of *REST that consists of characters for which IS says yes. */
static struct str take(struct str *rest, bool (*is)(unsigned char))
{
    size_t len = 0;
    while (len < rest->len && is((unsigned char)rest->base[len]))
        len++;
    struct str taken = {rest->base, len};
    rest->base += len;
    rest->len -= len;
    return taken;
}

static bool skip(struct str *rest, struct str literal)
{
    if (!str_starts(*rest, literal))
        return false;
    rest->base += literal.len;
    rest->len -= literal.len;
    return true;
}

static bool is_scheme(unsigned char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_host(unsigned char c)
{
    return isalnum(c) || c == '.' || c == '-' || c == '_';
}

static bool is_ipv6(unsigned char c)
{
    return isxdigit(c) || c == ':' || c == '.' || c == '%' || isalnum(c);
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_path(unsigned char c)
{
    return c > 0x20 && c < 0x7f && c != '#' && c != '"' && c != '<' && c != '>' && c != '\\';
}

static int take_host(struct str *rest, struct str *host, struct error *err)
{
    bool brackets = skip(rest, STR_LIT("["));
    *host = take(rest, brackets ? is_ipv6 : is_host);
    if (brackets && (memchr(host->base, ':', host->len) == NULL || !skip(rest, STR_LIT("]"))))
        return error_set(err, ERROR_INPUT, "an IPv6 address in [brackets] is expected");
    if (host->len == 0)
        return error_set(err, ERROR_INPUT, "the host is missing");
    if (host->len > HOST_MOST)
        return error_set(err, ERROR_INPUT, "the host is longer than %d characters", HOST_MOST);
    return 0;
}

static int take_port(struct str *rest, unsigned preset, unsigned *port, struct error *err)
{
    *port = preset;
    if (!skip(rest, STR_LIT(":"))) {
        if (preset == 0)
            return error_set(err, ERROR_INPUT, "the port is missing");
        return 0;
    }
    uint64_t number;
    struct str digits = take(rest, is_digit);
    if (digits.len > 5 || !str_to_u64(digits, &number) || number == 0 || number > 65535)
        return error_set(err, ERROR_INPUT, "the port must be a number from 1 to 65535");
    *port = (unsigned)number;
    return 0;
}

int url_parse(struct str text, unsigned preset_port, struct url *url, struct error *err)
{
    struct str rest = text;
    /* Checked first, so that no message shows what stands before it. */
    if (text.len > 0 && memchr(text.base, '@', text.len) != NULL)
        return error_set(err, ERROR_INPUT, "a URL must not hold a user or a password");
    url->scheme = take(&rest, is_scheme);
    if (url->scheme.len == 0 || !skip(&rest, STR_LIT("://")))
        return error_set(err, ERROR_INPUT, "a URL such as http://host:port is expected, not \"%.*s\"", STR_ARG(text));
    if (take_host(&rest, &url->host, err) == -1 || take_port(&rest, preset_port, &url->port, err) == -1)
        return -1;
    if (rest.len > 0 && rest.base[0] != '/')
        return error_set(err, ERROR_INPUT, "\"%.*s\" does not belong behind host and port", STR_ARG(rest));
    url->path = take(&rest, is_path);
    if (rest.len > 0)
        return error_set(err, ERROR_INPUT, "the path of a URL must not hold \"%.*s\"", STR_ARG(rest));
    return 0;
}
