/* One-shot calls to a peer: the connection that a user shares for these, kept for a minute after
 * the last. */
#include <errno.h>

#include "peer.h"

struct AskLink {
        AskLink *next;
        Peer *peer;
        PeerLink *link;
        Timer *timer; /* looks whether it has been idle for long enough */
        uint64_t used_msec;
};

AskLink *peer_ask_free(AskLink *k)
{
        for (AskLink **at = &k->peer->asks; *at; at = &(*at)->next)
                if (*at == k) {
                        *at = k->next;
                        break;
                }
        k->link = peerlink_free(k->link);
        timer_free(k->timer);
        free(k);
        return NULL;
}

static void on_ask_timer(void *userdata)
{
        AskLink *k = userdata;
        uint64_t now = uv_now(k->peer->agent->loop);

        if (!k->link->conduit) {
                peer_ask_free(k); /* closed: revoked */
                return;
        }
        if (!conduit_is_idle(k->link->conduit))
                k->used_msec = now;
        if (now >= k->used_msec + ASK_KEEP_MSEC) {
                peer_ask_free(k);
                return;
        }
        timer_start(k->timer, ASK_KEEP_MSEC / 4);
}

static void on_ask_state(void *userdata, IpcState state, const char *word, const char *cause)
{
        AskLink *k = userdata;

        (void)word;
        (void)cause;
        if (state == IPC_STATE_CLOSED)
                timer_start(k->timer, 0); /* not on this stack */
}

static int asklink_new(AskLink **ret, Peer *p, uid_t uid)
{
        AskLink *k = calloc(1, sizeof(*k));
        int r;

        if (!k)
                return -ENOMEM;
        k->peer = p;
        k->timer = timer_new(p->agent->loop, on_ask_timer, k);
        r = k->timer ? peerlink_new(&k->link, p, uid, on_ask_state, k) : -ENOMEM;
        if (r < 0) {
                timer_free(k->timer);
                free(k);
                return r;
        }
        k->link->ask = true;
        k->next = p->asks;
        p->asks = k;
        timer_start(k->timer, ASK_KEEP_MSEC);
        *ret = k;
        return 0;
}

/* Room for one more: the one that has been idle for the longest goes. false: all are in use. */
static bool make_ask_room(Peer *p)
{
        AskLink *idle = NULL;
        unsigned n = 0;

        for (AskLink *k = p->asks; k; k = k->next) {
                n++;
                if ((!k->link->conduit || conduit_is_idle(k->link->conduit)) &&
                    (!idle || k->used_msec < idle->used_msec))
                        idle = k;
        }
        if (n < PEER_ASKS_MAX)
                return true;
        if (!idle)
                return false;
        peer_ask_free(idle);
        return true;
}

int peer_ask_conduit(Peer *p, uid_t uid, Conduit **ret)
{
        AskLink *k = p->asks;
        int r;

        while (k && (k->link->uid != uid || !k->link->conduit))
                k = k->next;
        if (!k && !make_ask_room(p))
                return -EUSERS;
        if (!k && (r = asklink_new(&k, p, uid)) < 0)
                return r;
        peerlink_hurry(k->link, true);
        k->used_msec = uv_now(p->agent->loop);
        *ret = k->link->conduit;
        return 0;
}
