/* Register signatures (PROTOCOL.md "Registration"): the host's derived Ed25519 key, the signed
 * message, and the relay's checks. regauth_verify needs no private key and is all that the relay
 * links. */
#pragma once

#include "json.h"
#include "credential.h"

enum {
        REGISTER_KEY_BYTES = 32,
        REGISTER_SIG_BYTES = 64,
        REGISTER_NONCE_MAX = 88,           /* characters */
        REGISTER_CLOCK_SKEW_MSEC = 300000, /* how far ts may be from the relay's clock */
        REGISTER_ORIGIN_MAX = 261, /* a DNS name of 253 with ":65535", or a bracketed IPv6 */
};

/* A host's register key pair. Holds a secret: part of a secret_object_new() object. */
typedef struct RegisterKey {
        uint8_t secret[64]; /* libsodium's form: seed | public */
        uint8_t public[REGISTER_KEY_BYTES];
        char address[ADDRESS_CHARS + 1];
} RegisterKey;

/* Derives the key and the address from the 32 private key bytes of the host's static key, as
 * stored. */
void register_key_derive(RegisterKey *ret, const uint8_t host_static_private[STATIC_KEY_BYTES]);

/* Writes the `register` control message, signed, as JSON text into out. nonce: 16 random bytes.
 * The length, or -ENOBUFS. */
int register_message(const RegisterKey *k, int64_t ts_msec, const uint8_t nonce[16],
                     const char *origin, char *out, size_t size) _must_use_;

/* The origin of a ws:// or wss:// URL: host[:port], lower-cased, without the default port.
 * 0; -EINVAL: no such URL; -ENOBUFS. */
int register_origin_of_url(const char *url, char *out, size_t size) _must_use_;

typedef enum RegisterVerdict {
        REGISTER_VALID = 0,
        REGISTER_BAD = 1, /* every failure closes 4007 */
} RegisterVerdict;

/* What a relay keeps of a valid register. */
typedef struct RegisterClaim {
        uint8_t public[REGISTER_KEY_BYTES];
        uint8_t sig[REGISTER_SIG_BYTES];
        int64_t ts_msec;
} RegisterClaim;

/* Checks `auth` (the slice of that member, p = NULL if absent) for address at origin: shape, clock,
 * commitment, signature. The signature is the last and only expensive check.
 * REGISTER_VALID (*ret written), REGISTER_BAD. */
RegisterVerdict register_verify(JsonSlice auth, const char *address, const char *origin,
                                int64_t now_msec, RegisterClaim *ret) _must_use_;
