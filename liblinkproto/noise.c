#include "noise.h"

#include <errno.h>
#include <sodium.h>

enum { DH_BYTES = 32, HASH_BYTES = 32, TAG_BYTES = SEAL_TAG_BYTES };

static const uint8_t nkpsk0_tokens[] = {NOISE_PSK, NOISE_E,  NOISE_ES,  NOISE_END,
                                        NOISE_E,   NOISE_EE, NOISE_END, NOISE_END};

const NoisePattern noise_nkpsk0 = {
        .name = "Noise_NKpsk0_25519_ChaChaPoly_SHA256",
        .responder_static_known = true,
        .psk = true,
        .tokens = nkpsk0_tokens,
};

/* ---- symmetric state (Noise section 5.2) ---- */

static void mix_hash(Noise *n, const uint8_t *p, size_t len)
{
        crypto_hash_sha256_state st;

        (void)crypto_hash_sha256_init(&st); /* libsodium's hash functions always return 0 */
        (void)crypto_hash_sha256_update(&st, n->h, HASH_BYTES);
        (void)crypto_hash_sha256_update(&st, p, len);
        (void)crypto_hash_sha256_final(&st, n->h);
}

/* Noise's HKDF: `outputs` blocks of 32 bytes. It is RFC 5869 with the chaining key as salt and no
 * info, which is what each block's lone counter byte amounts to. */
static void noise_hkdf(const uint8_t ck[HASH_BYTES], const uint8_t *ikm, size_t len, uint8_t *out,
                       unsigned outputs)
{
        crypto_auth_hmacsha256_state st;
        uint8_t prk[HASH_BYTES];

        (void)crypto_auth_hmacsha256_init(&st, ck, HASH_BYTES);
        (void)crypto_auth_hmacsha256_update(&st, ikm, len);
        (void)crypto_auth_hmacsha256_final(&st, prk);
        for (uint8_t i = 1; i <= outputs; i++) {
                (void)crypto_auth_hmacsha256_init(&st, prk, sizeof(prk));
                if (i > 1)
                        (void)crypto_auth_hmacsha256_update(&st, out + HASH_BYTES * (i - 2),
                                                            HASH_BYTES);
                (void)crypto_auth_hmacsha256_update(&st, &i, 1);
                (void)crypto_auth_hmacsha256_final(&st, out + HASH_BYTES * (i - 1));
        }
        sodium_memzero(&st, sizeof(st));
        sodium_memzero(prk, sizeof(prk));
}

static void set_key(Noise *n, const uint8_t k[32])
{
        memcpy(n->k, k, sizeof(n->k));
        n->has_key = true;
        n->nonce = 0;
}

static void mix_key(Noise *n, const uint8_t *ikm, size_t len)
{
        uint8_t out[2 * HASH_BYTES];

        noise_hkdf(n->ck, ikm, len, out, 2);
        memcpy(n->ck, out, HASH_BYTES);
        set_key(n, out + HASH_BYTES);
        sodium_memzero(out, sizeof(out));
}

static void mix_key_and_hash(Noise *n, const uint8_t psk[32])
{
        uint8_t out[3 * HASH_BYTES];

        noise_hkdf(n->ck, psk, 32, out, 3);
        memcpy(n->ck, out, HASH_BYTES);
        mix_hash(n, out + HASH_BYTES, HASH_BYTES);
        set_key(n, out + 2 * HASH_BYTES);
        sodium_memzero(out, sizeof(out));
}

static void make_nonce(const Noise *n, uint8_t nonce[12])
{
        memset(nonce, 0, 4);
        write_u64le(nonce + 4, n->nonce);
}

/* out: len + TAG_BYTES when there is a key, else len. Returns how much. */
static size_t encrypt_and_hash(Noise *n, const uint8_t *plain, size_t len, uint8_t *out)
{
        uint8_t nonce[12];
        size_t out_len = len;

        if (n->has_key) {
                make_nonce(n, nonce);
                (void)crypto_aead_chacha20poly1305_ietf_encrypt(
                        out, NULL, plain, len, n->h, HASH_BYTES, NULL, nonce, n->k); /* always 0 */
                n->nonce++;
                out_len += TAG_BYTES;
        } else if (len) {
                memmove(out, plain, len);
        }
        mix_hash(n, out, out_len);
        return out_len;
}

/* Reads len bytes of cipher text into out; -EBADMSG: forged. */
static int decrypt_and_hash(Noise *n, const uint8_t *in, size_t len, uint8_t *out)
{
        uint8_t nonce[12];
        uint8_t h[HASH_BYTES];

        memcpy(h, n->h, sizeof(h));
        mix_hash(n, in, len);
        if (!n->has_key) {
                if (len)
                        memmove(out, in, len);
                return 0;
        }
        make_nonce(n, nonce);
        if (len < TAG_BYTES || crypto_aead_chacha20poly1305_ietf_decrypt(
                                       out, NULL, NULL, in, len, h, sizeof(h), nonce, n->k) != 0)
                return -EBADMSG;
        n->nonce++;
        return 0;
}

/* ---- handshake state (section 5.3) ---- */

static int mix_dh(Noise *n, const uint8_t private[32], const uint8_t public[32])
{
        uint8_t shared[DH_BYTES];
        int r = crypto_scalarmult(shared, private, public) != 0 ? -EBADMSG : 0;

        if (r == 0)
                mix_key(n, shared, sizeof(shared));
        sodium_memzero(shared, sizeof(shared));
        return r;
}

static int take_private(const uint8_t *from, uint8_t private[32], uint8_t public[32])
{
        if (!from)
                return 0;
        memcpy(private, from, 32);
        return crypto_scalarmult_base(public, private) != 0 ? -EINVAL : 0;
}

