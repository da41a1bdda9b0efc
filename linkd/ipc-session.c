#include "ipc-session.h"

#include <errno.h>
#include <stdio.h>

#include "hoard.h"
#include "ipc-access.h"
#include "ipc-session-internal.h"
#include "limits.h"
#include "log.h"

/* A message that waits for the application's credit, encoded. */
struct HeldFrame {
        struct HeldFrame *next;
        Buf frame;
};

/* ---- to the application ---- */

static void watch_stall(IpcSession *s)
{
        s->taken = ipc_conn_taken(s->conn);
        timer_start(s->stall, APP_STALL_MSEC);
}

static void count_held(IpcSession *s, size_t bytes)
{
        hoard_count(s->conn->agent->hoard, &s->user.kept_bytes, bytes);
}

static void update_blocked(IpcSession *s)
{
        bool blocked = s->held || s->out_balance <= 0 || ipc_conn_is_full(s->conn);

        if (blocked == s->user.blocked)
                return;
        s->user.blocked = blocked;
        if (blocked)
                watch_stall(s);
        else
                timer_stop(s->stall);
        if (s->user.conduit)
                conduit_update_flow(s->user.conduit);
}

static void deliver(IpcSession *s, IpcMessage *m)
{
        HeldFrame *h;

        m->session = s->id;
        if (!s->held && s->out_balance > 0 && !ipc_conn_is_full(s->conn)) {
                size_t before = ipc_conn_waiting(s->conn);
                ipc_conn_send(s->conn, m);
                s->out_balance -= (int64_t)(ipc_conn_waiting(s->conn) - before);
                update_blocked(s);
                return;
        }
        h = calloc(1, sizeof(*h));
        if (!h || ipcmsg_encode(&h->frame, m) < 0) {
                if (h)
                        buf_done(&h->frame);
                free(h);
                ipc_conn_log(s->conn, LOG_LEVEL_ERROR,
                             "out of memory: a message for an application is lost");
                return;
        }
        *s->held_end = h;
        s->held_end = &h->next;
        count_held(s, s->user.kept_bytes + h->frame.len);
        update_blocked(s);
}

static void release_held(IpcSession *s)
{
        while (s->held && s->out_balance > 0 && !ipc_conn_is_full(s->conn)) {
                HeldFrame *h = s->held;
                const char *fault;
                IpcMessage m;
                size_t used;

                s->held = h->next;
                if (!s->held)
                        s->held_end = &s->held;
                if (ipcmsg_decode(h->frame.data, h->frame.len, true, &m, &used, &fault) == 1)
                        ipc_conn_send(s->conn, &m);
                s->out_balance -= (int64_t)h->frame.len;
                count_held(s, s->user.kept_bytes - h->frame.len);
                buf_done_wipe(&h->frame);
                free(h);
        }
        update_blocked(s);
}

static void send_state(IpcSession *s, IpcState state, const char *word, const char *message)
{
        ipc_conn_send(s->conn, &(IpcMessage){
                                       .type = IPC_STATE,
                                       .session = s->id,
                                       .state = (uint8_t)state,
                                       .name = ipc_str(word ? word : ""),
                                       .message = ipc_str(message ? message : ""),
                               });
}

static IpcSession *session_of_user(ConduitUser *u)
{
        return container_of(u, IpcSession, user);
}

static void on_request(ConduitUser *u, uint32_t number, JsonSlice cmd)
{
        if (!ipc_conn_takes(session_of_user(u)->conn, 4 + cmd.n)) {
                int r = conduit_respond(u, number, false,
                                        ipc_str("\"the request is too large for its handler\""), 0);
                if (r < 0)
                        log_debug("an error answer was not sent: %s", strerror(-r));
                return;
        }
        deliver(session_of_user(u), &(IpcMessage){.type = IPC_REQUEST,
                                                  .request = number,
                                                  .json = {.p = cmd.p, .n = cmd.n}});
}

