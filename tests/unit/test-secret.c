#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "liblinkproto/secret.h"
#include "unit.h"

static void test_lengths(void **state)
{
        (void)state;
        for (size_t len = 0; len < 70; len++) {
                _cleanup_(secret_freep) Secret *s = secret_new(len);

                assert_non_null(s);
                assert_int_equal(s->len, len);
                assert_int_equal((uintptr_t)s % _Alignof(max_align_t), 0);
                for (size_t i = 0; i <= len; i++)
                        assert_int_equal(s->data[i], 0); /* the NUL behind it, too */
                memset(s->data, 'x', len);
        }
}

static void test_copy(void **state)
{
        _cleanup_(secret_freep) Secret *s = secret_copy("482 915", 7),
                                       *empty = secret_copy(NULL, 0);

        (void)state;
        assert_int_equal(s->len, 7);
        assert_string_equal((const char *)s->data, "482 915");
        assert_int_equal(empty->len, 0);
        assert_int_equal(empty->data[0], 0);
}

static void test_free_takes_null(void **state)
{
        (void)state;
        assert_null(secret_free(NULL));
        assert_null(secret_object_free(NULL));
        assert_null(secret_free(secret_new(1)));
}

/* Lengths whose sum with the head or the rounding would wrap. */
static void test_too_long(void **state)
{
        (void)state;
        for (size_t i = 0; i < 64; i++) {
                assert_null(secret_new(SIZE_MAX - i));
                assert_null(secret_object_new(SIZE_MAX - i));
        }
}

static void test_objects(void **state)
{
        (void)state;
        for (size_t size = 1; size < 70; size++) {
                uint8_t *p = secret_object_new(size);

                assert_non_null(p);
                assert_int_equal((uintptr_t)p % 16, 0);
                for (size_t i = 0; i < size; i++)
                        assert_int_equal(p[i], 0);
                secret_object_free(p);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lengths),         cmocka_unit_test(test_copy),
                cmocka_unit_test(test_free_takes_null), cmocka_unit_test(test_too_long),
                cmocka_unit_test(test_objects),
        };

        return unit_run(tests);
}
