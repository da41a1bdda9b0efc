/* Requests and events on their way out: until they are answered, written, or given up. */
#include <errno.h>
#include <stdio.h>

#include "conduit-internal.h"

void conduit_credit(ConduitUser *u, size_t cost)
{
        if (u && cost && u->ops->on_credit)
                u->ops->on_credit(u, cost);
}

void conduit_failed(ConduitUser *u, uint32_t token, const char *word, const char *message)
{
        if (u && token && u->ops->on_failed)
                u->ops->on_failed(u, token, word, message);
}

/* ---- deadlines: one timer for the earliest ---- */

void conduit_arm(Conduit *c)
{
        uint64_t now = uv_now(c->loop), first = UINT64_MAX;

        for (Pending *p = c->pending; p; p = p->next)
                first = MIN(first, p->deadline_msec);
        if (c->session && c->held && !c->paused) /* it waits for the cap: flush leaves no other */
                first = MIN(first, c->framed_deadline_msec);
        if (first == UINT64_MAX)
                timer_stop(c->timer);
        else
                timer_start(c->timer, first > now ? first - now : 0);
}

Pending *conduit_take_pending(Conduit *c, Pending **at)
{
        Pending *p = *at;

        *at = p->next;
        if (c->pending_end == &p->next)
                c->pending_end = at;
        c->retained -= p->len;
        c->n_pending--;
        return p;
}

HeldEvent *conduit_take_held(Conduit *c, HeldEvent **at)
{
        HeldEvent *e = *at;

        *at = e->next;
        if (c->held_end == &e->next)
                c->held_end = at;
        return e;
}

void conduit_release_retained(Conduit *c)
{
        for (Pending *p = c->pending; p && c->retained <= SESSION_RETAIN_BYTES; p = p->next)
                if (p->sent && p->cost) {
                        size_t cost = p->cost;
                        p->cost = 0;
                        conduit_credit(p->user, cost);
                }
}

void conduit_finish_pending(Conduit *c, Pending *p)
{
        for (Flight *f = c->flights; f; f = f->next)
                if (f->request_id == p->id)
                        f->request_id = 0;
        conduit_credit(p->user, p->cost);
        p->cost = 0;
        conduit_release_retained(c);
}

static void fail_late(const Conduit *c, const Pending *p)
{
        char text[256];

        if (p->sent) {
                conduit_failed(p->user, p->token, "timeout", "no answer in time");
                return;
        }
        (void)snprintf(text, sizeof(text), "not connected in %g s%s%s",
                       (double)p->timeout_msec / 1000, c->cause[0] ? "; last cause: " : "",
                       c->cause); /* cut is fine */
        conduit_failed(p->user, p->token, "unreachable", text);
}

void conduit_on_timer(void *userdata)
{
        Conduit *c = userdata;
        uint64_t now = uv_now(c->loop);

        for (Pending **at = &c->pending; *at;) {
                if ((*at)->deadline_msec > now) {
                        at = &(*at)->next;
                        continue;
                }
                _cleanup_(freep) Pending *p = conduit_take_pending(c, at);
                conduit_finish_pending(c, p);
                fail_late(c, p);
                at = &c->pending; /* the user may have changed the list */
        }
        conduit_flush(c);
}

/* ---- out ---- */

static const char *send_error_word(int r)
{
        return r == -EMSGSIZE  ? "tooBig"
               : r == -ENOTSUP ? "noPayload"
               : r == -ENOMEM  ? "internal"
                               : "closed";
}

static const char *send_error_text(int r)
{
        return r == -EMSGSIZE  ? "the message is larger than 16 MiB"
               : r == -ENOTSUP ? "the other end takes no payload"
               : r == -ENOMEM  ? "out of memory"
                               : "the session is closed";
}

int conduit_send_plain(Conduit *c, Buf *plain, ConduitUser *u, uint64_t request_id,
                       uint32_t event_token, size_t cost)
{
        _cleanup_(freep) Flight *f = malloc(sizeof(*f));
        uint64_t seq = 0;
        int r = f ? buf_ok(plain) : -ENOMEM;

        if (r == 0)
                r = session_send(c->session, plain, &seq);
        buf_done_wipe(plain);
        if (r < 0)
                return r;
        *f = (Flight){.seq = seq,
                      .user = u,
                      .event_token = event_token,
                      .request_id = request_id,
                      .cost = cost,
                      .own_answer = !u};
        c->n_own_answers += !u;
        *c->flights_end = f;
        c->flights_end = &f->next;
        f = NULL;
        return 0;
}