/* Takes back a request that the application has not been sent yet. false: it has. */
static bool drop_held_request(IpcSession *s, uint32_t number)
{
        for (HeldFrame **at = &s->held; *at; at = &(*at)->next) {
                HeldFrame *h = *at;
                const char *fault;
                IpcMessage m;
                size_t used;

                if (ipcmsg_decode(h->frame.data, h->frame.len, true, &m, &used, &fault) != 1 ||
                    m.type != IPC_REQUEST || m.request != number)
                        continue;
                *at = h->next;
                if (s->held_end == &h->next)
                        s->held_end = at;
                count_held(s, s->user.kept_bytes - h->frame.len);
                buf_done_wipe(&h->frame);
                free(h);
                update_blocked(s);
                return true;
        }
        return false;
}

static void on_cancel(ConduitUser *u, uint32_t number)
{
        IpcSession *s = session_of_user(u);

        if (drop_held_request(s, number))
                return;
        ipc_conn_send(s->conn,
                      &(IpcMessage){.type = IPC_CANCEL, .session = s->id, .request = number});
}

static void on_event(ConduitUser *u, JsonSlice data, const uint8_t *payload, size_t len)
{
        if (!ipc_conn_takes(session_of_user(u)->conn, 4 + data.n + len)) {
                ipc_conn_log(session_of_user(u)->conn, LOG_LEVEL_WARNING,
                             "an event is larger than its application takes: dropped");
                return;
        }
        deliver(session_of_user(u), &(IpcMessage){.type = IPC_EVENT,
                                                  .json = {.p = data.p, .n = data.n},
                                                  .payload = payload,
                                                  .payload_len = len});
}

static void on_response(ConduitUser *u, uint32_t token, bool ok, JsonSlice body)
{
        IpcSession *s = session_of_user(u);

        s->conn->n_requests--;
        deliver(s, &(IpcMessage){.type = IPC_RESPONSE,
                                 .flags = ok ? IPC_FLAG_OK : 0,
                                 .request = token,
                                 .json = {.p = body.p, .n = body.n}});
}

static void on_failed(ConduitUser *u, uint32_t token, const char *word, const char *message)
{
        IpcSession *s = session_of_user(u);

        s->conn->n_requests--;
        ipc_conn_send_error(s->conn, s->id, token, word, message);
}

static void on_event_done(ConduitUser *u, uint32_t token)
{
        IpcSession *s = session_of_user(u);

        s->conn->n_requests--;
        ipc_conn_send(s->conn, &(IpcMessage){.type = IPC_RESULT,
                                             .session = s->id,
                                             .request = token,
                                             .json = ipc_str("{}")});
}

static void on_credit(ConduitUser *u, size_t cost)
{
        IpcSession *s = session_of_user(u);

        s->in_owed += cost;
        if (s->in_owed < SESSION_WINDOW_BYTES / 4)
                return;
        s->in_balance += (int64_t)s->in_owed; /* what it has not been told it may not use */
        ipc_conn_send(s->conn, &(IpcMessage){.type = IPC_CREDIT,
                                             .session = s->id,
                                             .window = (uint32_t)s->in_owed});
        s->in_owed = 0;
}

static const ConduitUserOps user_ops = {
        .on_request = on_request,
        .on_cancel = on_cancel,
        .on_event = on_event,
        .on_response = on_response,
        .on_failed = on_failed,
        .on_event_done = on_event_done,
        .on_credit = on_credit,
};

/* ---- life of a session ---- */

/* What the application did not take in time; requests of its own are answered all the same. */
static void drop_held(IpcSession *s, const char *word, const char *message)
{
        while (s->held) {
                HeldFrame *h = s->held;
                const char *fault;
                IpcMessage m;
                size_t used;

                s->held = h->next;
                if (ipcmsg_decode(h->frame.data, h->frame.len, true, &m, &used, &fault) == 1 &&
                    m.type == IPC_RESPONSE)
                        ipc_conn_send_error(s->conn, s->id, m.request, word, message);
                buf_done_wipe(&h->frame);
                free(h);
        }
        count_held(s, 0);
}

