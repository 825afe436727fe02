/* SPDX-License-Identifier: Apache-2.0
 *
 * The certificate that HTTPS listeners show. The gateway owns one struct tls; the control thread replaces what is in
 * it at SIGHUP, and each handshake takes a reference to what it began with.
 */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

#include <openssl/ssl.h>

#include "common/error.h"

struct gateway;
struct gateway_config;
struct tls;

/* Loads ingress.tls_certificate and ingress.tls_key into gateway->tls, which stays NULL where ingress.tls_listen is
 * empty. *err names the file that is at fault. Before the workers start. */
int tls_create(struct gateway *gateway, struct error *err) MUST_CHECK;
void tls_destroy(struct tls **tls);

/* Loads the files that CONFIG names in their place; connections that are open keep what they have. On a fault
 * everything stays as it was. */
int tls_reload(struct tls *tls, const struct gateway_config *config, struct error *err) MUST_CHECK;

/* A reference to the certificate in force, for SSL_CTX_free(). From any thread. */
SSL_CTX *tls_acquire(struct tls *tls);

#endif
