/* Sessions: their state, their flow control, what is sent on them. What the application reads off
 * one is in linkipc-session-get.c. */
#include "linkipc-internal.h"

/* ---- memory and lists ---- */

static linkipc_session **list_of(const linkipc_session *s)
{
        return s->state == LINKIPC_CLOSED ? &s->link->closed : &s->link->live;
}

static void enlist(linkipc_session *s)
{
        linkipc_session **head = list_of(s);

        s->list_prev = NULL;
        s->list_next = *head;
        if (*head)
                (*head)->list_prev = s;
        *head = s;
}

static void delist(linkipc_session *s)
{
        *(s->list_prev ? &s->list_prev->list_next : list_of(s)) = s->list_next;
        if (s->list_next)
                s->list_next->list_prev = s->list_prev;
}

linkipc_session *session_new(linkipc *l, uint32_t window)
{
        linkipc_session *s = calloc(1, sizeof *s);

        if (!s)
                return NULL;
        s->n_ref = 1;
        s->link = l;
        s->window = window;
        s->receive_balance = window;
        s->state = LINKIPC_CONNECTING;
        enlist(s);
        return s;
}

static void session_free(linkipc_session *s)
{
        if (s->link)
                delist(s);
        reply_orphan_all(s);
        err_done(&s->error);
        free(s->peer);
        free(s->host);
        free(s->key_id);
        free(s->label);
        free(s->info);
        free(s);
}

linkipc_session *session_pin(linkipc_session *s)
{
        s->pins++;
        return s;
}

/* Frees what the application, the agent and we have all let go. */
linkipc_session *session_unpin(linkipc_session *s)
{
        if (--s->pins == 0 && s->n_ref == 0 && !s->in_table && !s->connecting)
                session_free(s);
        return NULL;
}

/* ---- the table ---- */

linkipc_session *session_find(const linkipc *l, uint32_t number)
{
        linkipc_session *s = l->sessions[number % SESSION_BUCKETS];

        while (s && s->number != number)
                s = s->next;
        return s;
}

int session_enter(linkipc *l, linkipc_session *s, uint32_t number, uint32_t agent_window)
{
        if (session_find(l, number))
                return -EEXIST;
        if (l->n_sessions >= SESSIONS_MAX)
                return -ENOBUFS;
        s->number = number;
        s->send_balance = agent_window;
        s->next = l->sessions[number % SESSION_BUCKETS];
        l->sessions[number % SESSION_BUCKETS] = s;
        l->n_sessions++;
        s->in_table = true;
        return 0;
}

static void session_leave(linkipc_session *s)
{
        linkipc_session **at = &s->link->sessions[s->number % SESSION_BUCKETS];

        if (!s->in_table)
                return;
        while (*at != s)
                at = &(*at)->next;
        *at = s->next;
        s->link->n_sessions--;
        s->in_table = false;
}

/* ---- state ---- */

bool session_listens(const linkipc_session *s)
{
        return s->link && !s->link->ending && !s->abandoned;
}

void session_set_state(linkipc_session *s, uint8_t state, bool framed, Err *e)
{
        bool news = state != s->state || framed != s->framed;

        if (s->state == LINKIPC_CLOSED) { /* final */
                if (e)
                        err_done(e);
                return;
        }
        delist(s);
        s->state = state;
        s->framed = framed;
        enlist(s);
        err_done(&s->error);
        if (e)
                s->error = *e;
        if (!news || !session_listens(s) || !HANDLER(s, state))
                return;
        _cleanup_(link_unpinp) linkipc *l = link_pin(s->link);
        CALLBACK(l, HANDLER(s, state)(s, state, HANDLER_DATA(s, state)));
}

/* What belongs to it ends, but for the application's reference. */
static void session_end(linkipc_session *s, const Err *e)
{
        Err own = {0};

        s->closing = true; /* nothing can be sent any more */
        err_copy(&own, e);
        session_leave(s);
        request_finish_session(s->link, s, e);
        reply_cancel_all(s);
        if (s->link) /* the callbacks may have let it go */
                session_set_state(s, LINKIPC_CLOSED, false, &own);
        else
                err_done(&own);
        if (s->owned) {
                s->owned = false;
                s->n_ref--;
        }
}

void session_closed(linkipc_session *s, const Err *e)
{
        _cleanup_(link_unpinp) linkipc *l = link_pin(s->link);
        _cleanup_(session_unpinp) linkipc_session *pinned = session_pin(s);

        if (l) /* without a connection it is closed already */
                session_end(pinned, e);
}

