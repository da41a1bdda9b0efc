#include "conduit.h"

#include <errno.h>
#include <stdio.h>

#include "conduit-internal.h"
#include "log.h"

static Incoming **find_incoming(Conduit *c, uint32_t number)
{
        Incoming **at = &c->incoming;

        while (*at && (*at)->number != number)
                at = &(*at)->next;
        return at;
}

static int send_error_answer(Conduit *c, JsonSlice id, const char *text)
{
        Buf plain = {};

        envelope_res_error(&plain, session_is_framed(c->session), id, text, strlen(text));
        int r = conduit_send_plain(c, &plain, NULL, NULL, 0, 0);
        conduit_update_flow(c);
        return r;
}

int conduit_respond(ConduitUser *u, uint32_t number, bool ok, IpcStr body, size_t cost)
{
        Conduit *c = u->conduit;
        Incoming **at = find_incoming(c, number);
        _cleanup_(freep) Incoming *in = *at;
        JsonSlice value = {.p = body.p, .n = body.n}, id;
        Buf plain = {};
        int r;

        if (!in || in->user != u) {
                in = NULL; /* not ours to free */
                conduit_credit(u, cost);
                return 0;
        }
        *at = in->next;
        c->n_incoming--;
        conduit_update_flow(c);
        id = (JsonSlice){.p = in->id, .n = in->id_len};
        if (!c->session) {
                conduit_credit(u, cost);
                return 0;
        }
        if (ok)
                envelope_res_ok(&plain, session_is_framed(c->session), id, value);
        else
                envelope_res_error_json(&plain, session_is_framed(c->session), id, value);
        r = conduit_send_plain(c, &plain, u, NULL, 0, cost);
        if (r < 0)
                conduit_credit(u, cost);
        if (r == -EMSGSIZE)
                r = send_error_answer(c, id, "the answer is larger than 16 MiB");
        return r == -ENOTCONN ? 0 : r;
}

/* ---- in ---- */

static ConduitUser *user_for(Conduit *c, uint8_t role)
{
        ConduitUser *u = c->users;

        while (u && !(u->roles & role))
                u = u->next;
        return u;
}

static void on_req(Conduit *c, const Envelope *e)
{
        ConduitUser *u = user_for(c, IPC_ROLE_REQUESTS);
        Incoming *in;

        if (!e->id.p || e->id.n > ID_TEXT_MAX) {
                log_debug("a request without a usable id was ignored");
                return;
        }
        if (!u || c->n_incoming >= 2 * INCOMING_REQUESTS_MAX) { /* once: reading has been paused */
                int r = send_error_answer(c, e->id, u ? "too many requests" : "no request handler");
                if (r < 0)
                        log_debug("an error answer was not sent: %s", strerror(-r));
                return;
        }
        in = malloc(sizeof(*in));
        if (!in) {
                log_error("out of memory: a request is not answered");
                return;
        }
        do /* never 0, nor one that is still unanswered after a turn of the counter */
                c->last_number++;
        while (c->last_number == 0 || *find_incoming(c, c->last_number));
        *in = (Incoming){
                .next = c->incoming, .user = u, .number = c->last_number, .id_len = e->id.n};
        memcpy(in->id, e->id.p, e->id.n);
        c->incoming = in;
        c->n_incoming++;
        conduit_update_flow(c);
        u->ops->on_request(u, in->number, e->body);
}

static void on_res(Conduit *c, const Envelope *e)
{
        int64_t id;

        if (!e->id.p || json_int64(e->id, &id) < 0)
                return;
        for (Pending **at = &c->pending; *at; at = &(*at)->next) {
                if ((*at)->id != (uint64_t)id || !(*at)->sent)
                        continue;
                static const char no_reason[] = "\"error\"";
                JsonSlice error = e->error;
                _cleanup_(freep) Pending *p = conduit_take_pending(c, at);

                if (!json_is_string(error))
                        error = (JsonSlice){.p = no_reason, .n = sizeof(no_reason) - 1};
                conduit_finish_pending(c, p);
                p->user->ops->on_response(p->user, p->token, e->ok, e->ok ? e->body : error);
                return;
        }
        /* Late: it was cancelled or has timed out. */
}

static void on_envelope(void *userdata, const Envelope *e)
{
        Conduit *c = userdata;
        ConduitUser *u;

        if (e->type == ENVELOPE_REQ)
                on_req(c, e);
        else if (e->type == ENVELOPE_RES)
                on_res(c, e);
        else if ((u = user_for(c, IPC_ROLE_EVENTS)) && u->ops->on_event)
                u->ops->on_event(u, e->body, e->payload, e->payload_len);
}

