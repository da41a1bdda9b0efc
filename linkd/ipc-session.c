#include "ipc-session.h"

#include <errno.h>
#include <stdio.h>

#include "host.h"
#include "limits.h"
#include "log.h"
#include "peer.h"

/* A message that waits for the application's credit, encoded. */
typedef struct HeldFrame {
        struct HeldFrame *next;
        Buf frame;
} HeldFrame;

/* An application's end of a session: with a peer (link) or of a device (host_session). */
struct IpcSession {
        IpcSession *next;
        IpcConn *conn;
        uint32_t id;
        ConduitUser user;
        PeerLink *link;
        HostSession *host_session;
        const HostServer *server; /* that it came by */
        int64_t out_balance;      /* what the application will still take; below zero: wait */
        int64_t in_balance;       /* what it may still send */
        size_t in_owed;           /* credit not told yet */
        HeldFrame *held, **held_end;
        Timer *stall;
        uint64_t taken; /* ipc_conn_taken() when the stall timer was started */
};

/* This connection as server of a host. */
struct IpcServe {
        HostServer server; /* first: the callbacks cast back */
        IpcServe *next;
        IpcConn *conn;
        uint32_t window;
};

/* A one-shot call in flight. */
struct IpcAsk {
        ConduitUser user;
        IpcAsk *next;
        IpcConn *conn;
        uint32_t request;
        size_t bytes;
};

/* ---- to the application ---- */

static void watch_stall(IpcSession *s)
{
        s->taken = ipc_conn_taken(s->conn);
        timer_start(s->stall, APP_STALL_MSEC);
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
                size_t before = s->conn->out.len + s->conn->writing.len;
                ipc_conn_send(s->conn, m);
                s->out_balance -= (int64_t)(s->conn->out.len + s->conn->writing.len - before);
                update_blocked(s);
                return;
        }
        h = calloc(1, sizeof(*h));
        if (!h || ipcmsg_encode(&h->frame, m) < 0) {
                free(h);
                log_error("out of memory: a message for an application is lost");
                return;
        }
        *s->held_end = h;
        s->held_end = &h->next;
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

static void on_cancel(ConduitUser *u, uint32_t number)
{
        IpcSession *s = session_of_user(u);

        ipc_conn_send(s->conn,
                      &(IpcMessage){.type = IPC_CANCEL, .session = s->id, .request = number});
}

static void on_event(ConduitUser *u, JsonSlice data, const uint8_t *payload, size_t len)
{
        if (!ipc_conn_takes(session_of_user(u)->conn, 4 + data.n + len)) {
                log_warning("an event is larger than its application takes: dropped");
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
}

/* Unlinks and frees; the link or conduit has been left. */
static void session_free_ipc(IpcSession *s)
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

static void session_end(IpcSession *s, const char *word, const char *message)
{
        /* What waits fails first, so that each request is answered before the state. */
        s->link = peerlink_free(s->link);
        conduit_remove_user(&s->user);
        drop_held(s, word, message);
        send_state(s, IPC_STATE_CLOSED, word, message);
        session_free_ipc(s);
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
        log_warning("an application (uid %u) did not read for %u s: its session ends", s->conn->uid,
                    APP_STALL_MSEC / 1000);
        if (h)
                host_end_session(h, "timeout", "the application did not read in time");
        else
                session_end(s, "timeout", "the application did not read in time");
}

/* server NULL: the application opens it. */
static IpcSession *session_new_ipc(IpcConn *c, const HostServer *server, uint32_t window)
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

static IpcSession *find_session(IpcConn *c, uint32_t id)
{
        IpcSession *s = c->sessions;

        while (s && s->id != id)
                s = s->next;
        if (!s && id > c->last_session)
                ipc_conn_fail(c, "protocol", "there was never such a session");
        return s; /* NULL also for one that was closed while the frame came: ignored */
}

static bool window_is_valid(IpcConn *c, uint32_t window)
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
                session_end(s, word, cause);
        else
                send_state(s, state, word, cause);
}