void session_detach(linkipc_session *s)
{
        _cleanup_(session_unpinp) linkipc_session *pinned = session_pin(s);

        session_end(pinned, &s->link->broken);
        if (s->link)
                delist(s);
        s->link = NULL;
}

void session_connect_ended(linkipc_session *s, const linkipc_result *result)
{
        _cleanup_(session_unpinp) linkipc_session *pinned = session_pin(s);
        _cleanup_(err_done) Err e = {0};

        pinned->connecting = false;
        if (result->error == 0)
                return;
        err_set(&e, result->error, result->word, result->message);
        session_closed(s, &e);
}

/* ---- CLOSE ---- */

static void queue_close(linkipc_session *s)
{
        /* A failure has ended the connection, which ends the session as well. */
        (void)link_queue(s->link, &(IpcMessage){.type = IPC_CLOSE, .session = s->number});
}

void session_send_close(linkipc_session *s)
{
        if (s->closing)
                return;
        s->closing = true;
        if (s->in_table)
                queue_close(s);
}

static void call_writable(linkipc_session *s)
{
        if (!session_listens(s) || s->closing || !HANDLER(s, writable))
                return;
        _cleanup_(link_unpinp) linkipc *l = link_pin(s->link);
        CALLBACK(l, HANDLER(s, writable)(s, HANDLER_DATA(s, writable)));
}

void session_opened(linkipc_session *s)
{
        if (s->closing) {
                queue_close(s); /* given up before it had a number */
                return;
        }
        s->starved = false;
        call_writable(s);
}

/* ---- flow control ---- */

int session_may_send(linkipc_session *s)
{
        if (!s->link)
                return -ENOTCONN;
        int r = link_check(s->link);
        if (r < 0)
                return r;
        if (s->closing)
                return link_error(s->link, -ENOTCONN, s->error.message);
        if (s->number != 0 && s->send_balance > 0)
                return 0;
        s->starved = true;
        return link_error(s->link, -EAGAIN, NULL);
}

int session_send(linkipc_session *s, IpcMessage *m)
{
        m->session = s->number;
        int r = link_queue(s->link, m);
        if (r == 0)
                s->send_balance -= (int64_t)m->frame_len;
        return r;
}

void session_give_credit(linkipc_session *s)
{
        if (s->held || s->closing || s->credit_owed == 0)
                return;
        if (link_out_pending(s->link) > OUT_BYTES_FOR_CREDIT) {
                s->link->credits_waiting = true;
                return;
        }
        /* What is owed has come within the window, plus one frame: it fits. */
        IpcMessage m = {
                .type = IPC_CREDIT,
                .session = s->number,
                .window = (uint32_t)s->credit_owed,
        };
        if (link_queue(s->link, &m) < 0)
                return; /* the connection has ended */
        s->receive_balance += (int64_t)s->credit_owed;
        s->credit_owed = 0;
}

void session_consumed(linkipc_session *s, size_t bytes)
{
        s->credit_owed += bytes;
        if (s->link && s->credit_owed >= MAX(s->window / CREDIT_PORTION, 1U))
                session_give_credit(s);
}

int session_credited(linkipc_session *s, uint32_t bytes)
{
        if (s->send_balance + (int64_t)bytes > INT32_MAX)
                return -EPROTO;
        s->send_balance += (int64_t)bytes;
        reply_send_owed(s);
        if (s->send_balance <= 0 || !s->starved)
                return 0;
        s->starved = false;
        call_writable(s);
        return 0;
}

/* ---- the application's ---- */

_public_ int linkipc_connect(linkipc *l, const char *peer, linkipc_session **ret)
{
        if (!l || !ret)
                return -EINVAL;
        int r = link_check_name(l, peer);
        if (r < 0)
                return r;
        linkipc_session *s = session_new(l, l->window);
        if (!s)
                return link_error(l, -ENOMEM, NULL);
        s->peer = strdup(peer);
        r = s->peer ? 0 : link_error(l, -ENOMEM, NULL);
        if (r == 0)
                r = request_start(l, &(RequestSpec){.kind = REQUEST_CONNECT, .session = s},
                                  &(IpcMessage){
                                          .type = IPC_CONNECT,
                                          .window = l->window,
                                          .name = ipc_str(peer),
                                  },
                                  NULL);
        if (r < 0) {
                session_free(s);
                return r;
        }
        s->connecting = true;
        *ret = s;
        return 0;
}

