#include "handshake.h"

#include <errno.h>
#include <sodium.h>

#include "handshake-internal.h"
#include "secret.h"

/* ---- both ends ---- */

Handshake *handshake_free(Handshake *h)
{
        return secret_object_free(h);
}

uint8_t *handshake_push(Handshake *h, size_t len)
{
        OutputFrame *f;

        if (h->next_output == h->n_output)
                h->next_output = h->n_output = 0;
        f = &h->output[h->n_output++]; /* at most two between two calls, see OUTPUT_FRAMES_MAX */
        f->len = len;
        return f->data;
}

bool handshake_output(Handshake *h, const uint8_t **ret, size_t *ret_len)
{
        const OutputFrame *f;

        if (h->next_output == h->n_output)
                return false;
        f = &h->output[h->next_output++];
        *ret = f->data;
        *ret_len = f->len;
        return true;
}

int handshake_wait(Handshake *h, HandshakeStep step, uint64_t now_msec)
{
        h->step = step;
        h->deadline_msec =
                now_msec + (h->header.mode == HEADER_RECONNECT ? HANDSHAKE_RECONNECT_FRAME_MSEC
                                                               : HANDSHAKE_PAIR_FRAME_MSEC);
        return HANDSHAKE_MORE;
}

int handshake_end(Handshake *h, int result)
{
        h->step = STEP_OVER;
        sodium_memzero(&h->spake2, sizeof(h->spake2));
        sodium_memzero(&h->noise, sizeof(h->noise));
        sodium_memzero(h->random, sizeof(h->random));
        sodium_memzero(h->static_private, sizeof(h->static_private));
        if (result != HANDSHAKE_DONE) {
                sodium_memzero(&h->keys, sizeof(h->keys));
                sodium_memzero(&h->credential, sizeof(h->credential));
        }
        return result;
}

static void use_keys(Handshake *h, uint8_t client_to_host[32], uint8_t host_to_client[32])
{
        memcpy(h->keys.send.key, h->host ? host_to_client : client_to_host, 32);
        memcpy(h->keys.receive.key, h->host ? client_to_host : host_to_client, 32);
        h->keys.send.counter = h->keys.receive.counter = 0;
        sodium_memzero(client_to_host, 32);
        sodium_memzero(host_to_client, 32);
}

void handshake_use_pair_keys(Handshake *h)
{
        uint8_t to_host[32], to_client[32];

        spake2_transport_keys(&h->spake2, to_host, to_client);
        use_keys(h, to_host, to_client);
}

void handshake_use_noise_keys(Handshake *h)
{
        uint8_t to_host[32], to_client[32];

        noise_split(&h->noise, to_host, to_client);
        use_keys(h, to_host, to_client);
}

void handshake_take_keys(Handshake *h, SealPair *ret)
{
        *ret = h->keys;
        sodium_memzero(&h->keys, sizeof(h->keys));
}

const Credential *handshake_credential(const Handshake *h)
{
        return &h->credential;
}

uint64_t handshake_deadline_msec(const Handshake *h)
{
        return h->deadline_msec;
}

int handshake_tick(Handshake *h, uint64_t now_msec)
{
        if (h->step == STEP_OVER)
                return HANDSHAKE_TIMED_OUT;
        return now_msec >= h->deadline_msec ? handshake_end(h, HANDSHAKE_TIMED_OUT)
                                            : HANDSHAKE_MORE;
}

int handshake_closed(Handshake *h)
{
        bool unconfirmed = !h->host && h->step == STEP_CONFIRM;

        if (h->step == STEP_OVER)
                return HANDSHAKE_LOST;
        return handshake_end(h, unconfirmed ? HANDSHAKE_WRONG_CODE : HANDSHAKE_LOST);
}

int handshake_feed(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec)
{
        if (h->step == STEP_OVER)
                return HANDSHAKE_BAD_PEER;
        if (h->next_output != h->n_output)
                return -EPROTO; /* there is room for OUTPUT_FRAMES_MAX */
        return h->host ? handshake_host_feed(h, frame, len, now_msec)
                       : handshake_client_feed(h, frame, len, now_msec);
}

/* ---- client ---- */

static int start_pair(Handshake *h, const uint8_t *code, size_t code_len)
{
        uint8_t w[SPAKE2_SCALAR_BYTES], x[SPAKE2_SCALAR_BYTES];
        int r = spake2_password_to_w(code, code_len, w);

        if (r == 0)
                r = spake2_random_to_scalar(h->random, x);
        if (r == 0)
                r = spake2_start(&h->spake2, SPAKE2_CLIENT, w, x);
        sodium_memzero(w, sizeof(w));
        sodium_memzero(x, sizeof(x));
        return r > 0 ? -EINVAL : r;
}

int handshake_client_pair(Handshake **ret, const char *address, const uint8_t *code,
                          size_t code_len, const uint8_t *code_id, bool recover,
                          const uint8_t random[HANDSHAKE_RANDOM_BYTES])
{
        _cleanup_(handshake_freep) Handshake *h = NULL;
        int r;

        if (code_len == 0 || code_len > HANDSHAKE_PASSWORD_MAX || strlen(address) > ADDRESS_CHARS)
                return -EINVAL;
        h = secret_object_new(sizeof(*h));
        if (!h)
                return -ENOMEM;
        h->header.mode = recover ? HEADER_RECOVER : HEADER_PAIR;
        if (code_id && !recover) {
                h->header.has_code_id = true;
                memcpy(h->header.code_id, code_id, CODE_ID_BYTES);
        }
        h->header_len = header_encode(&h->header, h->header_bytes);
        strcpy(h->credential.address, address); /* measured above */
        memcpy(h->random, random, sizeof(h->random));
        r = start_pair(h, code, code_len);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(h);
        return 0;
}

