/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"
#include "gateway/jwt.h"

#define NOW    1700000000
#define SECRET "0123456789abcdef0123456789abcdef"

static char key_path[64];

static struct jwt_rules rules_of(enum jwt_algorithm algorithm)
{
    return (struct jwt_rules){.algorithm = algorithm, .key_file = str_of(key_path), .leeway_s = 60};
}

static void write_key(const char *text)
{
    struct error err;
    snprintf(key_path, sizeof(key_path), "/tmp/test_jwt_%d.key", (int)getpid());
    assert_int_equal(file_replace(key_path, str_of(text), 0600, &err), 0);
}

static void write_public(EVP_PKEY *pair)
{
    char *pem;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, pair), 1);
    BIO_write(bio, "", 1);
    BIO_get_mem_data(bio, &pem);
    write_key(pem);
    BIO_free(bio);
}

static void encode(struct buf *out, const void *bytes, size_t len)
{
    unsigned char text[4096];
    int n = EVP_EncodeBlock(text, bytes, (int)len);
    while (n > 0 && text[n - 1] == '=')
        n--;
    for (int i = 0; i < n; i++)
        text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
    buf_append(out, text, (size_t)n);
}

static struct buf unsigned_token(const char *header, const char *payload)
{
    struct buf token = {NULL, 0, 0};
    encode(&token, header, strlen(header));
    buf_append(&token, ".", 1);
    encode(&token, payload, strlen(payload));
    return token;
}

static void sign_hmac(struct buf *token, const char *secret)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len;
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)token->base, token->len, mac, &len);
    buf_append(token, ".", 1);
    encode(token, mac, len);
}

/* ES256 signatures are two numbers of 32 bytes; OpenSSL makes DER. */
static size_t der_to_raw(const unsigned char *der, size_t len, unsigned char *raw)
{
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)len);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32), 32);
    ECDSA_SIG_free(signature);
    return 64;
}

static void sign_with(struct buf *token, EVP_PKEY *pair)
{
    unsigned char signature[1024], raw[64];
    size_t len = sizeof(signature);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, pair), 1);
    assert_int_equal(EVP_DigestSign(context, signature, &len, (unsigned char *)token->base, token->len), 1);
    EVP_MD_CTX_free(context);
    buf_append(token, ".", 1);
    if (EVP_PKEY_is_a(pair, "EC"))
        encode(token, raw, der_to_raw(signature, len, raw));
    else
        encode(token, signature, len);
}

/* NULL where TOKEN holds, else the fault's sentence. Releases the token. */
static const char *verify(const struct jwt_rules *rules, struct buf *token)
{
    struct error err;
    const char *fault = NULL;
    json_t *claims;
    struct jwt_key *key = jwt_key_load(rules, &err);
    assert_non_null(key);
    bool valid = jwt_verify(key, buf_str(token), NOW, &claims, &fault);
    if (valid)
        assert_string_equal(json_string_value(json_object_get(claims, "sub")), "42");
    else
        assert_null(claims);
    json_decref(claims);
    jwt_key_destroy(&key);
    buf_free(token);
    return valid ? NULL : fault;
}

static const char *verify_hmac(const char *header, const char *payload)
{
    struct jwt_rules rules = rules_of(JWT_HS256);
    struct buf token = unsigned_token(header, payload);
    sign_hmac(&token, SECRET);
    return verify(&rules, &token);
}

static void a_token_with_the_right_signature_holds(void **state)
{
    (void)state;
    write_key(SECRET "\n");
    assert_null(verify_hmac("{\"alg\":\"HS256\"}", "{\"sub\":\"42\",\"exp\":1700000100}"));
    EVP_PKEY *rsa = EVP_RSA_gen(2048), *ec = EVP_EC_gen("P-256");
    struct jwt_rules rules = rules_of(JWT_RS256);
    struct buf token = unsigned_token("{\"alg\":\"RS256\"}", "{\"sub\":\"42\"}");
    write_public(rsa);
    sign_with(&token, rsa);
    assert_null(verify(&rules, &token));
    rules.algorithm = JWT_ES256;
    token = unsigned_token("{\"alg\":\"ES256\"}", "{\"sub\":\"42\"}");
    write_public(ec);
    sign_with(&token, ec);
    assert_null(verify(&rules, &token));
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
}

