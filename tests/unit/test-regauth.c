#include <errno.h>
#include <stdio.h>

#include <sodium.h>

#include "liblinkproto/b64u.h"
#include "liblinkproto/control.h"
#include "liblinkproto/regauth-internal.h"
#include "unit.h"

static RegisterKey key;

/* The auth member of a vector as JSON text. free(). */
static char *auth_text(json_t *c)
{
        return json_dumps(json_object_get(c, "auth"), JSON_COMPACT);
}

static int verify(const char *auth, const char *address, const char *origin, int64_t now,
                  RegisterClaim *ret)
{
        return register_verify((JsonSlice){.p = auth, .n = auth ? strlen(auth) : 0}, address,
                               origin, now, ret);
}

static void replay_message(Vectors *v, json_t *c)
{
        json_t *auth = json_object_get(c, "auth");
        const char *nonce = case_str(c, "nonce"), *origin = case_str(c, "origin");
        int64_t ts = json_integer_value(json_object_get(c, "ts"));
        uint8_t nonce_bytes[16], sig[64];
        _cleanup_(freep) char *text = auth_text(c);
        RegisterClaim claim;
        size_t n;
        Buf b = {};

        (void)v;
        register_signed_bytes(&b, key.address, ts, nonce, origin);
        assert_bytes(b.data, b.len, case_hex(c, "message"));
        assert_int_equal(crypto_sign_detached(sig, NULL, b.data, b.len, key.secret), 0);
        buf_done(&b);
        char sig_text[B64U_LEN(64) + 1];
        b64u_encode(sig, sizeof(sig), sig_text);
        assert_string_equal(sig_text, case_str(auth, "sig"));

        assert_int_equal(verify(text, key.address, origin, ts, &claim), REGISTER_VALID);
        assert_memory_equal(claim.public, key.public, sizeof(claim.public));
        assert_memory_equal(claim.sig, sig, sizeof(sig));
        assert_true(claim.ts_msec == ts);

        /* the writer's nonces are 16 bytes */
        if (b64u_decode(nonce, strlen(nonce), nonce_bytes, sizeof(nonce_bytes), &n) == 0 &&
            n == 16) {
                char out[1024];
                ControlMessage m;

                assert_true(register_message(&key, ts, nonce_bytes, origin, out, sizeof(out)) > 0);
                assert_int_equal(control_decode(out, strlen(out), &m), 0);
                assert_int_equal(m.type, CONTROL_REGISTER);
                assert_string_equal(m.address, key.address);
                assert_int_equal(m.auth.n, strlen(text));
                assert_memory_equal(m.auth.p, text, m.auth.n);
        }
}

static void replay_host(Vectors *v, json_t *c)
{
        Bytes private = case_hex(c, "hostStaticPrivate"), seed = case_hex(c, "registerSeed");
        uint8_t public[32];

        register_key_derive(&key, private.data);
        assert_bytes(key.secret, 32, seed);
        assert_bytes(key.public, 32, case_hex(c, "registerPublic"));
        assert_string_equal(key.address, case_str(c, "address"));
        assert_int_equal(crypto_scalarmult_base(public, private.data), 0);
        assert_bytes(public, 32, case_hex(c, "hostStaticPublic"));
        vectors_each(v, c, "messages", replay_message);
}

static void test_vectors(void **state)
{
        Vectors v = vectors_load("register");

        (void)state;
        vectors_each(&v, NULL, "hosts", replay_host);
        vectors_done(&v);
}

/* ---- refusals ---- */

#define NOW     INT64_C(1700000000000)
#define PUB     "-n-5DQBIoHGnyg664PRzYO2Y-1Y_t3hXpcxfLbxQNOs"
#define NONCE   "ZBVu6Y-j2PbxBzcLEedklg"
#define SIG     "7fk5Mzt4V1EKwP4yS3abwrmkFra4FLBXafjPcoKqtSp_aAxBqGyBKNKm285fM-HYOpPOhgfp5EIFuZF30VE4Aw"
#define ADDRESS "kGOQApX5bXQxOBtO92_LdYSWtw2FacB-YItlEDTYZk8"
#define AUTH(alg, pub, ts, nonce, sig)                                                             \
        "{\"alg\":" alg ",\"pub\":" pub ",\"ts\":" ts ",\"nonce\":" nonce ",\"sig\":" sig "}"
