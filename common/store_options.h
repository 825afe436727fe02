/* SPDX-License-Identifier: Apache-2.0
 *
 * The options by which a process reaches its store, for the tables of all processes that follow one.
 */
#ifndef COMMON_STORE_OPTIONS_H
#define COMMON_STORE_OPTIONS_H

#include "common/options.h"
#include "common/store.h"

#define STORE_LOCATION_DOC                                                                                             \
    "The control store: `dir:PATH` is a folder shared by the processes of one machine, "                               \
    "`etcd:http://HOST:PORT,HOST:PORT/PREFIX` (or https) the members of an etcd."

/* Rows for a struct store_access at OFFSET. */
#define STORE_ACCESS_ROWS(OFFSET)                                                                                      \
    {"store.user", option_set_string,    (OFFSET) + offsetof(struct store_access, user), 0, 0, "",                     \
     false,        "User name for etcd."},                                                                             \
        {"store.password_file",                                                                                        \
         option_set_string,                                                                                            \
         (OFFSET) + offsetof(struct store_access, password_file),                                                      \
         0,                                                                                                            \
         0,                                                                                                            \
         "",                                                                                                           \
         false,                                                                                                        \
         "File with that user's password; read again at each login."},                                                 \
        {"store.ca_file",                                                                                              \
         option_set_string,                                                                                            \
         (OFFSET) + offsetof(struct store_access, ca_file),                                                            \
         0,                                                                                                            \
         0,                                                                                                            \
         "",                                                                                                           \
         false,                                                                                                        \
         "PEM file with the authorities that etcd's certificates are checked against; those of the system where "      \
         "empty."},                                                                                                    \
        {"store.certificate",                                                                                          \
         option_set_string,                                                                                            \
         (OFFSET) + offsetof(struct store_access, certificate),                                                        \
         0,                                                                                                            \
         0,                                                                                                            \
         "",                                                                                                           \
         false,                                                                                                        \
         "PEM file with this process's own certificate for etcd, which must have no common name where a user logs "    \
         "in."},                                                                                                       \
        {"store.key",                                                                                                  \
         option_set_string,                                                                                            \
         (OFFSET) + offsetof(struct store_access, key),                                                                \
         0,                                                                                                            \
         0,                                                                                                            \
         "",                                                                                                           \
         false,                                                                                                        \
         "PEM file with the key of that certificate."},                                                                \
    {                                                                                                                  \
        "store.timeout", option_set_duration, (OFFSET) + offsetof(struct store_access, timeout), 1, 60000, "50ms",     \
            false, "How long one member of etcd may take to answer before the next is asked."                          \
    }

#endif
