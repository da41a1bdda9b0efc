#include "pace.h"

#include <errno.h>

#include "liblinkproto/credential.h"
#include "limits.h"

enum { MINUTE_MSEC = 60000 };

typedef struct Unknown {
        struct Unknown *next;
        char address[ADDRESS_CHARS + 1];
        uint64_t since_msec, last_msec; /* said so for the first time, and for the last */
} Unknown;

/* One relay; the list is in the order of use, the latest first. */
typedef struct PaceRelay {
        struct PaceRelay *next;
        char *url;
        Unknown *unknown; /* the latest first */
        uint64_t suspect_until_msec;
        size_t n_spent;   /* ever */
        uint64_t spent[]; /* the last `budget` of them, msec: number n is at n % budget */
} PaceRelay;

struct PaceBook {
        unsigned budget;
        PaceRelay *relays;
};

int pace_new(PaceBook **ret, unsigned budget)
{
        PaceBook *b = calloc(1, sizeof(*b));

        if (!b)
                return -ENOMEM;
        b->budget = budget;
        *ret = b;
        return 0;
}

static void relay_free(PaceRelay *r)
{
        while (r->unknown) {
                Unknown *u = r->unknown;
                r->unknown = u->next;
                free(u);
        }
        free(r->url);
        free(r);
}

PaceBook *pace_free(PaceBook *b)
{
        if (!b)
                return NULL;
        while (b->relays) {
                PaceRelay *r = b->relays;
                b->relays = r->next;
                relay_free(r);
        }
        free(b);
        return NULL;
}

static PaceRelay *relay_new(const PaceBook *b, const char *url)
{
        PaceRelay *r = calloc(1, sizeof(*r) + b->budget * sizeof(r->spent[0]));

        if (r && !(r->url = strdup(url))) {
                free(r);
                return NULL;
        }
        return r;
}

/* The same relay in a book whose budget was another. NULL: out of memory; old is gone. */
static PaceRelay *relay_resize(const PaceBook *b, PaceRelay *old, unsigned old_budget)
{
        PaceRelay *r = relay_new(b, old->url);
        size_t n = MIN(old->n_spent, (size_t)MIN(old_budget, b->budget));

        if (r) {
                r->unknown = TAKE_PTR(old->unknown);
                r->suspect_until_msec = old->suspect_until_msec;
                while (r->n_spent < n) { /* the last n of them */
                        r->spent[r->n_spent] =
                                old->spent[(old->n_spent - n + r->n_spent) % old_budget];
                        r->n_spent++;
                }
        }
        relay_free(old);
        return r;
}

void pace_set_budget(PaceBook *b, unsigned budget)
{
        PaceRelay *old = TAKE_PTR(b->relays), **at = &b->relays;
        unsigned old_budget = b->budget;

        b->budget = budget;
        while (old) {
                PaceRelay *next = old->next;

                *at = relay_resize(b, old, old_budget);
                if (*at) /* else it is forgotten */
                        at = &(*at)->next;
                old = next;
        }
}

static PaceRelay *find(const PaceBook *b, const char *url)
{
        PaceRelay *r = b->relays;

        while (r && strcmp(r->url, url) != 0)
                r = r->next;
        return r;
}

/* The one that was not used for longest makes room. */
static void forget_oldest(PaceBook *b)
{
        PaceRelay **at = &b->relays;
        size_t n = 0;

        for (; *at && (*at)->next; n++)
                at = &(*at)->next;
        if (n + 1 < PACE_RELAYS_MAX || !*at)
                return;
        relay_free(*at);
        *at = NULL;
}

/* The entry of a relay, put in front. NULL: out of memory, and then it is not paced. */
static PaceRelay *take(PaceBook *b, const char *url)
{
        PaceRelay *r;

        for (PaceRelay **at = &b->relays; *at; at = &(*at)->next)
                if (strcmp((*at)->url, url) == 0) {
                        r = *at;
                        *at = r->next;
                        r->next = b->relays;
                        b->relays = r;
                        return r;
                }
        forget_oldest(b);
        r = relay_new(b, url);
        if (!r)
                return NULL;
        r->next = b->relays;
        b->relays = r;
        return r;
}

