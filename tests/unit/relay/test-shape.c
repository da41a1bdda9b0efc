/* The token buckets in exact numbers, by a clock that the test sets. */
#include "relay/shape.h"
#include "tests/unit/unit.h"

static void rate_bucket(void **state)
{
        const ShapeLimits limits = {.max_bps = 1000, .trickle_bps = 1};
        Shape s;
        (void)state;

        shape_init(&s, &limits, 5000);
        assert_int_equal(shape_charge(&s, &limits, 2000, 5000), 0); /* the burst, to the byte */
        assert_int_equal(shape_charge(&s, &limits, 1, 5000), 1);
        assert_int_equal(shape_charge(&s, &limits, 500, 5000), 501); /* debt on debt */
        assert_int_equal(shape_charge(&s, &limits, 0, 5500), 1);
        assert_int_equal(shape_charge(&s, &limits, 0, 5501), 0);
        assert_int_equal(shape_charge(&s, &limits, 1500, 5501), 1500);
        assert_int_equal(shape_charge(&s, &limits, 16 * 1024 * 1024, 7001), 16777216);
        assert_false(s.throttled);
}

static void rate_is_rounded_up(void **state)
{
        const ShapeLimits limits = {.max_bps = 3, .trickle_bps = 1};
        Shape s;
        (void)state;

        shape_init(&s, &limits, 0);
        assert_int_equal(shape_charge(&s, &limits, 7, 0), 334);
        assert_int_equal(shape_charge(&s, &limits, 0, 333), 1);
        assert_int_equal(shape_charge(&s, &limits, 0, 334), 0);
}

static void rate_refills_to_the_burst_only(void **state)
{
        const ShapeLimits limits = {.max_bps = 1000, .trickle_bps = 1};
        Shape s;
        (void)state;

        shape_init(&s, &limits, 0);
        assert_int_equal(shape_charge(&s, &limits, 2000, 0), 0);
        assert_int_equal(shape_charge(&s, &limits, 1000, 1000), 0); /* what one second brought */
        assert_int_equal(shape_charge(&s, &limits, 2001, 3600 * 1000), 1);
}

static void a_clock_that_steps_back_gives_nothing(void **state)
{
        const ShapeLimits limits = {.max_bps = 1000, .trickle_bps = 1};
        Shape s;
        (void)state;

        shape_init(&s, &limits, 10000);
        assert_int_equal(shape_charge(&s, &limits, 2000, 10000), 0);
        assert_int_equal(shape_charge(&s, &limits, 10, 5000), 10);
        assert_int_equal(shape_charge(&s, &limits, 0, 10000), 10); /* nor is time counted twice */
}

static void quota_and_trickle(void **state)
{
        const ShapeLimits limits = {.hourly_bytes = 3600, .trickle_bps = 10}; /* 1 byte a second */
        Shape s;
        (void)state;

        shape_init(&s, &limits, 0);
        assert_int_equal(shape_charge(&s, &limits, 3600, 0), 0);
        assert_false(s.throttled);
        assert_true(shape_used(&s, &limits, 0) == 1);
        assert_int_equal(shape_charge(&s, &limits, 20, 0), 0); /* the trickle's own burst */
        assert_true(s.throttled);
        assert_int_equal(shape_charge(&s, &limits, 10, 0), 1000);
        /* Five seconds: 5 bytes of quota, and the trickle bucket at its capacity. */
        assert_int_equal(shape_charge(&s, &limits, 5, 5000), 0);
        assert_false(s.throttled);
        assert_int_equal(shape_charge(&s, &limits, 25, 5000), 500);
        assert_true(s.throttled);
        assert_true(shape_used(&s, &limits, 5000) == 1);
        assert_true(shape_used(&s, &limits, 5000 + 1800 * 1000) == 0.5);
        assert_true(shape_used(&s, &limits, 5000 + 7200 * 1000) == 0);
}

static void only_the_shortfall_is_charged_to_the_trickle(void **state)
{
        const ShapeLimits limits = {.hourly_bytes = 1000, .trickle_bps = 100};
        Shape s;
        (void)state;

        shape_init(&s, &limits, 0);
        /* 1000 covered, 200 of the trickle's burst, 300 to wait for. */
        assert_int_equal(shape_charge(&s, &limits, 1500, 0), 3000);
}

