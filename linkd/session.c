#include "session.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "liblinkproto/control.h"
#include "liblinkproto/secret.h"
#include "limits.h"
#include "log.h"
#include "timer.h"

static const char keepalive_text[] =
        "{\"t\":\"ka\"}"; /* an unknown type, which every peer ignores */

struct Session {
        uv_loop_t *loop;
        Ws *ws;
        SealPair *keys;
        const SessionHandler *handler;
        void *userdata;
        bool framed, held, ended, heard;
        Timer *idle;
        uint64_t last_traffic_msec; /* either way, of anything but a keepalive */
        uint64_t last_sent_msec;
        size_t n_foreign;       /* of the handshake, that still waited when this took the socket */
        uint64_t probed_msec;   /* 0: never */
        uint64_t sent, written; /* messages */
};

static void end(Session *s, const char *word, const char *reason)
{
        if (s->ended)
                return;
        s->ended = true;
        timer_stop(s->idle);
        s->handler->on_ended(s->userdata, word, reason); /* may free s */
}

/* A peer that broke the rules: nothing more is said to it. */
static void end_bad(Session *s, const char *reason)
{
        s->ws = ws_kill(s->ws, 1000);
        end(s, "badPeer", reason);
}

/* Seals plain where it is and takes it over; on failure it may be left to the caller. */
static int send_frame(Session *s, Buf *plain, uint64_t *ret_seq)
{
        WsMessage *m;
        int r;

        if (!s->ws)
                return -ENOTCONN;
        if (plain->len + SEAL_TAG_BYTES > LINK_MESSAGE_MAX)
                return -EMSGSIZE;
        r = buf_reserve(plain, SEAL_TAG_BYTES);
        if (r < 0)
                return r;
        m = ws_message_take(plain); /* before the counter moves on */
        if (!m)
                return -ENOMEM;
        r = seal_frame(&s->keys->send, m->data, m->len, m->data);
        if (r < 0) {
                sodium_memzero(m->data, m->len);
                ws_message_free(m);
                return r;
        }
        m->len += SEAL_TAG_BYTES;
        s->last_sent_msec = uv_now(s->loop);
        r = ws_send(s->ws, m);
        if (r == 0)
                *ret_seq = ++s->sent;
        return r;
}

static int send_keepalive(Session *s)
{
        Buf plain = {};
        uint64_t seq;

        buf_add_str(&plain, keepalive_text);
        int r = buf_ok(&plain) < 0 ? -ENOMEM : send_frame(s, &plain, &seq);
        buf_done(&plain);
        return r;
}

/* ---- time ---- */

static void on_idle(void *userdata)
{
        Session *s = userdata;
        uint64_t now = uv_now(s->loop), due = s->last_traffic_msec + SESSION_IDLE_MSEC;

        if (now >= due) {
                s->ws = ws_free(s->ws);
                end(s, "closed", "no traffic for ten minutes");
                return;
        }
        if (s->held && now >= s->last_sent_msec + SESSION_KEEPALIVE_MSEC) {
                int r = send_keepalive(s);
                if (r < 0)
                        log_debug("session: keepalive not sent: %s", strerror(-r));
        }
        if (s->held)
                due = MIN(due, s->last_sent_msec + SESSION_KEEPALIVE_MSEC);
        timer_start(s->idle, MAX(due, now + 1) - now);
}

void session_probe(Session *s, bool changed)
{
        uint64_t now = uv_now(s->loop);
        bool probed = s->probed_msec && now - s->probed_msec < SESSION_DEAD_MSEC;

        if (!s->ws || s->ended)
                return;
        if (ws_unconfirmed_msec(s->ws) >= (probed ? PROBE_DEAD_MSEC : SESSION_DEAD_MSEC)) {
                s->ws = ws_kill(s->ws, 1000);
                end(s, "closed", "the network does not confirm what was sent");
                return;
        }
        if (!changed)
                return;
        s->probed_msec = now;
        if (ws_queued_bytes(s->ws) == 0) {
                int r = send_keepalive(s);
                if (r < 0)
                        log_debug("session: no probe sent: %s", strerror(-r));
        }
}

void session_set_held(Session *s, bool held)
{
        s->held = held;
        timer_start(s->idle, held ? SESSION_KEEPALIVE_MSEC : SESSION_IDLE_MSEC);
}

/* ---- in ---- */

