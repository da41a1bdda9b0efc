#include <stdio.h>

#include "linkd/limits.h"
#include "linkd/log.h"
#include "linkd/pace.h"
#include "tests/unit/unit.h"

LogLevel log_max_level = LOG_LEVEL_ERROR;

static const char url[] = "wss://relay.example", other[] = "wss://other.example";
static const char address[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

static PaceBook *book(unsigned budget)
{
        PaceBook *b = NULL;

        assert_int_equal(pace_new(&b, budget), 0);
        return b;
}

/* In any minute no more than the budget; a fifth is for registers. */
static void test_budget(void **state)
{
        PaceBook *b = book(10);
        uint64_t now = 5;

        (void)state;
        for (unsigned i = 0; i < 8; i++, now++) {
                assert_int_equal(pace_delay_msec(b, url, PACE_RESOLVE, now), 0);
                pace_spend(b, url, now);
        }
        assert_int_equal(pace_delay_msec(b, url, PACE_RESOLVE, now), 5 + 60000 - now);
        assert_int_equal(pace_delay_msec(b, other, PACE_RESOLVE, now), 0);
        for (unsigned i = 0; i < 2; i++, now++) {
                assert_int_equal(pace_delay_msec(b, url, PACE_REGISTER, now), 0);
                pace_spend(b, url, now);
        }
        assert_int_equal(pace_delay_msec(b, url, PACE_REGISTER, now), 5 + 60000 - now);
        assert_int_equal(pace_delay_msec(b, url, PACE_REGISTER, 5 + 60000), 0);
        /* For a resolve eight must be a minute old, of the ten the third. */
        assert_int_equal(pace_delay_msec(b, url, PACE_RESOLVE, 5 + 60000), 2);
        pace_free(b);
}

static void test_no_budget(void **state)
{
        PaceBook *b = book(0);

        (void)state;
        for (unsigned i = 0; i < 1000; i++) {
                assert_int_equal(pace_delay_msec(b, url, PACE_RESOLVE, 1), 0);
                pace_spend(b, url, 1);
        }
        pace_free(b);
}

static void test_budget_of_one(void **state)
{
        PaceBook *b = book(1);

        (void)state;
        assert_int_equal(pace_delay_msec(b, url, PACE_RESOLVE, 1), 0);
        pace_spend(b, url, 1);
        assert_int_equal(pace_delay_msec(b, url, PACE_RESOLVE, 1), 60000);
        assert_int_equal(pace_delay_msec(b, url, PACE_REGISTER, 1), 60000);
        pace_free(b);
}

static void test_unknown(void **state)
{
        PaceBook *b = book(60);
        uint64_t now = 100;

        (void)state;
        for (unsigned i = 0; i < PACE_UNKNOWN_FREE; i++) {
                assert_int_equal(pace_unknown_delay_msec(b, url, address, now), 0);
                pace_unknown(b, url, address, now);
                pace_unknown(b, url, address, now); /* of two that asked side by side: one */
                if (i + 1 == PACE_UNKNOWN_FREE)
                        break;
                assert_int_equal(pace_unknown_delay_msec(b, url, address, now),
                                 PACE_UNKNOWN_STEP_MSEC);
                now += PACE_UNKNOWN_STEP_MSEC;
        }
        assert_int_equal(pace_unknown_delay_msec(b, url, address, now + 1), PACE_UNKNOWN_MSEC - 1);
        assert_int_equal(pace_unknown_delay_msec(b, other, address, now + 1), 0);
        now += PACE_UNKNOWN_MSEC;
        assert_int_equal(pace_unknown_delay_msec(b, url, address, now), 0);
        pace_unknown(b, url, address, now);
        assert_int_equal(pace_unknown_delay_msec(b, url, address, now), PACE_UNKNOWN_MSEC);
        pace_known(b, url, address);
        assert_int_equal(pace_unknown_delay_msec(b, url, address, now), 0);
        pace_free(b);
}

static void test_suspect(void **state)
{
        PaceBook *b = book(60);

        (void)state;
        assert_false(pace_is_suspect(b, url, 10));
        pace_suspect(b, url, 10);
        assert_true(pace_is_suspect(b, url, 10 + PACE_SUSPECT_MSEC - 1));
        assert_false(pace_is_suspect(b, other, 10));
        assert_false(pace_is_suspect(b, url, 10 + PACE_SUSPECT_MSEC));
        pace_free(b);
}

/* The oldest relays and addresses are forgotten, and only they. */
static void test_limits(void **state)
{
        PaceBook *b = book(1);
        char text[64];

        (void)state;
        for (unsigned i = 0; i <= PACE_RELAYS_MAX; i++) {
                (void)snprintf(text, sizeof(text), "ws://%u", i);
                pace_spend(b, text, 1);
        }
        assert_int_equal(pace_delay_msec(b, "ws://0", PACE_REGISTER, 1), 0);
        assert_int_equal(pace_delay_msec(b, "ws://1", PACE_REGISTER, 1), 60000);
        for (unsigned i = 0; i <= PACE_UNKNOWN_MAX; i++) {
                (void)snprintf(text, sizeof(text), "%043u", i);
                pace_unknown(b, url, text, 1);
        }
        (void)snprintf(text, sizeof(text), "%043u", 0);
        assert_int_equal(pace_unknown_delay_msec(b, url, text, 1), 0);
        (void)snprintf(text, sizeof(text), "%043u", 1);
        assert_int_equal(pace_unknown_delay_msec(b, url, text, 1), PACE_UNKNOWN_STEP_MSEC);
        pace_free(b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_budget),        cmocka_unit_test(test_no_budget),
                cmocka_unit_test(test_budget_of_one), cmocka_unit_test(test_unknown),
                cmocka_unit_test(test_suspect),       cmocka_unit_test(test_limits),
        };

        return unit_run(tests);
}
