#include "liblinkproto/spake2.h"

#include "unit.h"

typedef struct Names {
        const char *k, *hash, *kc_a, *kc_b, *confirm_a, *confirm_b;
} Names;

static const Names link_names = {"K", "hash", "KcA", "KcB", "cA", "cB"};
static const Names rfc_names = {"K", "hashTT", "KcA", "KcB", "Aconf", "Bconf"};

static void start(Spake2 *s, Spake2Role role, json_t *c)
{
        Bytes w = case_hex(c, "w"), x = case_hex(c, role == SPAKE2_CLIENT ? "x" : "y");

        assert_int_equal(w.len, SPAKE2_SCALAR_BYTES);
        assert_int_equal(x.len, SPAKE2_SCALAR_BYTES);
        assert_int_equal(spake2_start(s, role, w.data, x.data), 0);
}

static void assert_side(const Spake2 *s, json_t *c, const Names *n)
{
        Bytes hash = case_hex(c, n->hash);

        assert_bytes(s->k, sizeof(s->k), case_hex(c, n->k));
        assert_bytes(s->hash, sizeof(s->hash), hash);
        assert_memory_equal(hash.data, case_hex(c, "Ke").data, 16);
        assert_memory_equal(hash.data + 16, case_hex(c, "Ka").data, 16);
        assert_bytes(s->kc_a, sizeof(s->kc_a), case_hex(c, n->kc_a));
        assert_bytes(s->kc_b, sizeof(s->kc_b), case_hex(c, n->kc_b));
        assert_bytes(s->confirm_a, sizeof(s->confirm_a), case_hex(c, n->confirm_a));
        assert_bytes(s->confirm_b, sizeof(s->confirm_b), case_hex(c, n->confirm_b));
}

/* Both sides of one exchange, byte for byte. */
static void replay(json_t *c, const char *id_a, const char *id_b, Bytes aad, const Names *names,
                   Spake2 *a, Spake2 *b)
{
        start(a, SPAKE2_CLIENT, c);
        start(b, SPAKE2_HOST, c);
        assert_bytes(a->share_a, sizeof(a->share_a), case_hex(c, "pA"));
        assert_bytes(b->share_b, sizeof(b->share_b), case_hex(c, "pB"));
        assert_int_equal(
                spake2_finish(a, id_a, id_b, aad.data, aad.len, b->share_b, SPAKE2_POINT_BYTES), 0);
        assert_int_equal(
                spake2_finish(b, id_a, id_b, aad.data, aad.len, a->share_a, SPAKE2_POINT_BYTES), 0);
        assert_side(a, c, names);
        assert_side(b, c, names);
        assert_int_equal(spake2_verify(a, b->confirm_b, SPAKE2_MAC_BYTES), 0);
        assert_int_equal(spake2_verify(b, a->confirm_a, SPAKE2_MAC_BYTES), 0);
        assert_int_equal(spake2_verify(a, a->confirm_a, SPAKE2_MAC_BYTES), SPAKE2_MISMATCH);
        assert_int_equal(spake2_verify(b, b->confirm_b, SPAKE2_MAC_BYTES), SPAKE2_MISMATCH);
}

static void replay_rfc(Vectors *v, json_t *c)
{
        Spake2 a, b;

        (void)v;
        replay(c, case_str(c, "A"), case_str(c, "B"), (Bytes){}, &rfc_names, &a, &b);
}

