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

/* A budget that changes: what was spent before still counts. */
static void test_another_budget(void **state)
{
        PaceBook *b = book(10);

        (void)state;
        for (unsigned i = 0; i < 13; i++) /* times 1 to 13; the last ten are remembered */
                pace_spend(b, url, 1 + i);
        pace_suspect(b, url, 13);
        pace_set_budget(b, 4);
        assert_int_equal(pace_delay_msec(b, url, PACE_REGISTER, 13), 10 + 60000 - 13);
        assert_true(pace_is_suspect(b, url, 14));
        pace_set_budget(b, 6);
        assert_int_equal(pace_delay_msec(b, url, PACE_REGISTER, 13), 0);
        pace_spend(b, url, 14);
        pace_spend(b, url, 15);
        assert_int_equal(pace_delay_msec(b, url, PACE_REGISTER, 15), 10 + 60000 - 15);
        pace_set_budget(b, 0);
        assert_int_equal(pace_delay_msec(b, url, PACE_REGISTER, 15), 0);
        pace_spend(b, url, 16);
        pace_set_budget(b, 1);
        assert_int_equal(pace_delay_msec(b, url, PACE_REGISTER, 16), 0);
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
        const uint64_t over = 100 + PACE_UNKNOWN_FREE_MSEC;

        (void)state;
        /* However often: many sessions ask at the same time. */
        for (uint64_t now = 100; now < 100 + PACE_UNKNOWN_FREE_MSEC; now += 100) {
                pace_unknown(b, url, address, now);
                assert_int_equal(pace_unknown_delay_msec(b, url, address, now), 0);
        }
        pace_unknown(b, url, address, over);
        assert_int_equal(pace_unknown_delay_msec(b, url, address, over + 1), PACE_UNKNOWN_MSEC - 1);
        assert_int_equal(pace_unknown_delay_msec(b, other, address, over + 1), 0);
        assert_int_equal(pace_unknown_delay_msec(b, url, address, over + PACE_UNKNOWN_MSEC), 0);
        pace_unknown(b, url, address, over + PACE_UNKNOWN_MSEC);
        assert_int_equal(pace_unknown_delay_msec(b, url, address, over + PACE_UNKNOWN_MSEC),
                         PACE_UNKNOWN_MSEC);
        pace_known(b, url, address);
        assert_int_equal(pace_unknown_delay_msec(b, url, address, over + PACE_UNKNOWN_MSEC), 0);
        pace_free(b);
}

/* After a long silence it is as free as at first. */
static void test_unknown_again(void **state)
{
        PaceBook *b = book(60);
        const uint64_t over = 100 + PACE_UNKNOWN_FREE_MSEC, later = over + 2 * PACE_UNKNOWN_MSEC;

        (void)state;
        pace_unknown(b, url, address, 100);
        pace_unknown(b, url, address, over); /* nobody has asked between: no repetition */
        assert_int_equal(pace_unknown_delay_msec(b, url, address, over), 0);
        pace_known(b, url, address);
        pace_unknown(b, url, address, 100);
        pace_unknown(b, url, address, over - 1);
        pace_unknown(b, url, address, over);
        pace_unknown(b, url, address, later - 1);
        assert_int_equal(pace_unknown_delay_msec(b, url, address, later - 1), PACE_UNKNOWN_MSEC);
        pace_unknown(b, url, address, later - 1 + 2 * PACE_UNKNOWN_MSEC);
        assert_int_equal(
                pace_unknown_delay_msec(b, url, address, later - 1 + 2 * PACE_UNKNOWN_MSEC), 0);
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
        const uint64_t over = 1 + PACE_UNKNOWN_FREE_MSEC;
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
                pace_unknown(b, url, text, over - 1);
                pace_unknown(b, url, text, over);
        }
        (void)snprintf(text, sizeof(text), "%043u", 0);
        assert_int_equal(pace_unknown_delay_msec(b, url, text, over), 0);
        (void)snprintf(text, sizeof(text), "%043u", 1);
        assert_int_equal(pace_unknown_delay_msec(b, url, text, over), PACE_UNKNOWN_MSEC);
        pace_free(b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_budget),    cmocka_unit_test(test_another_budget),
                cmocka_unit_test(test_no_budget), cmocka_unit_test(test_budget_of_one),
                cmocka_unit_test(test_unknown),   cmocka_unit_test(test_unknown_again),
                cmocka_unit_test(test_suspect),   cmocka_unit_test(test_limits),
        };

        return unit_run(tests);
}
