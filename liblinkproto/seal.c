#include "seal.h"

#include <errno.h>
#include <sodium.h>

static void make_nonce(uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], uint64_t counter)
{
        memset(nonce, 0, 4);
        write_u64le(nonce + 4, counter);
}

int seal_frame(SealKey *k, const uint8_t *plain, size_t len, uint8_t *out)
{
        uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

        if (k->counter == UINT64_MAX)
                return -EOVERFLOW;
        make_nonce(nonce, k->counter);
        (void)crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, len, NULL, 0, NULL, nonce,
                                                        k->key); /* always 0 */
        k->counter++;
        return 0;
}

int seal_open(SealKey *k, const uint8_t *frame, size_t len, uint8_t *out)
{
        uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

        if (len < SEAL_TAG_BYTES)
                return -EBADMSG;
        if (k->counter == UINT64_MAX)
                return -EOVERFLOW;
        make_nonce(nonce, k->counter);
        if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, frame, len, NULL, 0, nonce,
                                                      k->key) != 0)
                return -EBADMSG;
        k->counter++;
        return 0;
}