static int send_pending(Conduit *c, Pending *p)
{
        Buf plain = {};
        int r;

        envelope_req(&plain, session_is_framed(c->session), p->id,
                     (JsonSlice){.p = p->cmd, .n = p->len});
        r = conduit_send_plain(c, &plain, p->user, p->id, 0, 0);
        if (r == 0)
                p->sent = true;
        return r;
}

/* Sends the first event that waits, in order. false: it waits for the peer's cap, and so do those
 * behind it. */
static bool send_held(Conduit *c)
{
        HeldEvent *e = c->held;
        bool framed = session_is_framed(c->session);
        Buf plain = {};
        int r = -ENOTSUP;

        if (e->has_payload && !framed &&
            (c->paused ||
             uv_now(c->loop) < c->framed_deadline_msec)) /* paused: cap may be unread */
                return false;
        e = conduit_take_held(c, &c->held);
        if (framed || !e->has_payload) {
                envelope_evt(&plain, framed,
                             (JsonSlice){.p = (const char *)e->bytes, .n = e->data_len},
                             e->has_payload ? e->bytes + e->data_len : NULL, e->payload_len);
                r = conduit_send_plain(c, &plain, e->user, 0, e->token, e->cost);
        }
        if (r < 0) {
                conduit_credit(e->user, e->cost);
                conduit_failed(e->user, e->token, send_error_word(r), send_error_text(r));
        }
        free(e);
        return true;
}

/* Sends what waits; a request that cannot be sent for its own fault fails alone. */
void conduit_flush(Conduit *c)
{
        for (Pending **at = &c->pending; *at && c->session;) {
                Pending *p = *at;
                int r = p->sent ? 0 : send_pending(c, p);

                if (r == 0 || r == -ENOTCONN) {
                        at = &p->next;
                        continue;
                }
                p = conduit_take_pending(c, at);
                conduit_finish_pending(c, p);
                conduit_failed(p->user, p->token, send_error_word(r), send_error_text(r));
                free(p);
                at = &c->pending;
        }
        while (c->held && c->session && send_held(c))
                ;
        conduit_arm(c);
}

int conduit_request(ConduitUser *u, uint32_t token, IpcStr cmd, uint64_t timeout_msec, size_t cost)
{
        Conduit *c = u->conduit;
        Pending *p = malloc(sizeof(*p) + cmd.n);

        if (!p)
                return -ENOMEM;
        *p = (Pending){
                .user = u,
                .token = token,
                .id = ++c->last_id,
                .deadline_msec = uv_now(c->loop) + timeout_msec,
                .timeout_msec = timeout_msec,
                .cost = cost,
                .len = cmd.n,
        };
        memcpy(p->cmd, cmd.p, cmd.n);
        *c->pending_end = p;
        c->pending_end = &p->next;
        c->retained += p->len;
        c->n_pending++;
        conduit_flush(c);
        return 0;
}

bool conduit_cancel(ConduitUser *u, uint32_t token)
{
        Conduit *c = u->conduit;

        for (Pending **at = &c->pending; *at; at = &(*at)->next)
                if ((*at)->user == u && (*at)->token == token) {
                        _cleanup_(freep) Pending *p = conduit_take_pending(c, at);
                        conduit_finish_pending(c, p);
                        conduit_arm(c);
                        return true;
                }
        return false;
}

int conduit_event(ConduitUser *u, uint32_t token, IpcStr data, const uint8_t *payload, size_t len,
                  size_t cost)
{
        Conduit *c = u->conduit;
        HeldEvent *e = malloc(sizeof(*e) + data.n + len);

        if (!e)
                return -ENOMEM;
        *e = (HeldEvent){.user = u,
                         .token = token,
                         .cost = cost,
                         .data_len = data.n,
                         .payload_len = len,
                         .has_payload = payload != NULL};
        memcpy(e->bytes, data.p, data.n);
        if (payload)
                memcpy(e->bytes + data.n, payload, len);
        *c->held_end = e;
        c->held_end = &e->next;
        conduit_flush(c);
        return 0;
}
