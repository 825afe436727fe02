/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/jwt.h"

#include <jansson.h>
#include <limits.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/file.h"

#define KEY_FILE_MOST    65536
#define TOKEN_MOST       8192
#define SIGNATURE_MOST   1024
#define ES256_HALF       32
#define HS256_SECRET_MIN 32 /* RFC 7518, section 3.2 */

struct jwt_key {
    _Atomic uint32_t references;
    enum jwt_algorithm algorithm;
    EVP_PKEY *public_key;
    struct buf secret;
    char *issuer, *audience;
    int64_t leeway_s;
};

static const char *const algorithm_names[] = {"none", "HS256", "RS256", "ES256"};

static EVP_PKEY *read_public_key(const struct buf *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->base, (int)pem->len);
    EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return key;
}

static bool key_fits(const struct jwt_key *key)
{
    char group[32] = "";
    if (key->algorithm == JWT_RS256)
        return EVP_PKEY_is_a(key->public_key, "RSA") && EVP_PKEY_get_bits(key->public_key) >= 2048;
    return EVP_PKEY_is_a(key->public_key, "EC") &&
           EVP_PKEY_get_group_name(key->public_key, group, sizeof(group), NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

/* A text file's last newline is its editor's, not the secret's. */
static void strip_newline(struct buf *secret)
{
    while (secret->len > 0 && (secret->base[secret->len - 1] == '\n' || secret->base[secret->len - 1] == '\r'))
        secret->len--;
}

static int adopt_key(struct jwt_key *key, struct buf *content, const char *path, struct error *err)
{
    if (key->algorithm == JWT_HS256) {
        strip_newline(content);
        key->secret = *content;
        *content = (struct buf){NULL, 0, 0};
        if (key->secret.len < HS256_SECRET_MIN)
            return error_set(err, ERROR_INPUT, "identity.jwt.key_file %s: an HS256 secret needs at least 32 bytes",
                             path);
        return 0;
    }
    key->public_key = read_public_key(content);
    if (key->public_key == NULL || !key_fits(key))
        return error_set(err, ERROR_INPUT, "identity.jwt.key_file %s: not a PEM public key for %s (%s)", path,
                         algorithm_names[key->algorithm],
                         key->algorithm == JWT_RS256 ? "RSA of at least 2048 bits" : "EC on P-256");
    return 0;
}

struct jwt_key *jwt_key_load(const struct jwt_rules *rules, struct error *err)
{
    char *path = str_dup(rules->key_file);
    struct jwt_key *key = mem_calloc(1, sizeof(*key));
    struct buf content = {NULL, 0, 0};
    key->references = 1;
    key->algorithm = rules->algorithm;
    key->leeway_s = rules->leeway_s;
    key->issuer = rules->issuer.base ? str_dup(rules->issuer) : NULL;
    key->audience = rules->audience.base ? str_dup(rules->audience) : NULL;
    if (file_read(path, KEY_FILE_MOST, &content, err) != 0 || adopt_key(key, &content, path, err) != 0)
        jwt_key_destroy(&key);
    if (content.base != NULL)
        OPENSSL_cleanse(content.base, content.len);
    buf_free(&content);
    free(path);
    return key;
}

struct jwt_key *jwt_key_share(struct jwt_key *key)
{
    atomic_fetch_add_explicit(&key->references, 1, memory_order_relaxed);
    return key;
}

static void release(struct jwt_key *key)
{
    if (key->secret.base != NULL)
        OPENSSL_cleanse(key->secret.base, key->secret.len);
    buf_free(&key->secret);
    EVP_PKEY_free(key->public_key);
    free(key->issuer);
    free(key->audience);
    free(key);
}

void jwt_key_destroy(struct jwt_key **key)
{
    struct jwt_key *old = *key;
    *key = NULL;
    if (old != NULL && atomic_fetch_sub_explicit(&old->references, 1, memory_order_acq_rel) == 1)
        release(old);
}

/* RFC 4648's URL alphabet without padding, into OUT of at least 3/4 of TEXT. Returns the length, or -1. */
static int base64url_decode(struct str text, unsigned char *out)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned bits = 0, value = 0;
    int len = 0;
    if (text.len % 4 == 1)
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        const char *at = text.base[i] ? strchr(alphabet, text.base[i]) : NULL;
        if (at == NULL)
            return -1;
        value = value << 6 | (unsigned)(at - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[len++] = (unsigned char)(value >> bits);
        }
    }
    return (value & ((1u << bits) - 1)) == 0 ? len : -1;
}

