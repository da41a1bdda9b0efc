#include "relay/replay.h"

#include "relay/limits.h"
#include "tests/unit/unit.h"

enum { MINUTE = 60 * 1000 };

static const int64_t now0 = INT64_C(1790000000123);

static RegisterClaim claim(uint64_t number, int64_t ts_msec)
{
        RegisterClaim c = {.ts_msec = ts_msec};

        memcpy(c.sig, &number, sizeof(number));
        return c;
}

static void seen_once(void **state)
{
        RegisterClaim a = claim(1, now0), b = claim(2, now0);
        Replay r;
        (void)state;

        assert_int_equal(replay_init(&r), 0);
        assert_false(replay_seen(&r, &a));
        assert_int_equal(replay_add(&r, &a, now0), 0);
        assert_true(replay_seen(&r, &a));
        assert_false(replay_seen(&r, &b)); /* the same ts, another signature */
        replay_done(&r);
}

/* Remembered for as long as its ts would pass, wherever it lies in the skew; forgotten soon after.
 */
static void expiry(void **state)
{
        static const int64_t offsets[] = {-REGISTER_CLOCK_SKEW_MSEC, -1, 0, 1,
                                          REGISTER_CLOCK_SKEW_MSEC};
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(offsets); i++) {
                int64_t ts = now0 + offsets[i], last = ts + REGISTER_CLOCK_SKEW_MSEC;
                RegisterClaim a = claim(1, ts), tick;
                Replay r;

                assert_int_equal(replay_init(&r), 0);
                assert_int_equal(replay_add(&r, &a, now0), 0);
                for (int64_t now = now0; now <= last; now += 7 * 1000) {
                        tick = claim((uint64_t)now, now);
                        assert_int_equal(replay_add(&r, &tick, now), 0);
                        assert_true(replay_seen(&r, &a));
                }
                tick = claim(3, last);
                assert_int_equal(replay_add(&r, &tick, last), 0);
                assert_true(replay_seen(&r, &a));
                tick = claim(4, last + REPLAY_SLOT_MSEC);
                assert_int_equal(replay_add(&r, &tick, last + REPLAY_SLOT_MSEC), 0);
                assert_false(replay_seen(&r, &a));
                replay_done(&r);
        }
}

static void a_long_quiet_time(void **state)
{
        RegisterClaim a = claim(1, now0), b = claim(2, now0 + 1000 * MINUTE);
        Replay r;
        (void)state;

        assert_int_equal(replay_init(&r), 0);
        assert_int_equal(replay_add(&r, &a, now0), 0);
        assert_int_equal(replay_add(&r, &b, now0 + 1000 * MINUTE), 0);
        assert_int_equal(r.map.n, 1);
        assert_false(replay_seen(&r, &a));
        assert_true(replay_seen(&r, &b));
        replay_done(&r);
}

/* The table stays within its bound, and what it had to forget is refused all the same. */
static void full(void **state)
{
        RegisterClaim old = claim(1, now0 - 2 * MINUTE), fresh, newer;
        Replay r;
        (void)state;

        assert_int_equal(replay_init(&r), 0);
        assert_int_equal(replay_add(&r, &old, now0), 0);
        for (uint64_t i = 2; i <= REPLAY_MAX; i++) {
                fresh = claim(i, now0);
                assert_int_equal(replay_add(&r, &fresh, now0), 0);
        }
        assert_int_equal(r.map.n, REPLAY_MAX);
        newer = claim(REPLAY_MAX + 1, now0 + MINUTE);
        assert_int_equal(replay_add(&r, &newer, now0), 0);
        assert_int_equal(r.map.n, REPLAY_MAX); /* the old one went */
        assert_true(replay_seen(&r, &old));
        fresh = claim(REPLAY_MAX + 2, now0 - 2 * MINUTE);
        assert_true(replay_seen(&r, &fresh)); /* as old: could have been */
        fresh = claim(REPLAY_MAX + 2, now0);
        assert_false(replay_seen(&r, &fresh));
        fresh = claim(2, now0);
        assert_true(replay_seen(&r, &fresh));

        newer = claim(REPLAY_MAX + 3, now0 + MINUTE); /* and now the whole slot of now0 */
        assert_int_equal(replay_add(&r, &newer, now0), 0);
        assert_int_equal(r.map.n, 2);
        assert_true(replay_seen(&r, &fresh));
        fresh = claim(REPLAY_MAX + 4, now0);
        assert_true(replay_seen(&r, &fresh));
        assert_true(replay_seen(&r, &newer));
        newer = claim(REPLAY_MAX + 5, now0 + MINUTE);
        assert_false(replay_seen(&r, &newer));
        replay_done(&r);
}

static void zero_and_negative_clock(void **state)
{
        RegisterClaim a = claim(1, 5);
        Replay r;
        (void)state;

        assert_int_equal(replay_init(&r), 0);
        assert_false(replay_seen(&r, &a));
        assert_int_equal(replay_add(&r, &a, 0), 0);
        assert_true(replay_seen(&r, &a));
        replay_done(&r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(seen_once),
                cmocka_unit_test(expiry),
                cmocka_unit_test(a_long_quiet_time),
                cmocka_unit_test(full),
                cmocka_unit_test(zero_and_negative_clock),
        };

        return unit_run(tests);
}
