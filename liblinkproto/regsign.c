#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "b64u.h"
#include "hkdf.h"
#include "inviteuri.h"
#include "regauth-internal.h"

void register_key_derive(RegisterKey *ret, const uint8_t host_static_private[STATIC_KEY_BYTES])
{
        static const char info[] = "frontier-link-register-ed25519-v1";
        uint8_t seed[crypto_sign_SEEDBYTES], hash[crypto_hash_sha256_BYTES];

        hkdf_sha256(host_static_private, STATIC_KEY_BYTES, NULL, 0, (const uint8_t *)info,
                    sizeof(info) - 1, seed, sizeof(seed));
        (void)crypto_sign_seed_keypair(ret->public, ret->secret, seed);   /* always 0 */
        (void)crypto_hash_sha256(hash, ret->public, sizeof(ret->public)); /* always 0 */
        b64u_encode(hash, sizeof(hash), ret->address);
        sodium_memzero(seed, sizeof(seed));
}

int register_message(const RegisterKey *k, int64_t ts_msec, const uint8_t nonce[16],
                     const char *origin, char *out, size_t size)
{
        char nonce_text[B64U_LEN(16) + 1], public[B64U_LEN(REGISTER_KEY_BYTES) + 1];
        char sig_text[B64U_LEN(REGISTER_SIG_BYTES) + 1];
        uint8_t sig[REGISTER_SIG_BYTES];
        Buf b = {};
        int r;

        b64u_encode(nonce, 16, nonce_text);
        b64u_encode(k->public, sizeof(k->public), public);
        register_signed_bytes(&b, k->address, ts_msec, nonce_text, origin);
        r = buf_ok(&b);
        if (r == 0)
                (void)crypto_sign_detached(sig, NULL, b.data, b.len, k->secret); /* always 0 */
        buf_done(&b);
        if (r < 0)
                return r;
        b64u_encode(sig, sizeof(sig), sig_text);
        r = snprintf(out, size,
                     "{\"type\":\"register\",\"address\":\"%s\",\"auth\":{\"alg\":\"ed25519\","
                     "\"pub\":\"%s\",\"ts\":%lld,\"nonce\":\"%s\",\"sig\":\"%s\"}}",
                     k->address, public, (long long)ts_msec, nonce_text, sig_text);
        return r < 0 || (size_t)r >= size ? -ENOBUFS : r;
}

int register_origin_of_url(const char *url, char *out, size_t size)
{
        RelayUrl u;
        _cleanup_(freep) char *normal = NULL;
        const char *fault;
        int r = relay_url_normalize(url, strlen(url), &normal, &fault);

        if (r == 0)
                r = relay_url_split(normal, &u);
        if (r < 0)
                return r;
        if (strlen(u.origin) >= size)
                return -ENOBUFS;
        strcpy(out, u.origin); /* measured above */
        return 0;
}
