/* The two handshakes of PROTOCOL.md, both ends, without I/O: frames, clock and randomness in,
 * frames and outcome out.
 *
 *   client                       host           client                        host
 *   F0 header, F1 pA       -->                  F0 header, F1 message 1  -->
 *                 <--  F2 pB                                <--  F2 message 2 or the refusal
 *   F3 cA                  -->
 *         <--  F4 cB, F5 sealed welcome
 *
 * The owner calls start or feed, then sends every frame that handshake_output() gives, and looks at
 * the result. Once a result other than HANDSHAKE_MORE, NEED_SECRET or NEED_STORE was returned the
 * machine is over: frames, ticks and a close that come later get a result that says so, and change
 * nothing. A call that has no place where the machine stands is -EPROTO. A deadline is absolute, on
 * the caller's clock. */
#pragma once

#include "credential.h"
#include "header.h"
#include "seal.h"

enum {
        HANDSHAKE_PAIR_FRAME_MSEC = 15000,
        HANDSHAKE_RECONNECT_FRAME_MSEC = 10000,
        HANDSHAKE_RANDOM_BYTES = 48, /* SPAKE2 scalar, or the first 32 as Noise ephemeral */
        HANDSHAKE_PASSWORD_MAX = 1024,
};

typedef enum HandshakeResult {
        HANDSHAKE_MORE = 1,    /* waits for a frame until handshake_deadline_msec() */
        HANDSHAKE_NEED_SECRET, /* host: header known; call handshake_host_give_*() or _refuse() */
        HANDSHAKE_NEED_STORE,  /* host: cA verified; store the device, then handshake_host_stored()
                                */
        HANDSHAKE_DONE,        /* keys (and, pairing, the credential) can be taken */
        HANDSHAKE_WRONG_CODE,  /* confirmation failed; a client also by handshake_closed() after cA
                                */
        HANDSHAKE_REFUSED,  /* client: the host's refusal; host: its own refusal is in the output */
        HANDSHAKE_BAD_PEER, /* a frame that no honest peer sends; drop the connection */
        HANDSHAKE_TIMED_OUT,
        HANDSHAKE_LOST, /* closed before the end (see handshake_closed) */
} HandshakeResult;

typedef struct Handshake Handshake; /* in locked memory */

Handshake *handshake_free(Handshake *h);
DEFINE_CLEANUP(Handshake, handshake_free)

/* Client, pairing: code is the pairing code as typed. code_id NULL: version 1. recover: mode 2
 * instead. address is the one dialed; another one in the welcome is HANDSHAKE_BAD_PEER. 0;
 * SPAKE2-unusable code or randomness: -EINVAL; -ENOMEM. */
int handshake_client_pair(Handshake **ret, const char *address, const uint8_t *code,
                          size_t code_len, const uint8_t *code_id, bool recover,
                          const uint8_t random[HANDSHAKE_RANDOM_BYTES]) _must_use_;
/* Client, reconnecting with a credential (copied). */
int handshake_client_reconnect(Handshake **ret, const Credential *c,
                               const uint8_t random[HANDSHAKE_RANDOM_BYTES]) _must_use_;
/* Client: makes F0 and F1. HANDSHAKE_MORE, or negative errno. */
int handshake_client_start(Handshake *h, uint64_t now_msec) _must_use_;
/* Client: whether cA was sent, after which no other relay may be tried in a pairing. */
bool handshake_client_confirmed(const Handshake *h);

/* Host: static_private is the host's static key; random as above. welcome_random: 32-byte token and
 * 16-byte key id that a pairing would hand out. address: the host's. */
int handshake_host_new(Handshake **ret, const char *address,
                       const uint8_t static_private[STATIC_KEY_BYTES],
                       const uint8_t random[HANDSHAKE_RANDOM_BYTES],
                       const uint8_t welcome_random[TOKEN_BYTES + KEY_ID_BYTES],
                       uint64_t now_msec) _must_use_;
/* Host, after NEED_SECRET: what the client asked for. */
const Header *handshake_host_header(const Handshake *h);
/* Host: the password of the code (or recovery key), or the token of the device. A HandshakeResult,
 * or negative errno. Frames that came in the meantime are processed. */
int handshake_host_give_password(Handshake *h, const uint8_t *password, size_t len,
                                 uint64_t now_msec) _must_use_;
int handshake_host_give_token(Handshake *h, const uint8_t token[TOKEN_BYTES],
                              uint64_t now_msec) _must_use_;
/* Host: no such key id. The refusal goes to the output; HANDSHAKE_REFUSED. A pairing is never
 * refused so: its connection is just closed (-EPROTO here). */
int handshake_host_refuse(Handshake *h) _must_use_;
/* Host, after NEED_STORE: the device is on disk. cB and the welcome go out; HANDSHAKE_DONE. */
int handshake_host_stored(Handshake *h) _must_use_;

/* A frame from the peer (binary message), after all output was taken (else -EPROTO). A
 * HandshakeResult, or negative errno. Data that does not
 * authenticate is an outcome, never an errno. A host may hold one frame (F1) until the secret is
 * given. */
int handshake_feed(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec) _must_use_;
/* The clock moved on: HANDSHAKE_TIMED_OUT or HANDSHAKE_MORE. */
int handshake_tick(Handshake *h, uint64_t now_msec) _must_use_;
/* The connection closed: HANDSHAKE_WRONG_CODE for a client after cA and before cB, else
 * HANDSHAKE_LOST. */
int handshake_closed(Handshake *h) _must_use_;
uint64_t handshake_deadline_msec(const Handshake *h);

/* The next frame to send, or false. The bytes are valid until the next call on h. */
bool handshake_output(Handshake *h, const uint8_t **ret, size_t *ret_len);

/* After HANDSHAKE_DONE. The keys as this end uses them, counters as they stand: write into a
 * secret_object_new() object. The machine's own copy is wiped. */
void handshake_take_keys(Handshake *h, SealPair *ret);
/* After DONE of a pairing client, or NEED_STORE / DONE of a pairing host. */
const Credential *handshake_credential(const Handshake *h);
