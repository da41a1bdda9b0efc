/* What the two ends of a handshake share, for handshake.c and handshake-host.c. */
#pragma once

#include "handshake.h"
#include "noise.h"
#include "spake2.h"

enum {
        WELCOME_ADDRESS_MAX = 256,
        WELCOME_MAX = 4 + WELCOME_ADDRESS_MAX + STATIC_KEY_BYTES + TOKEN_BYTES + KEY_ID_BYTES,
        FRAME_MAX = WELCOME_MAX + SEAL_TAG_BYTES,
        OUTPUT_FRAMES_MAX = 2,               /* F0 and F1; F4 and F5 */
        HELD_FRAME_MAX = SPAKE2_POINT_BYTES, /* F1 of a pairing, the longest first share */
};

/* What is waited for. */
typedef enum HandshakeStep {
        STEP_HEADER,  /* host: F0 */
        STEP_SECRET,  /* host: its owner's answer */
        STEP_SHARE,   /* F1 or F2 of a pairing */
        STEP_CONFIRM, /* F3 or F4 */
        STEP_STORE,   /* host: its owner's answer */
        STEP_WELCOME, /* client: F5 */
        STEP_NOISE,   /* F1 or F2 of a reconnect */
        STEP_OVER,
} HandshakeStep;

typedef struct OutputFrame {
        size_t len;
        uint8_t data[FRAME_MAX];
} OutputFrame;

struct Handshake {
        bool host;
        HandshakeStep step;
        uint64_t deadline_msec;
        Header header;
        uint8_t header_bytes[HEADER_BYTES_MAX];
        size_t header_len;
        Spake2 spake2;
        Noise noise;
        uint8_t random[HANDSHAKE_RANDOM_BYTES];
        uint8_t static_private[STATIC_KEY_BYTES]; /* host */
        bool confirmed;                           /* client: cA was sent */
        Credential credential;
        SealPair keys;
        bool has_held;
        size_t held_len;
        uint8_t held[HELD_FRAME_MAX];
        unsigned n_output, next_output;
        OutputFrame output[OUTPUT_FRAMES_MAX];
};

/* Room for a frame; the frames before have been taken. */
uint8_t *handshake_push(Handshake *h, size_t len);
/* Waits for a frame from now on. HANDSHAKE_MORE. */
int handshake_wait(Handshake *h, HandshakeStep step, uint64_t now_msec);
/* The end; keys that are not needed are wiped. Returns result. */
int handshake_end(Handshake *h, int result);
void handshake_use_pair_keys(Handshake *h);
void handshake_use_noise_keys(Handshake *h);

int handshake_client_feed(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec);
int handshake_host_feed(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec);
