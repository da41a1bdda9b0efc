#include "timer.h"

#include <sodium.h>

struct Timer {
        uv_timer_t handle;
        TimerFunc func;
        void *userdata;
};

static void on_timer(uv_timer_t *handle)
{
        Timer *t = container_of(handle, Timer, handle);
        t->func(t->userdata);
}

static void on_closed(uv_handle_t *handle)
{
        free(container_of((uv_timer_t *)handle, Timer, handle));
}

Timer *timer_new(uv_loop_t *loop, TimerFunc func, void *userdata)
{
        Timer *t = calloc(1, sizeof(*t));
        if (!t)
                return NULL;
        if (uv_timer_init(loop, &t->handle) < 0) {
                free(t);
                return NULL;
        }
        t->func = func;
        t->userdata = userdata;
        return t;
}

Timer *timer_free(Timer *t)
{
        if (t)
                uv_close((uv_handle_t *)&t->handle, on_closed);
        return NULL;
}

void timer_start(Timer *t, uint64_t msec)
{
        /* Fails only for a closing handle, and a freed timer has no users. */
        (void)uv_timer_start(&t->handle, on_timer, msec, 0);
}

void timer_stop(Timer *t)
{
        (void)uv_timer_stop(&t->handle); /* always 0 */
}

bool timer_active(const Timer *t)
{
        return uv_is_active((const uv_handle_t *)&t->handle);
}

uint64_t timer_left_msec(const Timer *t)
{
        return uv_timer_get_due_in(&t->handle);
}

uint64_t backoff_draw_msec(unsigned step, uint64_t min_msec, uint64_t max_msec)
{
        uint64_t limit = step >= 16 ? max_msec : MIN(min_msec << step, max_msec);
        return 1 + randombytes_uniform((uint32_t)limit);
}