int handshake_client_reconnect(Handshake **ret, const Credential *c,
                               const uint8_t random[HANDSHAKE_RANDOM_BYTES])
{
        _cleanup_(handshake_freep) Handshake *h = secret_object_new(sizeof(*h));
        const NoiseKeys keys = {
                .ephemeral_private = random,
                .remote_static_public = c->host_static_public,
                .psk = c->token,
        };
        int r;

        if (!h)
                return -ENOMEM;
        h->header.mode = HEADER_RECONNECT;
        memcpy(h->header.key_id, c->key_id, KEY_ID_BYTES);
        h->header_len = header_encode(&h->header, h->header_bytes);
        r = noise_init(&h->noise, &noise_nkpsk0, true, h->header_bytes, h->header_len, &keys);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(h);
        return 0;
}

int handshake_client_start(Handshake *h, uint64_t now_msec)
{
        size_t len;
        int r;

        if (h->host || h->step != STEP_HEADER)
                return -EPROTO;
        memcpy(handshake_push(h, h->header_len), h->header_bytes, h->header_len);
        if (h->header.mode != HEADER_RECONNECT) {
                memcpy(handshake_push(h, SPAKE2_POINT_BYTES), h->spake2.share_a,
                       SPAKE2_POINT_BYTES);
                return handshake_wait(h, STEP_SHARE, now_msec);
        }
        r = noise_write(&h->noise, NULL, 0, handshake_push(h, NOISE_NKPSK0_MESSAGE_BYTES),
                        FRAME_MAX, &len);
        if (r == -EBADMSG) /* the pinned key is a point of low order: nobody's host */
                return handshake_end(h, HANDSHAKE_BAD_PEER);
        return r < 0 ? r : handshake_wait(h, STEP_NOISE, now_msec);
}

bool handshake_client_confirmed(const Handshake *h)
{
        return h && h->confirmed;
}

static int client_share(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec)
{
        int r = spake2_finish(&h->spake2, spake2_id_client, spake2_id_host, h->header_bytes,
                              h->header_len, frame, len);

        if (r < 0)
                return r;
        if (r != 0)
                return handshake_end(h, HANDSHAKE_BAD_PEER);
        memcpy(handshake_push(h, SPAKE2_MAC_BYTES), h->spake2.confirm_a, SPAKE2_MAC_BYTES);
        h->confirmed = true;
        return handshake_wait(h, STEP_CONFIRM, now_msec);
}

/* lenStr(address) ‖ host static key ‖ token ‖ key id, for the address that was dialed. */
static int client_welcome(Handshake *h, const uint8_t *frame, size_t len)
{
        uint8_t plain[WELCOME_MAX];
        size_t address_len = strlen(h->credential.address);
        size_t expect = 4 + address_len + STATIC_KEY_BYTES + TOKEN_BYTES + KEY_ID_BYTES;
        const uint8_t *p = plain + 4 + address_len;
        int r = HANDSHAKE_BAD_PEER;

        if (len == expect + SEAL_TAG_BYTES && seal_open(&h->keys.receive, frame, len, plain) == 0 &&
            read_u32be(plain) == address_len &&
            memcmp(plain + 4, h->credential.address, address_len) == 0) {
                memcpy(h->credential.host_static_public, p, STATIC_KEY_BYTES);
                memcpy(h->credential.token, p + STATIC_KEY_BYTES, TOKEN_BYTES);
                memcpy(h->credential.key_id, p + STATIC_KEY_BYTES + TOKEN_BYTES, KEY_ID_BYTES);
                r = HANDSHAKE_DONE;
        }
        sodium_memzero(plain, sizeof(plain));
        return handshake_end(h, r);
}

static int client_noise(Handshake *h, const uint8_t *frame, size_t len)
{
        uint8_t payload[1];
        size_t payload_len;

        if (len == REFUSAL_BYTES && memcmp(frame, header_refusal, REFUSAL_BYTES) == 0)
                return handshake_end(h, HANDSHAKE_REFUSED);
        if (len != NOISE_NKPSK0_MESSAGE_BYTES ||
            noise_read(&h->noise, frame, len, payload, sizeof(payload), &payload_len) < 0)
                return handshake_end(h, HANDSHAKE_BAD_PEER);
        handshake_use_noise_keys(h);
        return handshake_end(h, HANDSHAKE_DONE);
}

int handshake_client_feed(Handshake *h, const uint8_t *frame, size_t len, uint64_t now_msec)
{
        switch (h->step) {
        case STEP_SHARE:
                return client_share(h, frame, len, now_msec);
        case STEP_CONFIRM:
                if (spake2_verify(&h->spake2, frame, len) != 0)
                        return handshake_end(h, HANDSHAKE_BAD_PEER);
                handshake_use_pair_keys(h);
                return handshake_wait(h, STEP_WELCOME, now_msec);
        case STEP_WELCOME:
                return client_welcome(h, frame, len);
        case STEP_NOISE:
                return client_noise(h, frame, len);
        case STEP_HEADER: /* a host's, or not started */
        case STEP_SECRET:
        case STEP_STORE:
        case STEP_OVER:
                break;
        }
        return handshake_end(h, HANDSHAKE_BAD_PEER);
}
