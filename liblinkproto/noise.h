/* The Noise Protocol Framework, revision 34, for 25519_ChaChaPoly_SHA256. Link uses NKpsk0; the
 * machine interprets a pattern's tokens, so that it can be held against public vectors of other
 * patterns. */
#pragma once

#include "seal.h"

typedef enum NoiseToken {
        NOISE_END = 0, /* of a message; two in a row end the pattern */
        NOISE_E,
        NOISE_S,
        NOISE_EE,
        NOISE_ES,
        NOISE_SE,
        NOISE_SS,
        NOISE_PSK,
} NoiseToken;

typedef struct NoisePattern {
        const char *name;            /* "Noise_NKpsk0_25519_ChaChaPoly_SHA256" */
        bool initiator_static_known; /* pre-message -> s */
        bool responder_static_known; /* pre-message <- s */
        bool psk;                    /* some message has a psk token: e mixes into the key too */
        const uint8_t *tokens;       /* NoiseToken values */
} NoisePattern;

extern const NoisePattern noise_nkpsk0;

enum { NOISE_KEY_BYTES = 32, NOISE_NKPSK0_MESSAGE_BYTES = 48 };

/* Keys a handshake is given; NULL where the pattern has none. Copied in. */
typedef struct NoiseKeys {
        const uint8_t *static_private;
        const uint8_t *ephemeral_private; /* 32 fresh random bytes */
        const uint8_t *remote_static_public;
        const uint8_t *psk;
} NoiseKeys;

/* Holds secrets: part of a secret_object_new() object. */
typedef struct Noise {
        const NoisePattern *pattern;
        bool initiator;
        const uint8_t *next; /* token that comes next */
        bool our_turn;
        bool has_key;
        uint64_t nonce;
        uint8_t k[32], ck[32], h[32];
        uint8_t s[32], s_public[32], e[32], e_public[32], rs[32], re[32], psk[32];
} Noise;

int noise_init(Noise *n, const NoisePattern *p, bool initiator, const uint8_t *prologue,
               size_t prologue_len, const NoiseKeys *keys) _must_use_;
/* Writes the next message with a payload. *ret_len: its length. 0; -ENOBUFS; -EPROTO: not our turn;
 * -EBADMSG: a key exchange gave the zero point. */
int noise_write(Noise *n, const uint8_t *payload, size_t payload_len, uint8_t *out, size_t size,
                size_t *ret_len) _must_use_;
/* Reads the next message; its payload goes to out. 0; -EBADMSG: short, forged, or a zero point;
 * -ENOBUFS; -EPROTO. */
int noise_read(Noise *n, const uint8_t *message, size_t len, uint8_t *out, size_t size,
               size_t *ret_len) _must_use_;
/* Whether all messages went. */
bool noise_finished(const Noise *n);
/* Split: initiator to responder, and the other way. The initiator sends with the first. */
void noise_split(const Noise *n, uint8_t first[32], uint8_t second[32]);
