/* The host's end of the handshakes in handshake.h. */
#include <errno.h>
#include <sodium.h>

#include "handshake-internal.h"
#include "secret.h"

int handshake_host_new(Handshake **ret, const char *address,
                       const uint8_t static_private[STATIC_KEY_BYTES],
                       const uint8_t random[HANDSHAKE_RANDOM_BYTES],
                       const uint8_t welcome_random[TOKEN_BYTES + KEY_ID_BYTES], uint64_t now_msec)
{
        Handshake *h;

        if (strlen(address) > ADDRESS_CHARS)
                return -EINVAL;
        h = secret_object_new(sizeof(*h));
        if (!h)
                return -ENOMEM;
        h->host = true;
        strcpy(h->credential.address, address); /* measured above */
        memcpy(h->static_private, static_private, STATIC_KEY_BYTES);
        memcpy(h->random, random, sizeof(h->random));
        memcpy(h->credential.token, welcome_random, TOKEN_BYTES);
        memcpy(h->credential.key_id, welcome_random + TOKEN_BYTES, KEY_ID_BYTES);
        if (crypto_scalarmult_base(h->credential.host_static_public, static_private) != 0) {
                handshake_free(h);
                return -EINVAL;
        }
        (void)handshake_wait(h, STEP_HEADER, now_msec);
        *ret = h;
        return 0;
}

const Header *handshake_host_header(const Handshake *h)
{
        return &h->header;
}

/* ---- frames ---- */

static int on_header(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec)
{
        if (header_decode(frame, len, &h->header) < 0)
                return handshake_end(h, HANDSHAKE_BAD_PEER);
        h->header_len = header_encode(&h->header, h->header_bytes);
        (void)handshake_wait(h, STEP_SECRET, now_msec);
        return HANDSHAKE_NEED_SECRET;
}

/* F1 may come before the owner has found the secret: one frame waits. */
static int hold(Handshake *h, const uint8_t *frame, size_t len)
{
        if (h->has_held || len > sizeof(h->held))
                return handshake_end(h, HANDSHAKE_BAD_PEER);
        h->has_held = true;
        h->held_len = len;
        memcpy(h->held, frame, len);
        return HANDSHAKE_MORE;
}

static int on_share(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec)
{
        int r = spake2_finish(&h->spake2, spake2_id_client, spake2_id_host, h->header_bytes,
                              h->header_len, frame, len);

        if (r < 0)
                return r;
        if (r != 0)
                return handshake_end(h, HANDSHAKE_BAD_PEER);
        memcpy(handshake_push(h, SPAKE2_POINT_BYTES), h->spake2.share_b, SPAKE2_POINT_BYTES);
        return handshake_wait(h, STEP_CONFIRM, now_msec);
}

static int on_confirm(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec)
{
        if (spake2_verify(&h->spake2, frame, len) != 0)
                return handshake_end(h, HANDSHAKE_WRONG_CODE);
        (void)handshake_wait(h, STEP_STORE, now_msec);
        return HANDSHAKE_NEED_STORE;
}

static int on_noise(Handshake *h, const uint8_t *frame, size_t len)
{
        uint8_t payload[1];
        size_t n;

        if (len != NOISE_NKPSK0_MESSAGE_BYTES ||
            noise_read(&h->noise, frame, len, payload, sizeof(payload), &n) < 0 ||
            noise_write(&h->noise, NULL, 0, handshake_push(h, NOISE_NKPSK0_MESSAGE_BYTES),
                        FRAME_MAX, &n) < 0) {
                h->n_output = h->next_output = 0;
                return handshake_end(h, HANDSHAKE_BAD_PEER);
        }
        handshake_use_noise_keys(h);
        return handshake_end(h, HANDSHAKE_DONE);
}

