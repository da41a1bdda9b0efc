/* The timing wheel: nothing leaves early, nothing leaves late, nothing is lost. */
#include "relay/wheel.h"
#include "tests/unit/unit.h"

enum { N = 2000 };

typedef struct Timed {
        WheelEntry entry;
        bool in;
} Timed;

static uint32_t next_random(uint32_t *seed)
{
        *seed = *seed * 1664525 + 1013904223;
        return *seed >> 8;
}

/* Takes what is due by now; each must have been in, and due. Returns how many. */
static size_t take_all(Wheel *w, uint64_t now_msec)
{
        WheelEntry *e;
        size_t n = 0;

        while ((e = wheel_take_due(w, now_msec))) {
                Timed *t = container_of(e, Timed, entry);

                assert_true(t->in);
                assert_true(e->due_msec <= now_msec);
                assert_null(e->at);
                t->in = false;
                n++;
        }
        return n;
}

/* Nothing that is in the wheel was due a granule before now. */
static void assert_none_late(const Timed *timed, size_t n, uint64_t now_msec)
{
        for (size_t i = 0; i < n; i++)
                assert_false(timed[i].in && timed[i].entry.due_msec + WHEEL_MSEC <= now_msec);
}

static void run(uint32_t seed, uint64_t span_msec, unsigned step_max_msec)
{
        Timed *timed = calloc(N, sizeof(*timed));
        uint64_t now = 1000003;
        size_t added = 0, gone = 0;
        Wheel w;

        assert_non_null(timed);
        wheel_init(&w, now);
        while (gone < N) {
                for (int i = 0; i < 40 && added < N; i++, added++) {
                        timed[added].in = true;
                        wheel_add(&w, &timed[added].entry, now + next_random(&seed) % span_msec);
                }
                if (added > 10) { /* one leaves before its time, perhaps */
                        Timed *t = &timed[next_random(&seed) % added];

                        gone += t->in;
                        wheel_remove(&w, &t->entry);
                        t->in = false;
                }
                now += 1 + next_random(&seed) % step_max_msec;
                gone += take_all(&w, now);
                assert_none_late(timed, added, now);
                assert_int_equal(w.n, added - gone);
        }
        free(timed);
}

static void short_steps(void **state)
{
        (void)state;
        run(1, 100, 1);
        run(2, 5000, 4);
}

static void long_steps(void **state)
{
        (void)state;
        run(3, 3000, 100);
        run(4, 3000, 5000); /* steps over the whole wheel */
}

static void long_holds(void **state)
{
        (void)state;
        run(5, 60 * 1000, 50); /* many turns */
}

static void at_the_millisecond(void **state)
{
        (void)state;
        for (uint64_t due = 8000; due < 8000 + 2 * WHEEL_MSEC; due++)
                for (uint64_t start = 7990; start <= due; start++) {
                        Timed t = {.in = true};
                        uint64_t now = start;
                        Wheel w;

                        wheel_init(&w, start);
                        wheel_add(&w, &t.entry, due);
                        while (!take_all(&w, now))
                                now++;
                        assert_in_range(now, due, due + WHEEL_MSEC);
                }
}

static void due_already(void **state)
{
        Timed t = {.in = true};
        Wheel w;
        (void)state;

        wheel_init(&w, 10000);
        wheel_add(&w, &t.entry, 9000);
        assert_int_equal(take_all(&w, 10000 + WHEEL_MSEC), 1);
}

static void the_loop_sleeps(void **state)
{
        Timed timed[3] = {{.in = true}, {.in = true}, {.in = true}};
        uint64_t now = 5000, hour = 3600 * 1000;
        Wheel w;
        (void)state;

        wheel_init(&w, now);
        wheel_add(&w, &timed[0].entry, now + 10);
        wheel_add(&w, &timed[1].entry, now + hour / 2);
        wheel_add(&w, &timed[2].entry, now + hour + 100);
        assert_int_equal(take_all(&w, now + hour), 2);
        assert_int_equal(take_all(&w, now + hour + 99), 0);
        assert_int_equal(take_all(&w, now + hour + 100 + WHEEL_MSEC), 1);
        /* Empty and not looked at for long: what is added then is still met. */
        now += 10 * hour;
        timed[0].in = true;
        wheel_add(&w, &timed[0].entry, now + 7);
        assert_int_equal(take_all(&w, now + 6), 0);
        assert_int_equal(take_all(&w, now + 7 + WHEEL_MSEC), 1);
}

static void removing(void **state)
{
        Timed timed[3] = {{.in = true}, {.in = true}, {.in = true}};
        WheelEntry never = {};
        Wheel w;
        (void)state;

        wheel_init(&w, 0);
        wheel_remove(&w, &never);
        for (size_t i = 0; i < 3; i++)
                wheel_add(&w, &timed[i].entry, 100); /* one slot */
        wheel_remove(&w, &timed[1].entry);
        wheel_remove(&w, &timed[1].entry);
        timed[1].in = false;
        assert_int_equal(w.n, 2);
        assert_int_equal(take_all(&w, 200), 2);
        assert_int_equal(w.n, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(short_steps), cmocka_unit_test(long_steps),
                cmocka_unit_test(long_holds),  cmocka_unit_test(at_the_millisecond),
                cmocka_unit_test(due_already), cmocka_unit_test(the_loop_sleeps),
                cmocka_unit_test(removing),
        };

        return unit_run(tests);
}
