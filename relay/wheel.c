#include "wheel.h"

void wheel_init(Wheel *w, uint64_t now_msec)
{
        *w = (Wheel){.tick = now_msec / WHEEL_MSEC};
}

void wheel_add(Wheel *w, WheelEntry *e, uint64_t due_msec)
{
        /* Never in a slot that this turn has passed: it would be a whole turn late. */
        uint64_t tick = MAX((due_msec + WHEEL_MSEC - 1) / WHEEL_MSEC, w->tick + 1);
        WheelEntry **slot = &w->slots[tick % WHEEL_SLOTS];

        e->due_msec = due_msec;
        e->next = *slot;
        e->at = slot;
        if (e->next)
                e->next->at = &e->next;
        *slot = e;
        w->n++;
}

void wheel_remove(Wheel *w, WheelEntry *e)
{
        if (!e->at)
                return;
        *e->at = e->next;
        if (e->next)
                e->next->at = e->at;
        e->next = NULL;
        e->at = NULL;
        w->n--;
}

WheelEntry *wheel_take_due(Wheel *w, uint64_t now_msec)
{
        uint64_t now = now_msec / WHEEL_MSEC;

        if (now > w->tick + WHEEL_SLOTS) /* the loop was asleep: each slot once is enough */
                w->tick = now - WHEEL_SLOTS;
        for (; w->n && w->tick < now; w->tick++)
                for (WheelEntry *e = w->slots[(w->tick + 1) % WHEEL_SLOTS]; e; e = e->next)
                        if (e->due_msec <= now_msec) {
                                wheel_remove(w, e);
                                return e;
                        }
        if (!w->n)
                w->tick = now;
        return NULL;
}
