/* Handshakes against the vectors, and what goes well. What goes wrong is in
 * test-handshake-faults.c. */
#include <errno.h>

#include "handshake-ends.h"
#include "liblinkproto/secret.h"

static void next_output(Handshake *h, Bytes expect)
{
        const uint8_t *frame = NULL;
        size_t len = 0;

        assert_true(handshake_output(h, &frame, &len));
        assert_bytes(frame, len, expect);
}

static void no_output(Handshake *h)
{
        const uint8_t *frame;
        size_t len;

        assert_false(handshake_output(h, &frame, &len));
}

static void assert_welcome(const Credential *c, json_t *welcome)
{
        assert_string_equal(c->address, case_str(welcome, "address"));
        assert_bytes(c->host_static_public, STATIC_KEY_BYTES,
                     case_hex(welcome, "hostStaticPublic"));
        assert_bytes(c->token, TOKEN_BYTES, case_hex(welcome, "token"));
        assert_bytes(c->key_id, KEY_ID_BYTES, case_hex(welcome, "keyId"));
}

/* ---- pairing, byte for byte ---- */

static void make_pair(json_t *c, Handshake **client, Handshake **host)
{
        json_t *welcome = json_object_get(c, "welcome");
        Bytes password = case_hex(c, "passwordUtf8"), code_id = {};
        bool recover = strcmp(case_str(c, "mode"), "recover") == 0;
        uint8_t random[TOKEN_BYTES + KEY_ID_BYTES];

        if (case_str_or_null(c, "codeId"))
                code_id = case_hex(c, "codeId");
        memcpy(random, case_hex(welcome, "token").data, TOKEN_BYTES);
        memcpy(random + TOKEN_BYTES, case_hex(welcome, "keyId").data, KEY_ID_BYTES);
        assert_int_equal(handshake_client_pair(client, case_str(welcome, "address"), password.data,
                                               password.len, code_id.len ? code_id.data : NULL,
                                               recover, case_hex(c, "xRandom").data),
                         0);
        assert_int_equal(handshake_host_new(host, case_str(welcome, "address"), host_private,
                                            case_hex(c, "yRandom").data, random, 0),
                         0);
}

static void replay_client(json_t *c, Handshake *h, SealPair *keys)
{
        assert_int_equal(handshake_client_start(h, 0), HANDSHAKE_MORE);
        next_output(h, case_hex(c, "header"));
        next_output(h, case_hex(c, "pA"));
        no_output(h);
        assert_false(handshake_client_confirmed(h));
        Bytes f = case_hex(c, "pB");
        assert_int_equal(handshake_feed(h, f.data, f.len, 0), HANDSHAKE_MORE);
        next_output(h, case_hex(c, "cA"));
        assert_true(handshake_client_confirmed(h));
        f = case_hex(c, "cB");
        assert_int_equal(handshake_feed(h, f.data, f.len, 0), HANDSHAKE_MORE);
        no_output(h);
        f = case_hex(c, "F5");
        assert_int_equal(handshake_feed(h, f.data, f.len, 0), HANDSHAKE_DONE);
        no_output(h);
        assert_welcome(handshake_credential(h), json_object_get(c, "welcome"));
        assert_wiped(h, true);
        handshake_take_keys(h, keys);
}

static void replay_host(json_t *c, Handshake *h, SealPair *keys)
{
        Bytes f = case_hex(c, "header"), password = case_hex(c, "passwordUtf8");

        assert_int_equal(handshake_feed(h, f.data, f.len, 0), HANDSHAKE_NEED_SECRET);
        assert_int_equal(handshake_host_give_password(h, password.data, password.len, 0),
                         HANDSHAKE_MORE);
        no_output(h);
        f = case_hex(c, "pA");
        assert_int_equal(handshake_feed(h, f.data, f.len, 0), HANDSHAKE_MORE);
        next_output(h, case_hex(c, "pB"));
        f = case_hex(c, "cA");
        assert_int_equal(handshake_feed(h, f.data, f.len, 0), HANDSHAKE_NEED_STORE);
        no_output(h); /* not a byte before the device is stored */
        assert_welcome(handshake_credential(h), json_object_get(c, "welcome"));
        assert_int_equal(handshake_host_stored(h), HANDSHAKE_DONE);
        next_output(h, case_hex(c, "cB"));
        next_output(h, case_hex(c, "F5"));
        no_output(h);
        assert_wiped(h, true);
        handshake_take_keys(h, keys);
}

