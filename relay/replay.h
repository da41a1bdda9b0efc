/* The signatures of registers that were accepted, for as long as their `ts` would still pass: a
 * captured one is refused also after its registration is gone (PROTOCOL.md "Registration").
 *
 * Bounded: when full, those with the oldest ts are forgotten, and from then on every register as
 * old as they were is refused. So a replay never passes; under a flood an honest host may have to
 * sign again. */
#pragma once

#include "hashmap.h"
#include "liblinkproto/regauth.h"

enum {
        REPLAY_SLOT_MSEC = 10 * 1000,
        /* ts lies within the skew on either side of the clock. */
        REPLAY_SLOTS = 2 * REGISTER_CLOCK_SKEW_MSEC / REPLAY_SLOT_MSEC + 2,
};

typedef struct ReplayEntry ReplayEntry;

typedef struct Replay {
        HashMap map;
        ReplayEntry *slots[REPLAY_SLOTS]; /* by ts; a ring */
        int64_t first_slot;               /* number of the oldest slot that may hold entries */
        int64_t floor_ts_msec;            /* what is not newer is refused */
} Replay;

int replay_init(Replay *r) _must_use_;
void replay_done(Replay *r);
/* Whether an accepted claim has been seen, or could have been. */
bool replay_seen(const Replay *r, const RegisterClaim *c);
/* Remembers it. now_msec: the wall clock that the claim was checked against. 0 or -ENOMEM. */
int replay_add(Replay *r, const RegisterClaim *c, int64_t now_msec) _must_use_;
