/* The token buckets of one link (PROTOCOL.md "Shaping"), without a clock of their own.
 *
 *   rate     refill max_bps/s, capacity 2x, starts full, may go below zero
 *   quota    refill hourly_bytes/3600/s, capacity hourly_bytes, starts full, never below zero; what
 *            it cannot cover is charged to
 *   trickle  refill trickle_bps/s, capacity 2x, starts full, may go below zero */
#pragma once

#include "liblinkproto/util.h"

typedef struct ShapeLimits {
        uint64_t max_bps;      /* bytes a second; 0: no limit */
        uint64_t hourly_bytes; /* 0: no quota */
        uint64_t trickle_bps;  /* at least 1 */
} ShapeLimits;

/* Both directions of a link share it. Levels are bytes. */
typedef struct Shape {
        double rate, quota, trickle;
        uint64_t at_msec; /* when the levels were right */
        bool throttled;   /* the last message had a shortfall */
} Shape;

void shape_init(Shape *s, const ShapeLimits *limits, uint64_t now_msec);
/* Charges a frame of n bytes; returns for how long it must be held, in msec (rounded up). */
uint64_t shape_charge(Shape *s, const ShapeLimits *limits, uint64_t n, uint64_t now_msec);
/* 1 - level / capacity of the quota, 0..1, rounded to four decimals; 0 without a quota. */
double shape_used(Shape *s, const ShapeLimits *limits, uint64_t now_msec);