static void replay_pairing(Vectors *v, json_t *c)
{
        _cleanup_(handshake_freep) Handshake *client = NULL, *host = NULL;
        Bytes f5 = case_hex(c, "F5");
        SealPair ours, theirs;
        uint8_t plain[WELCOME_MAX];
        SealKey welcome_key = {};

        (void)v;
        make_pair(c, &client, &host);
        replay_client(c, client, &ours);
        replay_host(c, host, &theirs);
        assert_bytes(ours.send.key, 32, case_hex(c, "clientToHost"));
        assert_bytes(ours.receive.key, 32, case_hex(c, "hostToClient"));
        assert_int_equal(ours.send.counter, 0);
        assert_int_equal(ours.receive.counter, 1); /* the welcome was frame 0 */
        assert_memory_equal(&ours.send, &theirs.receive, sizeof(SealKey));
        assert_memory_equal(&ours.receive, &theirs.send, sizeof(SealKey));
        memcpy(welcome_key.key, theirs.send.key, 32);
        assert_int_equal(seal_open(&welcome_key, f5.data, f5.len, plain), 0);
        assert_bytes(plain, f5.len - SEAL_TAG_BYTES, case_hex(c, "welcomePlaintext"));
}

static void test_vectors_pairing(void **state)
{
        Vectors v = vectors_load("spake2-link");

        (void)state;
        vectors_each(&v, NULL, "cases", replay_pairing);
        vectors_done(&v);
}

/* ---- reconnect, byte for byte, and the first frames of the session ---- */

static SealPair client_keys, host_keys;

static void replay_frame(json_t *c, SealKey *send, SealKey *receive)
{
        Bytes plain = case_hex(c, "plaintext"), sealed = case_hex(c, "sealed");
        uint8_t out[512];

        assert_int_equal(seal_frame(send, plain.data, plain.len, out), 0);
        assert_bytes(out, plain.len + SEAL_TAG_BYTES, sealed);
        assert_int_equal(seal_open(receive, sealed.data, sealed.len, out), 0);
        assert_bytes(out, plain.len, plain);
}

static void replay_client_frame(Vectors *v, json_t *c)
{
        (void)v;
        replay_frame(c, &client_keys.send, &host_keys.receive);
}

static void replay_host_frame(Vectors *v, json_t *c)
{
        (void)v;
        replay_frame(c, &host_keys.send, &client_keys.receive);
}

static void reconnect_client(json_t *c, const Credential *cred)
{
        _cleanup_(handshake_freep) Handshake *h = NULL;
        uint8_t random[HANDSHAKE_RANDOM_BYTES] = {};
        Bytes f = case_hex(c, "message2");

        memcpy(random, case_hex(c, "clientEphemeralPrivate").data, 32);
        assert_int_equal(handshake_client_reconnect(&h, cred, random), 0);
        assert_int_equal(handshake_client_start(h, 0), HANDSHAKE_MORE);
        next_output(h, case_hex(c, "header"));
        next_output(h, case_hex(c, "message1"));
        no_output(h);
        assert_int_equal(handshake_feed(h, f.data, f.len, 0), HANDSHAKE_DONE);
        assert_wiped(h, true);
        handshake_take_keys(h, &client_keys);
}

static void reconnect_host(json_t *c, const Credential *cred)
{
        _cleanup_(handshake_freep) Handshake *h = NULL;
        uint8_t random[HANDSHAKE_RANDOM_BYTES] = {}, unused[TOKEN_BYTES + KEY_ID_BYTES] = {};
        Bytes f = case_hex(c, "receivedHeader");

        memcpy(random, case_hex(c, "hostEphemeralPrivate").data, 32);
        assert_int_equal(handshake_host_new(&h, cred->address,
                                            case_hex(c, "hostStaticPrivate").data, random, unused,
                                            0),
                         0);
        assert_int_equal(handshake_feed(h, f.data, f.len, 0), HANDSHAKE_NEED_SECRET);
        assert_int_equal(handshake_host_header(h)->mode, HEADER_RECONNECT);
        assert_bytes(handshake_host_header(h)->key_id, KEY_ID_BYTES, case_hex(c, "keyId"));
        assert_int_equal(handshake_host_give_token(h, cred->token, 0), HANDSHAKE_MORE);
        f = case_hex(c, "message1");
        assert_int_equal(handshake_feed(h, f.data, f.len, 0), HANDSHAKE_DONE);
        next_output(h, case_hex(c, "message2"));
        no_output(h);
        assert_wiped(h, true);
        handshake_take_keys(h, &host_keys);
}

static void replay_reconnect(Vectors *v, json_t *c)
{
        Credential cred = {.address = ADDRESS};

        memcpy(cred.host_static_public, case_hex(c, "hostStaticPublic").data, STATIC_KEY_BYTES);
        memcpy(cred.token, case_hex(c, "token").data, TOKEN_BYTES);
        memcpy(cred.key_id, case_hex(c, "keyId").data, KEY_ID_BYTES);
        reconnect_client(c, &cred);
        reconnect_host(c, &cred);
        assert_bytes(client_keys.send.key, 32, case_hex(c, "clientToHost"));
        assert_bytes(client_keys.receive.key, 32, case_hex(c, "hostToClient"));
        vectors_each(v, c, "clientFrames", replay_client_frame);
        vectors_each(v, c, "hostFrames", replay_host_frame);
}