static void on_framed(void *userdata)
{
        Conduit *c = userdata;

        conduit_flush(c);
        if (c->session && c->handler->on_framed)
                c->handler->on_framed(c->userdata);
}

static void on_heard(void *userdata)
{
        const Conduit *c = userdata;

        if (c->handler->on_heard)
                c->handler->on_heard(c->userdata);
}

/* Credit for a request comes when it is written, unless too much is retained for sending again. */
static void request_written(const Conduit *c, Pending *p)
{
        if (!p->cost || c->retained > SESSION_RETAIN_BYTES)
                return;
        size_t cost = p->cost;
        p->cost = 0;
        conduit_credit(p->user, cost);
}

static void on_written(void *userdata, uint64_t seq)
{
        Conduit *c = userdata;

        while (c->flights && c->flights->seq <= seq) {
                _cleanup_(freep) Flight *f = c->flights;

                c->flights = f->next;
                if (!c->flights)
                        c->flights_end = &c->flights;
                conduit_credit(f->user, f->cost);
                if (f->request)
                        request_written(c, f->request);
                if (f->user && f->event_token && f->user->ops->on_event_done)
                        f->user->ops->on_event_done(f->user, f->event_token);
                c->n_own_answers -= f->own_answer;
        }
        conduit_update_flow(c);
}

/* ---- the session's end ---- */

/* What was sent and not written is gone: events fail, the rest is credited. */
static void drop_flights(Conduit *c)
{
        while (c->flights) {
                _cleanup_(freep) Flight *f = c->flights;

                c->flights = f->next;
                conduit_credit(f->user, f->cost);
                conduit_failed(f->user, f->event_token, "closed",
                               "the connection was lost before the event was sent");
        }
        c->flights_end = &c->flights;
        c->n_own_answers = 0;
}

static void drop_incoming(Conduit *c)
{
        while (c->incoming) {
                _cleanup_(freep) Incoming *in = c->incoming;

                c->incoming = in->next;
                c->n_incoming--;
                if (in->user->ops->on_cancel)
                        in->user->ops->on_cancel(in->user, in->number);
        }
}

static void fail_waiting(Conduit *c, const char *word, const char *message)
{
        while (c->pending) {
                _cleanup_(freep) Pending *p = conduit_take_pending(c, &c->pending);
                conduit_credit(p->user, p->cost);
                conduit_failed(p->user, p->token, word, message);
        }
        while (c->held) {
                _cleanup_(freep) HeldEvent *e = conduit_take_held(c, &c->held);
                conduit_credit(e->user, e->cost);
                conduit_failed(e->user, e->token, word, message);
        }
        timer_stop(c->timer);
}

static void on_ended(void *userdata, const char *word, const char *reason)
{
        Conduit *c = userdata;

        c->session = session_free(c->session);
        drop_flights(c);
        drop_incoming(c);
        for (Pending *p = c->pending; p; p = p->next)
                p->sent = false;
        if (!c->resend)
                fail_waiting(c, word, reason);
        else
                conduit_arm(c);
        c->handler->on_session_ended(c->userdata, word, reason); /* may free c */
}

static const SessionHandler session_handler = {
        .on_heard = on_heard,
        .on_envelope = on_envelope,
        .on_framed = on_framed,
        .on_written = on_written,
        .on_ended = on_ended,
};

/* ---- life ---- */

int conduit_new(Conduit **ret, uv_loop_t *loop, bool resend, const ConduitHandler *handler,
                void *userdata)
{
        Conduit *c = calloc(1, sizeof(*c));

        if (!c || !(c->timer = timer_new(loop, conduit_on_timer, c))) {
                free(c);
                return -ENOMEM;
        }
        c->loop = loop;
        c->resend = resend;
        c->handler = handler;
        c->userdata = userdata;
        c->pending_end = &c->pending;
        c->held_end = &c->held;
        c->flights_end = &c->flights;
        *ret = c;
        return 0;
}

Conduit *conduit_free(Conduit *c, const char *word, const char *message)
{
        if (!c)
                return NULL;
        c->session = session_free(c->session);
        drop_flights(c);
        drop_incoming(c);
        fail_waiting(c, word, message);
        for (ConduitUser *u = c->users; u; u = u->next)
                u->conduit = NULL;
        timer_free(c->timer);
        free(c);
        return NULL;
}

