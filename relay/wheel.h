/* A timing wheel for deadlines that must be met within WHEEL_MSEC: O(1) to add and to take out. */
#pragma once

#include "limits.h"
#include "liblinkproto/util.h"

typedef struct WheelEntry {
        struct WheelEntry *next, **at; /* at: who points here; NULL: not in the wheel */
        uint64_t due_msec;
} WheelEntry;

typedef struct Wheel {
        WheelEntry *slots[WHEEL_SLOTS];
        uint64_t tick; /* the last one that was run */
        size_t n;
} Wheel;

void wheel_init(Wheel *w, uint64_t now_msec);
void wheel_add(Wheel *w, WheelEntry *e, uint64_t due_msec);
/* Not in the wheel is fine. */
void wheel_remove(Wheel *w, WheelEntry *e);
/* Takes out an entry that is due, or NULL when there is none (any more). */
WheelEntry *wheel_take_due(Wheel *w, uint64_t now_msec);