#define S(x) "\"" x "\""
#define TS   "1700000000000"

static void test_shapes(void **state)
{
        static const struct {
                const char *auth;
                RegisterVerdict verdict;
        } cases[] = {
                {AUTH(S("ed25519"), S(PUB), TS, S(NONCE), S(SIG)), REGISTER_VALID},
                /* the same values, written otherwise */
                {"{ \"x\":1, \"sig\":\"" SIG "\",\"nonce\":\"" NONCE "\",\"ts\":1.7e12,"
                 "\"alg\":\"ed2551\\u0039\",\"pub\":\"" PUB "\" }",
                 REGISTER_VALID},
                {NULL, REGISTER_BAD},
                {"null", REGISTER_BAD},
                {"[]", REGISTER_BAD},
                {"{}", REGISTER_BAD},
                {"\"auth\"", REGISTER_BAD},
                {AUTH(S("Ed25519"), S(PUB), TS, S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH("null", S(PUB), TS, S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB "A"), TS, S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB "="), TS, S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(""), TS, S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), "1", TS, S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), "null", S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), S(TS), S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), "1700000000000.5", S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), "1700000000001", S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), "-1700000000000", S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), "9223372036854775807", S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), "1e400", S(NONCE), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), TS, S(""), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), TS, S("A"), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), TS, S(NONCE "\\u0000"), S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), TS, "5", S(SIG)), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), TS, S(NONCE), S(SIG "A")), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), TS, S(NONCE), S("")), REGISTER_BAD},
                {AUTH(S("ed25519"), S(PUB), TS, S(NONCE), "null"), REGISTER_BAD},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                RegisterClaim claim = {.ts_msec = 5};

                if (verify(cases[i].auth, ADDRESS, "relay.example", NOW, &claim) !=
                    (int)cases[i].verdict)
                        fail_msg("%s", cases[i].auth ?: "(absent)");
                assert_true(claim.ts_msec == (cases[i].verdict == REGISTER_VALID ? NOW : 5));
        }
}

static void test_context(void **state)
{
        static const char auth[] = AUTH(S("ed25519"), S(PUB), TS, S(NONCE), S(SIG));
        static const struct {
                const char *address, *origin;
                int64_t now;
                RegisterVerdict verdict;
        } cases[] = {
                {ADDRESS, "relay.example", NOW, REGISTER_VALID},
                {ADDRESS, "relay.example", NOW + REGISTER_CLOCK_SKEW_MSEC, REGISTER_VALID},
                {ADDRESS, "relay.example", NOW - REGISTER_CLOCK_SKEW_MSEC, REGISTER_VALID},
                {ADDRESS, "relay.example", NOW + REGISTER_CLOCK_SKEW_MSEC + 1, REGISTER_BAD},
                {ADDRESS, "relay.example", NOW - REGISTER_CLOCK_SKEW_MSEC - 1, REGISTER_BAD},
                {ADDRESS, "relay.example", 0, REGISTER_BAD},
                {ADDRESS, "relay.example:80", NOW, REGISTER_BAD},
                {ADDRESS, "Relay.example", NOW, REGISTER_BAD},
                {ADDRESS, "", NOW, REGISTER_BAD},
                {"nG_UeYRFdRWcw5PaKp__GJ5WZEJfaZ_lxp6Czvxcc28", "relay.example", NOW, REGISTER_BAD},
                {ADDRESS "x", "relay.example", NOW, REGISTER_BAD},
                {"", "relay.example", NOW, REGISTER_BAD},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                RegisterClaim claim;

                assert_int_equal(
                        verify(auth, cases[i].address, cases[i].origin, cases[i].now, &claim),
                        cases[i].verdict);
        }
}