/* Unlinks and frees; the link or conduit has been left. */
static void ipc_session_free(IpcSession *s)
{
        IpcConn *c = s->conn;

        for (IpcSession **at = &c->sessions; *at; at = &(*at)->next)
                if (*at == s) {
                        *at = s->next;
                        c->n_opened -= !s->server;
                        break;
                }
        peerlink_free(s->link);
        timer_free(s->stall);
        free(s);
}

void ipc_session_end(IpcSession *s, const char *word, const char *message)
{
        /* What waits fails first, so that each request is answered before the state. */
        s->link = peerlink_free(s->link);
        conduit_remove_user(&s->user);
        drop_held(s, word, message);
        send_state(s, IPC_STATE_CLOSED, word, message);
        ipc_session_free(s);
}

/* The application has not read for too long: a relay would end the session soon anyway. */
static void on_stall(void *userdata)
{
        IpcSession *s = userdata;
        HostSession *h = s->host_session;

        if (ipc_conn_is_full(s->conn) && ipc_conn_taken(s->conn) != s->taken) {
                watch_stall(s); /* slow, but it reads */
                return;
        }
        ipc_conn_log(s->conn, LOG_LEVEL_WARNING,
                     "an application (uid %u) did not read for %u s: its session ends",
                     s->conn->caller.uid, APP_STALL_MSEC / 1000);
        if (h)
                host_end_session(h, "timeout", "the application did not read in time");
        else
                ipc_session_end(s, "timeout", "the application did not read in time");
}

IpcSession *ipc_session_new(IpcConn *c, const HostServer *server, uint32_t window)
{
        IpcSession *s;

        if (c->last_session == UINT32_MAX)
                return NULL;
        s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->stall = timer_new(c->agent->loop, on_stall, s);
        if (!s->stall) {
                free(s);
                return NULL;
        }
        s->conn = c;
        s->id = ++c->last_session;
        s->server = server;
        s->user.ops = &user_ops;
        s->out_balance = window;
        s->in_balance = SESSION_WINDOW_BYTES;
        s->held_end = &s->held;
        s->next = c->sessions;
        c->sessions = s;
        c->n_opened += !server;
        return s;
}

static IpcSession *ipc_session_find(IpcConn *c, uint32_t id)
{
        IpcSession *s = c->sessions;

        while (s && s->id != id)
                s = s->next;
        if (!s && id > c->last_session)
                ipc_conn_fail(c, "protocol", "there was never such a session");
        return s; /* NULL also for one that was closed while the frame came: ignored */
}

bool ipc_session_window_is_valid(IpcConn *c, uint32_t window)
{
        if (window >= 1 && window <= IPC_WINDOW_MAX)
                return true;
        ipc_conn_fail(c, "protocol", "a window must be 1 to 4194304 bytes");
        return false;
}

/* ---- CONNECT ---- */

static void on_link_state(void *userdata, IpcState state, const char *word, const char *cause)
{
        IpcSession *s = userdata;

        if (state == IPC_STATE_CLOSED)
                ipc_session_end(s, word, cause);
        else
                send_state(s, state, word, cause);
}

static int open_link(IpcConn *c, Peer *p, const IpcMessage *m)
{
        IpcSession *s = ipc_session_new(c, NULL, m->window);
        Buf info = {};
        int r;

        if (!s)
                return -ENOMEM;
        s->user.roles = IPC_ROLE_REQUESTS | IPC_ROLE_EVENTS;
        r = peerlink_new(&s->link, p, c->caller.uid, on_link_state, s);
        buf_add_str(&info, "{");
        buf_json_member_str(&info, "peer", p->name);
        buf_json_member_str(&info, "address", p->credential->address);
        buf_add_str(&info, "}");
        if (r == 0)
                r = buf_ok(&info);
        if (r == 0) {
                conduit_add_user(s->link->conduit, &s->user);
                ipc_conn_send(c, &(IpcMessage){.type = IPC_OPENED,
                                               .session = s->id,
                                               .request = m->request,
                                               .window = SESSION_WINDOW_BYTES,
                                               .json = {.p = (char *)info.data, .n = info.len}});
                send_state(s, IPC_STATE_CONNECTING, "", "");
        } else {
                ipc_session_free(s); /* the application never heard of it */
        }
        buf_done(&info);
        return r;
}

