#include <errno.h>

#include "liblinkproto/seal.h"
#include "unit.h"

static const SealKey fresh = {.key = {1, 2, 3, 4, 5}};

/* Made with another implementation (Python's cryptography): key 80..9f, counter as named; what
 * RFC 8439 section 2.8 calls IETF ChaCha20-Poly1305, without associated data. */
static void test_counter_bytes(void **state)
{
        static const struct {
                uint64_t counter;
                const char *sealed;
        } cases[] = {
                {UINT64_C(0x0), "423976c151b325bd4fd947728d1cad0a6df2385cd3"},
                {UINT64_C(0x1), "8b74186111351a0af37dda37d30093eb2b7fb5acd1"},
                {UINT64_C(0xff), "f4fae8f6bd422a60c01331d97548a9e09b5df38d09"},
                {UINT64_C(0x100), "ce24d70d92b2e49e8471e55cdf137454cd7a8dc279"},
                {UINT64_C(0xffffffff), "2e88bddd2f4b0f4361c9e6626ef3795f12e7f0e8c2"},
                {UINT64_C(0x100000000), "fe11bd845d51261f14c54ce75c142f797109031cbc"},
                {UINT64_C(0x102030405060708), "9cd482d73f6ea188529ec4993d3110c027ff9a219b"},
                {UINT64_C(0xfffffffffffffffe), "766e6882728e5430072a62c274ac5e535da5ede8ef"},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                SealKey k = {.counter = cases[i].counter};
                uint8_t out[5 + SEAL_TAG_BYTES], plain[5];

                for (unsigned b = 0; b < SEAL_KEY_BYTES; b++)
                        k.key[b] = (uint8_t)(0x80 + b);
                SealKey back = k;
                assert_int_equal(seal_frame(&k, (const uint8_t *)"hello", 5, out), 0);
                assert_hex(out, sizeof(out), cases[i].sealed);
                assert_true(k.counter == cases[i].counter + 1);
                assert_int_equal(seal_open(&back, out, sizeof(out), plain), 0);
                assert_memory_equal(plain, "hello", 5);
                assert_true(back.counter == k.counter);
        }
}

static void test_sequence(void **state)
{
        SealKey a = fresh, b = fresh;
        uint8_t buf[64 + SEAL_TAG_BYTES];

        (void)state;
        for (size_t len = 0; len <= 64; len++) { /* in place, both ways */
                memset(buf, (int)len, len);
                assert_int_equal(seal_frame(&a, buf, len, buf), 0);
                assert_int_equal(seal_open(&b, buf, len + SEAL_TAG_BYTES, buf), 0);
                for (size_t i = 0; i < len; i++)
                        assert_int_equal(buf[i], (uint8_t)len);
        }
        assert_int_equal(a.counter, 65);
        assert_int_equal(b.counter, 65);
}

/* Any flipped bit, any cut, a replay, a frame out of order: refused, and the counter stays. */
static void test_refused(void **state)
{
        SealKey a = fresh, b = fresh;
        uint8_t first[3 + SEAL_TAG_BYTES], second[3 + SEAL_TAG_BYTES], bad[sizeof(first)];
        uint8_t out[sizeof(first)];

        (void)state;
        assert_int_equal(seal_frame(&a, (const uint8_t *)"abc", 3, first), 0);
        assert_int_equal(seal_frame(&a, (const uint8_t *)"def", 3, second), 0);
        for (size_t i = 0; i < sizeof(first) * 8; i++) {
                memcpy(bad, first, sizeof(bad));
                bad[i / 8] ^= (uint8_t)(1 << i % 8);
                assert_int_equal(seal_open(&b, bad, sizeof(bad), out), -EBADMSG);
        }
        for (size_t len = 0; len < sizeof(first); len++)
                assert_int_equal(seal_open(&b, first, len, out), -EBADMSG);
        assert_int_equal(seal_open(&b, second, sizeof(second), out), -EBADMSG);
        assert_int_equal(b.counter, 0);
        assert_int_equal(seal_open(&b, first, sizeof(first), out), 0);
        assert_int_equal(seal_open(&b, first, sizeof(first), out), -EBADMSG);
        assert_int_equal(seal_open(&b, second, sizeof(second), out), 0);
}

static void test_never_wraps(void **state)
{
        SealKey a = fresh, b = fresh;
        uint8_t buf[1 + SEAL_TAG_BYTES];

        (void)state;
        a.counter = b.counter = UINT64_MAX - 1;
        assert_int_equal(seal_frame(&a, (const uint8_t *)"x", 1, buf), 0);
        assert_int_equal(seal_open(&b, buf, sizeof(buf), buf), 0);
        assert_int_equal(seal_frame(&a, (const uint8_t *)"x", 1, buf), -EOVERFLOW);
        assert_int_equal(seal_open(&b, buf, sizeof(buf), buf), -EOVERFLOW);
        assert_true(a.counter == UINT64_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_counter_bytes),
                cmocka_unit_test(test_sequence),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_never_wraps),
        };

        return unit_run(tests);
}