static int open_link(IpcConn *c, Peer *p, const IpcMessage *m)
{
        IpcSession *s = session_new_ipc(c, NULL, m->window);
        Buf info = {};
        int r;

        if (!s)
                return -ENOMEM;
        s->user.roles = IPC_ROLE_REQUESTS | IPC_ROLE_EVENTS;
        r = peerlink_new(&s->link, p, on_link_state, s);
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
                session_free_ipc(s); /* the application never heard of it */
        }
        buf_done(&info);
        return r;
}

void ipc_session_on_connect(IpcConn *c, const IpcMessage *m)
{
        Peer *p = agent_find_peer(c->agent, m->name.p, m->name.n);
        int r;

        if (!window_is_valid(c, m->window))
                return;
        if (!(c->access & ACCESS_USE))
                ipc_conn_send_error(c, 0, m->request, "forbidden", "this user may not use peers");
        else if (!p)
                ipc_conn_send_error(c, 0, m->request, "noSuchPeer",
                                    "there is no peer of that name; see `linkctl peers`");
        else if (c->n_opened >= IPC_SESSIONS_MAX)
                ipc_conn_send_error(c, 0, m->request, "tooMany",
                                    "this connection has too many sessions");
        else if ((r = open_link(c, p, m)) < 0)
                ipc_conn_send_error(c, 0, m->request, "internal", strerror(-r));
}

/* ---- SERVE ---- */

static void on_host_session(HostServer *server, HostSession *h)
{
        IpcServe *serve = container_of(server, IpcServe, server);
        Device *d = host_find_device(h->host, h->key_id);
        IpcSession *s = d ? session_new_ipc(serve->conn, server, serve->window) : NULL;
        char id[KEY_ID_TEXT_BYTES];
        Buf info = {};

        if (!s) {
                log_error("a session could not be told to its application");
                return; /* its requests get "no request handler" */
        }
        s->host_session = h;
        s->user.roles = server->roles;
        host_key_id_text(h->key_id, id);
        buf_add_str(&info, "{");
        buf_json_member_str(&info, "host", h->host->name);
        buf_json_member_str(&info, "keyId", id);
        buf_json_member_str(&info, "label", d->label);
        buf_add_str(&info, "}");
        ipc_conn_send(serve->conn, &(IpcMessage){.type = IPC_INCOMING,
                                                 .session = s->id,
                                                 .window = SESSION_WINDOW_BYTES,
                                                 .json = {.p = (char *)info.data, .n = info.len}});
        buf_done(&info);
        conduit_add_user(h->conduit, &s->user);
}

static IpcSession *find_host_session(IpcConn *c, const HostSession *h, const HostServer *server)
{
        IpcSession *s = c->sessions;

        while (s && (s->host_session != h || s->server != server))
                s = s->next;
        return s;
}

static void on_host_session_ended(HostServer *server, HostSession *h, const char *word,
                                  const char *message)
{
        IpcServe *serve = container_of(server, IpcServe, server);
        IpcSession *s = find_host_session(serve->conn, h, server);

        if (s)
                session_end(s, word, message);
}

static const HostServerOps server_ops = {
        .on_session = on_host_session,
        .on_session_ended = on_host_session_ended,
};

/* Lets a host go; its sessions live on without this application. */
static void serve_end(IpcServe *serve)
{
        IpcConn *c = serve->conn;
        IpcSession *next;

        for (IpcServe **at = &c->serves; *at; at = &(*at)->next)
                if (*at == serve) {
                        *at = serve->next;
                        break;
                }
        host_unserve(&serve->server);
        for (IpcSession *s = c->sessions; s; s = next) {
                next = s->next;
                if (s->server == &serve->server)
                        session_end(s, "closed", "this application no longer serves the host");
        }
        free(serve);
}

static IpcServe *find_serve(IpcConn *c, const Host *h)
{
        IpcServe *serve = c->serves;

        while (serve && serve->server.host != h)
                serve = serve->next;
        return serve;
}