void ipc_session_send_forbidden(IpcConn *c, uint32_t request, const char *what, const char *name)
{
        char text[128 + NAME_MAX_BYTES];

        (void)snprintf(text, sizeof(text), "this user may not %s %s: see `access` in linkd.conf",
                       what, name); /* fits */
        ipc_conn_send_error(c, 0, request, "forbidden", text);
}

void ipc_session_on_connect(IpcConn *c, const IpcMessage *m)
{
        Peer *p = agent_find_peer(c->agent, m->name.p, m->name.n);
        int r;

        if (!ipc_session_window_is_valid(c, m->window))
                return;
        if (!(c->access & ACCESS_USE))
                ipc_conn_send_error(c, 0, m->request, "forbidden", "this user may not use peers");
        else if (!p)
                ipc_conn_send_unknown(c, m->request, "noSuchPeer", "peer", m->name, "peers");
        else if (!ipc_access_may_use(c, p->name))
                ipc_session_send_forbidden(c, m->request, "use peer", p->name);
        else if (c->n_opened >= IPC_SESSIONS_MAX)
                ipc_conn_send_error(c, 0, m->request, "tooMany",
                                    "this connection has too many sessions");
        else if (!peer_has_place(p, c->caller.uid, caller_is_owner(&c->caller)))
                ipc_conn_send_error(c, 0, m->request, "tooMany",
                                    "there are too many sessions with this peer, or this user has "
                                    "its share of them");
        else if ((r = open_link(c, p, m)) < 0)
                ipc_conn_send_error(c, 0, m->request, "internal", strerror(-r));
}

/* ---- messages from the application ---- */

void ipc_session_on_close(IpcConn *c, const IpcMessage *m)
{
        IpcSession *s = ipc_session_find(c, m->session);

        if (!s)
                return; /* closed by us a moment ago */
        if (s->host_session)
                host_end_session(s->host_session, "closed", "closed by the application");
        else
                ipc_session_end(s, "closed", "closed by the application");
}

bool ipc_session_json_is_valid(IpcConn *c, IpcStr json)
{
        if (json_scan_member_value(json.p, json.n, NULL) == 0)
                return true;
        ipc_conn_fail(c, "protocol", "text that should be JSON is not");
        return false;
}

/* What an application may have unanswered, in number; true if one more is fine. */
static bool count_request(IpcConn *c, const IpcMessage *m)
{
        if (c->n_requests >= IPC_REQUESTS_MAX) {
                ipc_conn_send_error(c, m->session, m->request, "tooMany",
                                    "too many unanswered requests");
                return false;
        }
        c->n_requests++;
        return true;
}

uint64_t ipc_session_timeout_msec(uint32_t timeout_msec)
{
        return timeout_msec ? MIN(timeout_msec, (uint32_t)REQUEST_TIMEOUT_MAX_MSEC)
                            : REQUEST_TIMEOUT_MSEC;
}

static void on_app_request(IpcSession *s, const IpcMessage *m)
{
        int r;

        if (!ipc_session_json_is_valid(s->conn, m->json))
                return;
        if (!count_request(s->conn, m)) {
                on_credit(&s->user, m->frame_len);
                return;
        }
        r = conduit_request(&s->user, m->request, m->json,
                            ipc_session_timeout_msec(m->timeout_msec), m->frame_len);
        if (r < 0) {
                on_credit(&s->user, m->frame_len);
                on_failed(&s->user, m->request, "internal", strerror(-r));
        }
}

