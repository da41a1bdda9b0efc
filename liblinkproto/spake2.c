#include "spake2.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>
#include <sodium.h>

#include "hkdf.h"

const char spake2_id_client[] = "FrontierLink/v1/client";
const char spake2_id_host[] = "FrontierLink/v1/host";

/* RFC 9382 section 6, P-256: the points M and N, compressed. */
static const uint8_t point_m[] = {0x02, 0x88, 0x6e, 0x2f, 0x97, 0xac, 0xe4, 0x6e, 0x55, 0xba, 0x9d,
                                  0xd7, 0x24, 0x25, 0x79, 0xf2, 0x99, 0x3b, 0x64, 0xe1, 0x6e, 0xf3,
                                  0xdc, 0xab, 0x95, 0xaf, 0xd4, 0x97, 0x33, 0x3d, 0x8f, 0xa1, 0x2f};
static const uint8_t point_n[] = {0x03, 0xd8, 0xbb, 0xd6, 0xc6, 0x39, 0xc6, 0x29, 0x37, 0xb0, 0x4d,
                                  0x99, 0x7f, 0x38, 0xc3, 0x77, 0x07, 0x19, 0xc6, 0x29, 0xd7, 0x01,
                                  0x4d, 0x49, 0xa2, 0x4b, 0x4f, 0x98, 0xba, 0xa1, 0x29, 0x2b, 0x49};

/* libcrypto's objects for one computation; all of it is cleared when it ends. */
typedef struct Curve {
        EC_GROUP *group;
        BN_CTX *ctx;
        BIGNUM *order;
} Curve;

static void curve_done(Curve *c)
{
        BN_free(c->order);
        BN_CTX_free(c->ctx); /* a secure one: its numbers are cleared */
        EC_GROUP_free(c->group);
}

static int curve_init(Curve *c)
{
        c->group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
        c->ctx = BN_CTX_secure_new();
        c->order = BN_new();
        return c->group && c->ctx && c->order && EC_GROUP_get_order(c->group, c->order, c->ctx)
                       ? 0
                       : -ENOMEM;
}

static void bn_freep(BIGNUM **b)
{
        BN_clear_free(*b);
}

static void point_freep(EC_POINT **p)
{
        EC_POINT_clear_free(*p);
}

static BIGNUM *secret_bn(const uint8_t *bytes, size_t len)
{
        BIGNUM *b = BN_secure_new();

        if (!b || !BN_bin2bn(bytes, (int)len, b)) {
                BN_clear_free(b);
                return NULL;
        }
        BN_set_flags(b, BN_FLG_CONSTTIME);
        return b;
}

/* bytes mod n, 32 bytes big-endian. 0; SPAKE2_REDRAW: zero; negative errno. */
static int reduce(const uint8_t *bytes, size_t len, uint8_t out[SPAKE2_SCALAR_BYTES])
{
        _cleanup_(curve_done) Curve c = {};
        _cleanup_(bn_freep) BIGNUM *in = NULL, *rem = NULL;
        uint8_t reduced[SPAKE2_SCALAR_BYTES];
        int r = curve_init(&c);

        if (r < 0)
                return r;
        in = secret_bn(bytes, len);
        rem = BN_secure_new();
        if (!in || !rem)
                return -ENOMEM;
        BN_set_flags(rem, BN_FLG_CONSTTIME);
        if (!BN_nnmod(rem, in, c.order, c.ctx) ||
            BN_bn2binpad(rem, reduced, sizeof(reduced)) != sizeof(reduced))
                return -EIO;
        r = sodium_is_zero(reduced, sizeof(reduced)) ? SPAKE2_REDRAW : 0;
        if (r == 0)
                memcpy(out, reduced, sizeof(reduced));
        sodium_memzero(reduced, sizeof(reduced));
        return r;
}

int spake2_password_to_w(const uint8_t *password, size_t len, uint8_t w[SPAKE2_SCALAR_BYTES])
{
        static const char info[] = "FrontierLink/SPAKE2/v1 w";
        uint8_t wide[40];
        int r;

        hkdf_sha256(password, len, NULL, 0, (const uint8_t *)info, sizeof(info) - 1, wide,
                    sizeof(wide));
        r = reduce(wide, sizeof(wide), w);
        sodium_memzero(wide, sizeof(wide));
        return r;
}

int spake2_random_to_scalar(const uint8_t random[SPAKE2_RANDOM_BYTES],
                            uint8_t x[SPAKE2_SCALAR_BYTES])
{
        return reduce(random, SPAKE2_RANDOM_BYTES, x);
}