static void a_changed_or_foreign_signature_does_not(void **state)
{
    (void)state;
    write_key(SECRET);
    struct jwt_rules rules = rules_of(JWT_HS256);
    struct buf token = unsigned_token("{\"alg\":\"HS256\"}", "{\"sub\":\"42\"}");
    sign_hmac(&token, "another secret of at least 32 bytes");
    assert_non_null(verify(&rules, &token));
    token = unsigned_token("{\"alg\":\"HS256\"}", "{\"sub\":\"42\"}");
    sign_hmac(&token, SECRET);
    token.base[25] ^= 1;
    assert_non_null(verify(&rules, &token));
}

static void a_token_cannot_choose_how_it_is_checked(void **state)
{
    (void)state;
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    write_public(rsa);
    struct jwt_rules rules = rules_of(JWT_RS256);
    struct buf none = unsigned_token("{\"alg\":\"none\"}", "{\"sub\":\"42\"}");
    buf_append(&none, ".", 1);
    assert_non_null(verify(&rules, &none));
    /* The classic: the public key, which everybody has, as an HMAC secret. */
    struct buf pem = {NULL, 0, 0}, confused = unsigned_token("{\"alg\":\"HS256\"}", "{\"sub\":\"42\"}");
    struct error err;
    assert_int_equal(file_read(key_path, 65536, &pem, &err), 0);
    sign_hmac(&confused, pem.base);
    assert_non_null(verify(&rules, &confused));
    buf_free(&pem);
    EVP_PKEY_free(rsa);
    write_key(SECRET);
    assert_non_null(verify_hmac("{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", "{\"sub\":\"42\"}"));
}

static void times_and_names_are_checked(void **state)
{
    (void)state;
    write_key(SECRET);
    assert_non_null(verify_hmac("{\"alg\":\"HS256\"}", "{\"sub\":\"42\",\"exp\":1699999940}"));
    assert_null(verify_hmac("{\"alg\":\"HS256\"}", "{\"sub\":\"42\",\"exp\":1699999941}"));
    assert_non_null(verify_hmac("{\"alg\":\"HS256\"}", "{\"sub\":\"42\",\"exp\":\"soon\"}"));
    assert_non_null(verify_hmac("{\"alg\":\"HS256\"}", "{\"sub\":\"42\",\"nbf\":1700000061}"));
    assert_null(verify_hmac("{\"alg\":\"HS256\"}", "{\"sub\":\"42\",\"nbf\":1700000060}"));
    struct jwt_rules rules = rules_of(JWT_HS256);
    rules.issuer = STR_LIT("bank");
    rules.audience = STR_LIT("pay");
    struct buf token =
        unsigned_token("{\"alg\":\"HS256\"}", "{\"sub\":\"42\",\"iss\":\"bank\",\"aud\":[\"x\",\"pay\"]}");
    sign_hmac(&token, SECRET);
    assert_null(verify(&rules, &token));
    token = unsigned_token("{\"alg\":\"HS256\"}", "{\"sub\":\"42\",\"iss\":\"bank\"}");
    sign_hmac(&token, SECRET);
    assert_non_null(verify(&rules, &token));
}

static void what_is_no_token_is_refused(void **state)
{
    (void)state;
    write_key(SECRET);
    const char *bad[] = {"",        ".",        "..",        "...",         "a.b",
                         "a.b.c.d", "e30.e30.", "e30.e30.=", "!!!.e30.e30", "\xff.\xff.\xff"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct jwt_rules rules = rules_of(JWT_HS256);
        struct buf token = {NULL, 0, 0};
        buf_append_str(&token, str_of(bad[i]));
        assert_non_null(verify(&rules, &token));
    }
}

static void a_key_that_does_not_fit_is_refused_without_showing_it(void **state)
{
    (void)state;
    struct error err;
    struct jwt_rules rules = rules_of(JWT_HS256);
    write_key("too-short");
    assert_null(jwt_key_load(&rules, &err));
    assert_null(strstr(err.text, "too-short"));
    write_key(SECRET);
    rules.algorithm = JWT_RS256;
    assert_null(jwt_key_load(&rules, &err));
    assert_null(strstr(err.text, SECRET));
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    write_public(ec);
    assert_null(jwt_key_load(&rules, &err));
    EVP_PKEY_free(ec);
    unlink(key_path);
    assert_null(jwt_key_load(&rules, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_with_the_right_signature_holds),
        cmocka_unit_test(a_changed_or_foreign_signature_does_not),
        cmocka_unit_test(a_token_cannot_choose_how_it_is_checked),
        cmocka_unit_test(times_and_names_are_checked),
        cmocka_unit_test(what_is_no_token_is_refused),
        cmocka_unit_test(a_key_that_does_not_fit_is_refused_without_showing_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