void conduit_note_cause(Conduit *c, const char *cause)
{
        (void)snprintf(c->cause, sizeof(c->cause), "%s", cause); /* cut is fine */
}

void conduit_end_session(Conduit *c, const char *word, const char *reason)
{
        if (c->session)
                on_ended(c, word, reason);
}

void conduit_kill_session(Conduit *c)
{
        c->session = session_kill(c->session);
}

void conduit_probe(Conduit *c, bool changed)
{
        if (c->session)
                session_probe(c->session, changed);
}

int conduit_attach(Conduit *c, Ws *w, SealPair *keys)
{
        int r;

        c->session = session_free(c->session);
        r = session_new(&c->session, c->loop, w, keys, &session_handler, c);
        if (r < 0)
                return r;
        c->paused = false;
        c->framed_deadline_msec = uv_now(c->loop) + FRAMED_WAIT_MSEC;
        session_set_held(c->session, c->users != NULL);
        conduit_update_flow(c);
        conduit_flush(c);
        return 0;
}

bool conduit_is_connected(const Conduit *c)
{
        return c->session != NULL;
}

bool conduit_is_framed(const Conduit *c)
{
        return c->session && session_is_framed(c->session);
}

bool conduit_is_idle(const Conduit *c)
{
        return !c->pending && !c->held && !c->flights && !c->incoming;
}

unsigned conduit_n_pending(const Conduit *c)
{
        return c->n_pending;
}

size_t conduit_kept_bytes(const Conduit *c)
{
        size_t n = c->session ? session_unfinished_bytes(c->session) : 0;

        for (const ConduitUser *u = c->users; u; u = u->next)
                n += u->kept_bytes;
        return n;
}

void conduit_update_flow(Conduit *c)
{
        bool pause = c->n_incoming >= INCOMING_REQUESTS_MAX || c->n_own_answers >= OWN_ANSWERS_MAX;

        for (ConduitUser *u = c->users; u; u = u->next)
                pause = pause || (u->blocked && u->roles);
        if (!c->session || pause == c->paused)
                return;
        c->paused = pause;
        session_pause(c->session, pause);
        if (!pause && c->held) {
                c->framed_deadline_msec = uv_now(c->loop) + FRAMED_WAIT_MSEC;
                conduit_arm(c);
        }
}

void conduit_add_user(Conduit *c, ConduitUser *u)
{
        u->conduit = c;
        u->next = c->users;
        c->users = u;
        if (c->session)
                session_set_held(c->session, true);
        conduit_update_flow(c);
}

/* Drops what a user waits for and what it owes. */
static void forget(Conduit *c, ConduitUser *u)
{
        for (Pending **at = &c->pending; *at;) {
                if ((*at)->user != u) {
                        at = &(*at)->next;
                        continue;
                }
                _cleanup_(freep) Pending *p = conduit_take_pending(c, at);
                conduit_failed(u, p->token, "closed", "the session was closed");
        }
        for (HeldEvent **at = &c->held; *at;) {
                if ((*at)->user != u) {
                        at = &(*at)->next;
                        continue;
                }
                _cleanup_(freep) HeldEvent *e = conduit_take_held(c, at);
                conduit_failed(u, e->token, "closed", "the session was closed");
        }
        for (Flight *f = c->flights; f; f = f->next)
                if (f->user == u) {
                        f->user = NULL;
                        conduit_failed(u, f->event_token, "closed", "the session was closed");
                }
        for (Incoming **at = &c->incoming; *at;) {
                Incoming *in = *at;

                if (in->user != u) {
                        at = &in->next;
                        continue;
                }
                *at = in->next;
                c->n_incoming--;
                int r = c->session ? send_error_answer(c, (JsonSlice){.p = in->id, .n = in->id_len},
                                                       "the request handler went away")
                                   : 0;
                if (r < 0)
                        log_debug("an error answer was not sent: %s", strerror(-r));
                free(in);
        }
}

void conduit_remove_user(ConduitUser *u)
{
        Conduit *c = u->conduit;

        if (!c)
                return;
        for (ConduitUser **at = &c->users; *at; at = &(*at)->next)
                if (*at == u) {
                        *at = u->next;
                        break;
                }
        u->conduit = NULL;
        forget(c, u);
        if (c->session && !c->users)
                session_set_held(c->session, false);
        conduit_release_retained(c);
        conduit_update_flow(c);
        conduit_arm(c);
}