static EC_POINT *decode_point(const Curve *c, const uint8_t *bytes, size_t len)
{
        EC_POINT *p = EC_POINT_new(c->group);

        /* oct2point checks that the point is on the curve; the cofactor is 1. */
        if (!p || !EC_POINT_oct2point(c->group, p, bytes, len, c->ctx)) {
                EC_POINT_clear_free(p);
                return NULL;
        }
        return p;
}

static EC_POINT *mask_point(const Curve *c, bool of_client)
{
        return of_client ? decode_point(c, point_m, sizeof(point_m))
                         : decode_point(c, point_n, sizeof(point_n));
}

/* k·p; p NULL: the generator. One scalar at a time: libcrypto's constant-time path. */
static EC_POINT *multiply(const Curve *c, const EC_POINT *p, const BIGNUM *k)
{
        EC_POINT *q = EC_POINT_new(c->group);

        if (!q || !EC_POINT_mul(c->group, q, p ? NULL : k, p, p ? k : NULL, c->ctx)) {
                EC_POINT_clear_free(q);
                return NULL;
        }
        return q;
}

static int encode_point(const Curve *c, const EC_POINT *p, uint8_t out[SPAKE2_POINT_BYTES])
{
        return EC_POINT_point2oct(c->group, p, POINT_CONVERSION_UNCOMPRESSED, out,
                                  SPAKE2_POINT_BYTES, c->ctx) == SPAKE2_POINT_BYTES
                       ? 0
                       : -EIO;
}

int spake2_start(Spake2 *s, Spake2Role role, const uint8_t w[SPAKE2_SCALAR_BYTES],
                 const uint8_t x[SPAKE2_SCALAR_BYTES])
{
        _cleanup_(curve_done) Curve c = {};
        _cleanup_(bn_freep) BIGNUM *bw = NULL, *bx = NULL;
        _cleanup_(point_freep) EC_POINT *mask = NULL, *wm = NULL, *xg = NULL;
        int r = curve_init(&c);

        if (r < 0)
                return r;
        memset(s, 0, sizeof(*s));
        s->role = role;
        memcpy(s->w, w, sizeof(s->w));
        memcpy(s->x, x, sizeof(s->x));
        bw = secret_bn(w, SPAKE2_SCALAR_BYTES);
        bx = secret_bn(x, SPAKE2_SCALAR_BYTES);
        mask = mask_point(&c, role == SPAKE2_CLIENT);
        if (!bw || !bx || !mask)
                return -ENOMEM;
        wm = multiply(&c, mask, bw);
        xg = multiply(&c, NULL, bx);
        if (!wm || !xg || !EC_POINT_add(c.group, xg, xg, wm, c.ctx))
                return -EIO;
        return encode_point(&c, xg, role == SPAKE2_CLIENT ? s->share_a : s->share_b);
}

/* K = x·(peer − w·mask). 0; SPAKE2_BAD_POINT; negative errno.
 *
 * A peer that sends w'·mask for a guess w' makes K the identity exactly if the guess is right. RFC
 * 9382 has that abort, but whoever sees the abort, where a wrong guess would have got an answer,
 * has tried a password for nothing: no confirmation was wrong. So the exchange goes on, in the same
 * time, with a K that the peer cannot compute (x·mask: it knows x·G at most), and ends at the
 * confirmation like any other wrong guess. */
static int shared_point(Spake2 *s, const uint8_t *peer_share, size_t len)
{
        _cleanup_(curve_done) Curve c = {};
        _cleanup_(bn_freep) BIGNUM *bw = NULL, *bx = NULL;
        _cleanup_(point_freep) EC_POINT *peer = NULL, *mask = NULL, *wm = NULL, *k = NULL;
        int r;

        /* Exactly the uncompressed form: no compressed, hybrid or identity encoding. */
        if (len != SPAKE2_POINT_BYTES || peer_share[0] != POINT_CONVERSION_UNCOMPRESSED)
                return SPAKE2_BAD_POINT;
        r = curve_init(&c);
        if (r < 0)
                return r;
        peer = decode_point(&c, peer_share, len);
        if (!peer)
                return SPAKE2_BAD_POINT;
        bw = secret_bn(s->w, sizeof(s->w));
        bx = secret_bn(s->x, sizeof(s->x));
        mask = mask_point(&c, s->role != SPAKE2_CLIENT);
        if (!bw || !bx || !mask)
                return -ENOMEM;
        wm = multiply(&c, mask, bw);
        if (!wm || !EC_POINT_invert(c.group, wm, c.ctx) ||
            !EC_POINT_add(c.group, peer, peer, wm, c.ctx))
                return -EIO;
        if (EC_POINT_is_at_infinity(c.group, peer) && !EC_POINT_copy(peer, mask))
                return -EIO;
        k = multiply(&c, peer, bx);
        if (!k)
                return -EIO;
        if (EC_POINT_is_at_infinity(c.group, k))
                return SPAKE2_BAD_POINT;
        return encode_point(&c, k, s->k);
}

