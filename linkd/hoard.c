#include "hoard.h"

#include <errno.h>

#include "host.h"
#include "limits.h"
#include "log.h"
#include "peer.h"

struct Hoard {
        Agent *agent;
        size_t bytes;
        Timer *over; /* NULL: stopped */
        LogLimit log;
};

/* Whoever keeps the most: a device, the sessions of a host that nobody has proved to be a device's,
 * or a peer; and its session that does. */
typedef struct Most {
        size_t bytes, of_session;
        HostSession *session; /* or */
        PeerLink *link;
} Most;

static bool is_same(const HostSession *a, const HostSession *b)
{
        return a->proven == b->proven &&
               (!a->proven || memcmp(a->key_id, b->key_id, KEY_ID_BYTES) == 0);
}

/* The one that s belongs to. */
static Most of_device(HostSession *list, HostSession *s)
{
        Most m = {};

        for (HostSession *i = list; i; i = i->next) {
                size_t n = is_same(i, s) ? conduit_kept_bytes(i->conduit) : 0;

                m.bytes += n;
                if (n > m.of_session) {
                        m.of_session = n;
                        m.session = i;
                }
        }
        return m;
}

static Most of_peer(const Peer *p)
{
        Most m = {};

        for (PeerLink *l = p->links; l; l = l->next) {
                size_t n = l->conduit ? conduit_kept_bytes(l->conduit) : 0;

                m.bytes += n;
                if (n > m.of_session) {
                        m.of_session = n;
                        m.link = l;
                }
        }
        return m;
}

static void keep_larger(Most *m, Most other)
{
        if (other.bytes > m->bytes)
                *m = other;
}

/* Only sessions that keep something begin a count of their device. */
static Most find_most(const Agent *a)
{
        Most m = {};

        for (const Host *h = a->hosts; h; h = h->next) {
                for (HostSession *s = h->sessions; s; s = s->next)
                        if (conduit_kept_bytes(s->conduit))
                                keep_larger(&m, of_device(h->sessions, s));
                if (h->unproven)
                        keep_larger(&m, of_device(h->unproven, h->unproven));
        }
        for (const Peer *p = a->peers; p; p = p->next)
                keep_larger(&m, of_peer(p));
        return m;
}

static void on_over(void *userdata)
{
        static const char why[] = "too much of what the other end sent waits in memory";
        Hoard *h = userdata;
        uint64_t now = uv_now(h->agent->loop);

        while (h->bytes > HOARD_BYTES_MAX) {
                Most m = find_most(h->agent);

                if (m.session) {
                        log_limited(&h->log, now, LOG_LEVEL_WARNING, "host %s: session %u ends: %s",
                                    m.session->host->name, (unsigned)m.session->number, why);
                        host_end_session(m.session, "tooMany", why);
                } else if (m.link) {
                        log_limited(&h->log, now, LOG_LEVEL_WARNING, "peer %s: a session ends: %s",
                                    m.link->peer->name, why);
                        peerlink_close(m.link, "tooMany", why);
                } else {
                        return; /* what is left is no session's: control sockets, each bounded */
                }
        }
}

int hoard_new(Hoard **ret, Agent *a)
{
        Hoard *h = calloc(1, sizeof(*h));

        if (!h || !(h->over = timer_new(a->loop, on_over, h))) {
                free(h);
                return -ENOMEM;
        }
        h->agent = a;
        *ret = h;
        return 0;
}

void hoard_stop(Hoard *h)
{
        if (h)
                h->over = timer_free(h->over);
}

Hoard *hoard_free(Hoard *h)
{
        hoard_stop(h);
        free(h);
        return NULL;
}

void hoard_count(Hoard *h, size_t *counted, size_t now)
{
        h->bytes = h->bytes - *counted + now;
        *counted = now;
        if (h->bytes > HOARD_BYTES_MAX && h->over && !timer_active(h->over))
                timer_start(h->over, 0);
}
