#include <errno.h>

#include "liblinkproto/b64u.h"
#include "liblinkproto/credential.h"
#include "liblinkproto/secret.h"
#include "unit.h"

static void assert_credential(const Credential *c, json_t *expect)
{
        assert_string_equal(c->address, case_str(expect, "address"));
        assert_bytes(c->host_static_public, STATIC_KEY_BYTES, case_hex(expect, "hostStaticPublic"));
        assert_bytes(c->token, TOKEN_BYTES, case_hex(expect, "token"));
        assert_bytes(c->key_id, KEY_ID_BYTES, case_hex(expect, "keyId"));
}

static void replay_import(Vectors *v, json_t *c)
{
        const char *text = case_str(c, "string"), *json = case_str(c, "json");
        char plain[CREDENTIAL_STRING_MAX];
        Credential got;
        size_t n;

        (void)v;
        assert_int_equal(credential_import(text, strlen(text), &got), 0);
        assert_credential(&got, c);
        assert_int_equal(b64u_decode(text, strlen(text), (uint8_t *)plain, sizeof(plain), &n), 0);
        assert_int_equal(n, strlen(json));
        assert_memory_equal(plain, json, n);
}

static void replay_valid(Vectors *v, json_t *c)
{
        _cleanup_(secret_freep) Secret *s = NULL;
        Credential in = {};

        replay_import(v, c);
        strcpy(in.address, case_str(c, "address"));
        memcpy(in.host_static_public, case_hex(c, "hostStaticPublic").data, STATIC_KEY_BYTES);
        memcpy(in.token, case_hex(c, "token").data, TOKEN_BYTES);
        memcpy(in.key_id, case_hex(c, "keyId").data, KEY_ID_BYTES);
        s = credential_export(&in);
        assert_non_null(s);
        assert_string_equal((const char *)s->data, case_str(c, "string"));
        assert_int_equal(s->len, strlen(case_str(c, "string")));
}

static void replay_refused(Vectors *v, json_t *c)
{
        const char *text = case_str(c, "string");
        Credential got, before;

        (void)v;
        memset(&got, 0x5a, sizeof(got));
        before = got;
        assert_int_equal(credential_import(text, strlen(text), &got), -EBADMSG);
        assert_memory_equal(&got, &before, sizeof(got));
}

static void test_vectors(void **state)
{
        Vectors v = vectors_load("credential");

        (void)state;
        vectors_each(&v, NULL, "valid", replay_valid);
        vectors_each(&v, NULL, "importOnly", replay_import);
        vectors_each(&v, NULL, "refused", replay_refused);
        vectors_done(&v);
}

#define ADDRESS "nG_UeYRFdRWcw5PaKp__GJ5WZEJfaZ_lxp6Czvxcc28"
#define ZEROS   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEY_ID  "AAAAAAAAAAAAAAAAAAAAAA"

static int import_json(const char *json, Credential *ret)
{
        char text[CREDENTIAL_STRING_MAX * 2];

        b64u_encode((const uint8_t *)json, strlen(json), text);
        return credential_import(text, strlen(text), ret);
}

static void test_members(void **state)
{
        static const struct {
                const char *json;
                int result;
        } cases[] = {
                {"{\"address\":\"" ADDRESS "\",\"hostStaticPub\":\"" ZEROS "\",\"token\":\"" ZEROS
                 "\",\"keyId\":\"" KEY_ID "\"}",
                 0},
                /* an escaped name and value, a duplicate of which the last one counts */
                {"{\"\\u0061ddress\":\"\\u006e"
                 "G_UeYRFdRWcw5PaKp__GJ5WZEJfaZ_lxp6Czvxcc28\","
                 "\"hostStaticPub\":\"" ZEROS "\",\"token\":\"bad\",\"token\":\"" ZEROS
                 "\",\"keyId\":\"" KEY_ID "\"}",
                 0},
                {"{\"address\":\"" ADDRESS "\",\"hostStaticPub\":\"" ZEROS "\",\"token\":\"" ZEROS
                 "\",\"keyId\":null}",
                 -EBADMSG},
                {"{\"address\":\"" ADDRESS "\",\"hostStaticPub\":\"" ZEROS "\",\"token\":\"" ZEROS
                 "A\",\"keyId\":\"" KEY_ID "\"}",
                 -EBADMSG},
                {"{\"address\":\"" ADDRESS "\\u0000\",\"hostStaticPub\":\"" ZEROS
                 "\",\"token\":\"" ZEROS "\",\"keyId\":\"" KEY_ID "\"}",
                 -EBADMSG},
                /* stray bits in the last character */
                {"{\"address\":\"" ADDRESS "\",\"hostStaticPub\":\"" ZEROS "\",\"token\":\"" ZEROS
                 "\",\"keyId\":\"AAAAAAAAAAAAAAAAAAAAAB\"}",
                 -EBADMSG},
                {"[]", -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Credential c;

                assert_int_equal(import_json(cases[i].json, &c), cases[i].result);
        }
}

/* White space up to the longest string, and one group of characters past it. */
static void test_limit(void **state)
{
        static const char body[] = "{\"address\":\"" ADDRESS "\",\"hostStaticPub\":\"" ZEROS
                                   "\",\"token\":\"" ZEROS "\",\"keyId\":\"" KEY_ID "\"}";
        enum { JSON_MAX = CREDENTIAL_STRING_MAX / 4 * 3 };
        char json[JSON_MAX + 2];
        Credential c;

        (void)state;
        memset(json, ' ', sizeof(json));
        memcpy(json, body, sizeof(body) - 1);
        json[JSON_MAX] = '\0';
        assert_int_equal(import_json(json, &c), 0);
        json[JSON_MAX] = ' ';
        json[JSON_MAX + 1] = '\0';
        assert_int_equal(import_json(json, &c), -EBADMSG);
}

static void test_address(void **state)
{
        (void)state;
        assert_true(address_is_valid(ADDRESS, 43));
        assert_true(address_is_valid(ZEROS, 43));
        assert_false(address_is_valid(ADDRESS, 42));
        assert_false(address_is_valid(ADDRESS "A", 44));
        assert_false(address_is_valid("", 0));
        assert_false(address_is_valid("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB", 43));
        assert_false(address_is_valid("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+", 43));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors),
                cmocka_unit_test(test_members),
                cmocka_unit_test(test_limit),
                cmocka_unit_test(test_address),
        };

        return unit_run(tests);
}