static void replay_link(Vectors *v, json_t *c)
{
        Bytes password = case_hex(c, "passwordUtf8"), x = case_hex(c, "xRandom");
        Bytes y = case_hex(c, "yRandom");
        uint8_t scalar[SPAKE2_SCALAR_BYTES], to_host[32], to_client[32];
        Spake2 a, b;

        (void)v;
        assert_string_equal((const char *)password.data, case_str(c, "password"));
        assert_int_equal(spake2_password_to_w(password.data, password.len, scalar), 0);
        assert_bytes(scalar, sizeof(scalar), case_hex(c, "w"));
        assert_int_equal(x.len, SPAKE2_RANDOM_BYTES);
        assert_int_equal(y.len, SPAKE2_RANDOM_BYTES);
        assert_int_equal(spake2_random_to_scalar(x.data, scalar), 0);
        assert_bytes(scalar, sizeof(scalar), case_hex(c, "x"));
        assert_int_equal(spake2_random_to_scalar(y.data, scalar), 0);
        assert_bytes(scalar, sizeof(scalar), case_hex(c, "y"));
        replay(c, spake2_id_client, spake2_id_host, case_hex(c, "header"), &link_names, &a, &b);
        for (int side = 0; side < 2; side++) {
                spake2_transport_keys(side ? &a : &b, to_host, to_client);
                assert_bytes(to_host, 32, case_hex(c, "clientToHost"));
                assert_bytes(to_client, 32, case_hex(c, "hostToClient"));
        }
}

static void test_vectors_rfc(void **state)
{
        Vectors v = vectors_load("spake2-rfc9382");

        (void)state;
        vectors_each(&v, NULL, "vectors", replay_rfc);
        vectors_done(&v);
}

static void test_vectors_link(void **state)
{
        Vectors v = vectors_load("spake2-link");

        (void)state;
        vectors_each(&v, NULL, "cases", replay_link);
        vectors_done(&v);
}

/* n, the order of P-256; n + 1; and the largest of 48 bytes. */
static void test_scalars(void **state)
{
        static const struct {
                const char *random, *scalar; /* NULL: redraw */
        } cases[] = {
                {"00000000000000000000000000000000"
                 "0000000000000000000000000000000000000000000000000000000000000000",
                 NULL},
                {"00000000000000000000000000000000"
                 "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
                 NULL},
                {"00000000000000000000000000000000"
                 "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632552",
                 "0000000000000000000000000000000000000000000000000000000000000001"},
                {"00000000000000000000000000000000"
                 "0000000000000000000000000000000000000000000000000000000000000005",
                 "0000000000000000000000000000000000000000000000000000000000000005"},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t out[SPAKE2_SCALAR_BYTES] = {0x77};
                int r = spake2_random_to_scalar(unhex(cases[i].random).data, out);

                assert_int_equal(r, cases[i].scalar ? 0 : SPAKE2_REDRAW);
                if (cases[i].scalar)
                        assert_hex(out, sizeof(out), cases[i].scalar);
                else
                        assert_int_equal(out[0], 0x77);
        }
}

/* P-256's generator with a mark of another form, points off the curve, coordinates not reduced, the
 * identity, short and long: none is a share. */
static void test_bad_points(void **state)
{
#define GX "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
#define GY "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
        static const char *const bad[] = {
                "",
                "00",
                "03" GX,
                "02" GX,
                "06" GX GY,
                "07" GX GY,
                "05" GX GY,
                "00" GX GY,
                "04" GX "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f4",
                "04" GY GX,
                "04" GX GY "00",
                "04" GX "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51",
                "0400000000000000000000000000000000000000000000000000000000000000000000000000000000"
                "000000000000000000000000000000000000000000000000",
                /* x = 5 has a point; the same one with x = p + 5 */
                "04ffffffff00000001000000000000000000000001000000000000000000000004"
                "459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc",
        };
        static const uint8_t w[SPAKE2_SCALAR_BYTES] = {[31] = 7},
                             x[SPAKE2_SCALAR_BYTES] = {[31] = 9};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                for (int role = 0; role < 2; role++) {
                        Bytes point = unhex(bad[i]);
                        Spake2 s;

                        assert_int_equal(spake2_start(&s, role ? SPAKE2_HOST : SPAKE2_CLIENT, w, x),
                                         0);
                        assert_int_equal(
                                spake2_finish(&s, "a", "b", NULL, 0, point.data, point.len),
                                SPAKE2_BAD_POINT);
                }
}

/* A share that is w·M or w·N exactly would make K the identity: a guess at w for nothing, if that
 * could be told from a wrong one. It goes on, and nothing that the peer can compute verifies. x = 0
 * is refused before, so the share of a scalar 0 stands for it. */
