#include "outbox.h"

#include <errno.h>

struct Outgoing {
        Outgoing *next;
        linkipc_session *session; /* referenced */
        linkipc_reply *reply;     /* referenced; NULL: an event */
        bool ok;
        char *text;
        void *payload;
        size_t payload_n;
};

static Outgoing *outgoing_free(Outgoing *g)
{
        if (!g)
                return NULL;
        (void)linkipc_reply_unref(g->reply);     /* NULL */
        (void)linkipc_session_unref(g->session); /* NULL */
        free(g->text);
        free(g->payload);
        free(g);
        return NULL;
}
DEFINE_CLEANUP(Outgoing, outgoing_free)

void outbox_init(Outbox *o)
{
        o->first = NULL;
        o->end = &o->first;
}

/* Takes *at out and frees it. */
static void drop(Outbox *o, Outgoing **at)
{
        Outgoing *g = *at;

        *at = g->next;
        if (o->end == &g->next)
                o->end = at;
        (void)outgoing_free(g); /* NULL */
}

void outbox_done(Outbox *o)
{
        while (o->first)
                drop(o, &o->first);
}

static bool is_waiting(const Outbox *o, const linkipc_session *s)
{
        for (const Outgoing *g = o->first; g; g = g->next)
                if (g->session == s)
                        return true;
        return false;
}

static int send_now(const Outgoing *g)
{
        int r;

        if (!g->reply)
                r = linkipc_send_async(g->session, g->text, g->payload, g->payload_n, NULL, NULL,
                                       NULL);
        else
                r = g->ok ? linkipc_reply_ok(g->reply, g->text)
                          : linkipc_reply_error(g->reply, g->text);
        /* With the session or the connection gone nobody wants it, and that is told elsewhere. */
        return r == -ECONNRESET || r == -ENOTCONN ? -ECANCELED : r;
}

/* Keeps a copy of g for later. */
static int keep(Outbox *o, const Outgoing *g)
{
        _cleanup_(outgoing_freep) Outgoing *copy = calloc(1, sizeof(*copy));

        if (!copy)
                return -ENOMEM;
        copy->session = linkipc_session_ref(g->session);
        copy->reply = linkipc_reply_ref(g->reply);
        copy->ok = g->ok;
        copy->text = strdup(g->text);
        copy->payload_n = g->payload_n;
        if (g->payload) {
                copy->payload = malloc(MAX(g->payload_n, (size_t)1));
                if (copy->payload)
                        memcpy(copy->payload, g->payload, g->payload_n);
        }
        if (!copy->text || (g->payload && !copy->payload))
                return -ENOMEM;
        linkipc_session_hold(g->session);
        *o->end = TAKE_PTR(copy);
        o->end = &(*o->end)->next;
        return 0;
}

static int send_or_keep(Outbox *o, const Outgoing *g)
{
        int r = is_waiting(o, g->session) ? -EAGAIN : send_now(g);

        return r == -EAGAIN ? keep(o, g) : r;
}

int outbox_answer(Outbox *o, linkipc_reply *reply, bool ok, const char *text)
{
        linkipc_session *s = linkipc_reply_get_session(reply);

        if (!s || linkipc_reply_is_cancelled(reply))
                return -ECANCELED;
        return send_or_keep(o, &(Outgoing){.session = s,
                                           .reply = reply,
                                           .ok = ok,
                                           .text = (char *)(uintptr_t)text});
}

int outbox_event(Outbox *o, linkipc_session *s, const char *data, const void *payload, size_t n)
{
        return send_or_keep(o, &(Outgoing){.session = s,
                                           .text = (char *)(uintptr_t)data,
                                           .payload = (void *)(uintptr_t)payload,
                                           .payload_n = n});
}

void outbox_on_writable(Outbox *o, linkipc_session *s)
{
        for (Outgoing **at = &o->first; *at;) {
                if ((*at)->session != s) {
                        at = &(*at)->next;
                        continue;
                }
                if (send_now(*at) == -EAGAIN)
                        return;
                drop(o, at); /* sent, or never to be: an answer that is dropped is an error there */
        }
        linkipc_session_release(s);
}

void outbox_on_closed(Outbox *o, const linkipc_session *s)
{
        for (Outgoing **at = &o->first; *at;) {
                if ((*at)->session == s)
                        drop(o, at);
                else
                        at = &(*at)->next;
        }
}
