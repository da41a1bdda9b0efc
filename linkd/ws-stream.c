/* The bytes of a connection: a plain socket, or TLS on it; and whom a relay must be in TLS: a host
 * that the system's CAs (or the configured ones) vouch for, or the holder of the configured key. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ws-internal.h"

static bool is_numeric(const char *host)
{
        struct in6_addr a;

        return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

/* Whose certificate it must be: checked by OpenSSL during the handshake. */
static bool expect_host(SSL *ssl, const char *host)
{
        X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (is_numeric(host))
                return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
        return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 &&
               SSL_set_tlsext_host_name(ssl, host) == 1;
}

int ws_stream_open(WsStream *s, int fd, SSL_CTX *tls, const char *host, const uint8_t *pin)
{
        *s = (WsStream){.fd = fd, .pin = pin};
        if (!tls)
                return 0;
        s->ssl = SSL_new(tls);
        if (!s->ssl || SSL_set_fd(s->ssl, fd) != 1 || !expect_host(s->ssl, host)) {
                ws_stream_close(s);
                return -ENOMEM;
        }
        /* With a pin the key alone decides, after the handshake. */
        SSL_set_verify(s->ssl, pin ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
        SSL_set_connect_state(s->ssl);
        return 0;
}

void ws_stream_close(WsStream *s)
{
        if (s->fd < 0)
                return;
        if (s->ssl) {
                (void)SSL_shutdown(s->ssl); /* says farewell if it can without waiting */
                SSL_free(s->ssl);
                ERR_clear_error();
        }
        (void)close(s->fd); /* nothing can be done about a failure */
        s->ssl = NULL;
        s->fd = -1;
}

/* What a TLS call wants: -EAGAIN, 0 for the end, or a failure with its fault. */
static int explain(WsStream *s, int result, bool reading)
{
        int saved = errno, error = SSL_get_error(s->ssl, result);
        unsigned long code = ERR_peek_error();
        long verify = SSL_get_verify_result(s->ssl);

        switch (error) {
        case SSL_ERROR_WANT_READ:
                s->write_wants_read = s->write_wants_read || !reading;
                return -EAGAIN;
        case SSL_ERROR_WANT_WRITE:
                s->read_wants_write = s->read_wants_write || reading;
                return -EAGAIN;
        case SSL_ERROR_ZERO_RETURN:
                return 0;
        case SSL_ERROR_SYSCALL:
                return saved ? -saved : 0;
        default:
                break;
        }
        if (!s->pin &&
            (verify == X509_V_ERR_HOSTNAME_MISMATCH || verify == X509_V_ERR_IP_ADDRESS_MISMATCH))
                (void)snprintf(s->fault, sizeof(s->fault),
                               "its certificate is for another host"); /* fits */
        else if (!s->pin && verify != X509_V_OK)
                (void)snprintf(
                        s->fault, sizeof(s->fault), "its certificate is not trusted: %s",
                        X509_verify_cert_error_string(verify)); /* cut is fine, here and below */
        else if (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
                (void)snprintf(s->fault, sizeof(s->fault),
                               "no TLS there: use ws://, or put a TLS proxy in front");
        else
                (void)snprintf(s->fault, sizeof(s->fault), "TLS: %s",
                               ERR_reason_error_string(code) ? ERR_reason_error_string(code)
                                                             : "a failure without a reason");
        return -EPROTO;
}

static bool has_pinned_key(const WsStream *s)
{
        X509 *certificate = SSL_get1_peer_certificate(s->ssl);
        uint8_t hash[PIN_BYTES], *der = NULL;
        int n = certificate ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der) : 0;
        bool same = false;

        if (n > 0) {
                (void)crypto_hash_sha256(hash, der, (size_t)n); /* always 0 */
                same = sodium_memcmp(hash, s->pin, PIN_BYTES) == 0;
        }
        OPENSSL_free(der);
        X509_free(certificate);
        return same;
}

int ws_stream_handshake(WsStream *s)
{
        int r;

        if (!s->ssl)
                return 0;
        s->read_wants_write = s->write_wants_read = false;
        ERR_clear_error();
        errno = 0;
        r = SSL_do_handshake(s->ssl);
        if (r == 1) {
                if (!s->pin || has_pinned_key(s))
                        return 0;
                (void)snprintf(s->fault, sizeof(s->fault),
                               "the relay's TLS key is not the configured one"); /* fits */
                return -EPROTO;
        }
        r = explain(s, r, true);
        if (r == 0 || (r != -EAGAIN && r != -EPROTO)) {
                (void)snprintf(s->fault, sizeof(s->fault),
                               "closed during the TLS handshake"); /* fits */
                return -EPROTO;
        }
        return r;
}

ssize_t ws_stream_read(WsStream *s, void *p, size_t n)
{
        ssize_t r;

        if (s->ssl) {
                s->read_wants_write = false;
                ERR_clear_error();
                errno = 0;
                r = SSL_read(s->ssl, p, (int)MIN(n, (size_t)INT32_MAX));
                return r > 0 ? r : explain(s, (int)r, true);
        }
        do
                r = recv(s->fd, p, n, 0);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : r;
}

ssize_t ws_stream_write(WsStream *s, const void *p, size_t n)
{
        ssize_t r;

        if (s->ssl) {
                s->write_wants_read = false;
                ERR_clear_error();
                errno = 0;
                r = SSL_write(s->ssl, p, (int)MIN(n, (size_t)INT32_MAX));
                if (r > 0)
                        return r;
                r = explain(s, (int)r, false);
                return r == 0 ? -EPIPE : r;
        }
        do
                r = send(s->fd, p, n, MSG_NOSIGNAL);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : r;
}

bool ws_stream_has_more(const WsStream *s)
{
        return s->ssl && SSL_pending(s->ssl) > 0;
}
