#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "b64u.h"
#include "buf.h"
#include "regauth-internal.h"

static const char context[] = "frontier-link-register-v1";

static void add_len_str(Buf *b, const char *s)
{
        buf_add_u32be(b, (uint32_t)strlen(s));
        buf_add_str(b, s);
}

void register_signed_bytes(Buf *b, const char *address, int64_t ts_msec, const char *nonce,
                           const char *origin)
{
        char ts[24];

        (void)snprintf(ts, sizeof(ts), "%lld", (long long)ts_msec); /* 20 characters at most */
        buf_add_str(b, context);
        add_len_str(b, address);
        add_len_str(b, ts);
        add_len_str(b, nonce);
        add_len_str(b, origin);
}

/* nonce of 88 code points at most, as UTF-8 */
enum { NONCE_BYTES_MAX = REGISTER_NONCE_MAX * 4 };

static bool nonce_is_valid(const char *nonce, size_t len)
{
        size_t chars = 0;

        for (size_t i = 0; i < len; i++)
                chars += ((unsigned char)nonce[i] & 0xc0) != 0x80;
        return chars >= 1 && chars <= REGISTER_NONCE_MAX && strlen(nonce) == len;
}

static bool take_bytes(JsonSlice v, uint8_t *out, size_t n)
{
        char text[B64U_LEN(REGISTER_SIG_BYTES) + 1];
        size_t len;

        return json_str_copy(v, text, sizeof(text), &len) == 0 &&
               b64u_decode_exact(text, len, out, n) == 0;
}

static bool is_commitment(const char *address, const uint8_t public[REGISTER_KEY_BYTES])
{
        uint8_t hash[crypto_hash_sha256_BYTES];
        char expect[ADDRESS_CHARS + 1];

        (void)crypto_hash_sha256(hash, public, REGISTER_KEY_BYTES); /* always 0 */
        b64u_encode(hash, sizeof(hash), expect);
        return strcmp(expect, address) == 0;
}

RegisterVerdict register_verify(JsonSlice auth, const char *address, const char *origin,
                                int64_t now_msec, RegisterClaim *ret)
{
        enum { ALG, PUB, TS, NONCE, SIG, N };
        static const char *const names[N] = {"alg", "pub", "ts", "nonce", "sig"};
        char nonce[NONCE_BYTES_MAX + 1];
        JsonSlice v[N];
        RegisterClaim c;
        size_t nonce_len;
        Buf b = {};
        int r;

        if (!json_is_object(auth) || json_scan_object(auth.p, auth.n, names, v, N) < 0 ||
            !json_str_eq(v[ALG], "ed25519") || !take_bytes(v[PUB], c.public, sizeof(c.public)) ||
            !take_bytes(v[SIG], c.sig, sizeof(c.sig)) || json_int64(v[TS], &c.ts_msec) < 0 ||
            json_str_copy(v[NONCE], nonce, sizeof(nonce), &nonce_len) < 0 ||
            !nonce_is_valid(nonce, nonce_len))
                return REGISTER_BAD;
        /* ts is bounded first: the difference cannot overflow. */
        if (c.ts_msec < 0 || c.ts_msec < now_msec - REGISTER_CLOCK_SKEW_MSEC ||
            c.ts_msec > now_msec + REGISTER_CLOCK_SKEW_MSEC || !is_commitment(address, c.public))
                return REGISTER_BAD;
        register_signed_bytes(&b, address, c.ts_msec, nonce, origin);
        r = buf_ok(&b);
        if (r == 0)
                r = crypto_sign_verify_detached(c.sig, b.data, b.len, c.public);
        buf_done(&b);
        if (r != 0)
                return REGISTER_BAD;
        *ret = c;
        return REGISTER_VALID;
}
