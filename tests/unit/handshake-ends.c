#include <sodium.h>

#include "handshake-ends.h"

const uint8_t host_private[STATIC_KEY_BYTES] = {0xe8, 0x13, 0x47, 0x17, 0x07, 0x77, 0x71, 0x97,
                                                0xfd, 0x31, 0x61, 0x82, 0xe1, 0x3f, 0x8d, 0x18,
                                                0x2f, 0x01, 0x8a, 0xe2, 0xa9, 0xe6, 0x72, 0xc1,
                                                0xa2, 0x23, 0x38, 0x25, 0xe8, 0x2b, 0xd4, 0x63};

const Credential credential = {
        .address = ADDRESS,
        .host_static_public = {0x43, 0x0c, 0x20, 0x02, 0x7c, 0x3c, 0x17, 0x69, 0x44, 0x68, 0xe4,
                               0x18, 0x5b, 0xd8, 0x92, 0xe5, 0x27, 0x4b, 0x61, 0x27, 0x50, 0x9a,
                               0x44, 0x42, 0xce, 0x14, 0x03, 0x08, 0x67, 0x34, 0x88, 0x26},
        .token = {7, 7, 7},
        .key_id = {8, 8, 8},
};

void ends_make(Ends *e)
{
        static const uint8_t client_random[HANDSHAKE_RANDOM_BYTES] = {1, 2, 3};
        static const uint8_t host_random[HANDSHAKE_RANDOM_BYTES] = {4, 5, 6};
        static const uint8_t code_id[CODE_ID_BYTES] = {9, 9};
        static const uint8_t welcome[TOKEN_BYTES + KEY_ID_BYTES] = {0xaa, [TOKEN_BYTES] = 0xbb};
        int r = e->reconnect ? handshake_client_reconnect(&e->client, &credential, client_random)
                             : handshake_client_pair(&e->client, ADDRESS, (const uint8_t *)CODE,
                                                     strlen(CODE), code_id, false, client_random);

        assert_int_equal(r, 0);
        assert_int_equal(handshake_host_new(&e->host, e->host_address ?: ADDRESS, host_private,
                                            host_random, welcome, 0),
                         0);
        e->client_result = HANDSHAKE_MORE;
        e->host_result = HANDSHAKE_MORE;
}

/* The owner of the host: finds the secret, stores the device. */
static void own(Ends *e, bool last)
{
        const char *code = e->host_code ?: CODE;

        if (e->host_result == HANDSHAKE_NEED_STORE)
                e->host_result = handshake_host_stored(e->host);
        if (e->host->step != STEP_SECRET || (e->hold && !last))
                return;
        if (handshake_host_header(e->host)->mode != HEADER_RECONNECT)
                e->host_result = handshake_host_give_password(e->host, (const uint8_t *)code,
                                                              strlen(code), 0);
        else if (e->refuse)
                e->host_result = handshake_host_refuse(e->host);
        else
                e->host_result = handshake_host_give_token(e->host, credential.token, 0);
}

/* Takes what h sends; returns how many frames. */
static size_t take(Ends *e, Handshake *h, Bytes out[OUTPUT_FRAMES_MAX])
{
        const uint8_t *p;
        size_t n = 0, len;

        while (handshake_output(h, &p, &len)) {
                assert_true(n < OUTPUT_FRAMES_MAX && e->n_frames < FRAMES_MAX);
                out[n].len = len;
                memcpy(out[n].data, p, len);
                e->frames[e->n_frames] = out[n];
                if (e->changed == (int)e->n_frames)
                        e->change(&out[n], e->arg);
                e->n_frames++;
                n++;
        }
        return n;
}

static void pass(Ends *e, Handshake *to, int *result, const Bytes *frames, size_t n)
{
        for (size_t i = 0; i < n && to->step != STEP_OVER; i++) {
                *result = handshake_feed(to, frames[i].data, frames[i].len, 0);
                if (to == e->host)
                        own(e, i + 1 == n);
        }
}

void ends_run(Ends *e)
{
        Bytes out[OUTPUT_FRAMES_MAX];
        size_t n;

        e->client_result = handshake_client_start(e->client, 0);
        do {
                n = take(e, e->client, out);
                pass(e, e->host, &e->host_result, out, n);
                n = take(e, e->host, out);
                pass(e, e->client, &e->client_result, out, n);
        } while (n);
}

void ends_done(Ends *e)
{
        e->client = handshake_free(e->client);
        e->host = handshake_free(e->host);
}

void drain(Handshake *h)
{
        const uint8_t *p;
        size_t len;

        while (handshake_output(h, &p, &len))
                ;
}

int feed(Handshake *h, Bytes frame)
{
        int r = handshake_feed(h, frame.data, frame.len, 0);

        drain(h);
        return r;
}

void assert_wiped(const Handshake *h, bool done)
{
        assert_true(sodium_is_zero((const uint8_t *)&h->spake2, sizeof(h->spake2)));
        assert_true(sodium_is_zero((const uint8_t *)&h->noise, sizeof(h->noise)));
        assert_true(sodium_is_zero(h->random, sizeof(h->random)));
        assert_true(sodium_is_zero(h->static_private, sizeof(h->static_private)));
        if (!done) {
                assert_true(sodium_is_zero((const uint8_t *)&h->keys, sizeof(h->keys)));
                assert_true(sodium_is_zero((const uint8_t *)&h->credential, sizeof(h->credential)));
        }
}

void assert_keys(Ends *e)
{
        SealPair client, host;

        handshake_take_keys(e->client, &client);
        handshake_take_keys(e->host, &host);
        assert_memory_equal(&client.send, &host.receive, sizeof(SealKey));
        assert_memory_equal(&client.receive, &host.send, sizeof(SealKey));
        assert_false(sodium_is_zero(client.send.key, SEAL_KEY_BYTES));
        assert_memory_not_equal(client.send.key, client.receive.key, SEAL_KEY_BYTES);
        assert_true(sodium_is_zero((const uint8_t *)&e->client->keys, sizeof(SealPair)));
        assert_true(sodium_is_zero((const uint8_t *)&e->host->keys, sizeof(SealPair)));
}