_public_ int linkipc_session_close(linkipc_session *s)
{
        if (!s)
                return -EINVAL;
        if (s->state == LINKIPC_CLOSED)
                return 0;
        int r = link_check(s->link);
        if (r == 0)
                session_send_close(s);
        return r;
}

_public_ linkipc_session *linkipc_session_ref(linkipc_session *s)
{
        if (s)
                s->n_ref++;
        return s;
}

_public_ linkipc_session *linkipc_session_unref(linkipc_session *s)
{
        if (!s || --s->n_ref > 0)
                return NULL;
        _cleanup_(session_unpinp) linkipc_session *pinned = session_pin(s);
        if (s->abandoned)
                return NULL;
        pinned->abandoned = true;
        s->owned = false;
        if (s->state == LINKIPC_CLOSED)
                return NULL;

        _cleanup_(link_unpinp) linkipc *l = link_pin(s->link);
        _cleanup_(err_done) Err e = {0};
        err_set(&e, -ECANCELED, NULL, NULL);
        session_send_close(s);
        request_finish_session(l, s, &e);
        reply_cancel_all(s);
        return NULL;
}

_public_ int linkipc_request_async(linkipc_session *s, const char *command, uint32_t timeout_msec,
                                   linkipc_result_func func, void *userdata, uint32_t *ret_id)
{
        Request *q;

        if (!s)
                return -EINVAL;
        int r = link_check_json(s->link, command);
        if (r == 0 && strlen(command) > MESSAGE_BYTES_MAX)
                r = link_error(s->link, -EMSGSIZE, NULL);
        if (r == 0)
                r = session_may_send(s);
        if (r < 0)
                return r;
        IpcMessage m = {
                .type = IPC_REQUEST,
                .timeout_msec = timeout_msec,
                .json = ipc_str(command),
        };
        r = request_start(s->link,
                          &(RequestSpec){
                                  .kind = REQUEST_SESSION,
                                  .timeout_msec = timeout_msec,
                                  .session = s,
                                  .func = func,
                                  .userdata = userdata,
                          },
                          &m, &q);
        if (r == 0 && ret_id)
                *ret_id = q->id;
        return r;
}

/* Messages are bounded by the protocol whatever frames the agent takes. */
static int check_event(linkipc_session *s, const EventSpec *spec)
{
        int r = link_check_json(s->link, spec->data);

        if (r == 0 && !spec->payload && spec->payload_len > 0)
                r = link_error(s->link, -EINVAL, NULL);
        if (r == 0 && (spec->payload_len > MESSAGE_BYTES_MAX ||
                       strlen(spec->data) > MESSAGE_BYTES_MAX - spec->payload_len))
                r = link_error(s->link, -EMSGSIZE, NULL);
        return r < 0 ? r : session_may_send(s);
}

int session_send_event(linkipc_session *s, const EventSpec *spec, uint32_t *ret_id)
{
        Request *q;
        int r = check_event(s, spec);

        if (r < 0)
                return r;
        IpcMessage m = {
                .type = IPC_EVENT,
                .json = ipc_str(spec->data),
                .payload = spec->payload_len > 0 ? spec->payload : NULL,
                .payload_len = spec->payload_len,
        };
        if (!spec->func) { /* nobody wants an answer, so there is no number to cancel either */
                r = session_send(s, &m);
                if (r < 0)
                        return link_error(s->link, r, NULL);
                if (ret_id)
                        *ret_id = 0;
                return 0;
        }
        r = request_start(s->link,
                          &(RequestSpec){
                                  .kind = REQUEST_EVENT,
                                  .timeout_msec = spec->timeout_msec,
                                  .session = s,
                                  .func = spec->func,
                                  .userdata = spec->userdata,
                          },
                          &m, &q);
        if (r == 0 && ret_id)
                *ret_id = q->id;
        return r;
}

_public_ int linkipc_send_async(linkipc_session *s, const char *data, const void *payload,
                                size_t payload_len, linkipc_result_func func, void *userdata,
                                uint32_t *ret_id)
{
        if (!s)
                return -EINVAL;
        return session_send_event(s,
                                  &(EventSpec){
                                          .data = data,
                                          .payload = payload,
                                          .payload_len = payload_len,
                                          .timeout_msec = LINKIPC_FOREVER,
                                          .func = func,
                                          .userdata = userdata,
                                  },
                                  ret_id);
}