int noise_init(Noise *n, const NoisePattern *p, bool initiator, const uint8_t *prologue,
               size_t prologue_len, const NoiseKeys *keys)
{
        size_t name_len = strlen(p->name);
        int r;

        memset(n, 0, sizeof(*n));
        n->pattern = p;
        n->initiator = initiator;
        n->next = p->tokens;
        n->our_turn = initiator;
        r = take_private(keys->static_private, n->s, n->s_public);
        if (r == 0)
                r = take_private(keys->ephemeral_private, n->e, n->e_public);
        if (r < 0)
                return r;
        if (keys->remote_static_public)
                memcpy(n->rs, keys->remote_static_public, 32);
        if (keys->psk)
                memcpy(n->psk, keys->psk, 32);
        if (name_len <= HASH_BYTES)
                memcpy(n->h, p->name, name_len);
        else
                (void)crypto_hash_sha256(n->h, (const uint8_t *)p->name, name_len); /* always 0 */
        memcpy(n->ck, n->h, HASH_BYTES);
        mix_hash(n, prologue, prologue_len);
        if (p->initiator_static_known)
                mix_hash(n, initiator ? n->s_public : n->rs, 32);
        if (p->responder_static_known)
                mix_hash(n, initiator ? n->rs : n->s_public, 32);
        return 0;
}

/* The tokens that are the same for writer and reader. */
static int mix_token(Noise *n, uint8_t token)
{
        switch ((NoiseToken)token) {
        case NOISE_EE:
                return mix_dh(n, n->e, n->re);
        case NOISE_ES:
                return n->initiator ? mix_dh(n, n->e, n->rs) : mix_dh(n, n->s, n->re);
        case NOISE_SE:
                return n->initiator ? mix_dh(n, n->s, n->re) : mix_dh(n, n->e, n->rs);
        case NOISE_SS:
                return mix_dh(n, n->s, n->rs);
        case NOISE_PSK:
                mix_key_and_hash(n, n->psk);
                return 0;
        case NOISE_END:
        case NOISE_E:
        case NOISE_S:
                break;
        }
        return -EPROTO;
}

static void mix_ephemeral(Noise *n, const uint8_t public[32])
{
        mix_hash(n, public, 32);
        if (n->pattern->psk)
                mix_key(n, public, 32);
}

bool noise_finished(const Noise *n)
{
        return *n->next == NOISE_END;
}

int noise_write(Noise *n, const uint8_t *payload, size_t payload_len, uint8_t *out, size_t size,
                size_t *ret_len)
{
        size_t at = 0;
        int r = 0;

        if (!n->our_turn || noise_finished(n))
                return -EPROTO;
        for (; *n->next != NOISE_END; n->next++) {
                if (*n->next == NOISE_E) {
                        if (size - at < DH_BYTES)
                                return -ENOBUFS;
                        memcpy(out + at, n->e_public, DH_BYTES);
                        mix_ephemeral(n, n->e_public);
                        at += DH_BYTES;
                } else if (*n->next == NOISE_S) {
                        if (size - at < DH_BYTES + TAG_BYTES)
                                return -ENOBUFS;
                        at += encrypt_and_hash(n, n->s_public, DH_BYTES, out + at);
                } else {
                        r = mix_token(n, *n->next);
                }
                if (r < 0)
                        return r;
        }
        if (size - at < payload_len + TAG_BYTES)
                return -ENOBUFS;
        *ret_len = at + encrypt_and_hash(n, payload, payload_len, out + at);
        n->next++;
        n->our_turn = false;
        return 0;
}

/* The public key of an `s` token, sealed once there is a key. Returns how much was read, or
 * -EBADMSG. */
static ssize_t read_static(Noise *n, const uint8_t *in, size_t len)
{
        size_t take = DH_BYTES + (n->has_key ? TAG_BYTES : 0);
        uint8_t plain[DH_BYTES];

        if (len < take || decrypt_and_hash(n, in, take, plain) < 0)
                return -EBADMSG;
        memcpy(n->rs, plain, sizeof(plain));
        return (ssize_t)take;
}

int noise_read(Noise *n, const uint8_t *message, size_t len, uint8_t *out, size_t size,
               size_t *ret_len)
{
        size_t at = 0, tag;
        ssize_t r = 0;

        if (n->our_turn || noise_finished(n))
                return -EPROTO;
        for (; *n->next != NOISE_END; n->next++) {
                if (*n->next == NOISE_E) {
                        if (len - at < DH_BYTES)
                                return -EBADMSG;
                        memcpy(n->re, message + at, DH_BYTES);
                        mix_ephemeral(n, n->re);
                        r = DH_BYTES;
                } else if (*n->next == NOISE_S) {
                        r = read_static(n, message + at, len - at);
                } else {
                        r = mix_token(n, *n->next);
                }
                if (r < 0)
                        return (int)r;
                at += (size_t)r;
        }
        tag = n->has_key ? TAG_BYTES : 0;
        if (len - at < tag)
                return -EBADMSG;
        if (len - at - tag > size)
                return -ENOBUFS;
        r = decrypt_and_hash(n, message + at, len - at, out);
        if (r < 0)
                return (int)r;
        *ret_len = len - at - tag;
        n->next++;
        n->our_turn = true;
        return 0;
}

void noise_split(const Noise *n, uint8_t first[32], uint8_t second[32])
{
        uint8_t out[2 * HASH_BYTES];

        noise_hkdf(n->ck, NULL, 0, out, 2);
        memcpy(first, out, 32);
        memcpy(second, out + 32, 32);
        sodium_memzero(out, sizeof(out));
}
