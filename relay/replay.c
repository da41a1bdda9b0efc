#include "replay.h"

#include <errno.h>

#include "limits.h"

struct ReplayEntry {
        HashNode node;
        ReplayEntry *next; /* in its slot */
        uint8_t sig[REGISTER_SIG_BYTES];
};

int replay_init(Replay *r)
{
        *r = (Replay){.floor_ts_msec = -1};
        return hashmap_init(&r->map);
}

static void drop_slot(Replay *r, int64_t slot)
{
        ReplayEntry **at = &r->slots[slot % REPLAY_SLOTS];

        while (*at) {
                ReplayEntry *e = *at;

                *at = e->next;
                hashmap_remove(&r->map, &e->node);
                free(e);
        }
}

void replay_done(Replay *r)
{
        for (int64_t i = 0; i < REPLAY_SLOTS; i++)
                drop_slot(r, i);
        hashmap_done(&r->map);
}

bool replay_seen(const Replay *r, const RegisterClaim *c)
{
        uint64_t hash = hashmap_hash(&r->map, c->sig, sizeof(c->sig));

        if (c->ts_msec <= r->floor_ts_msec)
                return true;
        HASHMAP_FOREACH(node, &r->map, hash)
        {
                const ReplayEntry *e = container_of(node, ReplayEntry, node);
                if (memcmp(e->sig, c->sig, sizeof(e->sig)) == 0)
                        return true;
        }
        return false;
}

/* Drops what would not pass any more by its ts. */
static void expire(Replay *r, int64_t now_msec)
{
        int64_t first = MAX(now_msec - REGISTER_CLOCK_SKEW_MSEC, 0) / REPLAY_SLOT_MSEC;

        if (first - r->first_slot > REPLAY_SLOTS) /* also the first call */
                r->first_slot = first - REPLAY_SLOTS;
        for (; r->first_slot < first; r->first_slot++)
                drop_slot(r, r->first_slot);
}

/* Forgets the oldest slot that holds anything, and refuses its whole time from now on. */
static void make_room(Replay *r)
{
        for (int64_t i = r->first_slot; i < r->first_slot + REPLAY_SLOTS; i++)
                if (r->slots[i % REPLAY_SLOTS]) {
                        drop_slot(r, i);
                        r->floor_ts_msec = (i + 1) * REPLAY_SLOT_MSEC - 1;
                        return;
                }
}

int replay_add(Replay *r, const RegisterClaim *c, int64_t now_msec)
{
        ReplayEntry *e, **slot = &r->slots[c->ts_msec / REPLAY_SLOT_MSEC % REPLAY_SLOTS];

        expire(r, now_msec);
        if (r->map.n >= REPLAY_MAX)
                make_room(r);
        e = malloc(sizeof(*e));
        if (!e)
                return -ENOMEM;
        memcpy(e->sig, c->sig, sizeof(e->sig));
        if (hashmap_add(&r->map, &e->node, hashmap_hash(&r->map, e->sig, sizeof(e->sig))) < 0) {
                free(e);
                return -ENOMEM;
        }
        e->next = *slot;
        *slot = e;
        return 0;
}