/* The transcript's parts go to two consumers: the hash, and the confirmations' HMACs. */
typedef struct Part {
        const void *p;
        size_t n;
} Part;

enum { TRANSCRIPT_PARTS = 6 };

static void transcript_hash(const Part *parts, uint8_t out[crypto_hash_sha256_BYTES])
{
        crypto_hash_sha256_state st;

        (void)crypto_hash_sha256_init(&st); /* libsodium's hash functions always return 0 */
        for (size_t i = 0; i < TRANSCRIPT_PARTS; i++) {
                uint8_t len[8];
                write_u64le(len, parts[i].n);
                (void)crypto_hash_sha256_update(&st, len, sizeof(len));
                (void)crypto_hash_sha256_update(&st, parts[i].p, parts[i].n);
        }
        (void)crypto_hash_sha256_final(&st, out);
        sodium_memzero(&st, sizeof(st));
}

static void transcript_mac(const Part *parts, const uint8_t key[16], uint8_t out[SPAKE2_MAC_BYTES])
{
        crypto_auth_hmacsha256_state st;

        (void)crypto_auth_hmacsha256_init(&st, key, 16); /* always 0, as above */
        for (size_t i = 0; i < TRANSCRIPT_PARTS; i++) {
                uint8_t len[8];
                write_u64le(len, parts[i].n);
                (void)crypto_auth_hmacsha256_update(&st, len, sizeof(len));
                (void)crypto_auth_hmacsha256_update(&st, parts[i].p, parts[i].n);
        }
        (void)crypto_auth_hmacsha256_final(&st, out);
        sodium_memzero(&st, sizeof(st));
}

int spake2_finish(Spake2 *s, const char *id_a, const char *id_b, const uint8_t *aad, size_t aad_len,
                  const uint8_t *peer_share, size_t peer_share_len)
{
        static const char label[] = "ConfirmationKeys";
        const Part parts[TRANSCRIPT_PARTS] = {
                {id_a, strlen(id_a)},
                {id_b, strlen(id_b)},
                {s->share_a, SPAKE2_POINT_BYTES},
                {s->share_b, SPAKE2_POINT_BYTES},
                {s->k, SPAKE2_POINT_BYTES},
                {s->w, SPAKE2_SCALAR_BYTES},
        };
        uint8_t info[sizeof(label) - 1 + 64], keys[32];
        int r;

        if (aad_len > 64)
                return -EINVAL;
        r = shared_point(s, peer_share, peer_share_len);
        if (r != 0)
                return r;
        memcpy(s->role == SPAKE2_CLIENT ? s->share_b : s->share_a, peer_share, SPAKE2_POINT_BYTES);
        transcript_hash(parts, s->hash);
        memcpy(info, label, sizeof(label) - 1);
        if (aad_len)
                memcpy(info + sizeof(label) - 1, aad, aad_len);
        hkdf_sha256(s->hash + 16, 16, NULL, 0, info, sizeof(label) - 1 + aad_len, keys,
                    sizeof(keys));
        memcpy(s->kc_a, keys, 16);
        memcpy(s->kc_b, keys + 16, 16);
        sodium_memzero(keys, sizeof(keys));
        transcript_mac(parts, s->kc_a, s->confirm_a);
        transcript_mac(parts, s->kc_b, s->confirm_b);
        return 0;
}

int spake2_verify(const Spake2 *s, const uint8_t *mac, size_t len)
{
        const uint8_t *expect = s->role == SPAKE2_CLIENT ? s->confirm_b : s->confirm_a;

        return len == SPAKE2_MAC_BYTES && sodium_memcmp(mac, expect, SPAKE2_MAC_BYTES) == 0
                       ? 0
                       : SPAKE2_MISMATCH;
}

void spake2_transport_keys(const Spake2 *s, uint8_t client_to_host[32], uint8_t host_to_client[32])
{
        static const char info[] = "FrontierLink/transport/v1";
        uint8_t okm[64];

        hkdf_sha256(s->hash, 16, s->hash, sizeof(s->hash), (const uint8_t *)info, sizeof(info) - 1,
                    okm, sizeof(okm));
        memcpy(client_to_host, okm, 32);
        memcpy(host_to_client, okm + 32, 32);
        sodium_memzero(okm, sizeof(okm));
}
