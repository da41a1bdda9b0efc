#include "shape.h"

#include <math.h>

enum { SECONDS_PER_HOUR = 3600, BURST_SECONDS = 2 };

/* A new, lower capacity (after a reload) takes effect here too. A bucket that is off is full
 * whatever its capacity will be once it is on. */
static double refilled(double level, double per_second, double capacity, double seconds)
{
        return capacity > 0 ? fmin(capacity, level + per_second * seconds) : INFINITY;
}

static void refill(Shape *s, const ShapeLimits *limits, uint64_t now_msec)
{
        double seconds = now_msec > s->at_msec ? (double)(now_msec - s->at_msec) / 1000 : 0;
        double max = (double)limits->max_bps, hourly = (double)limits->hourly_bytes;
        double trickle = (double)limits->trickle_bps;

        s->rate = refilled(s->rate, max, max * BURST_SECONDS, seconds);
        s->quota = refilled(s->quota, hourly / SECONDS_PER_HOUR, hourly, seconds);
        s->trickle = refilled(s->trickle, trickle, trickle * BURST_SECONDS, seconds);
        s->at_msec = MAX(s->at_msec, now_msec);
}

void shape_init(Shape *s, const ShapeLimits *limits, uint64_t now_msec)
{
        *s = (Shape){.rate = INFINITY, .quota = INFINITY, .trickle = INFINITY, .at_msec = now_msec};
        refill(s, limits, now_msec);
}

/* Time until a level is back at zero. */
static uint64_t msec_to_zero(double level, double per_second)
{
        return level < 0 ? (uint64_t)ceil(-level * 1000 / per_second) : 0;
}

uint64_t shape_charge(Shape *s, const ShapeLimits *limits, uint64_t n, uint64_t now_msec)
{
        uint64_t hold = 0;
        double covered;

        if (!limits->max_bps && !limits->hourly_bytes) { /* nothing to reckon with */
                s->throttled = false;
                return 0;
        }
        refill(s, limits, now_msec);
        if (limits->max_bps) {
                s->rate -= (double)n;
                hold = msec_to_zero(s->rate, (double)limits->max_bps);
        }
        if (!limits->hourly_bytes) {
                s->throttled = false;
                return hold;
        }
        covered = fmin(s->quota, (double)n);
        s->quota -= covered;
        s->throttled = covered < (double)n;
        if (s->throttled) {
                s->trickle -= (double)n - covered;
                hold = MAX(hold, msec_to_zero(s->trickle, (double)limits->trickle_bps));
        }
        return hold;
}

double shape_used(Shape *s, const ShapeLimits *limits, uint64_t now_msec)
{
        if (!limits->hourly_bytes)
                return 0;
        refill(s, limits, now_msec);
        return round(fmin(1, fmax(0, 1 - s->quota / (double)limits->hourly_bytes)) * 10000) / 10000;
}
