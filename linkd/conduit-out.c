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

static void arm_by(Conduit *c, uint64_t deadline_msec)
{
        uint64_t now = uv_now(c->loop);

        if (timer_active(c->timer) && c->armed_msec <= deadline_msec)
                return;
        c->armed_msec = deadline_msec;
        timer_start(c->timer, deadline_msec > now ? deadline_msec - now : 0);
}

void conduit_arm(Conduit *c)
{
        uint64_t first = UINT64_MAX;

        for (Pending *p = c->pending; p; p = p->next)
                first = MIN(first, p->deadline_msec);
        if (c->session && c->held && !c->paused) /* it waits for the cap: flush leaves no other */
                first = MIN(first, c->framed_deadline_msec);
        timer_stop(c->timer);
        if (first != UINT64_MAX)
                arm_by(c, first);
}

Pending *conduit_take_pending(Conduit *c, Pending **at)
{
        Pending *p = *at;

        *at = p->next;
        if (c->pending_end == &p->next)
                c->pending_end = at;
        c->retained -= p->len;
        c->n_pending--;
        for (Flight *f = c->flights; f; f = f->next)
                if (f->request == p)
                        f->request = NULL;
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

int conduit_send_plain(Conduit *c, Buf *plain, ConduitUser *u, Pending *request,
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
                      .request = request,
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
        r = conduit_send_plain(c, &plain, p->user, p, 0, 0);
        if (r == 0)
                p->sent = true;
        return r;
}

/* Whether an event can be sent, or fail, now: a payload must be understood at the other end. */
static bool may_send(const Conduit *c, bool has_payload)
{
        if (!has_payload || session_is_framed(c->session))
                return true;
        /* paused: its cap may be unread */
        return !c->paused && uv_now(c->loop) >= c->framed_deadline_msec;
}

/* Sends an event, or tells its user why not. */
static void send_event(Conduit *c, ConduitUser *u, uint32_t token, JsonSlice data,
                       const uint8_t *payload, size_t len, size_t cost)
{
        bool framed = session_is_framed(c->session);
        Buf plain = {};
        int r = -ENOTSUP;

        if (framed || !payload) {
                envelope_evt(&plain, framed, data, payload, len);
                r = conduit_send_plain(c, &plain, u, NULL, token, cost);
        }
        if (r < 0) {
                conduit_credit(u, cost);
                conduit_failed(u, token, send_error_word(r), send_error_text(r));
        }
}

/* Sends the first event that waits. */
static void send_held(Conduit *c)
{
        _cleanup_(freep) HeldEvent *e = conduit_take_held(c, &c->held);

        send_event(c, e->user, e->token, (JsonSlice){.p = (const char *)e->bytes, .n = e->data_len},
                   e->has_payload ? e->bytes + e->data_len : NULL, e->payload_len, e->cost);
}

/* Sends requests from one on; one that cannot be sent for its own fault fails alone. */
static void send_requests(Conduit *c, Pending **at)
{
        while (*at && c->session) {
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
                at = &c->pending; /* the user may have changed the list */
        }
}

void conduit_flush(Conduit *c)
{
        send_requests(c, &c->pending);
        while (c->held && c->session && may_send(c, c->held->has_payload))
                send_held(c);
        conduit_arm(c);
}

int conduit_request(ConduitUser *u, uint32_t token, IpcStr cmd, uint64_t timeout_msec, size_t cost)
{
        Conduit *c = u->conduit;
        Pending *p = malloc(sizeof(*p) + cmd.n), **at;

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
        at = c->pending_end;
        *at = p;
        c->pending_end = &p->next;
        c->retained += p->len;
        c->n_pending++;
        arm_by(c, p->deadline_msec);
        send_requests(c, at); /* those before it are sent, if there is a session */
        return 0;
}

bool conduit_cancel(ConduitUser *u, uint32_t token)
{
        Conduit *c = u->conduit;

        for (Pending **at = &c->pending; *at; at = &(*at)->next)
                if ((*at)->user == u && (*at)->token == token) {
                        _cleanup_(freep) Pending *p = conduit_take_pending(c, at);
                        conduit_finish_pending(c, p);
                        return true;
                }
        return false;
}

int conduit_event(ConduitUser *u, uint32_t token, IpcStr data, const uint8_t *payload, size_t len,
                  size_t cost)
{
        Conduit *c = u->conduit;
        HeldEvent *e;

        if (c->session && !c->held && may_send(c, payload)) {
                send_event(c, u, token, (JsonSlice){.p = data.p, .n = data.n}, payload, len, cost);
                return 0;
        }
        e = malloc(sizeof(*e) + data.n + len);
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
        conduit_arm(c);
        return 0;
}