static void test_identity(void **state)
{
        static const uint8_t w[SPAKE2_SCALAR_BYTES] = {[31] = 7},
                             x[SPAKE2_SCALAR_BYTES] = {[31] = 9};
        static const uint8_t zero[SPAKE2_SCALAR_BYTES];
        Spake2 s, peer;

        (void)state;
        assert_int_equal(spake2_start(&s, SPAKE2_CLIENT, w, x), 0);
        assert_int_equal(spake2_start(&peer, SPAKE2_HOST, w, zero), 0);
        assert_int_equal(spake2_finish(&s, "a", "b", NULL, 0, peer.share_b, SPAKE2_POINT_BYTES), 0);
        assert_int_equal(s.k[0], 4); /* a point, not the identity */
        assert_int_equal(spake2_start(&s, SPAKE2_HOST, w, x), 0);
        assert_int_equal(spake2_start(&peer, SPAKE2_CLIENT, w, zero), 0);
        assert_int_equal(spake2_finish(&s, "a", "b", NULL, 0, peer.share_a, SPAKE2_POINT_BYTES), 0);
        assert_int_equal(s.k[0], 4); /* a point, not the identity */
}

/* Another password, identity or header: nobody verifies. One bit of a confirmation neither. */
static void test_mismatch(void **state)
{
        static const uint8_t w[2][SPAKE2_SCALAR_BYTES] = {{[31] = 7}, {[31] = 8}};
        static const uint8_t x[SPAKE2_SCALAR_BYTES] = {[31] = 9},
                             y[SPAKE2_SCALAR_BYTES] = {[0] = 9};
        static const struct {
                int w;
                const char *id_a, *id_b, *aad;
        } other[] = {
                {0, "a", "b", "header"},  {1, "a", "b", "header"}, {0, "A", "b", "header"},
                {0, "a", "B", "header"},  {0, "b", "a", "header"}, {0, "a", "b", "Header"},
                {0, "a", "b", "header "}, {0, "a", "b", ""},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(other); i++) {
                int expect = i == 0 ? 0 : SPAKE2_MISMATCH;
                Spake2 a, b;

                assert_int_equal(spake2_start(&a, SPAKE2_CLIENT, w[0], x), 0);
                assert_int_equal(spake2_start(&b, SPAKE2_HOST, w[other[i].w], y), 0);
                assert_int_equal(spake2_finish(&a, "a", "b", (const uint8_t *)"header", 6,
                                               b.share_b, SPAKE2_POINT_BYTES),
                                 0);
                assert_int_equal(spake2_finish(&b, other[i].id_a, other[i].id_b,
                                               (const uint8_t *)other[i].aad, strlen(other[i].aad),
                                               a.share_a, SPAKE2_POINT_BYTES),
                                 0);
                assert_int_equal(spake2_verify(&a, b.confirm_b, SPAKE2_MAC_BYTES), expect);
                assert_int_equal(spake2_verify(&b, a.confirm_a, SPAKE2_MAC_BYTES), expect);
                assert_int_equal(spake2_verify(&b, a.confirm_a, SPAKE2_MAC_BYTES - 1),
                                 SPAKE2_MISMATCH);
                assert_int_equal(spake2_verify(&b, NULL, 0), SPAKE2_MISMATCH);
                for (size_t bit = 0; i == 0 && bit < 8 * SPAKE2_MAC_BYTES; bit++) {
                        uint8_t mac[SPAKE2_MAC_BYTES];

                        memcpy(mac, a.confirm_a, sizeof(mac));
                        mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
                        assert_int_equal(spake2_verify(&b, mac, sizeof(mac)), SPAKE2_MISMATCH);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors_rfc), cmocka_unit_test(test_vectors_link),
                cmocka_unit_test(test_scalars),     cmocka_unit_test(test_bad_points),
                cmocka_unit_test(test_identity),    cmocka_unit_test(test_mismatch),
        };

        return unit_run(tests);
}
