/* SPDX-License-Identifier: Apache-2.0 */
#include "common/process_check.h"

#include "common/address.h"
#include "common/store.h"

static void report(const char *option, const struct error *err, struct diag_list *diags)
{
    diag_add(diags, DIAG_ERROR, 0, 0, NULL, "%s: %s", option, err->text);
}

static void check_secret(const char *option, const char *listen, bool has_secret, const char *needed,
                         struct diag_list *diags)
{
    struct address address;
    struct error err;
    if (address_parse(listen, &address, &err) != 0)
        report(option, &err, diags);
    else if (!address_is_loopback(&address) && !has_secret)
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "%s: %s is not a loopback address: that needs %s", option, listen,
                 needed);
}

void process_check_listen(const char *option, const struct option_strings *texts, struct diag_list *diags)
{
    struct error err;
    for (size_t i = 0; i < texts->count; i++)
        if (address_check(texts->items[i], &err) != 0)
            report(option, &err, diags);
}

void process_check_admin(const char *listen, bool has_token, struct diag_list *diags)
{
    if (listen == NULL)
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "admin.listen: must be given");
    else if (!str_starts(str_of(listen), STR_LIT("unix:")))
        check_secret("admin.listen", listen, has_token, "admin.token_file", diags);
}

void process_check_pulse(const char *listen, bool has_key, struct diag_list *diags)
{
    if (listen == NULL)
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "pulse.listen: must be given");
    else
        check_secret("pulse.listen", listen, has_key, "pulse.key_file, or a token", diags);
}

void process_check_store(const char *location, struct diag_list *diags)
{
    struct error err;
    if (store_check_location(location != NULL ? location : "", &err) != 0)
        report("store.location", &err, diags);
}