static void on_app_event(IpcSession *s, const IpcMessage *m)
{
        int r;

        if (!ipc_session_json_is_valid(s->conn, m->json))
                return;
        if (m->request && !count_request(s->conn, m)) {
                on_credit(&s->user, m->frame_len);
                return;
        }
        r = conduit_event(&s->user, m->request, m->json, m->payload, m->payload_len, m->frame_len);
        if (r < 0) {
                on_credit(&s->user, m->frame_len);
                if (m->request)
                        on_failed(&s->user, m->request, "internal", strerror(-r));
        }
}

static void on_app_response(IpcSession *s, const IpcMessage *m)
{
        JsonSlice v;
        int r = json_scan_member_value(m->json.p, m->json.n, &v);

        if (r < 0 || (!(m->flags & IPC_FLAG_OK) && !json_is_string(v))) {
                ipc_conn_fail(s->conn, "protocol",
                              "a RESPONSE holds no JSON, or an error that is no string");
                return;
        }
        r = conduit_respond(&s->user, m->request, m->flags & IPC_FLAG_OK,
                            (IpcStr){.p = v.p, .n = v.n}, m->frame_len);
        if (r < 0)
                ipc_conn_log(s->conn, LOG_LEVEL_ERROR, "an answer could not be sent: %s",
                             strerror(-r));
}

void ipc_session_on_data(IpcConn *c, const IpcMessage *m)
{
        IpcSession *s = ipc_session_find(c, m->session);

        if (!s) {
                if (m->session == 0) /* a RESPONSE; the codec lets the agent write such */
                        ipc_conn_fail(c, "protocol", "there was never such a session");
                else if (m->request && m->type != IPC_RESPONSE)
                        ipc_conn_send_error(c, m->session, m->request, "closed",
                                            "the session is closed");
                return;
        }
        if (s->in_balance <= 0) {
                ipc_conn_fail(c, "flow", "data was sent beyond the session's credit");
                return;
        }
        s->in_balance -= (int64_t)m->frame_len;
        if (m->type == IPC_REQUEST)
                on_app_request(s, m);
        else if (m->type == IPC_EVENT)
                on_app_event(s, m);
        else
                on_app_response(s, m);
}

void ipc_session_on_credit(IpcConn *c, const IpcMessage *m)
{
        IpcSession *s = ipc_session_find(c, m->session);

        if (!s)
                return;
        if (s->out_balance + (int64_t)m->window > INT32_MAX) {
                ipc_conn_fail(c, "flow", "CREDIT lifts the balance above 2^31-1");
                return;
        }
        s->out_balance += (int64_t)m->window;
        release_held(s);
        if (s->user.blocked)
                watch_stall(s); /* slow, but it reads */
}

void ipc_session_on_cancel(IpcConn *c, const IpcMessage *m)
{
        IpcSession *s = ipc_session_find(c, m->session);

        if (s && conduit_cancel(&s->user, m->request))
                c->n_requests--;
        if (!m->session)
                ipc_ask_cancel(c, m->request);
}

/* ---- the connection ---- */

void ipc_session_resume_all(IpcConn *c)
{
        for (IpcSession *s = c->sessions; s; s = s->next)
                release_held(s);
}

void ipc_session_end_forbidden(IpcConn *c)
{
        IpcSession *next;

        ipc_serve_end_forbidden(c);
        ipc_ask_end_forbidden(c);
        for (IpcSession *s = c->sessions; s; s = next) {
                next = s->next; /* s alone ends */
                if (s->link && !ipc_access_may_use(c, s->link->peer->name))
                        ipc_session_end(s, "forbidden", IPC_NO_MORE);
        }
}

void ipc_session_drop_all(IpcConn *c)
{
        ipc_serve_drop_all(c);
        ipc_ask_drop_all(c);
        while (c->sessions)
                ipc_session_end(c->sessions, "closed", "the connection is closing");
}