static json_t *decode_object(struct str part)
{
    unsigned char text[TOKEN_MOST];
    int len = base64url_decode(part, text);
    json_t *object = len < 0 ? NULL : json_loadb((const char *)text, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
    if (object != NULL && !json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static bool hmac_valid(const struct jwt_key *key, struct str signed_part, const unsigned char *signature, int len)
{
    unsigned char expected[EVP_MAX_MD_SIZE];
    unsigned expected_len = 0;
    return HMAC(EVP_sha256(), key->secret.base, (int)key->secret.len, (const unsigned char *)signed_part.base,
                signed_part.len, expected, &expected_len) != NULL &&
           len == (int)expected_len && CRYPTO_memcmp(signature, expected, expected_len) == 0;
}

/* RFC 7518 has R and S side by side; OpenSSL wants them in DER. Returns the DER's length, or 0. */
static int es256_to_der(const unsigned char *raw, int len, unsigned char *der)
{
    if (len != 2 * ES256_HALF)
        return 0;
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, ES256_HALF, NULL), *s = BN_bin2bn(raw + ES256_HALF, ES256_HALF, NULL);
    unsigned char *end = der;
    int der_len = 0;
    if (signature != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(signature, r, s) == 1) {
        r = s = NULL;
        der_len = i2d_ECDSA_SIG(signature, &end);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(signature);
    return der_len > 0 ? der_len : 0;
}

static bool public_valid(const struct jwt_key *key, struct str signed_part, const unsigned char *signature, int len)
{
    unsigned char der[2 * ES256_HALF + 16];
    if (key->algorithm == JWT_ES256) {
        len = es256_to_der(signature, len, der);
        signature = der;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool valid =
        len > 0 && context != NULL && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key->public_key) == 1 &&
        EVP_DigestVerify(context, signature, (size_t)len, (const unsigned char *)signed_part.base, signed_part.len) ==
            1;
    EVP_MD_CTX_free(context);
    return valid;
}

static bool signature_valid(const struct jwt_key *key, struct str signed_part, struct str signature_part)
{
    unsigned char signature[SIGNATURE_MOST];
    if (signature_part.len > SIGNATURE_MOST)
        return false;
    int len = base64url_decode(signature_part, signature);
    if (len <= 0)
        return false;
    return key->algorithm == JWT_HS256 ? hmac_valid(key, signed_part, signature, len)
                                       : public_valid(key, signed_part, signature, len);
}

/* The header must name the one algorithm that is configured: never let a token choose how it is checked. "crit" names
 * extensions that must be understood, and none is. */
static bool header_acceptable(const struct jwt_key *key, struct str part)
{
    json_t *header = decode_object(part);
    const char *algorithm = json_string_value(json_object_get(header, "alg"));
    bool acceptable = algorithm != NULL && strcmp(algorithm, algorithm_names[key->algorithm]) == 0 &&
                      json_object_get(header, "crit") == NULL;
    json_decref(header);
    return acceptable;
}

static bool text_is(const json_t *value, const char *wanted)
{
    return json_is_string(value) && strcmp(json_string_value(value), wanted) == 0;
}

static bool audience_includes(const json_t *audience, const char *wanted)
{
    if (!json_is_array(audience))
        return text_is(audience, wanted);
    for (size_t i = 0; i < json_array_size(audience); i++)
        if (text_is(json_array_get(audience, i), wanted))
            return true;
    return false;
}

/* NULL where the claims hold at NOW_S. */
static const char *claims_fault(const struct jwt_key *key, const json_t *claims, int64_t now_s)
{
    const json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf");
    if (exp != NULL && (!json_is_number(exp) || json_number_value(exp) + (double)key->leeway_s <= (double)now_s))
        return "The token has expired";
    if (nbf != NULL && (!json_is_number(nbf) || json_number_value(nbf) - (double)key->leeway_s > (double)now_s))
        return "The token is not valid yet";
    if (key->issuer != NULL && !text_is(json_object_get(claims, "iss"), key->issuer))
        return "The token's issuer is not the expected one";
    if (key->audience != NULL && !audience_includes(json_object_get(claims, "aud"), key->audience))
        return "The token is for another audience";
    return NULL;
}

bool jwt_verify(const struct jwt_key *key, struct str token, int64_t now_s, struct json_t **claims, const char **fault)
{
    struct str rest = token, header, payload, signature;
    *claims = NULL;
    *fault = "The token is not a signed JSON web token";
    if (token.len > TOKEN_MOST || !str_next(&rest, '.', &header) || !str_next(&rest, '.', &payload) ||
        !str_next(&rest, '.', &signature) || rest.base != NULL)
        return false;
    *fault = "The token is not signed as this gateway expects";
    struct str signed_part = {token.base, header.len + 1 + payload.len};
    if (!header_acceptable(key, header) || !signature_valid(key, signed_part, signature))
        return false;
    *fault = "The token's payload is not a JSON object";
    if ((*claims = decode_object(payload)) == NULL)
        return false;
    if ((*fault = claims_fault(key, *claims, now_s)) == NULL)
        return true;
    json_decref(*claims);
    *claims = NULL;
    return false;
}