static void the_longer_hold_counts(void **state)
{
        const ShapeLimits slow_rate = {.max_bps = 10, .hourly_bytes = 100, .trickle_bps = 100};
        const ShapeLimits slow_trickle = {.max_bps = 100, .hourly_bytes = 100, .trickle_bps = 10};
        Shape s;
        (void)state;

        shape_init(&s, &slow_rate, 0); /* rate 20 - 320, trickle 200 - 220 */
        assert_int_equal(shape_charge(&s, &slow_rate, 320, 0), 30000);
        shape_init(&s, &slow_trickle, 0); /* rate 200 - 320, trickle 20 - 220 */
        assert_int_equal(shape_charge(&s, &slow_trickle, 320, 0), 20000);
}

static void used_is_rounded(void **state)
{
        const ShapeLimits limits = {.hourly_bytes = 100000, .trickle_bps = 1};
        Shape s;
        (void)state;

        shape_init(&s, &limits, 0);
        assert_true(shape_used(&s, &limits, 0) == 0);
        assert_int_equal(shape_charge(&s, &limits, 4, 0), 0);
        assert_true(shape_used(&s, &limits, 0) == 0); /* 0.00004 */
        assert_int_equal(shape_charge(&s, &limits, 12342, 0), 0);
        assert_true(shape_used(&s, &limits, 0) == 0.1235); /* 0.12346 */
        assert_int_equal(shape_charge(&s, &limits, 87650, 0), 0);
        assert_true(shape_used(&s, &limits, 0) == 1); /* 0.99996 */
        assert_false(s.throttled);
}

static void off_is_off(void **state)
{
        const ShapeLimits limits = {.trickle_bps = 1};
        Shape s;
        (void)state;

        shape_init(&s, &limits, 0);
        for (int i = 0; i < 100; i++)
                assert_int_equal(shape_charge(&s, &limits, 16 * 1024 * 1024, 0), 0);
        assert_false(s.throttled);
        assert_true(shape_used(&s, &limits, 0) == 0);
}

static void reload_to_smaller_limits(void **state)
{
        const ShapeLimits before = {.max_bps = 1000, .hourly_bytes = 36000, .trickle_bps = 1000};
        const ShapeLimits after = {.max_bps = 100, .hourly_bytes = 3600, .trickle_bps = 10};
        Shape s;
        (void)state;

        shape_init(&s, &before, 0);
        assert_int_equal(shape_charge(&s, &before, 1000, 0), 0);
        assert_true(shape_used(&s, &before, 0) == 0.0278);
        assert_int_equal(shape_charge(&s, &after, 200, 0), 0); /* cut to the new burst */
        assert_int_equal(shape_charge(&s, &after, 10, 0), 100);
        assert_true(shape_used(&s, &after, 0) == 0.0583); /* 210 of 3600 */
        assert_int_equal(shape_charge(&s, &after, 3390 + 30, 0), 34300);
        assert_true(s.throttled);
}

static void reload_turns_limits_on_and_off(void **state)
{
        const ShapeLimits off = {.trickle_bps = 10};
        const ShapeLimits on = {.max_bps = 100, .hourly_bytes = 1000, .trickle_bps = 10};
        Shape s;
        (void)state;

        shape_init(&s, &off, 0);
        assert_int_equal(shape_charge(&s, &off, 1000000, 0), 0);
        assert_true(shape_used(&s, &on, 0) == 0); /* starts full */
        assert_int_equal(shape_charge(&s, &on, 200, 0), 0);
        assert_int_equal(shape_charge(&s, &on, 50, 0), 500);
        assert_int_equal(shape_charge(&s, &on, 1000, 0), 23000); /* 10.5 s; trickle: 250 - 20 */
        assert_true(s.throttled);
        assert_int_equal(shape_charge(&s, &off, 1000000, 0), 0);
        assert_false(s.throttled);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rate_bucket),
                cmocka_unit_test(rate_is_rounded_up),
                cmocka_unit_test(rate_refills_to_the_burst_only),
                cmocka_unit_test(a_clock_that_steps_back_gives_nothing),
                cmocka_unit_test(quota_and_trickle),
                cmocka_unit_test(only_the_shortfall_is_charged_to_the_trickle),
                cmocka_unit_test(the_longer_hold_counts),
                cmocka_unit_test(used_is_rounded),
                cmocka_unit_test(off_is_off),
                cmocka_unit_test(reload_to_smaller_limits),
                cmocka_unit_test(reload_turns_limits_on_and_off),
        };

        return unit_run(tests);
}
