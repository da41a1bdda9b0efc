/* SPAKE2, RFC 9382, P256-SHA256-HKDF-HMAC, with Link's password mapping and identities (PROTOCOL.md
 * "Pair"). P-256 by libcrypto in constant time, everything else by libsodium. */
#pragma once

#include "util.h"

enum {
        SPAKE2_POINT_BYTES = 65,
        SPAKE2_SCALAR_BYTES = 32,
        SPAKE2_MAC_BYTES = 32,
        SPAKE2_RANDOM_BYTES = 48
};

typedef enum Spake2Role { SPAKE2_CLIENT, SPAKE2_HOST } Spake2Role; /* A with M, B with N */

typedef enum Spake2Verdict {
        SPAKE2_REDRAW = 1,    /* the random bytes or the password give 0 */
        SPAKE2_BAD_POINT = 2, /* not on the curve, or the identity */
        SPAKE2_MISMATCH = 3,  /* the confirmation does not verify: another password */
} Spake2Verdict;

/* All fields are secret unless their name says otherwise: part of a secret_object_new() object.
 * Exposed for vectors; other callers use the functions. */
typedef struct Spake2 {
        Spake2Role role;
        uint8_t w[SPAKE2_SCALAR_BYTES];
        uint8_t x[SPAKE2_SCALAR_BYTES];      /* this side's scalar */
        uint8_t share_a[SPAKE2_POINT_BYTES]; /* public */
        uint8_t share_b[SPAKE2_POINT_BYTES]; /* public */
        uint8_t k[SPAKE2_POINT_BYTES];
        uint8_t hash[32]; /* Ke | Ka */
        uint8_t kc_a[16], kc_b[16];
        uint8_t confirm_a[SPAKE2_MAC_BYTES], confirm_b[SPAKE2_MAC_BYTES];
} Spake2;

/* w of a password (any bytes, at least one). 0; SPAKE2_REDRAW: w = 0; negative errno. */
int spake2_password_to_w(const uint8_t *password, size_t len,
                         uint8_t w[SPAKE2_SCALAR_BYTES]) _must_use_;
/* Scalar of 48 random bytes. 0; SPAKE2_REDRAW; negative errno. */
int spake2_random_to_scalar(const uint8_t random[SPAKE2_RANDOM_BYTES],
                            uint8_t x[SPAKE2_SCALAR_BYTES]) _must_use_;
/* Computes this side's share from w and x. 0; negative errno. */
int spake2_start(Spake2 *s, Spake2Role role, const uint8_t w[SPAKE2_SCALAR_BYTES],
                 const uint8_t x[SPAKE2_SCALAR_BYTES]) _must_use_;
/* Takes the other side's share, computes K, transcript, keys and both confirmations. id_a, id_b:
 * the identities (empty allowed, for RFC vectors); aad: the canonical header. 0; SPAKE2_BAD_POINT;
 * negative errno. */
int spake2_finish(Spake2 *s, const char *id_a, const char *id_b, const uint8_t *aad, size_t aad_len,
                  const uint8_t *peer_share, size_t peer_share_len) _must_use_;
/* Compares the other side's confirmation in constant time. 0; SPAKE2_MISMATCH. */
int spake2_verify(const Spake2 *s, const uint8_t *mac, size_t len) _must_use_;
/* Transport keys, client to host and host to client. */
void spake2_transport_keys(const Spake2 *s, uint8_t client_to_host[32], uint8_t host_to_client[32]);

extern const char spake2_id_client[]; /* "FrontierLink/v1/client" */
extern const char spake2_id_host[];   /* "FrontierLink/v1/host" */
