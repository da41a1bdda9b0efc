#include <errno.h>

#include "liblinkproto/noise.h"
#include "unit.h"

/* Patterns of the public vectors (Noise section 7), beside the one that Link uses. */
static const uint8_t nn[] = {NOISE_E, NOISE_END, NOISE_E, NOISE_EE, NOISE_END, NOISE_END};
static const uint8_t nk[] = {NOISE_E, NOISE_ES, NOISE_END, NOISE_E, NOISE_EE, NOISE_END, NOISE_END};
static const uint8_t nnpsk0[] = {NOISE_PSK, NOISE_E,   NOISE_END, NOISE_E,
                                 NOISE_EE,  NOISE_END, NOISE_END};
static const uint8_t xx[] = {NOISE_E,   NOISE_END, NOISE_E,  NOISE_EE,  NOISE_S,  NOISE_ES,
                             NOISE_END, NOISE_S,   NOISE_SE, NOISE_END, NOISE_END};
static const uint8_t kk[] = {NOISE_E,  NOISE_ES, NOISE_SS,  NOISE_END, NOISE_E,
                             NOISE_EE, NOISE_SE, NOISE_END, NOISE_END};

static const NoisePattern patterns[] = {
        {"Noise_NN_25519_ChaChaPoly_SHA256", false, false, false, nn},
        {"Noise_NK_25519_ChaChaPoly_SHA256", false, true, false, nk},
        {"Noise_NNpsk0_25519_ChaChaPoly_SHA256", false, false, true, nnpsk0},
        {"Noise_XX_25519_ChaChaPoly_SHA256", false, false, false, xx},
        {"Noise_KK_25519_ChaChaPoly_SHA256", true, true, false, kk},
};

static const NoisePattern *pattern_of(const char *name)
{
        if (strcmp(name, noise_nkpsk0.name) == 0)
                return &noise_nkpsk0;
        for (size_t i = 0; i < ELEMENTSOF(patterns); i++)
                if (strcmp(name, patterns[i].name) == 0)
                        return &patterns[i];
        fail_msg("no pattern %s", name);
        return NULL;
}

/* Keys of one side; the storage lives as long as the caller's. */
typedef struct Side {
        Bytes prologue, s, e, rs, psk;
        bool has_s, has_rs, has_psk;
} Side;

static void take(json_t *c, const char *name, Bytes *ret, bool *ret_has)
{
        *ret_has = case_str_or_null(c, name);
        if (*ret_has)
                *ret = case_hex(c, name);
}

static void init(Noise *n, const NoisePattern *p, bool initiator, const Side *s)
{
        const NoiseKeys keys = {
                .static_private = s->has_s ? s->s.data : NULL,
                .ephemeral_private = s->e.data,
                .remote_static_public = s->has_rs ? s->rs.data : NULL,
                .psk = s->has_psk ? s->psk.data : NULL,
        };

        assert_int_equal(noise_init(n, p, initiator, s->prologue.data, s->prologue.len, &keys), 0);
}

/* State of one cacophony vector while its messages are walked. */
static struct {
        Noise ends[2]; /* initiator, responder */
        SealKey keys[2];
        unsigned message;
        bool split;
        json_t *vector;
} run;

static void replay_handshake_message(Bytes payload, Bytes cipher)
{
        Noise *from = &run.ends[run.message & 1], *to = &run.ends[!(run.message & 1)];
        uint8_t out[512];
        size_t n;

        assert_int_equal(noise_write(to, NULL, 0, out, sizeof(out), &n), -EPROTO);
        assert_int_equal(noise_read(from, cipher.data, cipher.len, out, sizeof(out), &n), -EPROTO);
        assert_int_equal(noise_write(from, payload.data, payload.len, out, sizeof(out), &n), 0);
        assert_bytes(out, n, cipher);
        assert_int_equal(noise_read(to, cipher.data, cipher.len, out, sizeof(out), &n), 0);
        assert_bytes(out, n, payload);
        assert_int_equal(noise_finished(from), noise_finished(to));
}