/* Signs a nonce of count units: 88 characters are the most. */
static void check_nonce(const char *unit, const char *escaped, int count, RegisterVerdict expect)
{
        char nonce[512] = "", written[1024] = "", auth[2048], sig_text[B64U_LEN(64) + 1];
        uint8_t seed[32] = {1}, sig[64];
        char public[B64U_LEN(32) + 1];
        RegisterClaim claim;
        RegisterKey k;
        Buf b = {};

        for (int i = 0; i < count; i++) {
                strcat(nonce, unit);
                strcat(written, escaped);
        }
        register_key_derive(&k, seed);
        register_signed_bytes(&b, k.address, NOW, nonce, "o");
        assert_int_equal(crypto_sign_detached(sig, NULL, b.data, b.len, k.secret), 0);
        buf_done(&b);
        b64u_encode(sig, sizeof(sig), sig_text);
        b64u_encode(k.public, sizeof(k.public), public);
        assert_in_range(snprintf(auth, sizeof(auth),
                                 AUTH(S("ed25519"), S("%s"), TS, S("%s"), S("%s")), public, written,
                                 sig_text),
                        1, sizeof(auth) - 1);
        assert_int_equal(verify(auth, k.address, "o", NOW, &claim), expect);
        auth[strlen(auth) - 3] ^= 1;
        assert_int_equal(verify(auth, k.address, "o", NOW, &claim), REGISTER_BAD);
}

static void test_nonce_length(void **state)
{
        (void)state;
        check_nonce("n", "n", 0, REGISTER_BAD);
        check_nonce("n", "n", 1, REGISTER_VALID);
        check_nonce("n", "n", 88, REGISTER_VALID);
        check_nonce("n", "n", 89, REGISTER_BAD);
        check_nonce("\xe2\x82\xac", "\\u20ac", 88, REGISTER_VALID);
        check_nonce("\xe2\x82\xac", "\xe2\x82\xac", 89, REGISTER_BAD);
        check_nonce("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", 88, REGISTER_VALID);
        check_nonce("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", 89, REGISTER_BAD);
}

static void test_message_room(void **state)
{
        uint8_t seed[32] = {1}, nonce[16] = {2};
        char out[1024];
        RegisterKey k;
        int n;

        (void)state;
        register_key_derive(&k, seed);
        n = register_message(&k, NOW, nonce, "o", out, sizeof(out));
        assert_true(n > 0);
        assert_int_equal(strlen(out), n);
        assert_int_equal(register_message(&k, NOW, nonce, "o", out, (size_t)n + 1), n);
        assert_int_equal(register_message(&k, NOW, nonce, "o", out, (size_t)n), -ENOBUFS);
}

static void test_origins(void **state)
{
        static const struct {
                const char *url, *origin; /* NULL: no relay URL */
        } cases[] = {
                {"ws://relay.example", "relay.example"},
                {"ws://Relay.EXAMPLE:80/v1/link", "relay.example"},
                {"ws://relay.example:443", "relay.example:443"},
                {"wss://relay.example:443/", "relay.example"},
                {"wss://relay.example:80", "relay.example:80"},
                {"WSS://relay.example:8443", "relay.example:8443"},
                {"ws://127.0.0.1:8443", "127.0.0.1:8443"},
                {"ws://[::1]:8080", "[::1]:8080"},
                {"ws://[2001:DB8::1]", "[2001:db8::1]"},
                {"http://relay.example", NULL},
                {"ws://", NULL},
                {"", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char out[REGISTER_ORIGIN_MAX + 1];
                int r = register_origin_of_url(cases[i].url, out, sizeof(out));

                assert_int_equal(r, cases[i].origin ? 0 : -EINVAL);
                if (!cases[i].origin)
                        continue;
                assert_string_equal(out, cases[i].origin);
                assert_int_equal(register_origin_of_url(cases[i].url, out, strlen(out) + 1), 0);
                assert_int_equal(register_origin_of_url(cases[i].url, out, strlen(out)), -ENOBUFS);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors),      cmocka_unit_test(test_shapes),
                cmocka_unit_test(test_context),      cmocka_unit_test(test_nonce_length),
                cmocka_unit_test(test_message_room), cmocka_unit_test(test_origins),
        };

        return unit_run(tests);
}