static void test_vectors_reconnect(void **state)
{
        Vectors v = vectors_load("noise-nkpsk0-link");

        (void)state;
        assert_bytes(header_refusal, REFUSAL_BYTES, case_hex(v.root, "refusal"));
        vectors_each(&v, NULL, "cases", replay_reconnect);
        vectors_done(&v);
}

/* ---- both ends ---- */

static void test_both(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 4; i++) {
                Ends e = {.changed = -1, .reconnect = i & 1, .hold = i & 2};

                ends_make(&e);
                ends_run(&e);
                assert_int_equal(e.client_result, HANDSHAKE_DONE);
                assert_int_equal(e.host_result, HANDSHAKE_DONE);
                assert_int_equal(e.n_frames, e.reconnect ? 3 : 6);
                if (!e.reconnect)
                        assert_memory_equal(handshake_credential(e.client),
                                            handshake_credential(e.host), sizeof(Credential));
                assert_keys(&e);
                ends_done(&e);
        }
}

static void test_refusal(void **state)
{
        Ends e = {.changed = -1, .reconnect = true, .refuse = true};

        (void)state;
        for (int hold = 0; hold < 2; hold++) {
                e = (Ends){.changed = -1, .reconnect = true, .refuse = true, .hold = hold};
                ends_make(&e);
                ends_run(&e);
                assert_int_equal(e.host_result, HANDSHAKE_REFUSED);
                assert_int_equal(e.client_result, HANDSHAKE_REFUSED);
                assert_int_equal(e.n_frames, 3);
                assert_bytes(header_refusal, REFUSAL_BYTES, e.frames[2]);
                assert_wiped(e.host, false);
                assert_wiped(e.client, false);
                ends_done(&e);
        }
}

static void test_wrong_code(void **state)
{
        Ends e = {.changed = -1, .host_code = "482 916"};

        (void)state;
        ends_make(&e);
        ends_run(&e);
        assert_int_equal(e.host_result, HANDSHAKE_WRONG_CODE);
        assert_int_equal(e.n_frames, 4); /* no cB */
        assert_wiped(e.host, false);
        assert_int_equal(e.client_result, HANDSHAKE_MORE);
        assert_true(handshake_client_confirmed(e.client));
        assert_int_equal(handshake_closed(e.client), HANDSHAKE_WRONG_CODE);
        assert_wiped(e.client, false);
        assert_true(handshake_client_confirmed(e.client));
        ends_done(&e);
}

static void test_arguments(void **state)
{
        static const uint8_t random[HANDSHAKE_RANDOM_BYTES] = {1}, zero[HANDSHAKE_RANDOM_BYTES];
        static const uint8_t long_code[HANDSHAKE_PASSWORD_MAX + 1] = {1};
        static const uint8_t welcome[TOKEN_BYTES + KEY_ID_BYTES];
        Handshake *h = NULL;

        (void)state;
        assert_null(handshake_free(NULL));
        assert_false(handshake_client_confirmed(NULL));
        assert_int_equal(handshake_client_pair(&h, ADDRESS, long_code, 0, NULL, false, random),
                         -EINVAL);
        assert_int_equal(handshake_client_pair(&h, ADDRESS, long_code, sizeof(long_code), NULL,
                                               false, random),
                         -EINVAL);
        assert_int_equal(handshake_client_pair(&h, ADDRESS "x", long_code, 1, NULL, false, random),
                         -EINVAL);
        assert_int_equal(handshake_client_pair(&h, ADDRESS, long_code, 1, NULL, false, zero),
                         -EINVAL);
        assert_int_equal(handshake_host_new(&h, ADDRESS "x", host_private, random, welcome, 0),
                         -EINVAL);
        assert_null(h);
        assert_int_equal(handshake_client_pair(&h, ADDRESS, long_code, HANDSHAKE_PASSWORD_MAX, NULL,
                                               false, random),
                         0);
        h = handshake_free(h);
        /* a recovery header never has a code id */
        assert_int_equal(handshake_client_pair(&h, ADDRESS, long_code, 1, welcome, true, random),
                         0);
        assert_int_equal(handshake_client_start(h, 0), HANDSHAKE_MORE);
        next_output(h, unhex("464c6b310102"));
        h = handshake_free(h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors_pairing),
                cmocka_unit_test(test_vectors_reconnect),
                cmocka_unit_test(test_both),
                cmocka_unit_test(test_refusal),
                cmocka_unit_test(test_wrong_code),
                cmocka_unit_test(test_arguments),
        };

        return unit_run(tests);
}