uint64_t pace_delay_msec(const PaceBook *b, const char *url, PaceKind kind, uint64_t now_msec)
{
        const PaceRelay *r = find(b, url);
        size_t limit = b->budget;
        uint64_t free_msec;

        if (kind == PACE_RESOLVE && limit > 1)
                limit -= MAX(limit / PACE_REGISTER_SHARE, (size_t)1);
        if (!limit || !r || r->n_spent < limit)
                return 0;
        free_msec = r->spent[(r->n_spent - limit) % b->budget] + MINUTE_MSEC;
        return free_msec > now_msec ? free_msec - now_msec : 0;
}

void pace_spend(PaceBook *b, const char *url, uint64_t now_msec)
{
        PaceRelay *r = b->budget ? take(b, url) : NULL;

        if (r)
                r->spent[r->n_spent++ % b->budget] = now_msec;
}

static Unknown **find_unknown(PaceRelay *r, const char *address)
{
        Unknown **at = &r->unknown;

        while (*at && strcmp((*at)->address, address) != 0)
                at = &(*at)->next;
        return at;
}

/* It has said so for so long that it is asked slowly. */
static bool is_slow(const Unknown *u)
{
        return u->last_msec >= u->since_msec + PACE_UNKNOWN_FREE_MSEC;
}

/* Whoever wants to reach it asks at least so often; else what was said tells nothing about now. */
static bool is_stale(const Unknown *u, uint64_t now_msec)
{
        uint64_t pause = is_slow(u) ? 2 * PACE_UNKNOWN_MSEC : PACE_UNKNOWN_FREE_MSEC;

        return !u->last_msec || now_msec >= u->last_msec + pause;
}

uint64_t pace_unknown_delay_msec(const PaceBook *b, const char *url, const char *address,
                                 uint64_t now_msec)
{
        PaceRelay *r = find(b, url);
        const Unknown *u = r ? *find_unknown(r, address) : NULL;
        uint64_t due;

        if (!u || !is_slow(u))
                return 0;
        due = u->last_msec + PACE_UNKNOWN_MSEC;
        return due > now_msec ? due - now_msec : 0;
}

static void forget_oldest_unknown(PaceRelay *r)
{
        Unknown **at = &r->unknown;
        size_t n = 0;

        for (; *at && (*at)->next; n++)
                at = &(*at)->next;
        if (n + 1 < PACE_UNKNOWN_MAX || !*at)
                return;
        free(*at);
        *at = NULL;
}

void pace_unknown(PaceBook *b, const char *url, const char *address, uint64_t now_msec)
{
        PaceRelay *r = take(b, url);
        Unknown **at, *u;

        if (!r)
                return;
        at = find_unknown(r, address);
        u = *at;
        if (u) {
                *at = u->next;
        } else {
                forget_oldest_unknown(r);
                u = calloc(1, sizeof(*u));
                if (!u)
                        return;
                memcpy(u->address, address, sizeof(u->address));
        }
        if (is_stale(u, now_msec))
                u->since_msec = now_msec;
        u->last_msec = now_msec;
        u->next = r->unknown;
        r->unknown = u;
}

void pace_known(PaceBook *b, const char *url, const char *address)
{
        PaceRelay *r = find(b, url);
        Unknown **at = r ? find_unknown(r, address) : NULL, *u = at ? *at : NULL;

        if (!u)
                return;
        *at = u->next;
        free(u);
}

void pace_suspect(PaceBook *b, const char *url, uint64_t now_msec)
{
        PaceRelay *r = take(b, url);

        if (r)
                r->suspect_until_msec = now_msec + PACE_SUSPECT_MSEC;
}

bool pace_is_suspect(const PaceBook *b, const char *url, uint64_t now_msec)
{
        const PaceRelay *r = find(b, url);

        return r && now_msec < r->suspect_until_msec;
}