static void replay_message(Vectors *v, json_t *c)
{
        Bytes payload = case_hex(c, "payload"), cipher = case_hex(c, "ciphertext");
        uint8_t out[512];

        (void)v;
        if (!noise_finished(&run.ends[0])) {
                replay_handshake_message(payload, cipher);
        } else {
                SealKey *k = &run.keys[run.message & 1], back = *k;

                assert_int_equal(seal_frame(k, payload.data, payload.len, out), 0);
                assert_bytes(out, payload.len + SEAL_TAG_BYTES, cipher);
                assert_int_equal(seal_open(&back, cipher.data, cipher.len, out), 0);
                assert_bytes(out, payload.len, payload);
        }
        run.message++;
        if (!run.split && noise_finished(&run.ends[0])) {
                uint8_t again[2][32];

                for (int i = 0; i < 2; i++)
                        assert_bytes(run.ends[i].h, 32, case_hex(run.vector, "handshake_hash"));
                noise_split(&run.ends[0], run.keys[0].key, run.keys[1].key);
                noise_split(&run.ends[1], again[0], again[1]);
                assert_memory_equal(run.keys[0].key, again[0], 32);
                assert_memory_equal(run.keys[1].key, again[1], 32);
                run.split = true;
        }
}

static Bytes first_psk(json_t *c, const char *name, bool *ret_has)
{
        json_t *list = json_object_get(c, name);

        *ret_has = list;
        if (list)
                assert_int_equal(json_array_size(list), 1);
        return list ? unhex(json_string_value(json_array_get(list, 0))) : (Bytes){};
}

static void replay_cacophony(Vectors *v, json_t *c)
{
        const NoisePattern *p = pattern_of(case_str(c, "protocol_name"));
        Side i = {.prologue = case_hex(c, "init_prologue"), .e = case_hex(c, "init_ephemeral")};
        Side r = {.prologue = case_hex(c, "resp_prologue"), .e = case_hex(c, "resp_ephemeral")};

        memset(&run, 0, sizeof(run));
        run.vector = c;
        take(c, "init_static", &i.s, &i.has_s);
        take(c, "resp_static", &r.s, &r.has_s);
        take(c, "init_remote_static", &i.rs, &i.has_rs);
        take(c, "resp_remote_static", &r.rs, &r.has_rs);
        i.psk = first_psk(c, "init_psks", &i.has_psk);
        r.psk = first_psk(c, "resp_psks", &r.has_psk);
        init(&run.ends[0], p, true, &i);
        init(&run.ends[1], p, false, &r);
        vectors_each(v, c, "messages", replay_message);
        assert_true(run.split);
}

static void test_vectors_cacophony(void **state)
{
        Vectors v = vectors_load("noise-cacophony");

        (void)state;
        vectors_each(&v, NULL, "vectors", replay_cacophony);
        vectors_done(&v);
}

/* ---- Link's own vectors; handshake objects replay them once more in test-handshake.c ---- */

static SealKey seal_key;

static void replay_sealed(Vectors *v, json_t *c)
{
        Bytes plain = case_hex(c, "plaintext"), sealed = case_hex(c, "sealed");
        SealKey back = seal_key;
        uint8_t out[512];

        (void)v;
        assert_int_equal(seal_frame(&seal_key, plain.data, plain.len, out), 0);
        assert_bytes(out, plain.len + SEAL_TAG_BYTES, sealed);
        assert_int_equal(seal_open(&back, sealed.data, sealed.len, out), 0);
        assert_bytes(out, plain.len, plain);
}

static void make_ends(json_t *c, Noise *client, Noise *host)
{
        Side i = {.prologue = case_hex(c, "header"),
                  .e = case_hex(c, "clientEphemeralPrivate"),
                  .rs = case_hex(c, "hostStaticPublic"),
                  .psk = case_hex(c, "token"),
                  .has_rs = true,
                  .has_psk = true};
        Side r = {.prologue = i.prologue,
                  .e = case_hex(c, "hostEphemeralPrivate"),
                  .s = case_hex(c, "hostStaticPrivate"),
                  .psk = i.psk,
                  .has_s = true,
                  .has_psk = true};

        init(client, &noise_nkpsk0, true, &i);
        init(host, &noise_nkpsk0, false, &r);
}

