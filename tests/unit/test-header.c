#include <errno.h>

#include "liblinkproto/header.h"
#include "unit.h"

static HeaderMode mode_of(const char *name)
{
        if (strcmp(name, "pair") == 0)
                return HEADER_PAIR;
        if (strcmp(name, "recover") == 0)
                return HEADER_RECOVER;
        assert_string_equal(name, "reconnect");
        return HEADER_RECONNECT;
}

static void replay_valid(Vectors *v, json_t *c)
{
        Bytes in = case_hex(c, "bytes"), canonical = case_hex(c, "canonical");
        uint8_t out[HEADER_BYTES_MAX];
        bool has_code_id = case_str_or_null(c, "codeId");
        Header h, again;

        (void)v;
        assert_int_equal(header_decode(in.data, in.len, &h), 0);
        assert_int_equal(h.mode, mode_of(case_str(c, "mode")));
        assert_int_equal(h.has_code_id, has_code_id);
        if (has_code_id)
                assert_bytes(h.code_id, CODE_ID_BYTES, case_hex(c, "codeId"));
        if (h.mode == HEADER_RECONNECT)
                assert_bytes(h.key_id, KEY_ID_BYTES, case_hex(c, "keyId"));
        assert_bytes(out, header_encode(&h, out), canonical);
        assert_int_equal(header_decode(canonical.data, canonical.len, &again), 0);
        assert_memory_equal(&h, &again, sizeof(h));
        for (size_t len = 0; len < canonical.len; len++)
                assert_int_equal(header_decode(in.data, len, &again), -EBADMSG);
}

static void replay_malformed(Vectors *v, json_t *c)
{
        Bytes in = case_hex(c, "bytes");
        Header h = {.mode = HEADER_RECOVER, .key_id = {7}}, before = h;

        (void)v;
        assert_int_equal(header_decode(in.data, in.len, &h), -EBADMSG);
        assert_memory_equal(&h, &before, sizeof(h));
}

static void test_vectors(void **state)
{
        Vectors v = vectors_load("header");

        (void)state;
        assert_bytes(header_refusal, sizeof(header_refusal), case_hex(v.root, "refusal"));
        vectors_each(&v, NULL, "valid", replay_valid);
        vectors_each(&v, NULL, "malformed", replay_malformed);
        vectors_done(&v);
}

/* All values of the two bytes after the magic, with plenty behind them. */
static void test_every_version_and_mode(void **state)
{
        (void)state;
        for (unsigned version = 0; version < 256; version++)
                for (unsigned mode = 0; mode < 256; mode++) {
                        uint8_t in[HEADER_BYTES_MAX] = {
                                'F', 'L', 'k', '1', (uint8_t)version, (uint8_t)mode};
                        bool valid = (version == 1 && mode >= 1 && mode <= 3) ||
                                     (version == 2 && (mode == 1 || mode == 3));
                        Header h;

                        assert_int_equal(header_decode(in, sizeof(in), &h), valid ? 0 : -EBADMSG);
                }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors),
                cmocka_unit_test(test_every_version_and_mode),
        };

        return unit_run(tests);
}
