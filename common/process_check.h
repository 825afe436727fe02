/* SPDX-License-Identifier: Apache-2.0
 *
 * What of a process's options no single row can check, and what --check should find before a start does: addresses
 * that are none or that want a secret, a store that is none.
 */
#ifndef COMMON_PROCESS_CHECK_H
#define COMMON_PROCESS_CHECK_H

#include "common/diag.h"
#include "common/options.h"

/* The form of each address to listen on alone: hosts' names are looked up at the start. */
void process_check_listen(const char *option, const struct option_strings *texts, struct diag_list *diags);

/* Texts may be NULL. HAS_TOKEN, HAS_KEY: whether an option names the file. */
void process_check_admin(const char *listen, bool has_token, struct diag_list *diags);
void process_check_pulse(const char *listen, bool has_key, struct diag_list *diags);
void process_check_store(const char *location, struct diag_list *diags);

#endif