int handshake_host_feed(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec)
{
        switch (h->step) {
        case STEP_HEADER:
                return on_header(h, frame, len, now_msec);
        case STEP_SECRET:
                return hold(h, frame, len);
        case STEP_SHARE:
                return on_share(h, frame, len, now_msec);
        case STEP_CONFIRM:
                return on_confirm(h, frame, len, now_msec);
        case STEP_NOISE:
                return on_noise(h, frame, len);
        case STEP_STORE: /* the client has nothing to say before cB */
        case STEP_WELCOME:
        case STEP_OVER:
                break;
        }
        return handshake_end(h, HANDSHAKE_BAD_PEER);
}

/* ---- the owner's answers ---- */

/* The secret is there: F1 is due, or has come already. */
static int go_on(Handshake *h, HandshakeStep step, uint64_t now_msec)
{
        int r = handshake_wait(h, step, now_msec);

        if (h->has_held) {
                h->has_held = false;
                r = handshake_host_feed(h, h->held, h->held_len, now_msec);
        }
        return r;
}

int handshake_host_give_password(Handshake *h, const uint8_t *password, size_t len,
                                 uint64_t now_msec)
{
        uint8_t w[SPAKE2_SCALAR_BYTES], y[SPAKE2_SCALAR_BYTES];
        int r;

        if (h->step != STEP_SECRET || h->header.mode == HEADER_RECONNECT || len == 0)
                return -EPROTO;
        r = spake2_password_to_w(password, len, w);
        if (r == 0)
                r = spake2_random_to_scalar(h->random, y);
        if (r == 0)
                r = spake2_start(&h->spake2, SPAKE2_HOST, w, y);
        sodium_memzero(w, sizeof(w));
        sodium_memzero(y, sizeof(y));
        if (r != 0)
                return r > 0 ? -EINVAL : r;
        return go_on(h, STEP_SHARE, now_msec);
}

int handshake_host_give_token(Handshake *h, const uint8_t token[TOKEN_BYTES], uint64_t now_msec)
{
        const NoiseKeys keys = {
                .static_private = h->static_private,
                .ephemeral_private = h->random,
                .psk = token,
        };
        int r;

        if (h->step != STEP_SECRET || h->header.mode != HEADER_RECONNECT)
                return -EPROTO;
        r = noise_init(&h->noise, &noise_nkpsk0, false, h->header_bytes, h->header_len, &keys);
        return r < 0 ? r : go_on(h, STEP_NOISE, now_msec);
}

int handshake_host_refuse(Handshake *h)
{
        if (h->step != STEP_SECRET || h->header.mode != HEADER_RECONNECT)
                return -EPROTO;
        memcpy(handshake_push(h, REFUSAL_BYTES), header_refusal, REFUSAL_BYTES);
        return handshake_end(h, HANDSHAKE_REFUSED);
}

int handshake_host_stored(Handshake *h)
{
        const Credential *c = &h->credential;
        size_t address_len = strlen(c->address);
        size_t len = 4 + address_len + STATIC_KEY_BYTES + TOKEN_BYTES + KEY_ID_BYTES;
        uint8_t *frame, *p;
        int r;

        if (h->step != STEP_STORE)
                return -EPROTO;
        memcpy(handshake_push(h, SPAKE2_MAC_BYTES), h->spake2.confirm_b, SPAKE2_MAC_BYTES);
        handshake_use_pair_keys(h);
        frame = handshake_push(h, len + SEAL_TAG_BYTES);
        write_u32be(frame, (uint32_t)address_len);
        memcpy(frame + 4, c->address, address_len);
        p = frame + 4 + address_len;
        memcpy(p, c->host_static_public, STATIC_KEY_BYTES);
        memcpy(p + STATIC_KEY_BYTES, c->token, TOKEN_BYTES);
        memcpy(p + STATIC_KEY_BYTES + TOKEN_BYTES, c->key_id, KEY_ID_BYTES);
        r = seal_frame(&h->keys.send, frame, len, frame);
        return r < 0 ? r : handshake_end(h, HANDSHAKE_DONE);
}
