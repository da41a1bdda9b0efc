#include <errno.h>

#include "liblinkproto/b64u.h"
#include "unit.h"

/* RFC 4648 section 10 without padding, and the two characters of its section 5. */
static const struct {
        const char *bytes_hex, *text;
} pairs[] = {
        {"", ""},
        {"66", "Zg"},
        {"666f", "Zm8"},
        {"666f6f", "Zm9v"},
        {"666f6f62", "Zm9vYg"},
        {"666f6f6261", "Zm9vYmE"},
        {"666f6f626172", "Zm9vYmFy"},
        {"fbff", "-_8"},
        {"ffefff", "_-__"},
        {"00", "AA"},
        {"000000", "AAAA"},
};

static void test_pairs(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                Bytes b = unhex(pairs[i].bytes_hex);
                uint8_t out[16];
                char text[32];
                size_t n = 99, len = strlen(pairs[i].text);

                assert_int_equal(B64U_LEN(b.len), len);
                b64u_encode(b.data, b.len, text);
                assert_string_equal(text, pairs[i].text);
                assert_int_equal(b64u_decode(pairs[i].text, len, out, b.len, &n), 0);
                assert_bytes(out, n, b);
                assert_int_equal(b64u_decode_exact(pairs[i].text, len, out, b.len), 0);
                assert_int_equal(b64u_decode_exact(pairs[i].text, len, out, b.len + 1), -EINVAL);
                if (b.len) {
                        assert_int_equal(b64u_decode(pairs[i].text, len, out, b.len - 1, &n),
                                         -ENOBUFS);
                        assert_int_equal(b64u_decode_exact(pairs[i].text, len, out, b.len - 1),
                                         -EINVAL);
                }
        }
}

static void test_refused(void **state)
{
        static const char *const bad[] = {
                "A",     "AAAAA", "Zg==", "Zm8=", "Zm9v=", "Zg=", "Zm+v",       "Zm/v", "Zm9v\n",
                " Zm9v", "Zm 9v", "Zh",   "Zv",   "Zm9",   "Zm-", "Z\xc3\xa4g", "====", "Zm9v.",
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                uint8_t out[32] = {0x55, 0x55, 0x55};
                size_t n = 99;

                assert_int_equal(b64u_decode(bad[i], strlen(bad[i]), out, sizeof(out), &n),
                                 -EINVAL);
                assert_int_equal(n, 99);
                assert_int_equal(out[0], 0x55);
        }
        uint8_t out[3];
        size_t n;
        assert_int_equal(b64u_decode("Z\0A", 3, out, sizeof(out), &n), -EINVAL);
}

/* Of the four characters at each place, exactly the 64 of the alphabet are taken, and a last
 * character only with its spare bits 0. */
static void test_every_character(void **state)
{
        static const struct {
                size_t len, accepted;
        } last[] = {{2, 4}, {3, 16}, {4, 64}};

        (void)state;
        for (size_t k = 0; k < ELEMENTSOF(last); k++) {
                for (size_t place = 0; place < last[k].len; place++) {
                        size_t accepted = 0, n;
                        uint8_t out[3];

                        for (unsigned c = 0; c < 256; c++) {
                                char text[4] = "AAAA", again[5];

                                text[place] = (char)c;
                                if (b64u_decode(text, last[k].len, out, sizeof(out), &n) < 0)
                                        continue;
                                accepted++;
                                assert_int_equal(n, last[k].len - 1);
                                b64u_encode(out, n, again);
                                assert_memory_equal(again, text, last[k].len);
                        }
                        assert_int_equal(accepted,
                                         place == last[k].len - 1 ? last[k].accepted : 64);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pairs),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_every_character),
        };

        return unit_run(tests);
}
