/* Whom a relay must be in TLS: a host that the system's CAs (or the configured ones) vouch for, or
 * the holder of the configured key. */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sodium.h>

#include "ws-internal.h"

const char *ws_tls_verify(X509_STORE_CTX *store, const uint8_t *pin)
{
        int error = X509_STORE_CTX_get_error(store);

        if (error == X509_V_OK)
                return NULL;
        if (pin) { /* the key alone decides, in ws_tls_check */
                X509_STORE_CTX_set_error(store, X509_V_OK);
                return NULL;
        }
        return X509_verify_cert_error_string(error);
}

static bool has_pinned_key(X509 *certificate, const uint8_t *pin)
{
        uint8_t hash[PIN_BYTES], *der = NULL;
        int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);

        if (n <= 0)
                return false;
        crypto_hash_sha256(hash, der, (size_t)n);
        OPENSSL_free(der);
        return sodium_memcmp(hash, pin, PIN_BYTES) == 0;
}

static bool is_for_host(X509 *certificate, const char *host)
{
        struct in6_addr a;
        unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;

        if (inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1)
                return X509_check_ip_asc(certificate, host, flags) == 1;
        return X509_check_host(certificate, host, 0, flags, NULL) == 1;
}

const char *ws_tls_check(SSL *ssl, const char *host, const uint8_t *pin)
{
        X509 *certificate = ssl ? SSL_get1_peer_certificate(ssl) : NULL;
        const char *fault = NULL;

        if (!certificate)
                return "the relay showed no certificate";
        if (pin)
                fault = has_pinned_key(certificate, pin)
                                ? NULL
                                : "the relay's TLS key is not the configured one";
        else if (SSL_get_verify_result(ssl) != X509_V_OK)
                fault = "the relay's certificate is signed by no CA that is trusted here";
        else if (!is_for_host(certificate, host))
                fault = "the relay's certificate is for another host";
        X509_free(certificate);
        return fault;
}
