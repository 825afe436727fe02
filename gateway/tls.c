/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/gateway.h"

struct tls {
    pthread_mutex_t lock; /* of `context` */
    SSL_CTX *context;
};

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return text ? text : "unknown fault";
}

/* A key with a passphrase must not make a daemon ask its terminal for it. */
static int no_passphrase(char *text, int size, int writing, void *arg)
{
    (void)text;
    (void)size;
    (void)writing;
    (void)arg;
    return 0;
}

static int load_files(SSL_CTX *context, const char *certificate, const char *key, struct error *err)
{
    if (access(certificate, R_OK) != 0)
        return error_set_errno(err, errno, "ingress.tls_certificate: cannot read %s", certificate);
    if (access(key, R_OK) != 0)
        return error_set_errno(err, errno, "ingress.tls_key: cannot read %s", key);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
        return error_set(err, ERROR_INPUT, "ingress.tls_certificate: %s holds no PEM certificate chain (%s)",
                         certificate, reason());
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
            return error_set(err, ERROR_INPUT, "ingress.tls_key: the key in %s does not fit the certificate in %s", key,
                             certificate);
        return error_set(err, ERROR_INPUT, "ingress.tls_key: %s holds no PEM key without passphrase (%s)", key,
                         reason());
    }
    if (SSL_CTX_check_private_key(context) != 1)
        return error_set(err, ERROR_INPUT, "ingress.tls_key: the key in %s does not fit the certificate in %s", key,
                         certificate);
    return 0;
}

static SSL_CTX *load(const struct gateway_config *config, struct error *err)
{
    if (config->ingress.tls_certificate == NULL || config->ingress.tls_key == NULL) {
        error_set(err, ERROR_INPUT, "ingress.tls_listen needs ingress.tls_certificate and ingress.tls_key");
        return NULL;
    }
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL) {
        error_set(err, ERROR_SYSTEM, "cannot set up TLS: %s", reason());
        return NULL;
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);         /* an idle connection keeps no record buffers */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets resume without memory here */
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    h2o_ssl_register_alpn_protocols(context, h2o_alpn_protocols);
    ERR_clear_error();
    if (load_files(context, config->ingress.tls_certificate, config->ingress.tls_key, err) == 0)
        return context;
    ERR_clear_error();
    SSL_CTX_free(context);
    return NULL;
}

int tls_create(struct gateway *gateway, struct error *err)
{
    if (gateway->config.ingress.tls_listen.count == 0)
        return 0;
    SSL_CTX *context = load(&gateway->config, err);
    if (context == NULL)
        return -1;
    gateway->tls = mem_calloc(1, sizeof(*gateway->tls));
    pthread_mutex_init(&gateway->tls->lock, NULL);
    gateway->tls->context = context;
    return 0;
}

int tls_reload(struct tls *tls, const struct gateway_config *config, struct error *err)
{
    if (tls == NULL)
        return 0;
    SSL_CTX *fresh = load(config, err);
    if (fresh == NULL)
        return -1;
    pthread_mutex_lock(&tls->lock);
    SSL_CTX *before = tls->context;
    tls->context = fresh;
    pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(before);
    return 0;
}

SSL_CTX *tls_acquire(struct tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    SSL_CTX *context = tls->context;
    SSL_CTX_up_ref(context);
    pthread_mutex_unlock(&tls->lock);
    return context;
}

void tls_destroy(struct tls **tls)
{
    struct tls *old = *tls;
    if (old == NULL)
        return;
    SSL_CTX_free(old->context);
    pthread_mutex_destroy(&old->lock);
    free(old);
    *tls = NULL;
}
