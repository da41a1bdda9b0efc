/* SERVE: an application that answers for a host, and the sessions of devices it is told of. */
#include <errno.h>

#include "ipc-access.h"
#include "ipc-session-internal.h"
#include "log.h"

/* This connection as server of a host. */
struct IpcServe {
        HostServer server; /* first: the callbacks cast back */
        IpcServe *next;
        IpcConn *conn;
        uint32_t window;
};

/* STATE 2 again, with the word that payloads can be sent. */
static void tell_framed(IpcSession *s)
{
        ipc_conn_send(s->conn, &(IpcMessage){.type = IPC_STATE,
                                             .session = s->id,
                                             .state = IPC_STATE_CONNECTED,
                                             .name = ipc_str("framed")});
}

static void on_host_session(HostServer *server, HostSession *h)
{
        IpcServe *serve = container_of(server, IpcServe, server);
        Device *d = host_find_device(h->host, h->key_id);
        IpcSession *s = d ? ipc_session_new(serve->conn, server, serve->window) : NULL;
        char id[KEY_ID_TEXT_BYTES];
        Buf info = {};

        if (!s) {
                ipc_conn_log(serve->conn, LOG_LEVEL_ERROR,
                             "a session could not be told to its application");
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
        if (conduit_is_framed(h->conduit))
                tell_framed(s);
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
                ipc_session_end(s, word, message);
}

static void on_host_session_framed(HostServer *server, HostSession *h)
{
        IpcServe *serve = container_of(server, IpcServe, server);
        IpcSession *s = find_host_session(serve->conn, h, server);

        if (s)
                tell_framed(s);
}

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
                        ipc_session_end(s, "closed", "this application no longer serves the host");
        }
        free(serve);
}

/* The application did not ask for it. */
static void serve_take_away(IpcServe *serve, const char *word, const char *message)
{
        Buf info = {};

        buf_add_str(&info, "{");
        buf_json_member_str(&info, "host", serve->server.host->name);
        buf_json_member_str(&info, "word", word);
        buf_json_member_str(&info, "message", message);
        buf_add_str(&info, "}");
        if (buf_ok(&info) == 0)
                ipc_conn_notify(serve->conn, "unserved", &info);
        buf_done(&info);
        serve_end(serve);
}

static void on_host_removed(HostServer *server)
{
        serve_take_away(container_of(server, IpcServe, server), "noSuchHost",
                        "the host was removed");
}

static const HostServerOps server_ops = {
        .on_session = on_host_session,
        .on_session_framed = on_host_session_framed,
        .on_session_ended = on_host_session_ended,
        .on_host_removed = on_host_removed,
};

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

/* Names the roles that somebody has. */
static void send_busy(IpcConn *c, const Host *h, const IpcMessage *m)
{
        static const char *const names[] = {
                [IPC_ROLE_REQUESTS] = "requests",
                [IPC_ROLE_EVENTS] = "events",
                [IPC_ROLE_REQUESTS | IPC_ROLE_EVENTS] = "requests and events",
        };
        char text[128 + NAME_MAX_BYTES];
        uint8_t taken = 0;

        for (const HostServer *s = h->servers; s; s = s->next)
                taken |= s->roles & m->roles;
        (void)snprintf(text, sizeof(text),
                       "another application takes the %s of host %s: end it first", names[taken],
                       h->name); /* fits */
        ipc_conn_send_error(c, 0, m->request, "busy", text);
}

void ipc_session_on_serve(IpcConn *c, const IpcMessage *m)
{
        Host *h = agent_find_host(c->agent, m->name.n ? m->name.p : "default",
                                  m->name.n ? m->name.n : strlen("default"));
        IpcServe *old = h ? find_serve(c, h) : NULL;
        int r;

        if (m->roles && !ipc_session_window_is_valid(c, m->window))
                return;
        if (!(c->access & ACCESS_SERVE)) {
                ipc_conn_send_error(c, 0, m->request, "forbidden", "this user may not serve hosts");
        } else if (!h) {
                ipc_conn_send_unknown(c, m->request, "noSuchHost", "host", m->name, "host list");
        } else if (m->roles && !ipc_access_may_serve(c, h->name)) {
                ipc_session_send_forbidden(c, m->request, "serve host", h->name);
        } else if (!m->roles) {
                if (old)
                        serve_end(old);
                ipc_conn_send(c, &(IpcMessage){.type = IPC_RESULT,
                                               .request = m->request,
                                               .json = ipc_str("{}")});
        } else if (old) {
                ipc_conn_send_error(c, 0, m->request, "busy", "this connection serves it already");
        } else if ((r = serve_start(c, h, m)) < 0) {
                if (r == -EBUSY)
                        send_busy(c, h, m);
                else
                        ipc_conn_send_error(c, 0, m->request, "internal", strerror(-r));
        }
}

void ipc_serve_end_forbidden(IpcConn *c)
{
        IpcServe *next;

        for (IpcServe *serve = c->serves; serve; serve = next) {
                next = serve->next; /* this one alone ends */
                if (!ipc_access_may_serve(c, serve->server.host->name))
                        serve_take_away(serve, "forbidden", IPC_NO_MORE);
        }
}

void ipc_serve_drop_all(IpcConn *c)
{
        while (c->serves)
                serve_end(c->serves);
}