static void replay_link(Vectors *v, json_t *c)
{
        Bytes message1 = case_hex(c, "message1"), message2 = case_hex(c, "message2");
        uint8_t out[NOISE_NKPSK0_MESSAGE_BYTES], first[32], second[32];
        Noise client, host;
        size_t n;

        make_ends(c, &client, &host);
        assert_bytes(host.s_public, 32, case_hex(c, "hostStaticPublic"));
        assert_int_equal(noise_write(&client, NULL, 0, out, sizeof(out), &n), 0);
        assert_bytes(out, n, message1);
        assert_int_equal(noise_read(&host, message1.data, message1.len, NULL, 0, &n), 0);
        assert_int_equal(n, 0);
        assert_int_equal(noise_write(&host, NULL, 0, out, sizeof(out), &n), 0);
        assert_bytes(out, n, message2);
        assert_int_equal(noise_read(&client, message2.data, message2.len, NULL, 0, &n), 0);
        assert_true(noise_finished(&client) && noise_finished(&host));
        for (int side = 0; side < 2; side++) {
                const Noise *end = side ? &client : &host;

                assert_bytes(end->h, 32, case_hex(c, "handshakeHash"));
                noise_split(end, first, second);
                assert_bytes(first, 32, case_hex(c, "clientToHost"));
                assert_bytes(second, 32, case_hex(c, "hostToClient"));
        }
        seal_key = (SealKey){};
        memcpy(seal_key.key, first, 32);
        vectors_each(v, c, "clientFrames", replay_sealed);
        seal_key = (SealKey){};
        memcpy(seal_key.key, second, 32);
        vectors_each(v, c, "hostFrames", replay_sealed);
}

static void test_vectors_link(void **state)
{
        Vectors v = vectors_load("noise-nkpsk0-link");

        (void)state;
        vectors_each(&v, NULL, "cases", replay_link);
        vectors_done(&v);
}

/* ---- refusals ---- */

static void with_first_case(void (*f)(json_t *c))
{
        Vectors v = vectors_load("noise-nkpsk0-link");

        f(json_array_get(json_object_get(v.root, "cases"), 0));
        json_decref(v.root);
}

/* Every bit of message 1 counts, but the top one of a Curve25519 point is in the hash all the same.
 */
static void check_tampered(json_t *c)
{
        Bytes message1 = case_hex(c, "message1"), message2 = case_hex(c, "message2");
        Noise client, host, start_host, start_client;
        uint8_t out[64];
        size_t n;

        make_ends(c, &client, &host);
        start_host = host;
        assert_int_equal(noise_write(&client, NULL, 0, out, sizeof(out), &n), 0);
        start_client = client;
        for (size_t bit = 0; bit < message1.len * 8; bit++) {
                message1.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
                message2.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
                host = start_host;
                client = start_client;
                assert_int_equal(noise_read(&host, message1.data, message1.len, out, 64, &n),
                                 -EBADMSG);
                assert_int_equal(noise_read(&client, message2.data, message2.len, out, 64, &n),
                                 -EBADMSG);
                message1.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
                message2.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t len = 0; len < message1.len; len++) {
                host = start_host;
                assert_int_equal(noise_read(&host, message1.data, len, out, 64, &n), -EBADMSG);
        }
        host = start_host;
        assert_int_equal(noise_read(&host, message1.data, message1.len, out, 64, &n), 0);
}

static void test_tampered(void **state)
{
        (void)state;
        with_first_case(check_tampered);
}

/* Points of small order give the zero secret: refused on either side. */
static void check_low_order(json_t *c)
{
        static const char *const low[] = {
                "0000000000000000000000000000000000000000000000000000000000000000",
                "0100000000000000000000000000000000000000000000000000000000000000",
                "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        };

        for (size_t i = 0; i < ELEMENTSOF(low); i++) {
                uint8_t message[NOISE_NKPSK0_MESSAGE_BYTES] = {}, out[64];
                Noise client, host;
                size_t n;

                memcpy(message, unhex(low[i]).data, 32);
                make_ends(c, &client, &host);
                assert_int_equal(noise_read(&host, message, sizeof(message), out, 64, &n),
                                 -EBADMSG);
                memcpy(client.rs, message, 32);
                assert_int_equal(noise_write(&client, NULL, 0, out, sizeof(out), &n), -EBADMSG);
        }
}

static void test_low_order(void **state)
{
        (void)state;
        with_first_case(check_low_order);
}

static void check_room(json_t *c)
{
        for (size_t size = 0; size <= NOISE_NKPSK0_MESSAGE_BYTES; size++) {
                uint8_t out[NOISE_NKPSK0_MESSAGE_BYTES];
                Noise client, host;
                size_t n;

                make_ends(c, &client, &host);
                assert_int_equal(noise_write(&client, NULL, 0, out, size, &n),
                                 size == sizeof(out) ? 0 : -ENOBUFS);
        }
}

static void test_room(void **state)
{
        (void)state;
        with_first_case(check_room);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors_cacophony),
                cmocka_unit_test(test_vectors_link),
                cmocka_unit_test(test_tampered),
                cmocka_unit_test(test_low_order),
                cmocka_unit_test(test_room),
        };

        return unit_run(tests);
}
