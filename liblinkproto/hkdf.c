#include "hkdf.h"

#include <sodium.h>

enum { HASH_BYTES = crypto_auth_hmacsha256_BYTES };

void hkdf_sha256(const uint8_t *ikm, size_t ikm_len, const uint8_t *salt, size_t salt_len,
                 const uint8_t *info, size_t info_len, uint8_t *out, size_t len)
{
        static const uint8_t no_salt[HASH_BYTES];
        crypto_auth_hmacsha256_state st;
        uint8_t prk[HASH_BYTES], block[HASH_BYTES];

        /* libsodium's HMAC functions cannot fail; they return 0. */
        (void)crypto_auth_hmacsha256_init(&st, salt_len ? salt : no_salt,
                                          salt_len ? salt_len : sizeof(no_salt));
        (void)crypto_auth_hmacsha256_update(&st, ikm, ikm_len);
        (void)crypto_auth_hmacsha256_final(&st, prk);
        for (uint8_t i = 1; len > 0; i++) {
                size_t n = MIN(len, sizeof(block));

                (void)crypto_auth_hmacsha256_init(&st, prk, sizeof(prk));
                if (i > 1)
                        (void)crypto_auth_hmacsha256_update(&st, block, sizeof(block));
                (void)crypto_auth_hmacsha256_update(&st, info, info_len);
                (void)crypto_auth_hmacsha256_update(&st, &i, 1);
                (void)crypto_auth_hmacsha256_final(&st, block);
                memcpy(out, block, n);
                out += n;
                len -= n;
        }
        sodium_memzero(&st, sizeof(st));
        sodium_memzero(prk, sizeof(prk));
        sodium_memzero(block, sizeof(block));
}