static void take_envelope(Session *s, const Envelope *e)
{
        switch (e->type) {
        case ENVELOPE_IGNORED:
                return;
        case ENVELOPE_CAP:
                if (e->cap_framed && !s->framed) {
                        s->framed = true;
                        s->handler->on_framed(s->userdata);
                }
                return;
        case ENVELOPE_REQ:
        case ENVELOPE_RES:
        case ENVELOPE_EVT:
                s->handler->on_envelope(s->userdata, e);
                return;
        }
}

static void on_message(void *userdata, bool text, uint8_t *data, size_t len)
{
        Session *s = userdata;
        Envelope e;
        int r;

        if (text) {
                end_bad(s, "the peer sent a text frame inside the session");
                return;
        }
        r = seal_open(&s->keys->receive, data, len, data);
        if (r < 0) {
                end_bad(s, "a frame failed authentication: it was changed on the way");
                return;
        }
        len -= SEAL_TAG_BYTES;
        if (!s->heard) {
                s->heard = true;
                if (s->handler->on_heard)
                        s->handler->on_heard(s->userdata);
        }
        if (len != sizeof(keepalive_text) - 1 || memcmp(data, keepalive_text, len) != 0)
                s->last_traffic_msec = uv_now(s->loop);
        r = envelope_decode(data, len, &e);
        if (r < 0) {
                end_bad(s, "the peer sent a malformed envelope");
                return;
        }
        take_envelope(s, &e); /* may free s */
}

static void on_written(void *userdata, size_t len)
{
        Session *s = userdata;

        (void)len;
        if (s->n_foreign) {
                s->n_foreign--;
                return;
        }
        s->handler->on_written(s->userdata, ++s->written); /* messages leave in order */
}

static void on_closed(void *userdata, unsigned code, const char *reason)
{
        Session *s = userdata;
        char text[128];

        s->ws = ws_free(s->ws);
        (void)snprintf(text, sizeof(text), code ? "%s (%u)" : "%s", reason, code);
        end(s, "closed", text);
}

static void on_open(void *userdata)
{
        (void)userdata; /* it was open when the session took it over */
}

static const WsHandler ws_handler = {
        .on_open = on_open,
        .on_message = on_message,
        .on_written = on_written,
        .on_closed = on_closed,
};

/* ---- out ---- */

int session_send(Session *s, Buf *plain, uint64_t *ret_seq)
{
        int r = send_frame(s, plain, ret_seq);

        if (r == 0)
                s->last_traffic_msec = uv_now(s->loop);
        return r;
}

bool session_is_framed(const Session *s)
{
        return s->framed;
}

size_t session_unfinished_bytes(const Session *s)
{
        return s->ws ? ws_unfinished_bytes(s->ws) : 0;
}

void session_pause(Session *s, bool paused)
{
        if (s->ws)
                ws_pause(s->ws, paused);
}

/* ---- life ---- */

int session_new(Session **ret, uv_loop_t *loop, Ws *w, SealPair *keys,
                const SessionHandler *handler, void *userdata)
{
        Session *s = calloc(1, sizeof(*s));
        Buf cap = {};
        uint64_t seq;
        int r;

        if (!s || !(s->idle = timer_new(loop, on_idle, s))) {
                free(s);
                ws_kill(w, 1000);
                secret_object_free(keys);
                return -ENOMEM;
        }
        s->loop = loop;
        s->ws = w;
        s->keys = keys;
        s->handler = handler;
        s->userdata = userdata;
        s->last_traffic_msec = uv_now(loop);
        s->n_foreign = ws_n_unwritten(w);
        ws_set_handler(w, &ws_handler, s);
        ws_set_message_max(w, LINK_MESSAGE_MAX);
        session_set_held(s, false);
        buf_add_str(&cap, envelope_cap);
        r = buf_ok(&cap) < 0 ? -ENOMEM : session_send(s, &cap, &seq);
        buf_done(&cap);
        if (r < 0) {
                session_kill(s);
                return r;
        }
        *ret = s;
        return 0;
}

static Session *release(Session *s)
{
        timer_free(s->idle);
        secret_object_free(s->keys);
        free(s);
        return NULL;
}

Session *session_free(Session *s)
{
        if (!s)
                return NULL;
        ws_free(s->ws);
        return release(s);
}

Session *session_kill(Session *s)
{
        if (!s)
                return NULL;
        ws_kill(s->ws, 1000);
        return release(s);
}