static int serve_start(IpcConn *c, Host *h, const IpcMessage *m)
{
        IpcServe *serve = calloc(1, sizeof(*serve));
        int r;

        if (!serve)
                return -ENOMEM;
        serve->server.ops = &server_ops;
        serve->server.roles = m->roles;
        serve->conn = c;
        serve->window = m->window;
        serve->next = c->serves;
        c->serves = serve;
        /* The result goes out before the first INCOMING. */
        for (const HostServer *s = h->servers; s; s = s->next)
                if (s->roles & m->roles) {
                        serve_end(serve);
                        return -EBUSY;
                }
        ipc_conn_send(
                c, &(IpcMessage){.type = IPC_RESULT, .request = m->request, .json = ipc_str("{}")});
        r = host_serve(h, &serve->server);
        if (r < 0)
                log_error("host %s: serving failed after its check", h->name);
        return 0;
}

void ipc_session_on_serve(IpcConn *c, const IpcMessage *m)
{
        Host *h = agent_find_host(c->agent, m->name.n ? m->name.p : "default",
                                  m->name.n ? m->name.n : strlen("default"));
        IpcServe *old = h ? find_serve(c, h) : NULL;
        int r;

        if (m->roles && !window_is_valid(c, m->window))
                return;
        if (!(c->access & ACCESS_SERVE)) {
                ipc_conn_send_error(c, 0, m->request, "forbidden", "this user may not serve hosts");
        } else if (!h) {
                ipc_conn_send_error(c, 0, m->request, "noSuchHost",
                                    "there is no host of that name; see `linkctl host list`");
        } else if (!m->roles) {
                if (old)
                        serve_end(old);
                ipc_conn_send(c, &(IpcMessage){.type = IPC_RESULT,
                                               .request = m->request,
                                               .json = ipc_str("{}")});
        } else if (old) {
                ipc_conn_send_error(c, 0, m->request, "busy", "this connection serves it already");
        } else if ((r = serve_start(c, h, m)) < 0) {
                ipc_conn_send_error(c, 0, m->request, r == -EBUSY ? "busy" : "internal",
                                    r == -EBUSY ? "another application serves this host"
                                                : strerror(-r));
        }
}

/* ---- messages from the application ---- */

void ipc_session_on_close(IpcConn *c, const IpcMessage *m)
{
        IpcSession *s = find_session(c, m->session);

        if (!s)
                return; /* closed by us a moment ago */
        if (s->host_session)
                host_end_session(s->host_session, "closed", "closed by the application");
        else
                session_end(s, "closed", "closed by the application");
}

