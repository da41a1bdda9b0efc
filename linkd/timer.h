/* A one-shot timer on the daemon's loop that can be freed at any time, also from its own callback.
 */
#pragma once

#include <uv.h>

#include "liblinkproto/util.h"

typedef struct Timer Timer;
typedef void (*TimerFunc)(void *userdata);

/* NULL: out of memory. */
Timer *timer_new(uv_loop_t *loop, TimerFunc func, void *userdata);
Timer *timer_free(Timer *t);
/* Fires once, msec from now; a running one is moved. */
void timer_start(Timer *t, uint64_t msec);
void timer_stop(Timer *t);
bool timer_active(const Timer *t);
/* Milliseconds until it fires, if it is active. */
uint64_t timer_left_msec(const Timer *t);

/* Back-off with full jitter: a uniform draw from [1, limit], limit doubling from min to max a step.
 */
uint64_t backoff_draw_msec(unsigned step, uint64_t min_msec, uint64_t max_msec);
