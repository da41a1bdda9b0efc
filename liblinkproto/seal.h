/* Sealed frames: ChaCha20-Poly1305 (IETF), nonce 00000000 | u64le(counter), no associated data, one
 * counter a direction, never sent (PROTOCOL.md "Sealed frames"). */
#pragma once

#include "util.h"

enum { SEAL_KEY_BYTES = 32, SEAL_TAG_BYTES = 16 };

/* One direction. Holds a key: part of a secret_object_new() object. */
typedef struct SealKey {
        uint8_t key[SEAL_KEY_BYTES];
        uint64_t counter;
} SealKey;

/* Both directions of a session, as this end uses them. Holds keys. */
typedef struct SealPair {
        SealKey send;
        SealKey receive;
} SealPair;

/* Seals len bytes into out (len + SEAL_TAG_BYTES; may be the same memory as plain) and moves the
 * counter on. 0; -EOVERFLOW: the counter may not wrap, the session must end. */
int seal_frame(SealKey *k, const uint8_t *plain, size_t len, uint8_t *out) _must_use_;
/* Opens a frame of len bytes into out (len - SEAL_TAG_BYTES; may be the same memory).
 * 0; -EBADMSG: short or not authentic, the counter stays; -EOVERFLOW. */
int seal_open(SealKey *k, const uint8_t *frame, size_t len, uint8_t *out) _must_use_;