/* false: the connection has been ended, for that is a fault of the frame. */
static bool json_is_valid(IpcConn *c, IpcStr json)
{
        if (json_scan_value(json.p, json.n, NULL) == 0)
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

static uint64_t clamp_timeout(uint32_t timeout_msec)
{
        return timeout_msec ? MIN(timeout_msec, (uint32_t)REQUEST_TIMEOUT_MAX_MSEC)
                            : REQUEST_TIMEOUT_MSEC;
}

static void on_app_request(IpcSession *s, const IpcMessage *m)
{
        int r;

        if (!json_is_valid(s->conn, m->json))
                return;
        if (!count_request(s->conn, m)) {
                on_credit(&s->user, m->frame_len);
                return;
        }
        r = conduit_request(&s->user, m->request, m->json, clamp_timeout(m->timeout_msec),
                            m->frame_len);
        if (r < 0) {
                on_credit(&s->user, m->frame_len);
                on_failed(&s->user, m->request, "internal", strerror(-r));
        }
}

static void on_app_event(IpcSession *s, const IpcMessage *m)
{
        int r;

        if (!json_is_valid(s->conn, m->json))
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
        int r = json_scan_value(m->json.p, m->json.n, &v);

        if (r < 0 || (!(m->flags & IPC_FLAG_OK) && !json_is_string(v))) {
                ipc_conn_fail(s->conn, "protocol",
                              "a RESPONSE holds no JSON, or an error that is no string");
                return;
        }
        r = conduit_respond(&s->user, m->request, m->flags & IPC_FLAG_OK,
                            (IpcStr){.p = v.p, .n = v.n}, m->frame_len);
        if (r < 0)
                log_error("an answer could not be sent: %s", strerror(-r));
}

void ipc_session_on_data(IpcConn *c, const IpcMessage *m)
{
        IpcSession *s = find_session(c, m->session);

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
        IpcSession *s = find_session(c, m->session);

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

/* ---- one-shot calls ---- */

static void ask_end(IpcAsk *k)
{
        IpcConn *c = k->conn;

        for (IpcAsk **at = &c->asks; *at; at = &(*at)->next)
                if (*at == k) {
                        *at = k->next;
                        break;
                }
        if (k->user.conduit)
                (void)conduit_cancel(&k->user, k->request); /* answered already is fine */
        conduit_remove_user(&k->user);
        c->unanswered_bytes -= k->bytes;
        c->n_requests--;
        ipc_conn_wake(c);
        free(k);
}

static void on_ask_response(ConduitUser *u, uint32_t token, bool ok, JsonSlice body)
{
        IpcAsk *k = container_of(u, IpcAsk, user);

        ipc_conn_send(k->conn, &(IpcMessage){.type = IPC_RESPONSE,
                                             .flags = ok ? IPC_FLAG_OK : 0,
                                             .request = token,
                                             .json = {.p = body.p, .n = body.n}});
        ask_end(k);
}

static void on_ask_failed(ConduitUser *u, uint32_t token, const char *word, const char *message)
{
        IpcAsk *k = container_of(u, IpcAsk, user);

        ipc_conn_send_error(k->conn, 0, token, word, message);
        ask_end(k);
}

static const ConduitUserOps ask_ops = {
        .on_response = on_ask_response,
        .on_failed = on_ask_failed,
};

static int ask_start(IpcConn *c, Peer *p, const IpcMessage *m)
{
        Conduit *conduit;
        IpcAsk *k;
        int r = peer_ask_conduit(p, c->uid, &conduit);

        if (r < 0)
                return r;
        k = calloc(1, sizeof(*k));
        if (!k)
                return -ENOMEM;
        k->user.ops = &ask_ops;
        k->conn = c;
        k->request = m->request;
        k->bytes = m->frame_len;
        k->next = c->asks;
        c->asks = k;
        c->unanswered_bytes += k->bytes;
        c->n_requests++;
        conduit_add_user(conduit, &k->user);
        r = conduit_request(&k->user, m->request, m->json, clamp_timeout(m->timeout_msec), 0);
        if (r < 0)
                ask_end(k);
        return r;
}

void ipc_session_on_ask(IpcConn *c, const IpcMessage *m)
{
        Peer *p = agent_find_peer(c->agent, m->name.p, m->name.n);
        const char *word = NULL, *message = NULL;
        int r;

        if (!json_is_valid(c, m->json))
                return;
        if (!(c->access & ACCESS_USE))
                word = "forbidden", message = "this user may not use peers";
        else if (!p)
                word = "noSuchPeer", message = "there is no peer of that name; see `linkctl peers`";
        else if (c->n_requests >= IPC_REQUESTS_MAX)
                word = "tooMany", message = "too many unanswered requests";
        else if ((r = ask_start(c, p, m)) < 0)
                word = "internal", message = strerror(-r);
        if (word)
                ipc_conn_send_error(c, 0, m->request, word, message);
}

void ipc_session_on_cancel(IpcConn *c, const IpcMessage *m)
{
        IpcSession *s = find_session(c, m->session);

        if (s && conduit_cancel(&s->user, m->request))
                c->n_requests--;
        for (IpcAsk *k = m->session ? NULL : c->asks; k; k = k->next)
                if (k->request == m->request) {
                        ask_end(k);
                        return;
                }
}

/* ---- the connection ---- */

void ipc_session_resume_all(IpcConn *c)
{
        for (IpcSession *s = c->sessions; s; s = s->next)
                release_held(s);
}

void ipc_session_drop_all(IpcConn *c)
{
        while (c->serves)
                serve_end(c->serves);
        while (c->asks)
                ask_end(c->asks);
        while (c->sessions)
                session_end(c->sessions, "closed", "the connection is closing");
}
