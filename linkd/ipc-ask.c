/* ASK: one request to a peer over the connection that a user shares for these. */
#include <errno.h>

#include "ipc-access.h"
#include "ipc-session-internal.h"
#include "limits.h"

/* A one-shot call in flight. */
struct IpcAsk {
        ConduitUser user;
        IpcAsk *next;
        IpcConn *conn;
        const Peer *peer; /* outlives it: a peer that goes fails it */
        uint32_t request;
        size_t bytes;
};

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

        /* No credit bounds these, and the connection that they share is not held up for one
         * application: what does not fit is lost for the one that does not fetch its answers. */
        if (ipc_conn_waiting(k->conn) + body.n > IPC_OUT_ASK_BYTES_MAX)
                ipc_conn_send_error(k->conn, 0, token, "tooMany",
                                    "too many answers wait for the application to read them");
        else
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
        int r = peer_ask_conduit(p, c->caller.uid, &conduit);

        if (r < 0)
                return r;
        k = calloc(1, sizeof(*k));
        if (!k)
                return -ENOMEM;
        k->user.ops = &ask_ops;
        k->conn = c;
        k->peer = p;
        k->request = m->request;
        k->bytes = m->frame_len;
        k->next = c->asks;
        c->asks = k;
        c->unanswered_bytes += k->bytes;
        c->n_requests++;
        conduit_add_user(conduit, &k->user);
        r = conduit_request(&k->user, m->request, m->json,
                            ipc_session_timeout_msec(m->timeout_msec), 0);
        if (r < 0)
                ask_end(k);
        return r;
}

void ipc_session_on_ask(IpcConn *c, const IpcMessage *m)
{
        Peer *p = agent_find_peer(c->agent, m->name.p, m->name.n);
        int r;

        if (!ipc_session_json_is_valid(c, m->json))
                return;
        if (!(c->access & ACCESS_USE))
                ipc_conn_send_error(c, 0, m->request, "forbidden", "this user may not use peers");
        else if (!p)
                ipc_conn_send_unknown(c, m->request, "noSuchPeer", "peer", m->name, "peers");
        else if (!ipc_access_may_use(c, p->name))
                ipc_session_send_forbidden(c, m->request, "use peer", p->name);
        else if (c->n_requests >= IPC_REQUESTS_MAX)
                ipc_conn_send_error(c, 0, m->request, "tooMany", "too many unanswered requests");
        else if ((r = ask_start(c, p, m)) == -EUSERS)
                ipc_conn_send_error(c, 0, m->request, "tooMany",
                                    "too many other users are calling this peer");
        else if (r < 0)
                ipc_conn_send_error(c, 0, m->request, "internal", strerror(-r));
}

void ipc_ask_cancel(IpcConn *c, uint32_t request)
{
        for (IpcAsk *k = c->asks; k; k = k->next)
                if (k->request == request) {
                        ask_end(k);
                        return;
                }
}

void ipc_ask_end_forbidden(IpcConn *c)
{
        IpcAsk *next;

        for (IpcAsk *k = c->asks; k; k = next) {
                next = k->next; /* k alone ends */
                if (ipc_access_may_use(c, k->peer->name))
                        continue;
                ipc_conn_send_error(c, 0, k->request, "forbidden", IPC_NO_MORE);
                ask_end(k);
        }
}

void ipc_ask_drop_all(IpcConn *c)
{
        while (c->asks)
                ask_end(c->asks);
}
